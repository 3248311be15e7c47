"""The one door to other programs: argument lists in, results out, everything logged."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import CommandFailed, ToolMissing

log = logging.getLogger(__name__)

Argv = Sequence["str | os.PathLike[str]"]

# Long enough for any single command that is not a build; builds pass their own.
DEFAULT_TIMEOUT = 300.0

_running: set[subprocess.Popen[bytes]] = set()
_running_lock = threading.Lock()


@dataclass(frozen=True)
class Result:
    """What a program did: its exit code and what it printed."""

    code: int
    stdout: str
    stderr: str


def run(
    argv: Argv,
    *,
    stdin: str | bytes | Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    check: bool = True,
    hint: str = "",
    on_line: Callable[[str], None] | None = None,
    stdout: Path | None = None,
) -> Result:
    """The result of a program, after it ended.

    Args:
        argv: The program and its arguments; no shell reads them.
        stdin: Text, bytes or a file for its standard input; nothing by default, so that no program ever asks.
        cwd: Where it runs.
        env: Added to this process's environment, for it alone.
        timeout: Seconds until it is ended, with all its children.
        check: Raise when its exit code is not 0.
        hint: What the user can do when it fails; the last line of the error.
        on_line: Told each line of its standard error as it comes.
        stdout: A file that takes its standard output, which `Result.stdout` then does not hold.

    Raises:
        CommandFailed: It failed (and `check`), or did not end in time.
        ToolMissing: There is no such program.
    """
    words = [os.fspath(word) for word in argv]
    log.debug("run %s", shlex.join(words))
    source = stdin.open("rb") if isinstance(stdin, Path) else None
    sink = stdout.open("wb") if stdout else None
    try:
        process = subprocess.Popen(
            words,
            stdin=source or (subprocess.PIPE if stdin is not None else subprocess.DEVNULL),
            stdout=sink or subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise ToolMissing(f"{words[0]} is not installed, or {cwd} is not there. {hint}".strip()) from None
    finally:
        for file in (source, sink):
            if file:
                file.close()
    with _running_lock:
        _running.add(process)
    given = stdin.encode() if isinstance(stdin, str) else stdin if isinstance(stdin, bytes) else None
    try:
        out, err, late = _converse(process, given, timeout, on_line)
    finally:
        if process.poll() is None:
            _end(process)
        with _running_lock:
            _running.discard(process)
    if late:
        raise CommandFailed(words, process.returncode, out + err, hint=f"It was ended after {timeout:g} s. {hint}".strip())
    if check and process.returncode != 0:
        raise CommandFailed(words, process.returncode, out + err, hint=hint)
    return Result(process.returncode, out, err)


def _converse(
    process: subprocess.Popen[bytes], given: bytes | None, timeout: float, on_line: Callable[[str], None] | None
) -> tuple[str, str, bool]:
    lines: list[bytes] = []

    def read_errors() -> None:
        for line in process.stderr or ():
            lines.append(line)
            if on_line:
                on_line(line.decode(errors="replace").rstrip())

    def write_input() -> None:
        if process.stdin:
            with contextlib.suppress(BrokenPipeError):  # it may end without having read everything
                process.stdin.write(given or b"")
                process.stdin.close()

    late = threading.Event()

    def give_up() -> None:
        late.set()
        _end(process)

    helpers = [threading.Thread(target=target, daemon=True) for target in (read_errors, write_input)]
    timer = threading.Timer(timeout, give_up)
    for thread in (*helpers, timer):
        thread.start()
    out = process.stdout.read() if process.stdout else b""
    process.wait()
    timer.cancel()
    for thread in helpers:
        thread.join(timeout=5)
    return out.decode(errors="replace"), b"".join(lines).decode(errors="replace"), late.is_set()


def start(argv: Argv, *, log_file: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> int:
    """The process id of a program that outlives this one, its output appended to `log_file`.

    Raises:
        ToolMissing: There is no such program.
    """
    words = [os.fspath(word) for word in argv]
    log.debug("start %s", shlex.join(words))
    with log_file.open("ab") as sink:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **env} if env else None,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise ToolMissing(f"{words[0]} is not installed") from None
    process.returncode = 0  # nobody waits for it: it is meant to stay
    return process.pid


def interactive(argv: Argv, *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> int:
    """The exit code of a program that has the user's terminal while it runs.

    Raises:
        ToolMissing: There is no such program.
    """
    words = [os.fspath(word) for word in argv]
    log.debug("interactive %s", shlex.join(words))
    try:
        with subprocess.Popen(words, env={**os.environ, **env} if env else None, cwd=cwd) as process:
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:  # the program got it too, and decides
                    continue
    except FileNotFoundError:
        raise ToolMissing(f"{words[0]} is not installed") from None


def which(name: str) -> list[Path]:
    """Every program of that name on the PATH, in order."""
    folders = dict.fromkeys(os.environ.get("PATH", os.defpath).split(os.pathsep))
    found = (shutil.which(name, path=folder) for folder in folders if folder)
    return [Path(path) for path in found if path]


def end_all() -> None:
    """End every program that `run` has started and that still runs, with its children."""
    with _running_lock:
        processes = list(_running)
    for process in processes:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except (ProcessLookupError, PermissionError):
            return
        try:
            process.wait(timeout=5)
            return
        except subprocess.TimeoutExpired:
            continue
