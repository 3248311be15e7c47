"""Two releases under the same load, run by run in turns on one machine; and whether they differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from slipway import access, promoting, releases, rollback
from slipway.errors import UsageError
from slipway.load import keeping, numbers, profiles, report, running, statistics
from slipway.load import plan as planning
from slipway.load.alike import alike, shaped
from slipway.load.answers import Comparison, Ran, overall
from slipway.load.model import INVALID, Asked, Run
from slipway.load.statistics import Metric
from slipway.progress import Progress
from slipway.settings import Settings

# Runs of each release, and of the first one against itself: one more than six numbers need at once to be told from chance.
RUNS = 6

# A run that other work on the machine held up proves nothing, and is made again: so many in all until one counts.
TRIES = 3
_HELD_UP = frozenset({"late", "generator-saturated"})

CALIBRATION, COMPARISON = "calibration", "comparison"

Place = Callable[[str], None]
Drive = Callable[[str], Run]
Made = tuple[str, str, Run]


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
        asked: The load; its release is of no account, and its environment is where releases are tried.
        progress: Shows how it goes.
        runs: Of each release, and of the first one against itself.
        user: On whose behalf.

    Raises:
        UsageError: There is nothing to compare.
        SlipwayError: A release could not be put in place, or the environment could not be tested.
    """
    asked = dataclasses.replace(asked, environment=releases.gate(settings).after)
    first, second = releases.name(first), releases.name(second)
    if first == second:
        raise UsageError(f"{first} is compared with itself anyway, before another release is: name that one too.")
    least = statistics.fewest_for(numbers.metrics(settings.services))
    if runs < 1:
        raise UsageError(f"--runs is {runs}; at least {least} runs of each release can tell anything.")
    if runs < least:
        progress.note(f"--runs {runs} of each release cannot tell anything; {least} are the least. It only shows how it goes.")
    took = planning.make(profiles.find(settings.root / profiles.FILE, asked.profile), asked).seconds
    progress.note(
        f"{3 * runs} runs of {took:.0f} s of load each: {runs} of {first} alone, then {runs} of each in turns. "
        f"One that is held up is made again, {TRIES} in all."
    )

    def drive(release: str) -> Run:
        run = running.run(settings, dataclasses.replace(asked, release=release), progress)
        report.write(settings, run, keeping.keep(settings, run))
        return run

    return judge(first, second, turns(settings, first, second, drive, runs=runs, progress=progress, user=user))


def turns(settings: Settings, first: str, second: str, drive: Drive, *, runs: int, progress: Progress, user: str) -> list[Made]:
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
            return series(first, second, runs, place, drive, say=progress.note)
        finally:
            # To the byte, whatever it was: a release with or without a lock, or services of different ones.
            rollback.rollback(settings, environment, to=before, user=user, progress=progress)


def series(
    first: str, second: str, runs: int, place: Place, drive: Drive, *, say: Callable[[str], object] = lambda _: None
) -> list[Made]:
    """Every run with its release and its part: first the measure against itself, then both in turns, the order turned each time.

    Each run comes right after its release has replaced the other one, in the calibration too: otherwise new pods would be
    a difference between the parts, or between the releases. So does one that is made again.
    """
    made: list[Made] = []
    here = ""

    def fresh(release: str) -> None:
        nonlocal here
        other = second if release == first else first
        if here != other:
            place(other)
        place(release)
        here = release

    def one(release: str, part: str) -> None:
        for number in range(1, TRIES + 1):
            fresh(release)
            run = drive(release)
            made.append((release, part, run))
            _check(made)
            if not held_up(run) or number == TRIES:
                return
            say(f"{run.id} of {release} was held up ({_why(run)}): again, {number + 1} of {TRIES}")

    for _ in range(runs):
        one(first, CALIBRATION)
    for turn in range(runs):
        for release in (second, first) if turn % 2 == 0 else (first, second):
            one(release, COMPARISON)
    return made


def held_up(run: Run) -> bool:
    """Whether a run is invalid because the machine had other things to do."""
    return run.verdict.outcome == INVALID and any(reason.rule in _HELD_UP for reason in run.verdict.reasons)


def _why(run: Run) -> str:
    return run.verdict.reasons[0].said if run.verdict.outcome == INVALID and run.verdict.reasons else ""


def _check(made: Sequence[Made]) -> None:
    """Refuse what is unlike: runs of one release in everything, those of two but for what a release brings along."""
    alike((run for _, _, run in made), shapes=False)
    for release in {release for release, _, _ in made}:
        alike(run for whose, _, run in made if whose == release)


def judge(first: str, second: str, made: Iterable[Made], *, name: str = "") -> Comparison:
    """What runs say of two releases; those that are invalid do not count.

    Args:
        first: The release that is the measure.
        second: The release that is compared with it.
        made: The runs of both.
        name: The comparison's; by default one that its first run makes.

    Raises:
        UsageError: There are none, or they are not alike.
    """
    told = list(made)
    _check(told)
    if not told:
        alike(())
    kept = [(release, part, run) for release, part, run in told if run.verdict.outcome != INVALID]
    some = told[0][2]

    def values(metric: Metric, release: str, part: str) -> list[float]:
        mine = [numbers.seen(metric, run) for whose, when, run in kept if (whose, when) == (release, part)]
        return [value for value in mine if value is not None]

    every = numbers.metrics(some.target.digests)
    metrics = tuple(
        statistics.compare(
            metric,
            values(metric, first, CALIBRATION),
            values(metric, first, COMPARISON),
            values(metric, second, COMPARISON),
            numbers=sum(one.headline for one in every),
        )
        for metric in every
    )
    answer, why = overall(metrics)
    counted = {run.id for _, _, run in kept}
    ran = tuple(
        Ran(run.id, release, part, run.time, run.verdict.outcome, run.id in counted, _why(run)) for release, part, run in told
    )
    others = [run for release, _, run in told if release == second]
    return Comparison(
        id=name or f"compare-{some.id}",
        first=first,
        second=second,
        environment=some.target.environment,
        profile=some.plan.profile,
        comparable=some.comparable,
        answer=answer,
        why=why,
        metrics=metrics,
        runs=ran,
        differs=tuple(shaped(some, others[0])) if others else (),
    )
