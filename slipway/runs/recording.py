"""A run as it goes: its stages in one file, what it says in another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from slipway.errors import SlipwayError
from slipway.progress import Phase
from slipway.runs.keeping import ENDED, FAILED, PASSED, QUEUED, RUNNING, SKIPPED, Run, Stage, log_file, save
from slipway.settings import Settings

# Seconds between two writes that only say what a stage is doing.
_SAID_EVERY = 0.2


@dataclass(eq=False)
class Recorded(Phase):
    """A stage under way: what its worker says is kept with the run."""

    recorder: Recorder | None = field(default=None, repr=False)

    def say(self, detail: str) -> None:
        """Keep what the stage does or waits for now."""
        if detail != self.detail:
            super().say(detail)
            if self.recorder:
                self.recorder.said(self)

    def log(self, text: str) -> None:
        """Keep what a program said."""
        if self.recorder:
            self.recorder.log(text)


class Recorder:
    """Writes down a run as it goes: its stages in one file, what it says in another. Several threads may use it.

    Args:
        settings: The instance's.
        run: The run, queued or begun before.
        on_change: Told the run each time it changed.
        newer: Whether a newer push made this run needless; asked by whoever runs it.
    """

    def __init__(
        self,
        settings: Settings,
        run: Run,
        *,
        on_change: Callable[[Run], None] | None = None,
        newer: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings, self.newer = settings, newer
        self._run, self._on_change = run, on_change
        self._lock = threading.RLock()
        self._stages: dict[Phase, Stage] = {}
        self._written = 0.0

    @property
    def run(self) -> Run:
        """The run as it is now."""
        with self._lock:
            return self._run

    @property
    def id(self) -> str:
        """The run's name."""
        return self._run.id

    @property
    def log_file(self) -> Path:
        """Where the log is."""
        return log_file(self.settings, self._run.id)

    def begin(self) -> None:
        """Write down that the run begins, or begins again from the start."""
        with self._lock:
            again = self._run.attempts > 0
            self._stages.clear()
            self._run = replace(
                self._run, state=RUNNING, begun=time.time(), ended=0.0, stages=(), trouble="", attempts=self._run.attempts + 1
            )
            self._save()
        run = self._run
        asked = f", {run.requested} asked for" if run.requested else ""
        self.log(f"{'Again: ' if again else ''}{run.branch} at {run.commit}, pushed by {run.pusher}{asked}")

    @contextmanager
    def stage(self, name: str) -> Generator[Recorded]:
        """A stage that lasts as long as this block; it fails with what the block raises."""
        phase = Recorded(name, recorder=self)
        self._note(phase, RUNNING)
        self.log(f"== {name}")
        try:
            yield phase
        except BaseException as error:
            said = str(error) or type(error).__name__
            self._note(phase, FAILED, said.splitlines()[0])
            self.log(f"failed after {phase.seconds:.1f} s: {said}")
            raise
        state = FAILED if phase.failed else SKIPPED if phase.skipped else PASSED
        self._note(phase, state)
        self.log(f"{state} after {phase.seconds:.1f} s" + (f": {phase.detail}" if phase.detail else ""))

    def said(self, phase: Phase) -> None:
        """Write down what a stage under way says; in the file of the run not more often than anybody reads."""
        self.log(f"{phase.name}: {phase.detail}")
        self._note(phase, RUNNING, seldom=True)

    def log(self, text: str) -> None:
        """Append to the run's log."""
        stamp = datetime.now(UTC).strftime("%H:%M:%S")
        with self._lock:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            with self.log_file.open("a", encoding="utf-8", errors="replace") as file:
                file.writelines(f"{stamp} {line}\n" for line in text.rstrip("\n").split("\n"))

    def again(self, trouble: str) -> Run:
        """The run as it waits to be begun again."""
        with self._lock:
            self._run = replace(self._run, state=QUEUED, trouble=trouble)
            self._save()
        self.log(f"== waits to be begun again\n{trouble}")
        return self._run

    def end(self, state: str, *, verdict: str = "", trouble: str = "") -> Run:
        """The run as it ended."""
        if state not in ENDED:
            raise SlipwayError(f"a run does not end as {state!r}; valid: {', '.join(ENDED)}")
        with self._lock:
            self._run = replace(self._run, state=state, ended=time.time(), verdict=verdict, trouble=trouble)
            self._save()
        self.log("\n".join(part for part in (f"== {state} after {self._run.seconds:.1f} s", verdict, trouble) if part))
        return self._run

    def _note(self, phase: Phase, state: str, said: str = "", *, seldom: bool = False) -> None:
        with self._lock:
            told = said or (phase.detail.splitlines()[0] if phase.detail else "")
            self._stages[phase] = Stage(phase.name, state, round(phase.seconds, 1), told)
            self._run = replace(self._run, stages=tuple(self._stages.values()))
            if not seldom or time.monotonic() - self._written >= _SAID_EVERY:
                self._save()

    def _save(self) -> None:
        self._written = time.monotonic()
        save(self.settings, self._run)
        if self._on_change:
            self._on_change(self._run)


def log(phase: Phase, text: str) -> None:
    """Keep what a program said in the log of the run that a phase belongs to, when it belongs to one."""
    if isinstance(phase, Recorded):
        phase.log(text)
