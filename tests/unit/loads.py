"""A load test that passed, as everybody saw it; tests change one thing of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from slipway.load.evidence import Evidence
from slipway.load.model import (
    Books,
    Client,
    Endpoint,
    Journey,
    Locusts,
    Phase,
    Plan,
    Pod,
    Pods,
    Second,
    Series,
    Server,
    Stream,
    Target,
    Worker,
)
from slipway.load.thresholds import Threshold

BEGAN = 1_800_000_000.0
SERVICES = ("cart", "orders", "storefront")
DIGESTS = {service: f"sha256:{letter * 64}" for service, letter in zip(SERVICES, "abc", strict=True)}
SECONDS, RATE = 50, 8

PLAN = Plan(
    profile="smoke",
    environment="stage",
    seed=1,
    workers=2,
    phases=(Phase("warm-up", 10, RATE, RATE, counted=False), Phase("plateau", 40, RATE, RATE, counted=True)),
    weights={"browse": 0.75, "checkout": 0.25},
    streams={"keep-alive": 1.0},
    think=0.1,
    patience=10.0,
    drain=15.0,
)
TARGET = Target(
    environment="stage",
    release="v0.2.0",
    lock="sha256:" + "d" * 64,
    addresses={service: f"http://{service}.stage.svc:8000" for service in SERVICES},
    digests=DIGESTS,
    commit="e" * 40,
)
# Buckets of seconds: most answers within 20 ms, the slowest after 90.
FAST = ((0.01, 60), (0.02, 35), (0.05, 4), (0.09, 1))


def endpoint(service: str, name: str, journey: str = "browse", **more: Any) -> Endpoint:
    """What came of a hundred good requests."""
    good = Endpoint(service, name, journey, 100, 0, {}, 0.01, 0.02, 0.05, 0.09, 0.09, FAST)
    return replace(good, **more)


def second(index: int, **more: Any) -> Second:
    """A second in which as many come as the plan says, and all are served."""
    phase = "warm-up" if index < 10 else "plateau"
    good = Second(BEGAN + index, phase, RATE, RATE, RATE, 0, 24, 0, 2, 0.01, 0.02, 0.05, 0.004, 0.01)
    return replace(good, **more)


def course(name: str, unit: str, value: float) -> tuple[Series, ...]:
    """A course that stays where it is, for each service."""
    points = tuple((BEGAN + at, value) for at in range(0, 60, 5))
    return tuple(Series(name, service, unit, f"query of {name}", points) for service in SERVICES)


def pods() -> tuple[Pod, ...]:
    """Two pods of each service."""
    return tuple(
        Pod(service, f"{service}-{number}", DIGESTS[service], 0, "2027-01-15T07:00:00Z")
        for service in SERVICES
        for number in (1, 2)
    )


CLIENT = Client(
    began=BEGAN,
    ended=BEGAN + 50.5,
    seconds=tuple(second(index) for index in range(SECONDS)),
    endpoints=(
        endpoint("storefront", "GET /"),
        endpoint("storefront", "POST /api/orders", "checkout"),
        endpoint("cart", "GET /carts/{cart_id}", "checkout"),
        endpoint("orders", "GET /orders/{order_id}", "checkout"),
    ),
    journeys=(
        Journey("browse", 300, 300, 300, 0, 0, 0.3, 0.5, 0.8),
        Journey("checkout", 100, 100, 100, 0, 0, 0.3, 0.5, 0.8),
    ),
    streams=(Stream("keep-alive", 1200, 0, {}),),
    workers=tuple(Worker(f"worker-{number}", False, 0.6, 0.2, 0.15, 0.004, 0.001, 0.01, 200, 0) for number in (1, 2)),
    expected_workers=2,
    locust=Locusts(1200, 0, 0.01, 0.02, 0.05, 24.0),
    sampled=("load-r-0-3", "load-r-1-6"),
    orders_accepted=100,
    orders_unsure=0,
    sent={"storefront": 800, "cart": 200, "orders": 220},
    answered={"storefront": 800, "cart": 200, "orders": 220},
    carts=100,
    removed={"carts": 100},
    exit_codes={"master": 0, "worker-1": 0, "worker-2": 0},
    said=(),
)
SERVER = Server(
    series=(
        *course("requests", "1/s", 8.0),
        *course("errors", "1/s", 0.0),
        *course("p95", "s", 0.02),
        *course("p99", "s", 0.05),
        *course("requests of all", "1", 400.0),
        *course("errors of all", "1", 0.0),
        *course("p95 of all", "s", 0.02),
        *course("p99 of all", "s", 0.05),
    ),
    missing=(),
    scrapes=dict.fromkeys(SERVICES, 20),
    down=dict.fromkeys(SERVICES, 0.0),
    restarts=dict.fromkeys(SERVICES, 0),
    throttled=dict.fromkeys(SERVICES, 0.0),
    saturated=dict.fromkeys(SERVICES, 0.3),
)
RULES = {"loadtests/profiles.yaml": "a" * 40, "loadtests/thresholds.yaml": "b" * 40}

BOOKS = Books(
    journeys_planned=400,
    journeys_ended=400,
    sampled=2,
    found=2,
    orders_accepted=100,
    order_rows=100,
    requests_sent=1220,
    requests_served=1220.0,
)
LIMITS = (
    Threshold("", "", "errors", 0.001),
    Threshold("", "", "delivered", 0.99),
    *(
        Threshold(service, "", measure, limit)
        for service in SERVICES
        for measure, limit in {
            "errors": 0.01,
            "p50": 0.1,
            "p95": 0.2,
            "p99": 0.3,
            "server errors": 0.01,
            "server p95": 0.2,
            "server p99": 0.3,
            "restarts": 0,
            "throttled": 0.05,
            "saturated": 0.9,
        }.items()
    ),
    Threshold("storefront", "POST /api/orders", "p95", 0.15),
)
GOOD = Evidence(PLAN, TARGET, CLIENT, SERVER, Pods(pods(), pods(), ()), BOOKS, LIMITS)


def changed(part: str = "", **fields: Any) -> Evidence:
    """The good one, but for some fields of a part of it, or of itself."""
    return replace(GOOD, **({part: replace(getattr(GOOD, part), **fields)} if part else fields))
