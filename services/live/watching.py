"""Sees files change, by the kernel's own word (inotify): waiting costs nothing, and a save is known within a millisecond."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

# What <sys/inotify.h> calls IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE and IN_DELETE.
_CHANGES = 0x8 | 0x40 | 0x80 | 0x100 | 0x200
_RECEIVE = 65_536

State = frozenset[tuple[str, int, int, int]]


class Watch:
    """Tells of changes below a folder. Where the system cannot, `fileno` is -1 and nothing is ever told.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._fd = folder, -1
        with contextlib.suppress(OSError, AttributeError):  # no such function, or no watch left
            self._system = ctypes.CDLL(None, use_errno=True)
            self._fd = self._system.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            self._add()

    def fileno(self) -> int:
        """What is readable once something changed."""
        return self._fd

    def drain(self) -> None:
        """Take note of what was told; folders that are new are watched too."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, _RECEIVE):
                pass
        self._add()

    def close(self) -> None:
        """Watch no more."""
        if self._fd >= 0:
            os.close(self._fd)

    def _add(self) -> None:
        for folder, _, _ in os.walk(self.folder):
            self._system.inotify_add_watch(self._fd, os.fsencode(folder), _CHANGES)


def state(folder: Path) -> State:
    """What every file below a folder is, as far as it can be told without reading it."""
    seen: set[tuple[str, int, int, int]] = set()
    for place, _, names in os.walk(folder):
        for name in names:
            path = f"{place}{os.sep}{name}"
            with contextlib.suppress(FileNotFoundError):  # it went away just now
                told = os.stat(path)  # noqa: PTH116 - a Path for each file would take longer than asking
                # Not the time of its content: tar gives that in whole seconds, and two saves fit into one.
                seen.add((path, told.st_ctime_ns, told.st_size, told.st_ino))
    return frozenset(seen)
