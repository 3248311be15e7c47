"""Artefacts on disk, each in a folder named after everything that went into it.

A folder is made beside its final place and renamed when it is whole: whoever finds one may use it, and what an
interrupted run left is never taken for one. A lock per key makes a second run wait for the first instead of
doing the same work.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slipway.progress import Phase
from slipway.waiting import Pending, Ready, wait_for

# Enough of a SHA-256 to be unique, short enough for paths and image tags.
KEY_LENGTH = 16

# Another run may compile Kubernetes meanwhile.
LOCK_TIMEOUT = 3600.0

_SUMS: dict[Path, tuple[tuple[int, int, int], str]] = {}


def key(*, files: Iterable[Path] = (), values: Mapping[str, object] | None = None, upstream: Iterable[str] = ()) -> str:
    """The content key of an artefact: it changes when anything that goes into it does.

    Args:
        files: Files and folders, by content, path within the given folder and executable bit; never by time or place.
        values: Settings of the build; anything JSON can hold.
        upstream: Keys of the artefacts it is made from.
    """
    seen: list[object] = [values or {}, sorted(upstream)]
    for given in files:
        base = given if given.is_dir() else given.parent
        for file in sorted(given.rglob("*")) if given.is_dir() else [given]:
            if file.is_file() and "__pycache__" not in file.parts:
                seen.append([file.relative_to(base).as_posix(), os.access(file, os.X_OK), _sum(file)])
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


def _sum(file: Path) -> str:
    stat = file.stat()
    state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    known = _SUMS.get(file)
    if known is None or known[0] != state:
        with file.open("rb") as source:
            known = _SUMS[file] = (state, hashlib.file_digest(source, "sha256").hexdigest())
    return known[1]


@dataclass(frozen=True)
class Artefact:
    """One artefact's place in the cache.

    Attributes:
        root: The cache folder.
        kind: What sort of thing it is: the name of the folder all of its kind lie in.
        key: Its content key.
    """

    root: Path
    kind: str
    key: str

    @property
    def folder(self) -> Path:
        """Where it is, once it is made."""
        return self.root / self.kind / self.key

    @property
    def made(self) -> bool:
        """Whether it is there, whole."""
        return self.folder.is_dir()

    def use(self) -> Path:
        """Its folder, noted as used now: pruning says how long ago that was."""
        os.utime(self.folder)
        return self.folder

    def ensure(self, make: Callable[[Path], None], *, phase: Phase, clear: Callable[[Path], object] = shutil.rmtree) -> bool:
        """Whether it had to be made; it is there now.

        Args:
            make: Fills the empty folder it is given; when it raises, nothing of it is kept.
            phase: Told when another run makes the same thing and is waited for.
            clear: Removes a folder that was not finished.

        Raises:
            WaitTimeout: Another run holds it for longer than any build takes.
        """
        if self.made:
            return False
        with locked(self.root, f"{self.kind}-{self.key}", phase=phase):
            if self.made:
                return False
            part = self.folder.with_name(f".{self.key}.part")
            if part.exists():  # an interrupted run left it
                clear(part)
            part.mkdir(parents=True)
            try:
                make(part)
            except BaseException:
                with contextlib.suppress(Exception):  # why it could not be made matters more, and the next run clears it
                    clear(part)
                raise
            part.rename(self.folder)
        return True


@contextmanager
def locked(root: Path, name: str, *, phase: Phase) -> Generator[None]:
    """Hold a lock between all runs of this user, while the block runs.

    Raises:
        WaitTimeout: Another run did not give it back.
    """
    folder = root / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("a") as file:

        def take() -> Ready[None] | Pending:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return Pending("waits for another run, which is at the same thing")
            return Ready(None)

        wait_for(
            f"the lock {file.name}",
            take,
            timeout=LOCK_TIMEOUT,
            on_change=phase.say,
            hint="End the other run, then repeat the command.",
        )
        yield  # closing the file gives the lock back, and so does the end of the process


def size(folder: Path) -> int:
    """Bytes on disk of a folder; a file that several names lead to counts once."""
    seen: dict[tuple[int, int], int] = {}
    for place, _, files in os.walk(folder):
        for name in files:
            stat = os.lstat(Path(place) / name)
            seen[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
    return sum(seen.values())
