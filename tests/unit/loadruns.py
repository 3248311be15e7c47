"""Whole load tests, as they look like: with noise, a rollout in the middle and, where it is asked for, what goes wrong."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from slipway.load.evidence import Evidence
from slipway.load.model import (
    Change,
    Closed,
    Endpoint,
    Host,
    Journey,
    Locusts,
    Phase,
    Pod,
    Pods,
    Rollout,
    Run,
    Second,
    Series,
    Server,
    Stage,
    Stream,
)
from slipway.load.verdict import judge
from tests.unit import loads

ENDPOINTS = (
    ("storefront", "GET /", "browse", 210, 0.018),
    ("storefront", "GET /api/products", "browse", 190, 0.022),
    ("storefront", "GET /api/products/{product_id}", "browse", 170, 0.014),
    ("storefront", "GET /api/products", "search", 88, 0.031),
    ("storefront", "POST /api/orders", "checkout", 41, 0.085),
    ("cart", "PUT /carts/{cart_id}/items/{product_id}", "cart", 96, 0.009),
    ("cart", "GET /carts/{cart_id}", "checkout", 84, 0.006),
    ("orders", "GET /orders/{order_id}", "lookup", 52, 0.012),
)


def drawn(seed: int) -> random.Random:
    """What a run's noise is drawn from."""
    return random.Random(seed)


def endpoint(draw: random.Random, service: str, name: str, journey: str, count: int, middle: float) -> Endpoint:
    """An endpoint whose latencies lie around a middle, with a long tail."""
    times = sorted(middle * draw.lognormvariate(0, 0.55) for _ in range(count))
    buckets: dict[float, int] = {}
    for value in times:
        bound = 1.01 ** math.ceil(math.log(value, 1.01))
        buckets[bound] = buckets.get(bound, 0) + 1

    def share(part: float) -> float:
        return times[min(count - 1, math.ceil(part * count) - 1)]

    points = tuple(sorted(buckets.items()))
    return Endpoint(service, name, journey, count, 0, {}, share(0.5), share(0.95), share(0.99), share(0.999), times[-1], points)


