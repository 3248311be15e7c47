"""What a service costs per request, beside a bare server of the same framework: real images, each on a core of its own.

Two loads for each route. A closed one (every connection sends again when its answer came) keeps the server busy: the requests
it answered for each second of processor time that its container used are its price, which other work on the machine hardly
changes. An open one at a share of that pace, evenly spaced whatever comes back, gives the latencies, counted from the moment
when a request was due: a server that stalls cannot hide it. Both know only one route at a time, and a client that is near.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slipway import engine, httpload
from slipway.bench_network import Network, network
from slipway.bench_report import CONNECTIONS, OPEN_SHARE, Report, Row, show
from slipway.bench_shop import BARE, Shop
from slipway.httpload import NUMBER, Load
from slipway.progress import Phase, Progress
from slipway.settings import Settings

__all__ = ["ROUTES", "Bench", "bench_services", "show"]

# Seconds, of each load.
_WARM_SECONDS = 0.3
CLOSED_SECONDS = 1.5
OPEN_SECONDS = 1.5
# The fastest that an open load is sent, and its connections.
OPEN_MOST = 2000.0
OPEN_CONNECTIONS = 32

# A cart that the benchmark fills, and what is in it.
_CART = "bench-cart-0123456789"
_LINE = json.dumps({"quantity": 2})
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Route:
    """A route to measure.

    Attributes:
        name: What the report calls it.
        like: The bare server's route that does as much: "small", "page" or "write".
        prepare: Whether to send it once before, so that later ones find what it makes.
    """

    name: str
    like: str
    path: str
    method: str = "GET"
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    expect: int = 200
    prepare: bool = False


_ORDER = {
    "customer": {"name": "A. Sailor"},
    "lines": [{"product_id": "mug-enamel", "name": "Enamel mug", "unit_price_cents": 1290, "quantity": 2}],
}
_HEALTH, _FRONT = Route("health", "small", "/healthz"), Route("front", "small", "/")

# What is typical of each service. One that is not here is measured by its health and its front door.
ROUTES: Mapping[str, Sequence[Route]] = {
    BARE: (
        Route("small", "small", "/small"),
        Route("page", "page", "/page"),
        Route("write", "write", "/write", "PUT", _LINE, _JSON),
    ),
    "catalog": (_HEALTH, Route("product", "small", "/products/mug-enamel"), Route("search", "page", "/search?q=rope")),
    "cart": (
        _HEALTH,
        Route("put line", "write", f"/carts/{_CART}/lines/mug-enamel", "PUT", _LINE, _JSON, prepare=True),
        Route("get cart", "small", f"/carts/{_CART}"),
    ),
    "orders": (
        _HEALTH,
        Route("order", "write", "/orders", "POST", json.dumps(_ORDER), {**_JSON, "Idempotency-Key": f"bench-{NUMBER}"}, 201),
    ),
    "storefront": (
        _HEALTH,
        Route("put line", "write", f"/api/carts/{_CART}/lines/mug-enamel", "PUT", _LINE, _JSON, prepare=True),
        Route("products", "page", "/api/products"),
        Route("page", "page", "/"),
        Route("get cart", "small", f"/api/carts/{_CART}"),
    ),
}


def bench_services(settings: Settings, *, progress: Progress) -> Report:
    """What each service of the checkout, as it lies there, costs per request.

    Everything runs in containers on a network of its own, which are gone afterwards.

    Raises:
        SlipwayError: An image is missing or cannot be built, or a service does not start.
    """
    began = time.monotonic()
    found = engine.connect(settings, progress=progress)
    rows: list[Row] = []
    with progress.showing(), network(settings, found) as started:
        shop = Shop(settings, found, started)
        with progress.phase("images") as phase:
            shop.make_images(progress, phase)
        with progress.phase("containers") as phase:
            shop.start(phase)
        bench = Bench(started)
        for name in (BARE, *settings.services):
            with progress.phase(name) as phase:
                rows += bench.measure(name, phase)
    most, busy = bench.ceiling
    return Report(tuple(rows), round(most), round(busy, 2), round(time.monotonic() - began, 1))


class Bench:
    """Measures one service after the other.

    Args:
        started: The network with what was started in it.

    Attributes:
        ceiling: The most requests a second that were sent so far, and how busy that kept the generator.
    """

    def __init__(self, started: Network) -> None:
        self._started = started
        self._floor: dict[str, float] = {}  # the bare server's requests per core, by route
        self._number = 0
        self.ceiling = (0.0, 0.0)

    def measure(self, service: str, phase: Phase) -> Sequence[Row]:
        """Every route of a service, on a core that nothing else of the benchmark has meanwhile; of the bare server first."""
        routes = ROUTES.get(service, (_HEALTH, _FRONT))
        with self._started.alone(service):
            for route in sorted(routes, key=lambda route: not route.prepare):
                self._send(service, route, seconds=_WARM_SECONDS)
            rows: list[Row] = []
            for route in routes:
                phase.say(route.name)
                rows.append(self._row(service, route))
        if service == BARE:
            self._floor = {row.route: row.per_core for row in rows}
        phase.say(", ".join(f"{row.route} {row.per_core:g}" for row in rows) + " requests per core")
        return rows

    def _row(self, service: str, route: Route) -> Row:
        before = self._started.processor(service)
        closed = self._send(service, route, seconds=CLOSED_SECONDS)
        used = self._started.processor(service) - before
        total, speed = closed.answers + sum(closed.errors.values()), closed.answers / closed.seconds
        self.ceiling = max(self.ceiling, (speed, closed.busy))
        pace = min(OPEN_MOST, max(1.0, speed * OPEN_SHARE))
        spaced = self._send(service, route, seconds=OPEN_SECONDS, rate=pace, connections=OPEN_CONNECTIONS)
        per_core = total / used if used > 0 else 0.0
        return Row(
            service,
            route.name,
            per_core=round(per_core),
            ratio=round(self._floor[route.like] / per_core, 1) if self._floor and per_core else None,
            p50=round(spaced.p50 * 1000, 2),
            p99=round(spaced.p99 * 1000, 2),
            pace=round(pace),
            bytes=closed.bytes,
            answers=closed.answers + spaced.answers,
            errors=dict(Counter(closed.errors) + Counter(spaced.errors)),
            core=round(used / closed.seconds, 2),
            generator=round(closed.busy, 2),
        )

    def _send(
        self, service: str, route: Route, *, seconds: float, rate: float = 0.0, connections: int = CONNECTIONS
    ) -> httpload.Result:
        first, self._number = self._number, self._number + 1_000_000
        return self._started.send(
            Load(
                self._started.address(service),
                80,
                route.path,
                route.method,
                route.headers,
                route.body,
                route.expect,
                connections=connections,
                seconds=seconds,
                rate=rate,
                first=first,
            )
        )
