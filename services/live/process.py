"""One process of a service: it serves on a port that is there already, and says when it is up."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

_RECEIVE = 65_536

# What <sys/prctl.h> calls it.
_PR_SET_PDEATHSIG = 1


@dataclass(eq=False)
class Process:
    """One process of the service: `heard` and `notice` are the pipes by which it is heard until it serves."""

    pid: int
    heard: int
    notice: int
    began: float
    said: bytearray = field(default_factory=bytearray)
    noticed: bytearray = field(default_factory=bytearray)
    deadline: float = 0.0

    def close(self) -> None:
        """Hear no more of it."""
        for pipe in (self.heard, self.notice):
            with contextlib.suppress(OSError):
                os.close(pipe)


class Closable(Protocol):
    """What a new process does not need."""

    def close(self) -> None:
        """Give it back."""


def become(
    folder: Path, listener: socket.socket, says: int, notes: int, ends: Sequence[Closable], *, supervisor: int
) -> NoReturn:
    """Be the service from now on: in a new process, which takes nothing along but the port and its two pipes."""
    code = 1
    try:
        end_with(supervisor)
        signal.set_wakeup_fd(-1)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        for end in ends:
            end.close()
        code = serve(folder, listener, says, notes)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException as error:
        explain(error, folder)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


def end_with(supervisor: int) -> None:
    """End when the supervisor does, in whatever way: nobody would know of this process any more, which holds the port."""
    with contextlib.suppress(OSError, AttributeError):  # no such function
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # it has ended before that
        os._exit(1)


def serve(folder: Path, listener: socket.socket, says: int, notes: int) -> int:
    """Run main.py on a port that is there already, and say when it serves."""
    outputs = [(end, os.dup(end)) for end in (1, 2)]
    for end, _ in outputs:
        os.dup2(says, end)
    os.close(says)
    import uvicorn

    begin = uvicorn.Server.startup

    async def startup(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        del sockets
        await begin(self, sockets=[listener])
        sys.stdout.flush()
        sys.stderr.flush()
        for end, kept in outputs:
            os.dup2(kept, end)
            os.close(kept)
        os.write(notes, json.dumps(libraries(folder)).encode())
        os.close(notes)

    uvicorn.Server.startup = startup  # the one place where a server knows its port and that it is up
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv = [str(folder / "main.py")]
    runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


def libraries(folder: Path) -> list[str]:
    """Every module that is loaded here and is not the service's own, in the order in which they were asked for."""
    own = f"{folder}{os.sep}"
    loaded = [(name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items())]
    return [name for name, file in loaded if file and not file.startswith(own) and name != "__main__"]


def load(libraries: list[str]) -> None:
    """Load what the service uses here, so that the processes that follow have it."""
    for name in libraries:
        if name not in sys.modules:
            with contextlib.suppress(Exception):  # it is loaded when it is needed, as without this
                importlib.import_module(name)


def explain(error: BaseException, folder: Path) -> None:
    """Print what went wrong in the service, without the frames of this file and of what runs it."""
    trace = error.__traceback__
    while trace and not trace.tb_frame.f_code.co_filename.startswith(str(folder)):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def stand_in(connection: socket.socket, error: str) -> None:
    """Answer one request in the place of a service that does not run: with the reason, but alive."""
    connection.settimeout(1.0)
    alive = connection.recv(_RECEIVE).partition(b"\r\n")[0].startswith(b"GET /healthz ")
    status = "200 OK" if alive else "503 Service Unavailable"
    problem = {"type": "about:blank", "title": status[4:], "status": int(status[:3]), "detail": error}
    body = json.dumps(problem, indent=2).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)


def write(data: bytes) -> None:
    """Say something on standard output, as a whole."""
    with contextlib.suppress(OSError):
        os.write(1, data)
