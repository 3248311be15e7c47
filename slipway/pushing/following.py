"""A run that somebody else runs, followed to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from slipway import agent, engine, runs
from slipway.progress import Phase, Progress
from slipway.runs import Run
from slipway.settings import Settings
from slipway.waiting import Pending, Ready, wait_for

# Seconds. The runner looks once a second; another run may be under way for a long time.
TAKEN_TIMEOUT = 60.0
RUN_TIMEOUT = 1800.0


def follow(settings: Settings, branch: str, commit: str, *, progress: Progress) -> Run:
    """The newest run for a branch at a commit, once it has ended; its stages are shown as they go.

    Raises:
        WaitTimeout: The runner does not take it, or does not come to an end.
    """
    with progress.showing():
        return follow_newest(settings, branch, commit, progress, among=lambda _: True)


class Shown:
    """Shows the stages of a run as phases, by what is written down of it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open: dict[int, tuple[AbstractContextManager[Phase], Phase]] = {}
        self._seen = 0

    def update(self, run: Run) -> None:
        """Show what has changed."""
        for number, stage in enumerate(run.stages):
            if number >= self._seen:
                manager = self._progress.phase(stage.name)
                self._open[number] = manager, manager.__enter__()
            if number not in self._open:
                continue
            manager, phase = self._open[number]
            phase.started = time.monotonic() - stage.seconds
            if stage.state == runs.FAILED:
                phase.fail(stage.said)
            elif stage.state == runs.SKIPPED:
                phase.skip(stage.said)
            else:
                phase.say(stage.said)
            if stage.state != runs.RUNNING:
                del self._open[number]
                manager.__exit__(None, None, None)
        self._seen = max(self._seen, len(run.stages))

    def close(self) -> None:
        """Leave no stage open: its run has ended, or nobody looks any more."""
        for manager, phase in self._open.values():
            phase.fail(phase.detail or "it was not seen to its end")
            manager.__exit__(None, None, None)
        self._open.clear()


def follow_newest(settings: Settings, branch: str, commit: str, progress: Progress, *, among: Callable[[Run], bool]) -> Run:
    """The newest of some runs for a branch at a commit, once it has ended; its stages are shown as they go.

    Raises:
        WaitTimeout: The runner does not take it, or does not come to an end.
    """

    def find() -> Run | None:
        return next((run for run in runs.settled(settings) if (run.branch, run.commit) == (branch, commit) and among(run)), None)

    what = f"the run of {branch} at {commit[:9]}"
    look = f"see `{settings.command('ci.runs')}` and `{settings.command('status')}`"
    hint = f"What was pushed stays, and is run as soon as the runner can: {look}."

    def taken() -> Ready[Run] | Pending:
        run = find()
        return Ready(run) if run else Pending(_missing(settings))

    def begun() -> Ready[Run] | Pending:
        run = find()
        if run and run.state != runs.QUEUED:
            return Ready(run)
        under_way = next((one for one in runs.every(settings) if one.state == runs.RUNNING), None)
        return Pending(f"{under_way.id} is under way" if under_way else _missing(settings))

    with progress.phase("runner") as phase:
        wait_for(what, taken, timeout=TAKEN_TIMEOUT, on_change=phase.say, hint=hint)
        phase.say(wait_for(what, begun, timeout=RUN_TIMEOUT, on_change=phase.say, hint=hint).id)
    shown = Shown(progress)

    def ended() -> Ready[Run] | Pending:
        run = find()
        if run is None:
            return Pending("it is gone")
        shown.update(run)
        return Ready(run) if run.over else Pending(run.stages[-1].name if run.stages else "it begins")

    try:
        return wait_for(what, ended, timeout=RUN_TIMEOUT, hint=hint)
    finally:
        shown.close()


def _missing(settings: Settings) -> str:
    found = engine.find(settings)
    return (agent.trouble(settings, found) if found else "no engine runs") or "the runner has not taken it yet"
