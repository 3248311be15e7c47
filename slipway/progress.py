"""What the user sees while a command works: one line a phase with its seconds, on standard error.

On a terminal the phases under way stand below, live, with elapsed seconds, what they wait for and, where the
number of parts is known, a bar. Elsewhere (CI, a pipe) each phase is one plain line when it ends, and one when
it has gone on for long, so that a log is never silent.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

# In a plain log, a phase that still runs says so this often, in seconds.
PLAIN_REMINDER = 30.0


@dataclass(eq=False)
class Phase:
    """One named piece of work under way; its worker may say what it does and how far it is."""

    name: str
    started: float = field(default_factory=time.monotonic)
    detail: str = ""
    done: int = 0
    total: int = 0
    skipped: bool = False
    failed: bool = False
    reminded: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds since it started."""
        return time.monotonic() - self.started

    def say(self, detail: str) -> None:
        """Show what the phase does or waits for now."""
        self.detail = detail

    def parts(self, done: int, total: int) -> None:
        """Show how many of its known parts are done."""
        self.done, self.total = done, total

    def skip(self, why: str) -> None:
        """Say that there was nothing to do."""
        self.skipped, self.detail = True, why

    def fail(self, why: str) -> None:
        """Say that it went wrong, without ending whatever comes after it."""
        self.failed, self.detail = True, why


class Progress:
    """Shows phases as they run, several at a time, and remembers how long each took."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.timings: dict[str, float] = {}
        self._active: list[Phase] = []
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._showing = False
        self._stop = threading.Event()

    @contextmanager
    def showing(self) -> Generator[Progress]:
        """Show the phases that run inside this block; a block within another changes nothing."""
        if self._showing:
            yield self
            return
        self._showing = True
        ticker = None
        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self._render, refresh_per_second=8, transient=True)
            self._live.start()
        else:
            self._stop.clear()
            ticker = threading.Thread(target=self._remind, daemon=True)
            ticker.start()
        try:
            yield self
        finally:
            self._stop.set()
            if ticker:
                ticker.join()
            if self._live:
                self._live.stop()
                self._live = None
            self._showing = False

    @contextmanager
    def phase(self, name: str, *, quiet_when_skipped: bool = False) -> Generator[Phase]:
        """A phase that lasts as long as this block; its line is printed when it ends."""
        phase = Phase(name)
        with self._lock:
            self._active.append(phase)
        try:
            yield phase
        except BaseException:
            self._end(phase, "✗", "red")
            raise
        if phase.failed:
            self._end(phase, "✗", "red")
        elif not (phase.skipped and quiet_when_skipped):
            self._end(phase, "·" if phase.skipped else "✓", "dim" if phase.skipped else "green")
        else:
            self._end(phase, "", "")

    def note(self, message: str) -> None:
        """Print one line that is not a phase."""
        with self._lock:
            self.console.print(message, markup=False)

    def _end(self, phase: Phase, mark: str, style: str) -> None:
        with self._lock:
            self._active.remove(phase)
            self.timings[phase.name] = phase.seconds
            if mark:
                line = Text.assemble((mark, style), " ", f"{phase.name:<32}", (f"{phase.seconds:7.1f} s", "cyan"))
                if phase.detail:
                    line.append(f"  {phase.detail}", style="dim")
                self.console.print(line)

    def _render(self) -> Group:
        with self._lock:
            rows = list(self._active)
        table = Table.grid(padding=(0, 1))
        for phase in rows:
            bar = ProgressBar(total=phase.total, completed=phase.done, width=16) if phase.total else Text()
            count = f"{phase.done}/{phase.total} " if phase.total else ""
            table.add_row(
                Spinner("dots", style="cyan"),
                f"{phase.name:<32}",
                Text(f"{phase.seconds:7.0f} s", style="cyan"),
                bar,
                Text(count + phase.detail, style="dim", overflow="ellipsis", no_wrap=True),
            )
        return Group(table)

    def _remind(self) -> None:
        while not self._stop.wait(1.0):
            with self._lock:
                for phase in self._active:
                    if phase.seconds - phase.reminded >= PLAIN_REMINDER:
                        phase.reminded = phase.seconds
                        count = f" {phase.done}/{phase.total}" if phase.total else ""
                        doing = f"  {phase.detail}" if phase.detail else ""
                        self.console.print(f"… {phase.name:<32}{phase.seconds:7.0f} s{count}{doing}", markup=False)


def plain(message: str) -> None:
    """Print one line for a person, on standard error."""
    print(message, file=sys.stderr)