def run(
    seed: int = 1, *, slow: float = 1.0, failures: int = 0, release: str = "v0.2.0", lost: bool = False, seconds: int = 50
) -> Run:
    """A load test.

    Args:
        seed: Of its noise.
        slow: How many times slower everything is.
        failures: Requests that failed.
        release: Which release ran.
        lost: Whether a worker was.
        seconds: How long it took.
    """
    draw = random.Random(seed)
    endpoints = [endpoint(draw, *one[:4], one[4] * slow) for one in ENDPOINTS]
    if failures:
        endpoints[4] = replace(endpoints[4], failures=failures, errors={"503: <b>no</b> stock & no answer": failures})
    client = replace(
        loads.CLIENT,
        ended=loads.BEGAN + seconds + 0.8,
        seconds=tuple(_second(draw, index, seconds, slow, failures) for index in range(seconds)),
        endpoints=tuple(endpoints),
        journeys=(
            Journey("browse", 210, 210, 210, 0, 0, 1.1, 1.9, 2.4),
            Journey("search", 88, 88, 88, 0, 0, 0.6, 1.1, 1.5),
            Journey("checkout", 102, 102, 102 - failures, failures, 0, 1.6, 2.4, 3.1),
        ),
        streams=(Stream("keep-alive", 745, 0, {}), Stream("new-connection", 186, 0, {})),
        locust=Locusts(931, failures, 0.018, 0.084, 0.12, 18.6),
    )
    if lost:
        client = replace(
            client,
            workers=(client.workers[0], replace(client.workers[1], lost=True)),
            exit_codes={"master": 3, "worker-1": 0, "worker-2": 137},
        )
    series: list[Series] = []
    for name, unit, base in (
        ("requests", "1/s", 6.2),
        ("errors", "1/s", 0.0),
        ("p50", "s", 0.008 * slow),
        ("p95", "s", 0.03 * slow),
        ("p99", "s", 0.055 * slow),
        ("requests of all", "1", 300.0),
        ("errors of all", "1", 0.0),
        ("p95 of all", "s", 0.03 * slow),
        ("p99 of all", "s", 0.055 * slow),
        ("cpu", "cores", 0.14 * slow),
        ("in flight", "1", 1.0),
        ("memory", "B", 6.1e7),
        ("restarts", "1", 0.0),
    ):
        for number, service in enumerate(loads.SERVICES):
            points = tuple((loads.BEGAN + at, base * (1 + 0.4 * number) * draw.uniform(0.8, 1.25)) for at in range(2, seconds, 2))
            series.append(Series(name, service, unit, f'{name} of <{service}> by (service)[10s] & "more"', points))
    server = Server(
        tuple(series),
        (),
        dict.fromkeys(loads.SERVICES, seconds // 2),
        dict.fromkeys(loads.SERVICES, 0.0),
        dict.fromkeys(loads.SERVICES, 0),
        {"cart": 0.0, "orders": 0.012, "storefront": 0.004},
        {"cart": 0.31, "orders": 0.42, "storefront": 0.66},
    )
    before = loads.pods()
    after = tuple(
        Pod(pod.service, pod.name.replace("storefront-", "storefront-new-"), pod.digest, 0, pod.started) for pod in before
    )
    rollouts = (
        Rollout(loads.BEGAN + 0.54 * seconds, "storefront", "a new pod: storefront-new-1"),
        Rollout(loads.BEGAN + 0.62 * seconds, "storefront", "a new pod: storefront-new-2"),
    )
    pods = Pods(before, after, rollouts)
    target = replace(loads.TARGET, release=release)
    change = Change("promotion", loads.BEGAN + 25, loads.BEGAN + 35)
    verdict = judge(Evidence(loads.PLAN, target, client, server, pods, loads.BOOKS, loads.LIMITS, change=change))
    return Run(
        id=f"20270115-0800{seed % 60:02d}-{seed:04x}",
        time="2027-01-15T08:00:00Z",
        tools={"locust": "2.47.0", "slipway": "0.1.0", "image": "load:0123456789ab"},
        host=Host(2, 8_325_000_000, "a processor", "6.12.0", 0.7),
        plan=loads.PLAN,
        target=target,
        client=client,
        server=server,
        pods=pods,
        books=loads.BOOKS,
        verdict=verdict,
        comparable="0123456789abcdef",
        rules=loads.RULES,
        change=change,
    )


def phased() -> Run:
    """A test that says all that one can: steps that climb, what a closed client would have told, and what came and went."""
    made = run()
    steps = tuple(Phase(f"step {number}", 10, 4.0 * number, 4.0 * number + 4, counted=True) for number in (1, 2, 3, 4))
    closed = Closed(3, 900, 31, 0, 0.011, 0.052, 0.0987, 2.9)
    stages = tuple(Stage(phase.name, 100, number, 0.011, 0.055, 0.099) for number, phase in enumerate(steps))
    gone = Rollout(loads.BEGAN + 22, "cart", "cart-5d8f7c9b6-abcde came, and was gone after 12 s")
    return replace(
        made,
        plan=replace(made.plan, phases=(made.plan.phases[0], *steps)),
        client=replace(made.client, phases=stages, closed=closed, stale=17),
        pods=replace(made.pods, rollouts=(gone, *made.pods.rollouts), limits={"cart": 0.5}),
    )


def _second(draw: random.Random, index: int, seconds: int, slow: float, failures: int) -> Second:
    wave = 1.6 if 0.54 < index / seconds < 0.7 else 1.0
    # As uneven as arrivals are, and as many as the plan says.
    planned = loads.RATE + (0, 3, 1, 4, 2, 1, 5)[index // 2 % 7] * (1 if index % 2 else -1)
    middle = 0.017 * slow * wave * draw.lognormvariate(0, 0.18)
    failed = failures if index == int(0.6 * seconds) else 0
    return replace(
        loads.second(index),
        phase="warm-up" if index < 10 else "plateau",
        planned=planned,
        started=planned,
        ok=max(0, planned - failed),
        failed=failed,
        requests=round(planned * 2.4),
        failures=failed,
        in_flight=round(4 * slow * wave + draw.random()),
        p50=middle,
        p95=middle * draw.uniform(3, 5),
        p99=middle * draw.uniform(5, 8),
    )
