"""What the master tells of its workers: each is judged by the worst minute of those that count, not by the mean of them all."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.generator import telling
from loadtests.generator.arrivals import Phase
from loadtests.generator.ledger import Ledger
from loadtests.generator.telling import Seen

WARM, LONG = Phase("warm-up", 10.0, 8.0, 8.0, counted=False), Phase("plateau", 600.0, 8.0, 8.0, counted=True)


def seen(cpu: dict[int, float], late: dict[int, float], **more: Any) -> Seen:
    """A worker that used so much in each second, and started eight journeys in each of them so late."""
    made = Seen(0, 0.0, unfinished=0, cpu=sorted(cpu.items()), **more)
    for second, seconds in late.items():
        for _ in range(8):
            made.ledger.started("browse", due=second + 0.5, late=seconds)
    return made


def told(worker: Seen, *phases: Phase) -> dict[str, Any]:
    return telling.worker(worker, telling.windows(phases or (WARM, LONG)))


def usual(value: float, **by_second: float) -> dict[int, float]:
    """The same in every second of the test, but for some."""
    other = {int(name[1:]): number for name, number in by_second.items()}
    return {second: other.get(second, value) for second in range(610)}


def test_the_seconds_that_count_are_judged_a_minute_or_so_at_a_time() -> None:
    parts = telling.windows((WARM, LONG))
    assert [len(part) for part in parts] == [60] * 10
    assert [second for part in parts for second in part] == list(range(10, 610))
    assert telling.windows((WARM, Phase("short", 7.5, 8.0, 8.0, counted=True))) == [[10, 11, 12, 13, 14, 15, 16]]
    assert telling.windows((Phase("a", 20.0, 1.0, 1.0, counted=True), WARM, Phase("b", 20.0, 1.0, 1.0, counted=True))) == [
        [*range(20), *range(30, 50)]
    ]


def test_half_a_minute_at_the_end_of_ten_is_not_lost_among_the_good_ones() -> None:
    end = {f"s{second}": 0.95 for second in range(580, 610)}
    late = {f"s{second}": 0.4 for second in range(580, 610)}
    worker = told(seen(usual(0.2, **end), usual(0.001, **late)))
    assert (worker["cpu_p95"], worker["cpu_max"]) == (0.95, 0.95)
    assert worker["late_p99"] == pytest.approx(0.4, rel=0.01)
    assert worker["late_max"] == 0.4


def test_one_busy_second_and_a_busy_warm_up_are_no_trouble() -> None:
    begin = {f"s{second}": 0.99 for second in range(10)}
    worker = told(seen(usual(0.2, s300=0.99, **begin), usual(0.001, **begin)))
    assert (worker["cpu_p95"], worker["cpu_max"]) == (0.2, 0.99)
    assert worker["cpu_mean"] == pytest.approx((599 * 0.2 + 0.99) / 600)
    assert worker["late_p99"] == worker["late_p50"] == pytest.approx(0.001, rel=0.01)


def test_a_minute_in_which_nobody_looked_is_not_taken_for_an_idle_one() -> None:
    cpu = {second: value for second, value in usual(0.2).items() if not 100 < second < 250}
    assert told(seen(cpu, usual(0.001)))["cpu_p95"] is None
    nothing = told(seen({}, {}))
    assert (nothing["late_p99"], nothing["late_p50"], nothing["cpu_mean"]) == (None, None, None)
    assert told(seen({}, {}), WARM)["cpu_p95"] is None


def test_a_worker_tells_whom_it_had_to_end_and_a_lost_one_cannot() -> None:
    assert told(seen(usual(0.2), usual(0.001)))["unfinished"] == 0
    assert told(seen(usual(0.2), usual(0.001), lost=True))["unfinished"] is None
    assert told(Seen(0, 0.0))["unfinished"] is None


def test_what_journeys_broke_on_is_told_once_for_each_reason() -> None:
    books = Ledger()
    for why in ("KeyError: 'id'", "KeyError: 'id'", "TypeError: None"):
        books.broke("browse", why)
    assert telling.broken(books) == [
        "2 journeys (browse) broke on an answer: KeyError: 'id'",
        "1 journeys (browse) broke on an answer: TypeError: None",
    ]
    assert telling.broken(Ledger()) == []


def test_a_journey_that_neither_ended_nor_was_ended_is_one_that_is_missing() -> None:
    books = Ledger()
    for _ in range(3):
        books.started("browse", due=1.0, late=0.0)
    books.ended("browse", at=2.0, seconds=1.0, ok=True)
    assert telling.journey("browse", 3, books.journeys["browse"])["unfinished"] == 2
