"""The arithmetic of the benchmark of services and what it prints; the containers are real in tests/long."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

import tasks
from slipway import bench_network, bench_report, bench_services
from slipway.bench_report import Report, Row
from slipway.bench_services import ROUTES, Bench
from slipway.bench_shop import BARE
from slipway.httpload import Load, Result
from slipway.progress import Phase
from slipway.settings import load
from tests.unit.fakes import Screen


def row(
    service: str = "catalog",
    *,
    errors: Mapping[str, int] | None = None,
    core: float = 1.0,
    answers: int = 9,
    generator: float = 0.3,
) -> Row:
    return Row(service, "health", 4000, 2.5, 1.25, 9.75, 400, 15, answers, errors or {}, core, generator)


def report(*rows: Row, generator: float = 0.3) -> Report:
    return Report(rows, 9000, generator, 80.0)


def shown(found: Report) -> str:
    screen = Screen()
    bench_report.show(found, screen.progress.console)
    return screen.text


def test_every_measured_route_has_its_like_on_the_bare_server() -> None:
    bare = {route.name for route in ROUTES[BARE]}
    assert {route.like for routes in ROUTES.values() for route in routes} == bare


def test_the_routes_are_of_services_that_there_are() -> None:
    assert ROUTES.keys() - {BARE} <= set(load().services)


def test_an_error_is_shown_and_makes_the_result_bad() -> None:
    found = report(row(), row("orders", errors={"status 503": 3}))
    assert not found.well
    assert "3 x status 503" in shown(found)
    assert "something that is broken" in shown(found)


def test_a_route_that_never_answered_makes_the_result_bad() -> None:
    assert not report(row(answers=0)).well


def test_a_good_result_says_nothing_of_errors_or_noise() -> None:
    found = report(row(BARE), row())
    assert found.well
    text = shown(found)
    assert "broken" not in text
    assert "Other work" not in text
    assert "catalog" in text
    assert "4000/s" in text
    assert "2.5x" in text


@pytest.mark.parametrize(("core", "generator", "noisy"), [(0.9, 0.3, False), (0.4, 0.3, True), (0.4, 0.97, False)])
def test_a_floor_that_did_not_get_its_core_means_noise_unless_the_generator_had_no_time(
    core: float, generator: float, noisy: bool
) -> None:
    found = report(row(BARE, core=core, generator=generator), row(core=0.1))
    assert found.noisy is noisy
    assert ("Other work ran on this machine" in shown(found)) is noisy


def test_a_generator_without_time_left_is_said_to_have_set_the_pace() -> None:
    assert "set the pace" in shown(report(row(), generator=0.95))
    assert "set the pace" not in shown(report(row(), generator=0.5))


@pytest.mark.parametrize(("well", "code"), [(True, None), (False, 1)])
def test_the_exit_code_tells_whether_all_went_well(monkeypatch: pytest.MonkeyPatch, well: bool, code: int | None) -> None:
    found = report(row(errors={} if well else {"status 500": 1}))
    monkeypatch.setattr(bench_services, "bench_services", lambda *_, **__: found)
    if code is None:
        tasks.bench_services(Context())
    else:
        with pytest.raises(Exit) as ended:
            tasks.bench_services(Context())
        assert ended.value.code == code


def test_the_measured_server_has_a_core_to_itself_where_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 6}, raising=False)
    assert bench_network.cores(8) == ("1", "6")
    assert bench_network.cores(2) == ("0", "1")  # an engine in a machine of its own
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert bench_network.cores(1) == ("0", "0")


def test_a_configuration_comes_as_a_file_that_the_service_may_read() -> None:
    with tarfile.open(fileobj=io.BytesIO(bench_network.archive("/etc/slipway/config.yaml", b"a: 1"))) as made:
        [info] = made.getmembers()
        file = made.extractfile(info)
        assert (info.name, info.mode, file and file.read()) == ("etc/slipway/config.yaml", 0o644, b"a: 1")


class FakeClient:
    """An engine that holds things of the benchmark, of others, and counts what is removed."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.containers = SimpleNamespace(list=self._list("container"))
        self.networks = SimpleNamespace(list=self._list("network"))
        tags = [["slipway/bench-cart:latest"], ["slipway/python:3.13"], ["somebody/bench-x:1"], []]
        self.images = SimpleNamespace(list=lambda: [SimpleNamespace(tags=each) for each in tags])

    def _list(self, kind: str) -> Any:
        def listed(filters: Mapping[str, str], all: bool = True) -> list[Any]:
            assert filters == {"label": "slipway.dev/bench=slipway-bench-services"}
            return [SimpleNamespace(remove=lambda **_: self.removed.append(kind))]

        return listed


