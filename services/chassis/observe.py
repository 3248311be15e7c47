"""What happens around every request: its id, its log line, its numbers, and the last word when something breaks."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import context, problems
from chassis.identity import MEANT_FOR
from chassis.lifecycle import Lifecycle
from chassis.limits import limited
from chassis.logs import RequestLog
from chassis.metrics import UNMATCHED, Metrics

log = logging.getLogger("chassis")

# Asked every few seconds by machines: a line each would bury everything else.
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

_REQUEST_ID, _MEANT_FOR = context.HEADER.lower().encode(), MEANT_FOR.lower().encode()
_TOLD = frozenset({_REQUEST_ID, _MEANT_FOR})


async def _misdirected(scope: Scope, receive: Receive, send: Send) -> None:
    # Nothing was done, whatever was asked: it may be sent again over another connection (RFC 9110, 15.5.20).
    answer = problems.document(421, "this is not the service that was meant; nothing was done")
    await answer(scope, receive, send)


class Observe:
    """The outermost layer of every service: an ASGI app around the app.

    Args:
        app: What it is around.
        metrics: Where requests are counted.
        lifecycle: Says when it drains.
        request_log: Where requests are written down.
        max_body_bytes: The longest body that is read.
        headers: Added to every answer.
        patience: Seconds that a request may wait for other services, all together.
        address: Who this is. A request that says it is meant for somebody else is refused, and its connection closed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        lifecycle: Lifecycle,
        request_log: RequestLog,
        max_body_bytes: int,
        headers: Sequence[tuple[bytes, bytes]] = (),
        patience: float = math.inf,
        address: str,
    ) -> None:
        self._app, self._metrics, self._lifecycle = app, metrics, lifecycle
        self._request_log, self._max_body_bytes, self._headers = request_log, max_body_bytes, headers
        self._patience, self._address = patience, address.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of the ASGI server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        told = {name: value for name, value in reversed(scope["headers"]) if name in _TOLD}
        identifier = context.enter(told.get(_REQUEST_ID, b""), patience=self._patience)
        astray = told.get(_MEANT_FOR, self._address) != self._address
        method, status, complete = scope["method"], 0, False
        # Whoever may GET may also HEAD; the server leaves the body out.
        inner = {**scope, "method": "GET"} if method == "HEAD" else scope

        async def send_marked(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), *self._headers, (b"x-request-id", identifier.encode())]
                if self._lifecycle.draining or astray:
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body")

        self._metrics.in_flight.inc()
        try:
            app = _misdirected if astray else self._app
            await app(inner, limited(receive, scope["headers"], limit=self._max_body_bytes), send_marked)
        except Exception:
            if not complete:  # half an answer is out: only breaking the connection tells the caller
                raise
            log.exception("unexpected error in %s %s", method, scope["path"])
        finally:
            self._metrics.in_flight.dec()
            seconds = time.perf_counter() - started
            route = getattr(inner.get("route"), "path", UNMATCHED)
            self._metrics.observe(method=method, route=route, status=status or 500, seconds=seconds)
            self._request_log.write(
                request_id=identifier,
                method=method,
                route=route,
                path=scope["path"],
                status=status or 500,
                seconds=seconds,
                quiet=route in QUIET and status < 400,
            )
