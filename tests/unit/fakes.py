"""Stand-ins for the clock and the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from slipway.progress import Progress


class FakeClock:
    """A clock that moves only when somebody sleeps, and remembers for how long."""

    def __init__(self) -> None:
        self.time = 100.0
        self.slept: list[float] = []

    def now(self) -> float:
        """The time that was slept so far."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.slept.append(seconds)
        self.time += seconds


class Screen:
    """A progress display that prints into memory."""

    def __init__(self, *, terminal: bool = False) -> None:
        self._written = io.StringIO()
        console = Console(file=self._written, force_terminal=terminal, width=120, color_system=None, soft_wrap=True)
        self.progress = Progress(console)

    @property
    def text(self) -> str:
        """What was printed so far."""
        return self._written.getvalue()

    @property
    def lines(self) -> list[str]:
        """What was printed so far, by line."""
        return self.text.splitlines()
