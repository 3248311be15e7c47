"""The answer for two releases, of all the numbers that were compared; and every run that it stands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slipway.load.ranks import ALPHA, adjusted
from slipway.load.statistics import BETTER, LEAST_EFFECT, SAME, TOLD, UNKNOWN, WORSE, Compared, fewest_for, least

# What `./invoke load.compare` exits with; what has none is nobody's answer. The environment's own trouble has the fourth, as in
# a single test.
CODES: Mapping[str, int] = {BETTER: 0, SAME: 0, WORSE: 1, UNKNOWN: 2}


@dataclass(frozen=True)
class Ran:
    """One run of a comparison, in the order in which they were made.

    Attributes:
        part: "calibration" or "comparison".
        used: Whether its numbers count: those of an invalid run do not.
        why: Why it is invalid; empty for a run that is not.
    """

    id: str
    release: str
    part: str
    time: str
    outcome: str
    used: bool
    why: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two releases on the same machine.

    Attributes:
        first: The release that is the measure.
        second: The release that is compared with it.
        comparable: The hash of the settings that all runs share.
        answer: "better", "worse", "no difference" or "cannot tell".
        why: One sentence.
        differs: What the releases differ in besides their code: how many pods of a service run, and what these may use.
    """

    id: str
    first: str
    second: str
    environment: str
    profile: str
    comparable: str
    answer: str
    why: str
    metrics: tuple[Compared, ...]
    runs: tuple[Ran, ...]
    differs: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """What the command exits with."""
        return CODES.get(self.answer, CODES[UNKNOWN])


def overall(metrics: Sequence[Compared]) -> tuple[str, str]:
    """The answer for two releases, and why: worse when anything that counts is, better when something is and nothing worse.

    Whoever looks at several numbers finds a difference by chance more often than at one: here p counts as many tests as there
    are numbers that count. That there is no difference is an answer only where one would have been found.
    """
    mine = [one for one in metrics if one.metric.headline]
    if not mine:
        return UNKNOWN, "nothing was measured in both releases"
    worth = adjusted([1.0 if one.p is None else one.p for one in mine])
    sure = [one for one, p in zip(mine, worth, strict=True) if p < ALPHA]
    for answer in (WORSE, BETTER):
        if those := [one for one in sure if one.answer == answer]:
            return answer, "; ".join(f"{one.metric.name}: {one.why}" for one in those)
    have, must = min(min(len(one.first), len(one.second)) for one in mine), fewest_for([one.metric for one in mine])
    if have < must:
        return (
            UNKNOWN,
            f"too few runs: one release has {have}; for {len(mine)} numbers {must} of each are the least",
        )
    if all(_none(one, have) for one in mine):
        return SAME, f"no number differs, and {TOLD * LEAST_EFFECT:.0%} would have been found in 4 of 5 comparisons like this"
    wanted = max((one.needed for one in mine if one.needed), default=0)
    more = f"; {wanted} runs of each would tell {TOLD * LEAST_EFFECT:.0%}" if wanted > have else ""
    return UNKNOWN, f"no number differs by more than the noise and {LEAST_EFFECT:.0%}, with p < {ALPHA:g} for all of them{more}"


def _none(one: Compared, have: int) -> bool:
    """Whether a number does not differ, by runs that would have shown it: enough of them, and without more noise than that."""
    quiet = one.bar <= TOLD * least(one.metric)
    return quiet and one.needed is not None and one.needed <= have and one.effect is not None and abs(one.effect) <= one.bar
