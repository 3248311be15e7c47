"""Whether two releases differ: the test's own arithmetic, and how often it is wrong."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from slipway.load import statistics
from slipway.load.answers import overall
from slipway.load.ranks import adjusted, fewest, mann_whitney
from slipway.load.statistics import BETTER, SAME, UNKNOWN, WORSE, Compared, Metric, compare, noise

P95 = Metric("p95", "s", "client.endpoints[].histogram")
ERRORS = Metric("errors", "share", "client.endpoints[].failures")


@pytest.mark.parametrize(
    ("sizes", "statistic", "p"),
    [
        # Two-sided, from the published table of the exact distribution of U (Mann and Whitney 1947, table I, doubled).
        ((3, 3), 0, 0.100),
        ((4, 4), 0, 0.029),
        ((4, 4), 1, 0.057),
        ((5, 5), 2, 0.032),
        ((5, 5), 3, 0.056),
        ((6, 6), 5, 0.041),
        ((6, 6), 6, 0.065),
        ((8, 8), 13, 0.050),
        ((4, 6), 2, 0.038),
    ],
)
def test_the_test_of_two_groups_agrees_with_the_published_tables(sizes: tuple[int, int], statistic: int, p: float) -> None:
    first, second = _with_statistic(*sizes, statistic)
    assert mann_whitney(first, second) == pytest.approx(p, abs=0.0006)
    assert mann_whitney(second, first) == pytest.approx(p, abs=0.0006)


def _with_statistic(few: int, many: int, statistic: int) -> tuple[list[float], list[float]]:
    """Two groups without ties of which so many pairs are in the wrong order."""
    for chosen in itertools.combinations(range(few + many), few):
        rest = [place for place in range(few + many) if place not in chosen]
        if sum(one > other for one in chosen for other in rest) == statistic:
            return [float(one) for one in chosen], [float(one) for one in rest]
    raise AssertionError("there are no such groups")


def test_equal_values_are_counted_by_trying_every_order() -> None:
    first, second = [1.0, 2.0, 2.0, 3.0], [2.0, 3.0, 3.0, 4.0]
    values = first + second

    def distance(group: Sequence[float]) -> float:
        rank = {value: sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values}
        return abs(sum(rank[value] for value in group) - 4 * 9 / 2)

    orders = list(itertools.combinations(values, 4))
    expected = sum(distance(order) >= distance(first) for order in orders) / len(orders)
    assert mann_whitney(first, second) == pytest.approx(expected)


def test_groups_that_are_all_equal_do_not_differ() -> None:
    assert mann_whitney([5.0] * 4, [5.0] * 5) == 1


def test_an_empty_group_is_no_group() -> None:
    with pytest.raises(ValueError, match="both groups"):
        mann_whitney([], [1.0])


def test_four_runs_of_each_are_the_least_that_can_tell_anything() -> None:
    assert fewest() == 4
    low, high = [1.0, 1.01, 1.02, 1.03], [2.0, 2.01, 2.02, 2.03]
    assert compare(P95, low, low, high).answer == WORSE
    assert compare(P95, high, high, low).answer == BETTER
    short = compare(P95, low, low[:3], high[:3])
    assert short.answer == UNKNOWN
    assert "4 of each" in short.why


def test_a_difference_of_less_than_a_tenth_is_of_no_interest_however_sure_it_is() -> None:
    first = [1.0, 1.001, 1.002, 1.003, 1.004]
    seen = compare(P95, first, first, [value * 1.09 for value in first])
    assert seen.p is not None and seen.p < 0.01
    assert seen.answer == UNKNOWN
    assert "below what is of interest" in seen.why


def test_a_difference_within_the_noise_of_a_release_against_itself_is_none() -> None:
    calibration = [1.0, 2.0, 2.1, 1.9, 2.2]
    first, second = [1.0, 1.05, 1.1, 1.15, 1.2], [1.3, 1.35, 1.4, 1.45, 1.5]
    assert compare(P95, first, first, second).answer == WORSE
    loud = compare(P95, calibration, first, second)
    assert loud.p is not None and loud.p < 0.05
    assert loud.answer == UNKNOWN
    assert "differs from itself" in loud.why


def test_a_great_difference_that_chance_makes_is_none() -> None:
    first, second = [1.0, 1.02, 1.04, 1.06, 9.0], [1.5, 1.52, 1.01, 1.54, 1.03]
    seen = compare(P95, [1.0, 1.01, 1.02, 1.03, 1.04], first, second)
    assert seen.effect is not None and seen.effect > 0.4
    assert seen.answer == UNKNOWN
    assert "chance" in seen.why


def test_shares_are_compared_as_points_so_that_none_before_is_no_excuse() -> None:
    seen = compare(ERRORS, [0.0] * 5, [0.0] * 5, [0.04, 0.05, 0.05, 0.06, 0.05])
    assert seen.answer == WORSE
    assert seen.effect == pytest.approx(0.05)
    assert compare(ERRORS, [0.0] * 5, [0.0] * 5, [0.0005] * 5).answer == UNKNOWN


def test_a_latency_of_nothing_cannot_be_divided_by() -> None:
    seen = compare(P95, [0.0] * 5, [0.0] * 5, [1.0] * 5)
    assert (seen.effect, seen.answer) == (None, UNKNOWN)


def test_without_four_runs_of_the_first_release_nobody_knows_the_noise() -> None:
    assert noise(P95, [1.0, 2.0, 3.0]) is None
    assert noise(P95, [1.0, 1.0, 1.0, 1.0]) == 0


@pytest.mark.parametrize("count", [4, 5, 9, 14, 16, 20, 40])
def test_the_noise_is_about_the_same_whichever_run_came_first(count: int) -> None:
    draw = random.Random(24)
    values = [draw.lognormvariate(0, 0.2) for _ in range(count)]
    seen = noise(P95, values)
    assert seen is not None
    assert noise(P95, values[::-1]) == pytest.approx(seen, rel=0.08)
    assert noise(P95, values) == seen


@pytest.mark.parametrize("count", [10, 20, 40])
def test_a_machine_that_grew_slower_meanwhile_makes_no_more_noise_than_one_that_was_as_slow_at_random(count: int) -> None:
    drift = [1 + index / count for index in range(count)]
    mixed = random.Random(25).sample(drift, count)
    assert noise(P95, drift) == pytest.approx(noise(P95, mixed), rel=0.08)


def test_more_runs_are_asked_for_the_noisier_they_are() -> None:
    quiet, loud = [1.0, 1.02, 0.98, 1.01, 0.99], [1.0, 1.3, 0.7, 1.2, 0.8]
    assert statistics.needed(P95, quiet) == fewest()
    assert (statistics.needed(P95, loud) or 0) > 30
    assert statistics.needed(P95, [1.0]) is None


def test_one_worse_number_is_a_worse_release_whatever_is_better() -> None:
    low, high = [1.0, 1.01, 1.02, 1.03, 1.04], [2.0, 2.01, 2.02, 2.03, 2.04]
    worse, better = compare(P95, low, low, high), compare(Metric("p50", "s", ""), high, high, low)
    assert overall([better, worse])[0] == WORSE
    assert overall([better])[0] == BETTER
    assert overall([])[0] == UNKNOWN
    aside = compare(Metric("cpu", "s", "", headline=False), low, low, high)
    assert overall([aside])[0] == UNKNOWN


def test_no_difference_is_an_answer_only_where_one_would_have_been_found() -> None:
    quiet, loud = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0], [1.0, 1.3, 0.7, 1.2, 0.8, 1.0]
    same = compare(P95, quiet, quiet, quiet[::-1])
    assert overall([same])[0] == SAME
    assert "20% would have been found" in overall([same])[1]
    # Too loud to see a fifth; a fifth that is there, but not for sure; and too few runs.
    assert overall([same, compare(Metric("p50", "s", ""), loud, loud, loud[::-1])])[0] == UNKNOWN
    assert overall([compare(P95, quiet, quiet, [1.2, 1.21, 0.99, 1.22, 0.98, 1.2])])[0] == UNKNOWN
    assert overall([compare(P95, quiet[:3], quiet[:3], quiet[:3])])[0] == UNKNOWN


def test_several_numbers_ask_for_more_runs_than_one() -> None:
    low, high = [1.0, 1.01, 1.02, 1.03], [2.0, 2.01, 2.02, 2.03]
    several = [compare(Metric(name, "s", ""), low, low, high) for name in ("p50", "p95")]
    assert [one.answer for one in several] == [WORSE, WORSE]
    answer, why = overall(several)
    assert answer == UNKNOWN
    assert "5 of each" in why
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def _experiment(draw: random.Random, *, factor: float, runs: int = 5, spread: float = 0.06) -> list[Compared]:
    """Three numbers of runs that have a mood in common, as those of one machine have."""

    def group(count: int, by: float) -> list[dict[str, float]]:
        made: list[dict[str, float]] = []
        for _ in range(count):
            mood = draw.lognormvariate(0, spread)
            made.append({name: by * mood * draw.lognormvariate(0, spread / 2) for name in ("p50", "p95", "p99")})
        return made

    calibration, first, second = group(runs, 1.0), group(runs, 1.0), group(runs, factor)
    return [
        compare(Metric(name, "s", ""), *([one[name] for one in part] for part in (calibration, first, second)))
        for name in ("p50", "p95", "p99")
    ]


@pytest.mark.parametrize("spread", [0.02, 0.06, 0.15, 0.3], ids=lambda spread: f"spread {spread:g}")
def test_a_release_against_itself_is_called_different_in_less_than_one_of_twenty_comparisons(spread: float) -> None:
    draw = random.Random(20)
    wrong = sum(overall(_experiment(draw, factor=1.0, spread=spread))[0] in (BETTER, WORSE) for _ in range(200))
    assert wrong <= 10


def test_a_fifth_slower_is_found_in_nine_of_ten_comparisons_on_a_quiet_machine() -> None:
    draw = random.Random(21)
    found = [overall(_experiment(draw, factor=1.2, spread=0.04))[0] for _ in range(100)]
    assert found.count(WORSE) >= 90
    assert found.count(BETTER) == 0


def test_as_many_runs_as_are_asked_for_find_a_fifth_four_times_of_five() -> None:
    draw = random.Random(23)
    runs = statistics.needed(P95, [draw.lognormvariate(0, 0.1 * 1.118) for _ in range(2000)])
    assert runs is not None and 5 < runs < 12
    found = [overall(_experiment(draw, factor=1.2, runs=runs, spread=0.1))[0] for _ in range(60)]
    assert found.count(WORSE) >= 42  # 48 are expected; as few as this, once in thirty


def test_as_many_runs_as_are_asked_for_find_the_one_number_of_six_that_is_a_fifth_more_four_times_of_five() -> None:
    draw, names = random.Random(24), [f"p50 of {number}" for number in range(6)]

    def values(count: int, by: float = 1.0) -> list[float]:
        return [by * draw.lognormvariate(0, 0.08) for _ in range(count)]

    runs = statistics.needed(P95, values(2000), numbers=len(names))
    alone = statistics.needed(P95, values(2000))
    assert runs and alone
    assert runs > alone

    def found() -> str:
        told = [
            compare(Metric(name, "s", ""), values(runs), values(runs), values(runs, 1.2 if name == names[0] else 1.0), numbers=6)
            for name in names
        ]
        return overall(told)[0]

    assert sum(found() == WORSE for _ in range(60)) >= 42


def test_five_times_slower_is_found_on_a_loud_machine() -> None:
    draw = random.Random(22)
    assert all(overall(_experiment(draw, factor=5.0, spread=0.3))[0] == WORSE for _ in range(50))