class FakeEngine:
    def __init__(self) -> None:
        self.client = FakeClient()

    def untag(self, tag: str) -> None:
        self.client.removed.append(tag)


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, ValueError])
def test_whatever_ends_it_everything_is_removed_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, trouble: type[BaseException]
) -> None:
    found: Any = FakeEngine()
    settings: Any = SimpleNamespace(cache=tmp_path, services=())

    class Broken:
        def __init__(self, *_: object) -> None:
            found.client.removed.append("started")

        def make_images(self, *_: object) -> None:
            raise trouble

    monkeypatch.setattr(bench_network, "Network", lambda _: None)
    monkeypatch.setattr(bench_services, "Shop", Broken)
    monkeypatch.setattr(bench_services.engine, "connect", lambda *_, **__: found)
    with pytest.raises(trouble):
        bench_services.bench_services(settings, progress=Screen().progress)
    mine = ["container", "network", "slipway/bench-cart:latest"]
    assert found.client.removed == [*mine, "started", *mine]


class FakeNetwork:
    """Containers whose answers and processor times are given: answers, seconds and processor seconds by route."""

    def __init__(self, answers: Mapping[str, tuple[int, float, float]]) -> None:
        self.answers = answers
        self.sent: list[Load] = []
        self.alone_now, self.spent = "", 0.0

    def address(self, name: str) -> str:
        return f"address of {name}"

    def processor(self, name: str) -> float:
        return self.spent

    @contextmanager
    def alone(self, name: str) -> Generator[None]:
        self.alone_now = name
        yield
        self.alone_now = ""

    def send(self, load: Load) -> Result:
        assert load.host == f"address of {self.alone_now}"
        count, taken, processor = self.answers[load.path]
        self.sent.append(load)
        if not load.rate and load.seconds == bench_services.CLOSED_SECONDS:
            self.spent += processor
        return Result(count, {"status 500": 1} if count < 50 else {}, taken, 0.002, 0.01, 155, 0.4)


FLOOR = {"/small": (4000, 1.0, 0.5), "/page": (410, 1.0, 0.5), "/write": (1000, 1.0, 0.5)}


def measured(service: str, answers: Mapping[str, tuple[int, float, float]]) -> tuple[Sequence[Row], Bench]:
    """The rows of a service, measured after a bare server that answers 8000, 820 and 2000 requests per core."""
    fake: Any = FakeNetwork({**FLOOR, **answers})
    bench = Bench(fake)
    bench.measure(BARE, Phase("x"))
    bench.ceiling = (0.0, 0.0)
    return bench.measure(service, Phase("x")), bench


def test_a_price_is_requests_by_processor_seconds_and_the_ratio_is_to_the_bare_servers_like() -> None:
    answers = {"/healthz": (2000, 1.0, 0.5), "/products/mug-enamel": (1000, 1.0, 0.5), "/search?q=rope": (40, 1.0, 0.5)}
    (health, product, search), bench = measured("catalog", answers)
    assert (health.per_core, health.ratio, health.core) == (4000, 2.0, 0.5)
    assert (product.per_core, product.ratio) == (2000, 4.0)
    assert (search.per_core, search.ratio, search.errors) == (82, 10.0, {"status 500": 2})  # what failed cost something too
    assert (health.p50, health.p99, health.bytes, health.answers) == (2.0, 10.0, 155, 4000)
    assert bench.ceiling == (2000.0, 0.4)


def test_the_bare_server_is_compared_to_nothing() -> None:
    fake: Any = FakeNetwork(FLOOR)
    assert [row.ratio for row in Bench(fake).measure(BARE, Phase("x"))] == [None, None, None]


def test_the_open_load_is_sent_at_a_share_of_the_pace_and_never_faster_than_the_most() -> None:
    fake: Any = FakeNetwork({**FLOOR, "/page": (90_000, 1.0, 0.5)})
    Bench(fake).measure(BARE, Phase("x"))
    assert [(load.path, load.rate) for load in fake.sent if load.rate] == [
        ("/small", 1600.0),
        ("/page", 2000.0),
        ("/write", 400.0),
    ]


def test_no_two_loads_send_the_same_numbers() -> None:
    fake: Any = FakeNetwork(FLOOR)
    Bench(fake).measure(BARE, Phase("x"))
    assert len({load.first for load in fake.sent}) == len(fake.sent)


def test_what_a_route_prepares_is_there_before_any_other_is_warmed() -> None:
    fake: Any = FakeNetwork({route.path: (1000, 1.0, 0.5) for route in ROUTES["cart"]})
    Bench(fake).measure("cart", Phase("x"))
    assert fake.sent[0].method == "PUT"


def test_a_service_that_nobody_described_is_measured_by_its_health_and_its_front_door() -> None:
    rows, _ = measured("gift-cards", {"/healthz": (1000, 1.0, 0.5), "/": (1000, 1.0, 0.5)})
    assert [(one.route, one.ratio) for one in rows] == [("health", 4.0), ("front", 4.0)]


def test_a_container_has_the_free_core_only_while_it_is_measured_whatever_happens() -> None:
    pins: list[tuple[str, str]] = []
    made = object.__new__(bench_network.Network)
    inner: Any = made
    inner._others, inner._own = "0", "1"
    inner._running = {"cart": SimpleNamespace(update=lambda cpuset_cpus: pins.append(("cart", cpuset_cpus)))}
    with pytest.raises(ValueError, match="broken"), made.alone("cart"):
        raise ValueError("broken")
    assert pins == [("cart", "1"), ("cart", "0")]
