"""The Git server's own hooks, run by forks of a process that has read what they import: for every push only the judging is left.

Git starts a hook of a few lines, which hands its folder, its environment and its three files over and ends as the fork ends.
A fork whose code is not what was read forgets what it knows, and reads that code as a new process would.
"""

from __future__ import annotations

import array
import ast
import atexit
import contextlib
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import CodeType
from typing import NoReturn

# The interpreter's own half of the module socket: the other half takes longer to import than everything else here.
_HOOK = """#!{python} -ISE
import _socket, os, sys
link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
link.connect({place!r})
files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
told = [{script!r}.encode(), os.getcwdb(), *(name + b"=" + value for name, value in os.environb.items())]
link.sendmsg([b"+"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
rest = b"\\0".join(told)
while rest:
    rest = rest[link.send(rest):]
link.shutdown(_socket.SHUT_WR)
os._exit(int(link.recv(8) or b"1"))
"""


def hook(script: Path, code: bytes, scripts: tuple[Path, ...]) -> str:
    """What Git starts in the place of a script.

    Args:
        script: The hook as it is in the Git server.
        code: The modules that the hooks import, as a zip.
        scripts: Every hook there is.
    """
    return _HOOK.format(python=sys.executable, place=str(_server(code, scripts)), script=str(script))


@cache
def _server(code: bytes, scripts: tuple[Path, ...]) -> Path:
    folder = tempfile.TemporaryDirectory(prefix="hooks-")
    read, place = Path(folder.name, "slipway.zip"), Path(folder.name, "socket")
    read.write_bytes(code)
    process = subprocess.Popen(
        [sys.executable, "-I", __file__, place, read, *scripts],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin and process.stdout
    process.stdout.readline()  # it listens

    def end() -> None:
        process.communicate()
        folder.cleanup()

    atexit.register(end)
    return place


def serve(place: Path, code: Path, scripts: list[Path]) -> None:
    """Fork for every hook that Git starts, until standard input ends."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(code))
    importlib.import_module("slipway.receive")
    sys.path.pop(0)
    known = {script: compile(script.read_text(), script, "exec") for script in scripts}
    for script in scripts:
        for statement in ast.parse(script.read_text()).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                exec(compile(ast.Module([statement], []), script, "exec"), {})
    signal.signal(signal.SIGCHLD, _bury)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place))
        listener.listen(64)
        print(flush=True)
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if 0 in ready:
                return
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _work(link, code.read_bytes(), known)
            link.close()


def _bury(*_: object) -> None:
    """Take note of the forks that have ended, whose processor time then counts as the tests' own."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _work(link: socket.socket, code: bytes, known: dict[Path, CodeType]) -> NoReturn:
    ended = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        script = _become(link)
        if Path(os.environ["SLIPWAY_CODE"]).read_bytes() != code:
            for name in [name for name in sys.modules if name.partition(".")[0] == "slipway"]:
                del sys.modules[name]
        try:
            exec(known[script], {"__name__": "__main__", "__file__": str(script)})
            ended = 0
        except SystemExit as end:
            ended = end.code if isinstance(end.code, int) else int(bool(end.code))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        link.sendall(str(ended).encode())
        os._exit(ended)


def _become(link: socket.socket) -> Path:
    """Take the place of the process that asked; the script it is."""
    files = array.array("i")
    _, given, _, _ = link.recvmsg(1, socket.CMSG_SPACE(3 * files.itemsize))
    for _, _, data in given:
        files.frombytes(data)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    told = b""
    while part := link.recv(1 << 16):
        told += part
    script, folder, *environ = told.split(b"\0")
    os.chdir(folder)
    os.environb.clear()
    for line in environ:
        name, _, value = line.partition(b"=")
        os.environb[name] = value
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 the file that came with the question
    return Path(os.fsdecode(script))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), [Path(word) for word in sys.argv[3:]])
