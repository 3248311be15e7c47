"""What the benchmark of load tests makes of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from slipway.bench_load import Report, show
from slipway.bench_load.found import Point, price, saturation
from slipway.errors import SlipwayError
from slipway.load.model import Run, Second
from tests.unit import loadruns, loads

WORKER = loads.CLIENT.workers[0]


def climb(seconds: Sequence[Second], *, cpu: float | None = 0.3) -> Run:
    run = loadruns.run()
    workers = (replace(WORKER, cpu_p95=cpu, cpu_max=cpu),)
    return replace(run, client=replace(run.client, seconds=tuple(seconds), workers=workers))


def good(number: int, **more: object) -> Second:
    return loads.second(10 + number, **{"planned": number, "started": number, "requests": 3 * number, **more})


def test_the_ceiling_is_what_a_whole_core_would_send() -> None:
    made = price(climb([loads.second(10 + number, requests=30) for number in range(10)], cpu=0.1))
    assert (made.rate, made.cpu, made.per_core) == (30, 0.1, 300)


def test_a_warm_up_is_not_in_the_price() -> None:
    seconds = [loads.second(0, requests=1000), *(loads.second(10 + number, requests=30) for number in range(10))]
    assert price(climb(seconds, cpu=0.1)).rate == 30


@pytest.mark.parametrize("cpu", [None, 0.0])
def test_a_generator_that_nobody_measured_has_no_price(cpu: float | None) -> None:
    with pytest.raises(SlipwayError, match="how busy"):
        price(climb([loads.second(20)], cpu=cpu))


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ({"p95": 0.4}, "longer than 0.40 s"),
        ({"failures": 1}, "5 requests failed"),
        ({"started": 0}, "journeys were not started"),
        ({"p95": None}, "nobody was answered"),
    ],
)
def test_the_shop_has_enough_after_the_last_seconds_that_were_borne_well(trouble: dict[str, object], why: str) -> None:
    seconds = [*(good(number) for number in range(1, 11)), *(good(number, **trouble) for number in range(11, 16))]
    point, most = saturation(climb(seconds))
    assert point
    assert (point.journeys, point.requests, most) == (8, 24, 24)
    assert why in point.why
    assert "generator" not in point.why


def test_a_generator_without_time_left_is_named_beside_the_shop() -> None:
    point, _ = saturation(climb([*(good(number) for number in range(1, 6)), *(good(9, failures=1) for _ in range(5))], cpu=0.9))
    assert point
    assert "it may have been the one" in point.why


def test_a_climb_that_was_borne_to_its_end_found_no_point() -> None:
    assert saturation(climb([good(number) for number in range(1, 11)])) == (None, 24)


@pytest.mark.parametrize("seconds", [[], [good(1, failures=1) for _ in range(5)]], ids=["nothing", "at-once"])
def test_a_climb_that_tells_nothing_says_so(seconds: list[Second]) -> None:
    with pytest.raises(SlipwayError, match=r"begin|count"):
        saturation(climb(seconds))


@pytest.mark.parametrize("point", [None, Point(8, 24, "5 requests failed")])
def test_a_person_sees_every_number_with_its_runs(point: Point | None) -> None:
    cost = price(climb([loads.second(10 + number, requests=30) for number in range(10)], cpu=0.1))
    console = Console(file=io.StringIO(), width=160)
    show(Report(cost, 3000, point, 24, 17.5, 51.2, ("run-1", "run-2")), console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("300 requests", "3000 requests", "10x", "24 requests", "17.5 s", "run-1, run-2"):
        assert words in said
    assert ("5 requests failed" in said) == (point is not None)
