"""Faults on purpose: they hit what they name, go when told, and never reach prod."""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest

from slipway import waiting
from slipway.waiting import Pending, Ready
from tests.services.routes import a_route
from tests.services.running import Running


@pytest.fixture
def victim(dev: Running) -> Generator[Running]:
    """A service in dev that gets rid of its faults afterwards."""
    yield dev
    assert dev.arm().status == 200


def test_an_error_hits_the_route_it_names_and_no_other(victim: Running) -> None:
    route = a_route(victim)
    assert victim.arm({"route": route.pattern, "status": 503}).status == 200
    answer = victim.ask(route.path)
    assert (answer.status, answer.headers["x-fault"], answer.headers["content-type"]) == (
        503,
        "injected",
        "application/problem+json",
    )
    assert victim.ask("/version").status == 200


def test_an_error_of_another_method_does_not_hit(victim: Running) -> None:
    route = a_route(victim)
    victim.arm({"route": route.pattern, "method": "POST", "status": 503})
    assert victim.ask(route.path).status == route.status


def test_a_fault_on_every_route_spares_probes_and_metrics(victim: Running) -> None:
    victim.arm({"status": 500})
    assert victim.ask(a_route(victim).path).status == 500
    assert [victim.ask(path).status for path in ("/healthz", "/readyz", "/metrics", "/admin/faults")] == [200] * 4


def test_latency_delays_the_answer(victim: Running) -> None:
    route = a_route(victim)
    victim.arm({"route": route.pattern, "latency_ms": 300})
    began = time.monotonic()
    assert victim.ask(route.path).status == route.status
    assert time.monotonic() - began >= 0.3


def test_a_share_of_the_requests_is_hit(victim: Running) -> None:
    route = a_route(victim)
    victim.arm({"route": route.pattern, "status": 500, "ratio": 0.5})
    hit = sum("x-fault" in victim.ask(route.path).headers for _ in range(100))
    assert 10 < hit < 90


def test_a_fault_ends_by_itself(victim: Running) -> None:
    route = a_route(victim)
    victim.arm({"route": route.pattern, "status": 500, "seconds": 0.3})
    assert victim.ask(route.path).status == 500

    def over() -> Ready[None] | Pending:
        return Ready(None) if victim.ask(route.path).status == route.status else Pending("it still fails")

    waiting.wait_for("the fault to end", over, timeout=5)
    assert victim.ask("/admin/faults").json == {"faults": []}


def test_prod_refuses_faults_and_says_why(prod: Running) -> None:
    answer = prod.arm({"status": 500})
    assert (answer.status, answer.headers["content-type"]) == (403, "application/problem+json")
    assert "'prod'" in answer.json["detail"]
    assert prod.ask("/admin/faults").json == {"faults": []}
    assert "x-fault" not in prod.ask(a_route(prod).path).headers
