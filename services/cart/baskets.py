"""The carts, as Valkey keeps them: each a hash of product ids and quantities that expires when nobody writes to it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter, Histogram
from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.asyncio.retry import Retry
from valkey.backoff import EqualJitterBackoff
from valkey.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from valkey.exceptions import ConnectionError as Unreachable
from valkey.exceptions import TimeoutError as TooLate

log = logging.getLogger("chassis")

# Other programs may use the same server.
PREFIX = "cart:"

MAX_LINES = 50

# Seconds. A server that is well answers in less than one thousandth; what calls this service waits for one second.
CONNECT, ANSWER, POOL = 0.3, 0.5, 0.3

CONNECTIONS = 20

# A connection that broke is made anew, and the command sent again: each of them may be done twice with the same result.
# Nothing is sent again to a server that did not answer in time.
RETRIES = 2
BACKOFF = EqualJitterBackoff(cap=0.1, base=0.01)

# Seconds; from a server in the same cluster to one that is in trouble.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# The server is there, and cannot do its work now: nothing is wrong with the request.
_NOT_NOW = (Unreachable, TooLate, BusyLoadingError, ReadOnlyError, OutOfMemoryError, NoPermissionError)

# KEYS: the cart. ARGV: product, quantity, the most lines, seconds until it expires.
# One script, because the limit must hold when two callers add at the same time.
_PUT = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return false
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return redis.call('HGETALL', KEYS[1])
"""


class StoreAway(Exception):
    """Valkey did not do what it was asked; the message says why, for whoever runs the service."""


class CartFull(Exception):
    """The cart holds as many lines as a cart may."""


@dataclass(frozen=True)
class Basket:
    """What a cart holds.

    Attributes:
        lines: Quantities by product id, in the order of the ids.
        expires_in_seconds: Until it is forgotten; 0 when there is nothing to forget.
    """

    lines: Mapping[str, int]
    expires_in_seconds: int


class Baskets:
    """All carts.

    Args:
        url: Where Valkey is, with its password: redis://:PASSWORD@HOST:PORT/DATABASE.
        ttl: Seconds after the last write until a cart is forgotten.
        registry: Where writes and the server's answers are counted.

    Raises:
        ValueError: The URL is none; the message does not repeat it.
    """

    def __init__(self, url: str, *, ttl: int, registry: CollectorRegistry) -> None:
        self._ttl = ttl
        # The library's own annotations leave much open.
        pools = cast("Any", BlockingConnectionPool)
        self._pool = pools.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=POOL,
            socket_connect_timeout=CONNECT,
            socket_timeout=ANSWER,
            retry=Retry(BACKOFF, RETRIES, supported_errors=(Unreachable,)),
            retry_on_error=[Unreachable],
            decode_responses=True,
        )
        self._valkey = cast("Any", Valkey(connection_pool=self._pool))
        self._put = cast("Callable[..., Awaitable[Any]]", self._valkey.register_script(_PUT))
        self._writes = Counter("cart_writes", "Changes of carts that were kept.", ("operation",), registry=registry)
        self._failures = Counter("cart_store_failures", "Requests that Valkey did not do.", ("operation",), registry=registry)
        self._seconds = Histogram(
            "cart_store_duration_seconds",
            "Time of a request to Valkey, with waiting for a connection and retries.",
            ("operation",),
            buckets=BUCKETS,
            registry=registry,
        )
        for operation in ("put", "remove", "clear"):
            self._writes.labels(operation)
        for operation in ("get", "put", "remove", "clear", "ping"):
            self._failures.labels(operation)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def ping(self) -> None:
        """Return when Valkey answers.

        Raises:
            StoreAway: It does not.
        """
        with self._asking("ping"):
            await self._valkey.ping()

    async def get(self, cart: str) -> Basket:
        """What the cart holds; reading does not make it stay longer.

        Raises:
            StoreAway: Valkey does not answer.
        """
        with self._asking("get"):
            lines, milliseconds = await self._together(
                lambda together: (together.hgetall(PREFIX + cart), together.pttl(PREFIX + cart))
            )
        # A negative time says that there is no such key.
        return _basket(lines, math.ceil(max(milliseconds, 0) / 1000))

    async def put(self, cart: str, product: str, quantity: int) -> Basket:
        """The cart, after its line for the product has this quantity.

        Raises:
            CartFull: The product would be one line too many; nothing changed.
            StoreAway: Valkey does not answer.
        """
        with self._asking("put"):
            flat = await self._put(keys=[PREFIX + cart], args=[product, quantity, MAX_LINES, self._ttl])
        if flat is None:
            raise CartFull
        self._writes.labels("put").inc()
        return _basket(dict(zip(flat[::2], flat[1::2], strict=True)), self._ttl)

    async def remove(self, cart: str, product: str) -> None:
        """Take the product out of the cart, if it is there.

        Raises:
            StoreAway: Valkey does not answer.
        """
        with self._asking("remove"):
            await self._together(
                lambda together: (together.hdel(PREFIX + cart, product), together.expire(PREFIX + cart, self._ttl))
            )
        self._writes.labels("remove").inc()

    async def clear(self, cart: str) -> None:
        """Forget the cart, if it is there.

        Raises:
            StoreAway: Valkey does not answer.
        """
        with self._asking("clear"):
            await self._valkey.unlink(PREFIX + cart)
        self._writes.labels("clear").inc()

    async def _together(self, commands: Callable[[Any], object]) -> Sequence[Any]:
        """The answers to commands that are sent at once and done without anything in between."""
        async with self._valkey.pipeline(transaction=True) as together:
            commands(together)
            return await together.execute()

    @contextmanager
    def _asking(self, operation: str) -> Generator[None]:
        began = time.perf_counter()
        try:
            yield
        except _NOT_NOW as error:
            self._failures.labels(operation).inc()
            raise StoreAway(_reason(error)) from error
        except ResponseError as error:
            # It cannot write to its disk, or a script of somebody else goes on for long. Anything else is a bug here.
            if not str(error).startswith(("MISCONF", "BUSY")):
                raise
            self._failures.labels(operation).inc()
            raise StoreAway(_reason(error)) from error
        finally:
            self._seconds.labels(operation).observe(time.perf_counter() - began)


def _basket(lines: Mapping[str, str], expires_in_seconds: int) -> Basket:
    return Basket({product: int(quantity) for product, quantity in sorted(lines.items())}, expires_in_seconds if lines else 0)


def _reason(error: Exception) -> str:
    kind = "it refuses the password" if isinstance(error, AuthenticationError) else type(error).__name__
    return f"{kind}: {error}"
