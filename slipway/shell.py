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
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import CommandFailed, ToolMissing

log = logging.getLogger(__name__)

Argv = Sequence["str | os.PathLike[str]"]

# Long enough for any single command that is not a build; builds pass their own.
DEFAULT_TIMEOUT = 300.0

# Seconds between asking a program to end and ending it.
DEFAULT_GRACE = 5.0
_CHILDREN_GRACE = 0.5
# Programs with the user's terminal have more to tidy up.
_LAST_GRACE = 15.0
# How often is looked whether a program with the user's terminal has still something to wait for.
_LOOK = 2.0

_ALERT_SECONDS = 0.5

# The most that a program gets that starts while everything is being ended: it can only be there to tidy up.
TIDY_SECONDS = 10.0

# Every program under way, with its grace; and those with the user's terminal.
_running: dict[subprocess.Popen[bytes], float] = {}
_interactive: set[subprocess.Popen[bytes]] = set()
_running_lock = threading.Lock()
_called_off = threading.Event()


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
    grace: float = DEFAULT_GRACE,
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
        grace: Seconds that it gets to tidy up when it is asked to end.

    Raises:
        CommandFailed: It failed (and `check`), or did not end in time.
        ToolMissing: There is no such program.
    """
    words = [os.fspath(word) for word in argv]
    if _called_off.is_set() and timeout > DEFAULT_TIMEOUT:
        raise CommandFailed(words, -signal.SIGTERM, "", hint="It was not started: everything is being ended.")
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
    except OSError as error:
        raise _missing(words[0], cwd, error, hint) from None
    finally:
        for file in (source, sink):
            if file:
                file.close()
    with _running_lock:
        _running[process] = grace
    if _called_off.is_set():  # looked at only now: whoever calls off next finds this program among the running
        timeout = min(timeout, TIDY_SECONDS) if timeout <= DEFAULT_TIMEOUT else 0.0
    given = stdin.encode() if isinstance(stdin, str) else stdin if isinstance(stdin, bytes) else None
    try:
        out, err, late = _converse(process, given, timeout, on_line)
    finally:
        with _running_lock:
            _running.pop(process, None)
    if late:
        raise CommandFailed(words, process.returncode, out + err, hint=f"It was ended after {timeout:g} s. {hint}".strip())
    if check and process.returncode != 0:
        raise CommandFailed(words, process.returncode, out + err, hint=hint)
    return Result(process.returncode, out, err)


def _converse(
    process: subprocess.Popen[bytes], given: bytes | None, timeout: float, on_line: Callable[[str], None] | None
) -> tuple[str, str, bool]:
    output: list[bytes] = []
    lines: list[bytes] = []
    troubles: list[Exception] = []

    def read_errors() -> None:
        for line in process.stderr or ():
            lines.append(line)
            if on_line and not troubles:
                try:
                    on_line(line.decode(errors="replace").rstrip())
                except Exception as error:  # the program must not block on a pipe that nobody reads
                    troubles.append(error)

    def write_input() -> None:
        if process.stdin:
            with contextlib.suppress(BrokenPipeError):  # it may end without having read everything
                process.stdin.write(given or b"")
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def read_output() -> None:
        if process.stdout:
            output.append(process.stdout.read())

    late = threading.Event()

    def give_up() -> None:
        late.set()
        _end(process, _running.get(process, DEFAULT_GRACE))

    workers = [threading.Thread(target=target, daemon=True) for target in (read_output, read_errors, write_input)]
    timer = threading.Timer(timeout, give_up)
    timer.daemon = True
    try:
        for thread in (*workers, timer):
            thread.start()
        # An interrupt that arrives just before a wait begins is noticed only when it ends: none is long.
        while workers[0].is_alive():
            workers[0].join(_ALERT_SECONDS)
        while process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_ALERT_SECONDS)
    finally:
        timer.cancel()
        if process.poll() is None:
            _end(process, _running.get(process, DEFAULT_GRACE))
        for thread, pipe in zip(workers, (process.stdout, process.stderr, process.stdin), strict=True):
            if thread.ident is not None:  # it was started
                thread.join(timeout=5)
            if pipe and not thread.is_alive():  # a descendant in a session of its own may hold the other end for ever
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
    if troubles:
        raise troubles[0]
    return b"".join(output).decode(errors="replace"), b"".join(lines).decode(errors="replace"), late.is_set()


def start(
    argv: Argv, *, log_file: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, keep: Sequence[int] = ()
) -> int:
    """The process id of a program that outlives this one, its output appended to `log_file`.

    Args:
        argv: The program and its arguments; no shell reads them.
        log_file: Takes all that it prints.
        env: Added to this process's environment, for it alone.
        cwd: Where it runs.
        keep: Descriptors of this process that it gets too.

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
                pass_fds=keep,
            )
        except OSError as error:
            raise _missing(words[0], cwd, error) from None
    process.returncode = 0  # nobody waits for it: it is meant to stay
    return process.pid


