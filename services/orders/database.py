"""The way to PostgreSQL: few connections, each looked at before it is used, and no wait without an end."""

from __future__ import annotations

import asyncio
import logging
import re
import select
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TypeVar

import psycopg
from prometheus_client import CollectorRegistry, Gauge
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from chassis import ConfigError

VARIABLE = "DATABASE_URL"
EXAMPLE = "postgresql://orders:PASSWORD@postgresql:5432/orders"

# Seconds until an attempt to connect is given up, and until the pool forgets that it tried: the next request then tries anew,
# so that a database that returns is found at once, however long it was away.
CONNECT_SECONDS = 2
RECONNECT_SECONDS = 2.0

# Milliseconds until the kernel takes a database for gone that does not even acknowledge what was sent; without it, minutes.
SILENCE_MILLISECONDS = 5000

# Requests that may wait for a connection; the next ones are turned away at once.
MAX_WAITING = 100

# Seconds that closing may take when nobody answers.
CLOSE_SECONDS = 2.0

# What the database says when it is there and cannot serve: its schema is older than this code, or it takes no writes.
_NOT_READY = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.ReadOnlySqlTransaction)

T = TypeVar("T")


class Unavailable(Exception):
    """The database did not do the work in time; the message says why. It may do it next time."""


def conninfo(environ: Mapping[str, str], *, application: str, options: Mapping[str, str]) -> str:
    """How to connect to the database that the environment names.

    Args:
        environ: Where DATABASE_URL is looked up.
        application: What the connections are called in pg_stat_activity.
        options: Settings of the sessions, such as statement_timeout; they are added to those of the URL.

    Raises:
        ConfigError: DATABASE_URL is missing, or is none.
    """
    url = environ.get(VARIABLE, "").strip()
    if not url:
        raise ConfigError(f"{VARIABLE} is not set; it says where PostgreSQL is, such as {EXAMPLE}")
    try:
        told = conninfo_to_dict(url)
    except psycopg.Error:  # whose words may quote the password
        raise ConfigError(f"{VARIABLE} cannot be read; it must look like {EXAMPLE}") from None
    if not told.get("host") or not told.get("dbname") or not re.fullmatch(r"[0-9,]*", str(told.get("port") or "")):
        raise ConfigError(f"{VARIABLE} names no host, port or database that can be; it must look like {EXAMPLE}")
    # UTC is the one time zone that needs no file on this side.
    settings = {"timezone": "UTC", "client_encoding": "UTF8", **options}
    added = " ".join(f"-c {name}={value}" for name, value in settings.items())
    # A connection whose other end is gone without a word is given up by the kernel, be it idle or waiting for an answer.
    defaults = {
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": SILENCE_MILLISECONDS,
    }
    ours = {"application_name": application, "options": f"{told.pop('options', None) or ''} {added}".strip()}
    return make_conninfo("", **{**defaults, **told, **ours})


class Database:
    """A pool of connections that heals by itself.

    Args:
        target: What `conninfo` gave.
        size: The most connections it opens for requests; it has one more, for questions about its health.
        wait_seconds: How long a piece of work may take in all: waiting for a connection, and the work itself.
        registry: Takes the gauges of the pool.
    """

    def __init__(self, target: str, *, size: int, wait_seconds: float, registry: CollectorRegistry) -> None:
        self._wait_seconds = wait_seconds
        # At `info` the library tells of every connection that is lent.
        logging.getLogger("psycopg").setLevel(logging.WARNING)
        self._pool = _pool(target, size=size, wait_seconds=wait_seconds)
        # A crowd that holds every connection says nothing about the database: whether it is well is asked on one apart.
        self._apart = _pool(target, size=1, wait_seconds=wait_seconds)
        self._given_up = set[asyncio.Task[object]]()
        self._in_use = Gauge("database_connections_in_use", "Connections that work for a request now.", registry=registry)
        waiting = Gauge("database_requests_waiting", "Requests that wait for a connection now.", registry=registry)
        waiting.set_function(lambda: self._pool.get_stats().get("requests_waiting", 0))
        Gauge("database_connections_limit", "The most connections this process opens.", registry=registry).set(size)

    async def open(self) -> None:
        """Begin to connect; the database need not be there."""
        for pool in (self._pool, self._apart):
            await pool.open()

    async def close(self) -> None:
        """Close all connections."""
        for task in self._given_up:
            task.cancel()
        await asyncio.gather(*(pool.close(timeout=CLOSE_SECONDS) for pool in (self._pool, self._apart)))

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What the work returns, done on a connection in autocommit mode.

        Raises:
            Unavailable: The database is not there, or was too slow; whether the work was done is then unknown.
        """
        return await self._within_time(self._lend(work))

    async def run_apart(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What the work returns, done on a connection that no request uses: for asking whether the database is well.

        Raises:
            Unavailable: The database is not there, or was too slow.
        """

        async def lend() -> T:
            async with self._apart.connection() as connection:
                return await work(connection)

        return await self._within_time(lend())

    async def _within_time(self, lent: Coroutine[None, None, T]) -> T:
        task = asyncio.create_task(lent)
        # Not a plain time-out: it would wait until the cancelled work has ended, and a server that stands still keeps it.
        done, _ = await asyncio.wait({task}, timeout=self._wait_seconds)
        if not done:
            self._give_up(task)
            raise Unavailable(f"no answer within {self._wait_seconds:g} s")
        try:
            return task.result()
        except (psycopg.OperationalError, psycopg.InterfaceError, *_NOT_READY) as error:
            raise Unavailable(_first_line(error)) from error

    async def _lend(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self._pool.connection() as connection:
            with self._in_use.track_inprogress():
                return await work(connection)

    def _give_up(self, task: asyncio.Task[T]) -> None:
        def forget(ended: asyncio.Task[T]) -> None:
            self._given_up.discard(ended)
            if not ended.cancelled():
                ended.exception()  # seen: the request it belonged to is answered

        self._given_up.add(task)
        task.add_done_callback(forget)
        task.cancel()


def _pool(target: str, *, size: int, wait_seconds: float) -> AsyncConnectionPool:
    return AsyncConnectionPool(
        target,
        kwargs={"autocommit": True},
        min_size=1,
        max_size=size,
        open=False,
        check=_still_there,
        timeout=wait_seconds * 0.9,  # so that the answer can tell a missing connection from a slow one
        max_waiting=MAX_WAITING,
        reconnect_timeout=RECONNECT_SECONDS,
        num_workers=2,
    )


async def _still_there(connection: AsyncConnection) -> None:
    """Raise when the other end has left. One that is silent is asked by the work itself.

    A server that goes closes its connections, so its last words are waiting here: only then a question is worth its round trip.
    """
    looking = select.poll()
    looking.register(connection.fileno(), select.POLLIN)
    if looking.poll(0):
        await AsyncConnectionPool.check_connection(connection)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
