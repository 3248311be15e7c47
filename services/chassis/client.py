"""Calls from one service to another: the request id goes along, every wait has an end, and retries are few and safe."""

from __future__ import annotations

import asyncio
import random

import httpx2

from chassis.context import HEADER, request_id

# Seconds until an attempt is given up.
CONNECT, READ = 0.5, 2.0

# Seconds before the first retry; each next one waits up to twice as long, at random, so that callers do not return together.
BACKOFF = 0.05

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})

# The answers of a server or proxy that did not do the work and may do it next time.
TRANSIENT = frozenset({502, 503, 504})

# Nothing was sent, so any request may be sent again.
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


def client(
    base_url: str, *, retries: int = 2, read: float = READ, transport: httpx2.AsyncBaseTransport | None = None
) -> httpx2.AsyncClient:
    """A client for the service at `base_url`; close it when the caller ends.

    Args:
        base_url: Such as http://catalog.
        retries: Attempts after the first one. A request that is not idempotent is sent again only when it never left, or when
            it carries an Idempotency-Key.
        read: Seconds to wait for an answer, per attempt.
        transport: What really sends; for tests.
    """
    inner = transport or httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=50, keepalive_expiry=30))
    return httpx2.AsyncClient(
        base_url=base_url,
        transport=Retrying(inner, retries=retries),
        timeout=httpx2.Timeout(read, connect=CONNECT),
        event_hooks={"request": [_pass_on_the_id]},
        # Proxy settings of the machine are not meant for calls inside the cluster.
        trust_env=False,
    )


async def _pass_on_the_id(request: httpx2.Request) -> None:
    if identifier := request_id():
        request.headers[HEADER] = identifier


class Retrying(httpx2.AsyncBaseTransport):
    """Sends again what may be sent again."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, *, retries: int) -> None:
        self._inner, self._retries = inner, retries

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer of the first attempt that got one worth having, else the last."""
        repeatable = request.method in IDEMPOTENT or "Idempotency-Key" in request.headers
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = await self._inner.handle_async_request(request)
            except httpx2.TransportError as error:
                if last or not (repeatable or isinstance(error, _UNSENT)):
                    raise
            else:
                if last or not repeatable or response.status_code not in TRANSIENT:
                    return response
                await response.aclose()
            await asyncio.sleep(random.uniform(BACKOFF / 2, BACKOFF) * 2**attempt)  # noqa: S311 - spreads load, hides nothing
        raise AssertionError("the last attempt returns or raises")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
