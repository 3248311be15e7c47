"""When customers come: a Poisson process that follows the plan, the same wherever it is drawn."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.generator import arrivals
from loadtests.generator.arrivals import Arrival, Phase

WEIGHTS, STREAMS = {"browse": 3.0, "checkout": 1.0}, {"keep-alive": 1.0}
RAMP, PLATEAU = Phase("ramp", 10.0, 0.0, 20.0, counted=False), Phase("plateau", 50.0, 20.0, 20.0, counted=True)
DOWN = Phase("down", 10.0, 20.0, 0.0, counted=True)

rates = st.floats(min_value=0.0, max_value=20.0)
some_phases = st.lists(
    st.builds(Phase, st.just("a"), st.floats(min_value=0.1, max_value=20.0), rates, rates, st.booleans()), min_size=1, max_size=4
)


def drawn(*phases: Phase, seed: int = 1, weights: dict[str, float] | None = None) -> list[Arrival]:
    return list(arrivals.schedule(phases, weights or WEIGHTS, STREAMS, seed=seed))


@given(phases=some_phases, seed=st.integers(), workers=st.integers(min_value=1, max_value=5))
def test_workers_share_the_schedule_and_nobody_is_missed_or_comes_twice(phases: list[Phase], seed: int, workers: int) -> None:
    whole = drawn(*phases, seed=seed)
    parts = [arrivals.share(iter(whole), index=index, workers=workers) for index in range(workers)]
    assert sorted(itertools.chain(*parts), key=lambda one: one.number) == whole
    assert [one.number for one in whole] == list(range(len(whole)))


@given(phases=some_phases, seed=st.integers())
def test_arrivals_come_in_order_within_the_plan_and_never_at_a_rate_of_nothing(phases: list[Phase], seed: int) -> None:
    moments = [one.due for one in drawn(*phases, seed=seed)]
    assert moments == sorted(moments)
    assert all(0 <= moment <= sum(phase.seconds for phase in phases) + 1e-6 for moment in moments)
    idle = [(begin, begin + phase.seconds) for begin, phase in _begins(phases) if phase.begin_rate == phase.end_rate == 0]
    assert not [moment for moment in moments if any(begin < moment < end for begin, end in idle)]


def _begins(phases: list[Phase]) -> list[tuple[float, Phase]]:
    ends = itertools.accumulate((phase.seconds for phase in phases), initial=0.0)
    return list(zip(ends, phases, strict=False))


def test_the_same_seed_draws_the_same_customers_and_another_one_others() -> None:
    assert drawn(RAMP, PLATEAU, seed=3) == drawn(RAMP, PLATEAU, seed=3)
    assert drawn(RAMP, PLATEAU, seed=3) != drawn(RAMP, PLATEAU, seed=4)


def test_other_weights_leave_the_moments_as_they_are() -> None:
    one, other = drawn(PLATEAU), drawn(PLATEAU, weights={"browse": 1.0, "checkout": 9.0})
    assert [arrival.due for arrival in one] == [arrival.due for arrival in other]
    assert [arrival.journey for arrival in one] != [arrival.journey for arrival in other]


def test_as_many_come_as_the_rate_says_and_a_second_s_number_spreads_as_poisson_s_does() -> None:
    # Of 200 plans: the mean within five of its own spreads, and variance over mean near 1 (evenly spaced ones would have 0).
    counts = [Counter(int(one.due) for one in drawn(PLATEAU, seed=seed)) for seed in range(200)]
    each = [count[second] for count in counts for second in range(50)]
    mean = sum(each) / len(each)
    variance = sum((value - mean) ** 2 for value in each) / len(each)
    assert mean == pytest.approx(20, abs=5 * math.sqrt(20 / len(each)))
    assert variance / mean == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("phase", "middle"), [(RAMP, 10 / math.sqrt(2)), (DOWN, 10 - 10 / math.sqrt(2))])
def test_half_of_those_of_a_ramp_come_when_half_of_its_area_has_passed(phase: Phase, middle: float) -> None:
    moments = sorted(one.due for seed in range(200) for one in drawn(phase, seed=seed))
    assert len(moments) == pytest.approx(200 * 100, rel=0.04)
    assert moments[len(moments) // 2] == pytest.approx(middle, abs=0.15)


def test_journeys_are_chosen_by_their_weights_and_one_of_nothing_never() -> None:
    weights = {"browse": 3.0, "checkout": 1.0, "search": 0.0}
    found = Counter(one.journey for seed in range(50) for one in drawn(PLATEAU, seed=seed, weights=weights))
    assert found["browse"] / found.total() == pytest.approx(0.75, abs=0.02)
    assert "search" not in found


def test_every_moment_of_the_plan_lies_in_one_phase() -> None:
    phases = (RAMP, PLATEAU)
    found = [arrivals.phase_at(phases, moment) for moment in (-0.1, 0.0, 9.99, 10.0, 59.99, 60.0)]
    assert found == [None, RAMP, RAMP, PLATEAU, PLATEAU, None]
