"""Two releases under the same load, run by run in turns on one machine; and whether they differ."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from slipway import access, promoting, releases, rollback
from slipway.errors import UsageError
from slipway.load import keeping, profiles, report, running, statistics
from slipway.load import plan as planning
from slipway.load.evidence import merged, ratio, within
from slipway.load.model import INVALID, Asked, Run
from slipway.load.statistics import Comparison, Metric, Ran
from slipway.progress import Progress
from slipway.settings import Settings

FILE = "comparison.json"

# Runs of each release, and of the first one against itself: with so many, three numbers at once can be told from chance.
RUNS = 5

CALIBRATION, COMPARISON = "calibration", "comparison"

_HISTOGRAMS = "client.endpoints[].histogram, all services, from when each request was due"

# The fewer numbers decide, the fewer runs tell; the others stand aside, in the report.
METRICS: tuple[Metric, ...] = (
    Metric("p50", "s", _HISTOGRAMS),
    Metric("p95", "s", _HISTOGRAMS),
    Metric("failed requests", "share", "client.endpoints[].failures by .requests"),
    Metric("p99", "s", _HISTOGRAMS, headline=False),
    Metric("processor time", "cores", "the mean of the courses named cpu, of all services together", headline=False),
)

Place = Callable[[str], None]
Drive = Callable[[str], Run]


def compare(
    settings: Settings, first: str, second: str, asked: Asked, progress: Progress, *, runs: int = RUNS, user: str = "developer"
) -> Comparison:
    """Whether the second release does better or worse than the first, or nobody can tell.

    Releases come to the environment where the pipeline tries them, by the pipeline's own promotion, so that its policy
    holds; what ran there before comes back at the end, whatever happens.

    Args:
        settings: The instance's.
        first: The release that is the measure.
        second: The release that is compared with it.
        asked: The load; its release is of no account.
        progress: Shows how it goes.
        runs: Of each release, and of the first one against itself.
        user: On whose behalf.

    Raises:
        UsageError: There is nothing to compare.
        SlipwayError: A release could not be put in place, or the environment could not be tested.
    """
    environment = releases.gate(settings).after
    first, second = releases.name(first), releases.name(second)
    if first == second:
        raise UsageError(f"{first} is compared with itself anyway, before another release is: name that one too.")
    if asked.environment != environment:
        raise UsageError(f"releases are put in place in {environment}, and nowhere else by name: leave out --env.")
    if runs < 1:
        raise UsageError(f"--runs is {runs}; at least {statistics.fewest_for(METRICS)} runs of each release can tell anything.")
    if runs < (least := statistics.fewest_for(METRICS)):
        progress.note(f"--runs {runs} of each release cannot tell anything; {least} are the least. It only shows how it goes.")
    took = planning.make(profiles.find(settings.root / profiles.FILE, asked.profile), asked).seconds
    progress.note(f"{3 * runs} runs of {took:.0f} s of load each: {runs} of {first} alone, then {runs} of each in turns.")

    def drive(release: str) -> Run:
        run = running.run(settings, dataclasses.replace(asked, release=release), progress)
        report.write(settings, run, keeping.keep(settings, run))
        return run

    return judge(first, second, turns(settings, first, second, drive, runs=runs, progress=progress, user=user))


def turns(
    settings: Settings, first: str, second: str, drive: Drive, *, runs: int, progress: Progress, user: str
) -> list[tuple[str, str, Run]]:
    """Every run with its release and its part; afterwards, whatever happened, what ran before runs again.

    Args:
        settings: The instance's.
        first: The release that is the measure.
        second: The release that is compared with it.
        drive: Makes a run of the release that is in place.
        runs: Of each release, and of the first one against itself.
        progress: Shows how it goes.
        user: On whose behalf.
    """
    environment, pipeline = releases.gate(settings).after, access.open(settings)
    locked = {lock.release for lock in releases.look(pipeline).locks}
    before = rollback.now(pipeline, environment)

    def place(release: str) -> None:
        if release in locked:
            promoting.promote(settings, promoting.Asked(to=environment, release=release, user=user), progress=progress)
        else:  # what an instance begins with was never cut, and has no lock; where it ran, it can come back
            rollback.rollback(settings, environment, to=release, user=user, progress=progress)

    with progress.showing():
        try:
            return series(first, second, runs, place, drive)
        finally:
            # To the byte, whatever it was: a release with or without a lock, or services of different ones.
            rollback.rollback(settings, environment, to=before, user=user, progress=progress)


def series(first: str, second: str, runs: int, place: Place, drive: Drive) -> list[tuple[str, str, Run]]:
    """Every run with its release and its part: first the measure against itself, then both in turns.

    Each run comes right after its release has replaced the other one, in the calibration too: otherwise new pods would be
    a difference between the parts.
    """
    made: list[tuple[str, str, Run]] = []

    def one(release: str, part: str) -> None:
        made.append((release, part, drive(release)))
        alike(run for _, _, run in (made[0], made[-1]))

    for _ in range(runs):
        place(second)
        place(first)
        one(first, CALIBRATION)
    for _ in range(runs):
        for release in (second, first):
            place(release)
            one(release, COMPARISON)
    return made


def judge(first: str, second: str, made: Iterable[tuple[str, str, Run]]) -> Comparison:
    """What runs say of two releases; those that are invalid do not count.

    Raises:
        UsageError: There are none, or they are not alike.
    """
    told = list(made)
    alike(run for _, _, run in told)
    kept = [(release, part, run) for release, part, run in told if run.verdict.outcome != INVALID]
    some = told[0][2]

    def values(metric: Metric, release: str, part: str) -> list[float]:
        mine = [seen(metric, run) for whose, when, run in kept if (whose, when) == (release, part)]
        return [value for value in mine if value is not None]

    metrics = tuple(
        statistics.compare(
            metric, values(metric, first, CALIBRATION), values(metric, first, COMPARISON), values(metric, second, COMPARISON)
        )
        for metric in METRICS
    )
    answer, why = statistics.overall(metrics)
    counted = {run.id for _, _, run in kept}
    ran = tuple(Ran(run.id, release, part, run.time, run.verdict.outcome, run.id in counted) for release, part, run in told)
    where, profile = some.target.environment, some.plan.profile
    return Comparison(f"compare-{some.id}", first, second, where, profile, some.comparable, answer, why, metrics, ran)


def seen(metric: Metric, run: Run) -> float | None:
    """A number of a run; None when it was not measured."""
    endpoints = run.client.endpoints
    if metric.name == "failed requests":
        return ratio(sum(one.failures for one in endpoints), sum(one.requests for one in endpoints))
    if metric.name == "processor time":
        courses = [one.points for one in run.server.series if one.name == "cpu" and one.points]
        return sum(sum(value for _, value in points) / len(points) for points in courses) if courses else None
    return within(merged(endpoints), int(metric.name[1:]) / 100)


def alike(runs: Iterable[Run]) -> None:
    """Refuse runs that were not made in the same way.

    Raises:
        UsageError: Some were not, or there are none; the message says what differs.
    """
    there = list(runs)
    if not there:
        raise UsageError("there is no run to compare. Next: ./invoke load")
    first = there[0]
    for run in there[1:]:
        if run.comparable != first.comparable:
            differing = "; ".join(differences(first, run)) or "something that this version of Slipway does not know"
            raise UsageError(f"{first.id} and {run.id} cannot be compared, they were made in different ways: {differing}")


def differences(first: Run, second: Run) -> list[str]:
    """What of the settings of two runs differs, as a person reads it."""
    one, other = _settings(first), _settings(second)
    return [f"{name} {one[name]} and {other[name]}" for name in one if one[name] != other[name]]


def _settings(run: Run) -> Mapping[str, Any]:
    told = run.plan
    return {
        "profile": told.profile,
        "phases": ", ".join(f"{one.name} {one.seconds:g} s at {one.end_rate:g}/s" for one in told.phases),
        "weights": dict(told.weights),
        "streams": dict(told.streams),
        "think": told.think,
        "patience": told.patience,
        "workers": told.workers,
        "environment": run.target.environment,
        "local": run.target.local,
        "cores": run.host.cores,
    }


def keep(settings: Settings, told: Comparison) -> Path:
    """The page of a comparison, in a folder of its own from now on, beside the runs that it links to."""
    folder = keeping.folder(settings, told.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(dataclasses.asdict(told), indent=2) + "\n", encoding="utf-8")
    file = folder / report.FILE
    file.write_text(report.compared_page(settings, told), encoding="utf-8")
    return file
