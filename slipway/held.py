"""One at a time, known by a file: whoever has it locked runs, and the file says which processes that are.

The lock is the open file's. A program that is given the descriptor has the lock too: it goes with the last of them, however each
of them ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.errors import SlipwayError, WaitTimeout
from slipway.waiting import Pending, Ready, wait_for

# Seconds: whoever only looks has the lock for a moment.
_LOOK_TIMEOUT = 1.0
_KILL_TIMEOUT = 5.0

_PIDS = "pids"


class Taken(SlipwayError):
    """Somebody else has the file."""


@dataclass(frozen=True)
class Holder:
    """Who has a file.

    Attributes:
        pids: Its processes, each started by the one before; none while the file does not say.
        said: What else the file says; nothing while it cannot be read.
    """

    pids: tuple[int, ...]
    said: Mapping[str, Any]


class Hold:
    """A file that this process has.

    Args:
        descriptor: Of the locked file; for programs that are to have it too.
        said: What the file says besides the processes.
    """

    def __init__(self, descriptor: int, said: Mapping[str, Any]) -> None:
        self.descriptor, self._pids, self._said = descriptor, (os.getpid(),), said
        self._write()

    def share(self, pid: int) -> None:
        """Let it be known that a program has the descriptor too."""
        self._pids = (*self._pids, pid)
        self._write()

    def _write(self) -> None:
        content = json.dumps({_PIDS: self._pids, **self._said}).encode()
        os.pwrite(self.descriptor, content, 0)  # in place: there is never nothing to be read
        os.ftruncate(self.descriptor, len(content))


@contextmanager
def take(file: Path, **said: Any) -> Generator[Hold]:
    """Have a file while this block runs, and as long as any program that was given its descriptor.

    Args:
        file: The file; its folder need not be there.
        **said: What it says besides the processes.

    Raises:
        Taken: Somebody else has it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            wait_for(f"the lock {file}", lambda: _lock(descriptor), timeout=_LOOK_TIMEOUT)
        except WaitTimeout:
            raise Taken(f"{file} is locked by another process. End that, then repeat the command.") from None
        yield Hold(descriptor, said)
    finally:
        os.close(descriptor)


def find(file: Path) -> Holder | None:
    """Who has a file, or None."""
    with contextlib.suppress(FileNotFoundError), file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                said = json.loads(opened.read())
                return Holder(tuple(map(int, said.pop(_PIDS))), said)
            except (ValueError, TypeError, AttributeError, KeyError):
                return Holder((), {})
    return None


def end(file: Path, what: str, *, patience: float) -> bool:
    """Whether somebody had a file; they have ended now, in time or not.

    Args:
        file: The file.
        what: What they are, for the error.
        patience: Seconds that they get to end by themselves.

    Raises:
        WaitTimeout: Nothing ends them.
    """
    there = find(file)
    if there is None:
        return False
    pids = " ".join(map(str, there.pids))
    hint = f"End it by hand: kill -9 {pids}" if pids else f"Its processes are not known. `fuser {file}` finds them."
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, _KILL_TIMEOUT)):
        asked: set[int] = set()
        try:
            wait_for(
                f"{what} ({f'process {pids}' if pids else 'an unknown process'}) to end",
                lambda number=number, asked=asked: _ended(file, number, asked),
                timeout=seconds,
                hint=hint,
            )
            return True
        except WaitTimeout:
            if number is signal.SIGKILL:
                raise
    return True


def _lock(descriptor: int) -> Ready[None] | Pending:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Pending("another process has it")
    return Ready(None)


def _ended(file: Path, number: signal.Signals, asked: set[int]) -> Ready[None] | Pending:
    """Whether nobody has the file any more; whoever has it and was not asked yet is asked to end."""
    there = find(file)
    if there is None:
        return Ready(None)
    # What those that are named have started may outlive them, or was not named in time.
    left = [pid for pid in there.pids if _has(pid, file)] or [pid for pid in _every() if _has(pid, file)]
    # The first one ends the next one itself. Asked twice, that would leave at once what it is tidying up.
    for pid in left if number is signal.SIGKILL else left[:1]:
        if pid not in asked:
            asked.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    return Pending("it runs")


def _every() -> list[int]:
    """Every process but this one; none where the system does not tell."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if int(path.name) != os.getpid()]


def _has(pid: int, file: Path) -> bool:
    """Whether a process has the file: its number may be another's by now. Where the system does not tell, whether it is there."""
    opened = Path(f"/proc/{pid}/fd")
    if not Path("/proc/self/fd").is_dir():
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
    with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
        wanted = file.stat()
        for descriptor in opened.iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.path.samestat(descriptor.stat(), wanted):
                    return True
    return False
