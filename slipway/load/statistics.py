"""Whether two releases differ, from whole runs of each: a run is one observation, however many requests it sent.

Requests of one run share its machine's mood: taken as observations of their own they "prove" a difference between a release
and itself nearly every time. Mann-Whitney's test over runs asks for nothing but that runs are exchangeable, and is exact here.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slipway.load.ranks import ALPHA, fewest, mann_whitney

BETTER, WORSE, SAME, UNKNOWN = "better", "worse", "no difference", "cannot tell"

# Share of the value that is the least of interest, and of a metric that is a share itself: percentage points by 100.
LEAST_EFFECT = 0.10
LEAST_POINTS = 0.001

# Of a release against itself, so many of 100 differences are below what is called noise.
_NOISE_SHARE = 0.95

# Splits of a release's runs into two: where there are more, so many are drawn, the same ones every time. They are drawn of all of
# them: the first ones in order have the early runs on one side, and would take the machine's drift for the release's noise.
_MOST_SPLITS = 5_000
_SEED = 1

# Differences that are there and are to be found, of one.
_POWER = 0.8

# Of a mean's sharpness, what a median has, which effect and noise are taken by (2 / pi, at the normal distribution). It asks
# for more runs than the test itself does.
_EFFICIENCY = 2 / math.pi

# Times the least of interest is what a number of runs is asked for: just the least would be below the bar half of the time.
TOLD = 2.0


@dataclass(frozen=True)
class Metric:
    """One number of a run: what is compared.

    Attributes:
        unit: "s", "cores" or "share"; differences of shares are taken as they are, others by the value of the first release.
        source: Where in a run's file it comes from.
        headline: Whether the answer for the whole looks at it.
        service: Of which service; empty for all of them together.
    """

    name: str
    unit: str
    source: str
    headline: bool = True
    service: str = ""


@dataclass(frozen=True)
class Compared:
    """One number of two releases, over runs.

    Attributes:
        calibration: Of the first release's runs before the comparison.
        first: Of its runs in the comparison.
        second: Of the second release's runs.
        effect: How much more the second has: a share of the first's median, or the difference when the metric is a share.
        noise: What the first release differs by from itself, by the same measure; None when nothing could be split.
        p: How seldom chance makes such a difference, or a greater one, out of none; None without runs.
        answer: "better", "worse" or "cannot tell".
        why: One sentence.
        needed: Runs of each that would tell twice the least difference of interest 4 times of 5; None when nobody knows.
    """

    metric: Metric
    calibration: tuple[float, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]
    effect: float | None
    noise: float | None
    p: float | None
    answer: str
    why: str
    needed: int | None

    @property
    def bar(self) -> float:
        """What the effect has to exceed."""
        return max(least(self.metric), self.noise or 0.0)


def least(metric: Metric) -> float:
    """The least difference that is of interest."""
    return LEAST_POINTS if metric.unit == "share" else LEAST_EFFECT


def fewest_for(metrics: Sequence[Metric]) -> int:
    """The same, when the answer is made of several numbers."""
    return fewest(ALPHA / max(1, sum(one.headline for one in metrics)))


def effect(metric: Metric, first: Sequence[float], second: Sequence[float]) -> float | None:
    """How much more the second group has, by the medians; None when nothing can be said."""
    if not first or not second:
        return None
    had, has = statistics.median(first), statistics.median(second)
    if metric.unit == "share":
        return has - had
    return has / had - 1 if had > 0 else None


def noise(metric: Metric, values: Sequence[float]) -> float | None:
    """What a release differs by from itself: 95 of 100 splits of its runs into two halves differ by less.

    None when there are fewer than four runs: two against two is the least that has a median of its own.
    """
    if len(values) < 4:
        return None
    seen = [
        abs(value)
        for chosen in _splits(len(values))
        if (
            value := effect(
                metric,
                [values[index] for index in chosen],
                [value for index, value in enumerate(values) if index not in chosen],
            )
        )
        is not None
    ]
    return sorted(seen)[math.ceil(_NOISE_SHARE * len(seen)) - 1] if seen else None


def _splits(count: int) -> Iterable[frozenset[int]]:
    """Which of so many runs are the first half; of an odd number the smaller one. All, or many drawn of them."""
    half = count // 2
    if math.comb(count, half) > _MOST_SPLITS:
        drawn = random.Random(_SEED)  # noqa: S311  nothing secret
        return (frozenset(drawn.sample(range(count), half)) for _ in range(_MOST_SPLITS))
    return map(frozenset, itertools.combinations(range(count), half))


def needed(metric: Metric, values: Sequence[float], *, numbers: int = 1) -> int | None:
    """How many runs of each release would tell twice the least difference of interest, 4 times of 5; None when nobody knows.

    Args:
        metric: The number.
        values: The release's own, of one run each.
        numbers: How many are looked at, of which only this one may differ: then it has to do so the more surely (Holm's method).
    """
    if len(values) < 2 or (metric.unit != "share" and statistics.fmean(values) <= 0):
        return None
    spread = statistics.stdev(values) / (1.0 if metric.unit == "share" else statistics.fmean(values))
    normal, alpha = statistics.NormalDist(), ALPHA / numbers
    sure = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(_POWER)
    wanted = 2 * (sure * spread / (TOLD * least(metric))) ** 2 / _EFFICIENCY
    return max(fewest(alpha), math.ceil(wanted))


def compare(
    metric: Metric, calibration: Sequence[float], first: Sequence[float], second: Sequence[float], *, numbers: int = 1
) -> Compared:
    """What can be said of a number of two releases. All metrics are of a kind of which less is better.

    Args:
        metric: The number.
        calibration: The first release's, before the comparison.
        first: The first release's, in the comparison.
        second: The second release's.
        numbers: How many the answer for the whole is made of.
    """
    own = (*calibration, *first)
    seen, around, wanted = effect(metric, first, second), noise(metric, own), needed(metric, own, numbers=numbers)
    p = mann_whitney(first, second) if first and second else None
    answer, why = _answer(metric, (len(first), len(second)), seen, around, p)
    return Compared(metric, tuple(calibration), tuple(first), tuple(second), seen, around, p, answer, why, wanted)


def _answer(
    metric: Metric, counts: tuple[int, int], seen: float | None, around: float | None, p: float | None
) -> tuple[str, str]:
    if min(counts) < fewest():
        return UNKNOWN, f"{min(counts)} runs of one release cannot tell anything; {fewest()} of each are the least"
    if seen is None or p is None:
        return UNKNOWN, "nothing was measured that could be divided by"
    if around is None:
        return UNKNOWN, "the noise was not measured"
    bar = max(least(metric), around)
    what = f"{shown(metric, seen)} with p = {p:.3g}"
    if abs(seen) <= bar:
        whose = "the release differs from itself by as much" if around > least(metric) else "that is below what is of interest"
        return UNKNOWN, f"{what}; it would have to be more than {shown(metric, bar, sign=False)}: {whose}"
    if p >= ALPHA:
        return UNKNOWN, f"{what}; chance alone makes that too often (p would have to be below {ALPHA:g})"
    return (WORSE if seen > 0 else BETTER), f"{what}, and more than {shown(metric, bar, sign=False)}"


def shown(metric: Metric, value: float, *, sign: bool = True) -> str:
    """A difference, for a person."""
    return (
        f"{100 * value:{'+' if sign else ''}.{2 if metric.unit == 'share' else 1}f} {'points' if metric.unit == 'share' else '%'}"
    )
