"""The runner: takes every push, and runs the pipeline for it, one run at a time.

A runner that was ended, however it was, goes on where it stood: a run that was under way is begun again, and does only
what is not done yet.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from slipway import access, agent, git, pushlog, runs, settings, shell, testing, waiting
from slipway.access import Access
from slipway.errors import SlipwayError
from slipway.intake import Intake, Log
from slipway.pushlog import UNKNOWN, Read
from slipway.runs import Recorder, Run
from slipway.settings import Settings

# Seconds between two looks at the push log, and between two words about itself when nothing changed.
LOOK_EVERY = 1.0
BEAT_EVERY = 15.0
# Seconds until an instance that could not be reached is asked again.
AGAIN_AFTER = 3.0
# Seconds that a run gets to end what it is at.
GRACE = 15.0

# A run that ends its runner each time, or that finds nobody who answers, must not keep it from everything else.
MOST_ATTEMPTS = 3

_HEADS = "refs/heads/"


class Outcome(Protocol):
    """What came of a run."""

    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def verdict(self) -> str: ...  # noqa: D102
    @property
    def trouble(self) -> str: ...  # noqa: D102
    @property
    def away(self) -> bool: ...  # noqa: D102


class Instance(Log, Protocol):
    """What a runner needs of an instance."""

    def run(self, run: Run, recorder: Recorder) -> Outcome:
        """What came of a run."""
        ...


class Runner:
    """The loop.

    Args:
        settings: The instance's, as the runner sees them.
        connect: Reaches the instance; called again after each failure.
    """

    def __init__(self, settings: Settings, connect: Callable[[], Instance]) -> None:
        self.settings, self._connect = settings, connect
        self.stopping = threading.Event()
        self._intake = Intake(settings, say=_say)
        self._instance: Instance | None = None
        self._queue: list[Run] = []
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._running = ""
        self._scanned = -1
        self._beaten: tuple[float, agent.Beat] | None = None
        self._retry_at = 0.0
        self._trouble = ""

    def loop(self) -> None:
        """Look and run until told to stop; then end what is under way and return."""
        self._recover()
        while not self.stopping.is_set():
            self.look()
            self.stopping.wait(LOOK_EVERY)
        waiting.call_off()
        shell.call_off()
        if self._worker:
            self._worker.join(GRACE)

    def look(self) -> None:
        """Take what was pushed, let the next run begin when none is under way, and say how things are."""
        try:
            if time.monotonic() >= self._retry_at:
                if self._instance is None:
                    self._instance = self._connect()
                self._intake.take(self._instance)
                self._trouble = ""
        except Exception as error:
            # Whatever it is, the next look may find it gone; a run under way has its own connections.
            self._trouble = str(error) if isinstance(error, SlipwayError) else f"{type(error).__name__}: {error}"
            self._instance, self._retry_at = None, time.monotonic() + AGAIN_AFTER
            if not isinstance(error, SlipwayError):
                _say(traceback.format_exc())
        try:
            self._scan()
            self._begin_next()
            self._beat()
        except Exception:
            _say(traceback.format_exc())

    @property
    def queued(self) -> Sequence[Run]:
        """The runs that wait, in the order in which they will run."""
        with self._lock:
            return list(self._queue)

    def newer(self, run: Run) -> bool:
        """Whether a run that waits makes this one needless."""
        return any(supersedes(other, run) for other in self.queued)

    def wait(self) -> None:
        """Return when no run is under way; for tests."""
        if self._worker:
            self._worker.join()

    def _recover(self) -> None:
        for run in runs.every(self.settings):
            if run.state == runs.RUNNING and run.where == runs.RUNNER and run.attempts >= MOST_ATTEMPTS:
                why = f"the runner was ended {run.attempts} times while it ran; push again when the cause is mended"
                runs.save(self.settings, replace(run, state=runs.FAILED, ended=time.time(), trouble=why))

    def _scan(self) -> None:
        """Read the queue anew when there is one run more; whoever asks for one puts it there."""
        place = runs.folder(self.settings)
        stamp = place.stat().st_mtime_ns if place.is_dir() else 0
        if stamp == self._scanned:
            return
        found = [run for run in reversed(runs.every(self.settings)) if run.where == runs.RUNNER and not run.over]
        waits = [run for run in found if run.id != self._running]
        for run in list(waits):
            # One that was under way is seen through: it may have promised something already.
            other = next((other for other in waits if run.state == runs.QUEUED and supersedes(other, run)), None)
            if other:
                waits.remove(run)
                trouble = f"{other.id} is newer"
                runs.save(self.settings, replace(run, state=runs.SUPERSEDED, ended=time.time(), trouble=trouble))
                _say(f"{run.id} is superseded: {trouble}")
        with self._lock:
            self._queue, self._scanned = waits, stamp

    def _begin_next(self) -> None:
        if (self._worker and self._worker.is_alive()) or self._instance is None or self.stopping.is_set():
            return
        with self._lock:
            if not self._queue:
                self._running = ""
                return
            run = self._queue.pop(0)
            self._running = run.id
        self._worker = threading.Thread(target=self._work, args=(run, self._instance), name=run.id, daemon=True)
        self._worker.start()

    def _work(self, run: Run, instance: Instance) -> None:
        recorder = Recorder(self.settings, run, newer=lambda: self.newer(run))
        try:
            with runs.alone(self.settings):
                runs.settled(self.settings)
                recorder.begin()
                _say(f"{run.id} begins")
                outcome = instance.run(run, recorder)
                state, verdict, trouble = outcome.state, outcome.verdict, outcome.trouble
                # Each attempt was patient already; what a push has promised is not lost because somebody was away for longer.
                again = outcome.away and recorder.run.attempts < MOST_ATTEMPTS
        except Exception as error:
            state, verdict, trouble, again = runs.FAILED, "", str(error) or type(error).__name__, False
            if not isinstance(error, SlipwayError):
                trouble = f"{type(error).__name__}: {error}"
                recorder.log(traceback.format_exc())
        if self.stopping.is_set() and state != runs.PASSED:
            _say(f"{run.id} is begun again at the next start")
            return
        if again:
            recorder.again(trouble)
            _say(f"{run.id} waits to be begun again: {trouble.splitlines()[0]}")
            with self._lock:
                self._running, self._scanned = "", -1
            return
        try:
            ended = recorder.end(state, verdict=verdict, trouble=trouble)
            _say(f"{run.id} {ended.state} after {ended.seconds} s")
            runs.prune(self.settings)
        except Exception:
            _say(traceback.format_exc())

    def _beat(self) -> None:
        under_way = self._running if self._worker and self._worker.is_alive() else ""
        said = agent.Beat(time.time(), under_way, self._trouble, len(self._queue))
        if self._beaten and time.monotonic() - self._beaten[0] < BEAT_EVERY and replace(self._beaten[1], time=said.time) == said:
            return
        agent.write_beat(self.settings.folder, said)
        self._beaten = time.monotonic(), said


def supersedes(newer: Run, older: Run) -> bool:
    """Whether a run makes an older one of the same branch needless: unless that was asked for something that this is not."""
    later = (newer.queued, newer.id) > (older.queued, older.id)
    return later and newer.branch == older.branch and older.requested in ("", newer.requested)


class _Reached:
    """The instance itself, as the pipeline."""

    def __init__(self, found: Access) -> None:
        self._access, self._log = found, pushlog.Reader(found.app)

    def read(self) -> Read:
        return self._log.read()

    def heads(self) -> Mapping[str, str]:
        found = git.refs(self._access.app)
        return {name.removeprefix(_HEADS): commit for name, commit in found.items() if name.startswith(_HEADS)}

    def run(self, run: Run, recorder: Recorder) -> Outcome:
        from slipway import pipeline  # only once there is something to run: an idle runner is small

        found = access.open(self._access.settings)
        testing.sweep(found.settings, found.engine)
        triggered_by = "" if run.pusher == UNKNOWN else run.pusher
        return pipeline.run(
            found,
            run.commit,
            run.branch,
            requested=run.requested,
            triggered_by=triggered_by,
            wish=run.wish,
            recorder=recorder,
        )


def _say(text: str) -> None:
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    print(f"{stamp} {text.rstrip()}", file=sys.stderr, flush=True)


def main() -> int:
    """The exit code of running until told to stop."""
    found = settings.load()
    runner = Runner(found, lambda: _Reached(access.open(found)))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stopping.set())
    _say(f"takes the pushes of {found.instance}")
    runner.loop()
    _say("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