def interactive(
    argv: Argv,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    hint: str = "",
    hopeless: Callable[[], bool] | None = None,
    keep: Sequence[int] = (),
    started: Callable[[int], None] | None = None,
) -> int:
    """The exit code of a program that has the user's terminal while it runs; 128 and more when a signal ended it.

    Args:
        argv: The program and its arguments; no shell reads them.
        env: Added to this process's environment, for it alone.
        cwd: Where it runs.
        timeout: Seconds until it is asked to end, and soon after ended; None for never.
        hint: What the user can do when it does not end in time; the last line of the error.
        hopeless: Asked every other second whether it is to be ended, because what it waits for will not come.
        keep: Descriptors of this process that it gets too.
        started: Told its process id.

    Raises:
        ToolMissing: There is no such program.
        CommandFailed: It did not end in time.
    """
    words = [os.fspath(word) for word in argv]
    log.debug("interactive %s", shlex.join(words))
    try:
        process = subprocess.Popen(words, env={**os.environ, **env} if env else None, cwd=cwd, pass_fds=keep)
    except OSError as error:
        raise _missing(words[0], cwd, error) from None
    deadline = None if timeout is None else time.monotonic() + timeout
    interrupts = 0
    with _noted(process):
        while True:
            try:
                if started:
                    tell, started = started, None
                    tell(process.pid)
                left = [] if deadline is None else [max(0.0, deadline - time.monotonic())]
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min([*left, *([_LOOK] if hopeless else [])], default=None))
                if process.returncode is not None:
                    return process.returncode if process.returncode >= 0 else 128 - process.returncode
                if deadline is not None and deadline <= time.monotonic():
                    code = _end_gently(process)
                    raise CommandFailed(words, code, "", hint=f"It was ended after {timeout:g} s. {hint}".strip())
                if hopeless and hopeless():
                    _end_gently(process)
            except KeyboardInterrupt as interrupt:
                # Ctrl-C reached the program too, and it decides. Anything else was sent to this process alone.
                interrupts += 1
                if type(interrupt) is not KeyboardInterrupt:
                    process.terminate()
                elif interrupts > 1 or not _at_terminal():  # who asks again, at a terminal, may have asked this process alone
                    process.send_signal(signal.SIGINT)
            except Exception:
                _end_gently(process)
                raise


@contextlib.contextmanager
def _noted(process: subprocess.Popen[bytes]) -> Generator[None]:
    """Let `end_all` end a program too, as long as the block lasts."""
    with _running_lock:
        _interactive.add(process)
    try:
        yield
    finally:
        with _running_lock:
            _interactive.discard(process)


def _at_terminal() -> bool:
    """Whether Ctrl-C at a terminal reaches this process, and what it has started, by itself."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _end_gently(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LAST_GRACE)
    process.kill()
    return process.wait()


def which(name: str) -> list[Path]:
    """Every program of that name on the PATH, in order."""
    folders = dict.fromkeys(os.environ.get("PATH", os.defpath).split(os.pathsep))
    found = (shutil.which(name, path=folder) for folder in folders if folder)
    return [Path(path) for path in found if path]


def end_all() -> None:
    """End every program that still runs: what `run` has started with its children, and what has the user's terminal."""
    with _running_lock:
        enders = [threading.Thread(target=_end, args=item) for item in _running.items()]
        enders += [threading.Thread(target=_end_gently, args=[process]) for process in _interactive]
    for thread in enders:
        thread.start()
    for thread in enders:
        thread.join()


def call_off() -> None:
    """End every program under way, and let no long one start until `resume`; short ones may tidy up quickly."""
    _called_off.set()
    end_all()


def resume() -> None:
    """Let programs start again."""
    _called_off.clear()


def _missing(name: str, cwd: Path | None, error: OSError, hint: str = "") -> ToolMissing:
    if cwd and not cwd.is_dir():
        return ToolMissing(f"{name} was not started: the folder {cwd} is not there. {hint}".strip())
    if isinstance(error, FileNotFoundError):
        return ToolMissing(f"{name} is not installed. {hint}".strip())
    return ToolMissing(f"{name} cannot be run: {error.strerror}. {hint}".strip())


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """Ask the program and its children to end; end those that have not after `grace` seconds."""
    if not _signal(process, signal.SIGTERM):
        return
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace)
        # Its children were asked at the same time; one that is still there now waits for nobody.
        deadline = time.monotonic() + _CHILDREN_GRACE
        while time.monotonic() < deadline:
            if not _signal(process, 0):
                return
            threading.Event().wait(0.01)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> bool:
    """Whether there was anybody in the program's group to send a signal to."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
