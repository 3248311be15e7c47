"""The carts, as Valkey keeps them: each a hash of product ids and quantities that expires when nobody writes to it."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
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

# Other programs may use the same server.
PREFIX = "cart:"

# Says that a change with this key was made.
DONE = "done:"

MAX_LINES = 50

MAX_QUANTITY = 99

# Seconds. A server that is well answers in less than one thousandth; what calls this service waits for 1.5 s.
CONNECT, ANSWER, POOL = 0.3, 0.5, 0.3

CONNECTIONS = 20

# A connection that broke is made anew, and the command sent again: each of them may be sent twice with the same result.
# Nothing is sent again to a server that did not answer in time.
RETRIES = 2
# Seconds in which an addition may come again, from who got no answer to it; and an order, which a person may send again.
REPEATED_WITHIN = 60
ORDERED_WITHIN = 86_400
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

# KEYS: the cart, what says that this was done. ARGV: product, quantity, the most lines, seconds until it expires, the most in a
# line, seconds until it is forgotten that this was done.
_ADD = """
if redis.call('EXISTS', KEYS[2]) == 0 then
  local there = tonumber(redis.call('HGET', KEYS[1], ARGV[1]))
  if not there and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
    return false
  end
  redis.call('HSET', KEYS[1], ARGV[1], math.min((there or 0) + tonumber(ARGV[2]), tonumber(ARGV[5])))
  redis.call('SET', KEYS[2], '', 'EX', ARGV[6])
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return redis.call('HGETALL', KEYS[1])
"""

# KEYS: the cart, what says that this was done. ARGV: seconds until the one and the other expire, then products and
# quantities in turn.
_TAKE = """
if redis.call('SET', KEYS[2], '', 'NX', 'EX', ARGV[2]) then
  for position = 3, #ARGV, 2 do
    local there = tonumber(redis.call('HGET', KEYS[1], ARGV[position]))
    if there and there > tonumber(ARGV[position + 1]) then
      redis.call('HINCRBY', KEYS[1], ARGV[position], -ARGV[position + 1])
    elseif there then
      redis.call('HDEL', KEYS[1], ARGV[position])
    end
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return true
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
        # A crowd that holds every connection says nothing about the server: whether it is well is asked on one apart.
        self._valkey, self._apart = (_client(url, connections=number) for number in (CONNECTIONS, 1))
        self._put, self._add, self._take = (self._script(text) for text in (_PUT, _ADD, _TAKE))
        self._writes = Counter("cart_writes", "Changes of carts that were kept.", ("operation",), registry=registry)
        self._failures = Counter("cart_store_failures", "Requests that Valkey did not do.", ("operation",), registry=registry)
        self._seconds = Histogram(
            "cart_store_duration_seconds",
            "Time of a request to Valkey, with waiting for a connection and retries.",
            ("operation",),
            buckets=BUCKETS,
            registry=registry,
        )
        for operation in ("put", "add", "take", "remove", "clear"):
            self._writes.labels(operation)
        for operation in ("get", "put", "add", "take", "remove", "clear", "ping"):
            self._failures.labels(operation)

    async def aclose(self) -> None:
        """Close the connections."""
        for client in (self._valkey, self._apart):
            await client.connection_pool.aclose()

    async def ping(self) -> None:
        """Return when Valkey answers.

        Raises:
            StoreAway: It does not.
        """
        with self._asking("ping"):
            await self._apart.ping()

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
        return self._written("put", flat)

    async def add(self, cart: str, product: str, quantity: int, *, key: str) -> Basket:
        """The cart, after its line for the product has so many more, up to what a line may have.

        Args:
            cart: Its id.
            product: Its id.
            quantity: How many more.
            key: Of this change: with one that was used within the last minute nothing changes.

        Raises:
            CartFull: The product would be one line too many; nothing changed.
            StoreAway: Valkey does not answer.
        """
        with self._asking("add"):
            args = [product, quantity, MAX_LINES, self._ttl, MAX_QUANTITY, REPEATED_WITHIN]
            flat = await self._add(keys=[PREFIX + cart, f"{DONE}add:{key}"], args=args)
        return self._written("add", flat)

    async def take(self, cart: str, lines: Iterable[tuple[str, int]], *, key: str) -> None:
        """Take these quantities of products out of the cart; whatever else is in it stays.

        Args:
            cart: Its id.
            lines: What is taken; more than there is takes what there is.
            key: Of this change: with one that was used within the last day nothing changes.

        Raises:
            StoreAway: Valkey does not answer.
        """
        with self._asking("take"):
            args = [self._ttl, ORDERED_WITHIN, *(word for line in lines for word in line)]
            await self._take(keys=[PREFIX + cart, f"{DONE}take:{key}"], args=args)
        self._writes.labels("take").inc()

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

    def _script(self, text: str) -> Callable[..., Awaitable[Any]]:
        return self._valkey.register_script(text)

    def _written(self, operation: str, flat: Sequence[str] | None) -> Basket:
        """The cart as a script returns it: names and values in turn, nothing when it was full."""
        if flat is None:
            raise CartFull
        self._writes.labels(operation).inc()
        return _basket(dict(zip(flat[::2], flat[1::2], strict=True)), self._ttl)

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


def _client(url: str, *, connections: int) -> Any:
    # The library's own annotations leave much open.
    pool = cast("Any", BlockingConnectionPool).from_url(
        url,
        max_connections=connections,
        timeout=POOL,
        socket_connect_timeout=CONNECT,
        socket_timeout=ANSWER,
        retry=Retry(BACKOFF, RETRIES, supported_errors=(Unreachable,)),
        retry_on_error=[Unreachable],
        decode_responses=True,
    )
    return cast("Any", Valkey(connection_pool=pool))


def _basket(lines: Mapping[str, str], expires_in_seconds: int) -> Basket:
    return Basket({product: int(quantity) for product, quantity in sorted(lines.items())}, expires_in_seconds if lines else 0)


def _reason(error: Exception) -> str:
    kind = "it refuses the password" if isinstance(error, AuthenticationError) else type(error).__name__
    return f"{kind}: {error}"
