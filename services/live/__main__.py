"""The command line of `live`. A reload is waited for by whoever saved a file: what only `serve` needs is loaded by it alone."""

from __future__ import annotations

import json
import os
import socket
import sys

# Seconds: a start that is given up, and some more.
_PATIENCE = 45.0
_RECEIVE = 65_536


def serve(folder: str, copy: str, control: str) -> int:
    """Keep the service of `copy` running until told to end."""
    import shutil
    from pathlib import Path

    from live.supervisor import Supervisor

    whole = Path(f"{copy}.whole")
    if not whole.exists():  # a container that starts again finds what was saved since
        shutil.copytree(folder, copy, copy_function=_copy_new, dirs_exist_ok=True)
        whole.touch()
    address = os.environ.get("SLIPWAY_HOST", ""), int(os.environ.get("SLIPWAY_PORT") or 8000)
    return Supervisor(Path(copy), Path(control), address, once=os.environ.get("LIVE") == "once").run()


def _copy_new(source: str, target: str) -> None:
    import shutil
    from pathlib import Path

    if not Path(target).exists():  # else it was saved while this began
        shutil.copyfile(source, target)


def reload(control: str) -> int:
    """Ask for a reload, print what came of it; 0 when the new code serves."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_PATIENCE)
        try:
            asking.connect(control)
        except (FileNotFoundError, ConnectionRefusedError):
            print("the service is about to start, with what was saved")
            return 0
        answer = b""
        try:
            while data := asking.recv(_RECEIVE):
                answer += data
            said = json.loads(answer)
        except TimeoutError:
            print(f"no answer within {_PATIENCE:g} s; what was saved is there, and the log says how it goes on", file=sys.stderr)
            return 1
        except (ConnectionError, ValueError):  # nothing of an answer, or a part
            print("the container ended while it was asked; the next one begins with what was saved", file=sys.stderr)
            return 1
    print(said["text"], file=sys.stdout if said["ok"] else sys.stderr)
    return 0 if said["ok"] else 1


def main(words: list[str]) -> int:
    """Do what the command line says."""
    match words:
        case ["serve", folder, copy, control]:
            return serve(folder, copy, control)
        case ["reload", control]:
            return reload(control)
        case _:
            import live

            print(live.__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
