"""What the benchmark of load tests measures, and what it makes of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from slipway import access, bench_load, httpload
from slipway.bench_load import Report, ceiling, cost, show
from slipway.bench_load.ceiling import Ceiling, Step
from slipway.bench_load.cost import Used
from slipway.errors import SlipwayError
from slipway.load import running
from slipway.load.climb import Point, saturation
from slipway.load.model import INVALID, Asked, Run, Second
from slipway.progress import Progress
from slipway.settings import ROOT, Settings
from tests.unit import loadruns, loads
from tests.unit.scraped import BEGAN, ENDED, scraped

WORKER = loads.CLIENT.workers[0]


def climb(seconds: Sequence[Second], *, cpu: float | None = 0.3) -> Run:
    run = loadruns.run()
    workers = (replace(WORKER, cpu_p95=cpu, cpu_max=cpu),)
    return replace(run, client=replace(run.client, seconds=tuple(seconds), workers=workers))


def good(number: int, **more: object) -> Second:
    return loads.second(10 + number, **{"planned": number, "started": number, "requests": 3 * number, **more})


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


def test_a_generator_that_starts_customers_late_is_named_beside_the_shop() -> None:
    seconds = [*(good(number) for number in range(1, 6)), *(good(9, p95=0.5, late_p99=0.39) for _ in range(5))]
    point, _ = saturation(climb(seconds))
    assert point
    assert "started customers 0.39 s late: it may have been the one" in point.why


def test_a_climb_that_lost_a_worker_is_no_shop_s_point() -> None:
    run = climb([*(good(number) for number in range(1, 6)), *(good(9, started=0) for _ in range(5))])
    lost = replace(run, client=replace(run.client, workers=(*run.client.workers, replace(WORKER, name="worker-2", lost=True))))
    with pytest.raises(SlipwayError, match="lost worker-2"):
        saturation(lost)


def test_a_climb_that_was_borne_to_its_end_found_no_point() -> None:
    assert saturation(climb([good(number) for number in range(1, 11)])) == (None, 24)


@pytest.mark.parametrize("seconds", [[], [good(1, failures=1) for _ in range(5)]], ids=["nothing", "at-once"])
def test_a_climb_that_tells_nothing_says_so(seconds: list[Second]) -> None:
    with pytest.raises(SlipwayError, match=r"begin|count"):
        saturation(climb(seconds))


# --- the generator's ceiling


def generating(most: float, *, per_core: float = 1000.0) -> tuple[Callable[[float], Step], list[float]]:
    """A generator that is late beyond so many journeys a second; and the rates that were tried."""
    tried: list[float] = []

    def drive(rate: float) -> Step:
        tried.append(rate)
        return Step(rate, 3 * rate, 3 * rate / per_core, 3 * rate / per_core, 0.01 if rate <= most else 0.4)

    return drive, tried


def test_the_ceiling_is_the_fastest_pace_that_the_generator_kept() -> None:
    drive, tried = generating(240.0)
    found = ceiling.ceiling(drive, lambda _: None)
    # Twice as fast each time, then twice in between.
    assert tried == [50, 100, 200, 400, 300, 250]
    assert (found.requests, found.cpu, found.per_core) == (600, 0.6, 1000)
    assert "0.40 s late" in found.why


def test_a_generator_that_takes_its_whole_core_has_no_more() -> None:
    drive, _ = generating(9999.0, per_core=700.0)
    found = ceiling.ceiling(drive, lambda _: None)
    assert found.cpu <= 0.8
    assert "of its core" in found.why


def test_steps_are_bounded_however_fast_the_generator_is() -> None:
    drive, tried = generating(1e9, per_core=1e9)
    assert ceiling.ceiling(drive, lambda _: None).why == "it was not tried faster"
    assert tried == [50, 100, 200, 400, 800, 1600]


def test_a_machine_on_which_the_slowest_pace_is_too_much_tells_nothing() -> None:
    with pytest.raises(SlipwayError, match="Repeat when the machine is quiet"):
        ceiling.ceiling(generating(10.0)[0], lambda _: None)


def test_the_server_of_the_benchmark_answers_everybody_and_ends_with_it() -> None:
    with ceiling.server() as port:
        for path, headers, method in (("/", {}, "GET"), ("/orders", {"Connection": "close"}, "POST")):
            load = httpload.Load("127.0.0.1", port, path, method, headers, "{}" if method == "POST" else "", seconds=0.2)
            sent = httpload.run(load)
            closed = {"status 200 and no more on this connection"}
            assert (sent.answers > 50, set(sent.errors)) == ((True, set()) if not headers else (False, closed))
    with pytest.raises(OSError):
        httpload.run(httpload.Load("127.0.0.1", port, "/", seconds=0.1))


def test_the_floor_is_what_a_client_that_only_sends_gets_out_of_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    result = httpload.Result(9000, {}, 3.0, 0.001, 0.002, 100, 0.5)
    monkeypatch.setattr(httpload, "run", lambda _: result)
    assert ceiling.floor(1) == 6000
    monkeypatch.setattr(httpload, "run", lambda _: replace(result, errors={"status 500": 1}))
    with pytest.raises(SlipwayError, match="does not answer"):
        ceiling.floor(1)


# --- what looking costs


def test_what_those_who_look_use_is_taken_between_two_scrapes_before_the_test_and_in_it() -> None:
    with scraped() as (server, prometheus):
        server.raw["process_cpu_seconds_total"] = [({"job": "any"}, points())]
        seen = cost.used(prometheus, BEGAN, ENDED)
        assert [one.who for one in seen] == list(cost.JOBS)
        assert {(one.before, one.during) for one in seen} == {(0.1, 0.5)}
        assert any('job="prometheus"' in one.source for one in seen)
        assert cost.share(prometheus, "process_cpu_seconds_total{}", BEGAN, BEGAN + 1) is None
        server.raw["process_cpu_seconds_total"] = []
        assert {one.during for one in cost.used(prometheus, BEGAN, ENDED)} == {None}


def points() -> list[tuple[float, float]]:
    """A tenth of a core before the test, and half of one in it; a process that began anew counts from there."""
    return [(BEGAN + at, 0.1 * at if at <= 0 else 0.5 * at) for at in range(-60, 61, 10)]


# --- the whole of it


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(ROOT, tmp_path, "test")


@contextmanager
def _port() -> Generator[int]:
    yield 1234


def driven(monkeypatch: pytest.MonkeyPatch, ordinary: Run, climbed: Run) -> list[Asked]:
    """What the benchmark asks for, of which everything outside this process is a fake."""
    asked: list[Asked] = []

    def run(_: object, wanted: Asked, __: object) -> Run:
        asked.append(wanted)
        return climbed if wanted.profile == "breakpoint" else ordinary

    class There:
        port = 8080

    monkeypatch.setattr(ceiling, "server", _port)
    monkeypatch.setattr(ceiling, "floor", lambda port: 9000.0 if port == 1234 else 0.0)
    monkeypatch.setattr(
        ceiling, "step", lambda _, url, rate, __: Step(rate, 3 * rate, rate / 250, rate / 300, 0.01 if "1234" in url else 9.0)
    )
    monkeypatch.setattr(access, "open", lambda _: There())
    monkeypatch.setattr(cost, "used", lambda *_: (Used("Prometheus", 0.02, 0.05, "a query"),))
    monkeypatch.setattr(running, "run", run)
    return asked


def test_the_benchmark_tells_the_ceiling_the_floor_the_shop_s_and_what_looking_takes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    climbed = replace(
        climb([*(good(number) for number in range(1, 6)), *(good(9, failures=1) for _ in range(5))]), id="the-climb"
    )
    ordinary = replace(loadruns.run(), change=None)
    asked = driven(monkeypatch, ordinary, climbed)
    made = bench_load.bench_load(settings, progress=Progress())
    assert [(one.environment, one.profile) for one in asked] == [("stage", "smoke"), ("stage", "breakpoint")]
    assert (asked[1].rate, asked[1].duration) == (bench_load.CLIMB_RATE, bench_load.CLIMB_SECONDS)
    # 0.8 of a core at 200 journeys a second; 250 would have taken a whole one.
    assert made.ceiling == Ceiling(600.0, 200 / 300, 900, "it took 100% of its core")
    assert (made.floor, made.ratio) == (9000.0, 10.0)
    assert made.point
    assert made.climb == 9
    assert {one.who for one in made.used} == {"Prometheus", cost.COMMAND}
    assert made.runs == (ordinary.id, "the-climb")


def test_an_ordinary_test_that_nobody_can_trust_is_no_measure_of_anything(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    void = loadruns.run(lost=True)
    assert void.verdict.outcome == INVALID
    asked = driven(monkeypatch, void, void)
    with pytest.raises(SlipwayError, match="nobody can trust"):
        bench_load.bench_load(settings, progress=Progress())
    assert len(asked) == 1


@pytest.mark.parametrize("point", [None, Point(8, 24, "5 requests failed")])
def test_a_person_sees_every_number_with_its_runs(point: Point | None) -> None:
    console = Console(file=io.StringIO(), width=200)
    found = Ceiling(600.0, 0.8, 750, "customers came 0.40 s late")
    looked = (Used("Prometheus", 0.02, 0.05, "q"), Used("the kubelet", None, None, "q"))
    show(Report(found, 9000, point, 24, 17.5, 51.2, looked, ("run-1", "run-2")), console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "750 requests a second per core",
        "a worker sent 600 with 80%",
        "0.40 s late",
        "9000 requests",
        "12x",
        "24 requests",
    ):
        assert words in said
    for words in (
        "17.5 s",
        "0.05 of a core for Prometheus (0.02 before)",
        "nobody knows how much for the kubelet",
        "run-1, run-2",
    ):
        assert words in said
    assert ("5 requests failed" in said) == (point is not None)
