"""How a call to another service is carried: kept connections to one place, and every failure by what it means for the caller."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from multidict import CIMultiDict
from yarl import URL


@contextmanager
def _certificates_unread() -> Generator[None]:
    told = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ.update(dict.fromkeys(told, os.devnull))
    try:
        yield
    finally:
        for name, value in told.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


# The library reads the machine's certificates when it is imported. That is two megabytes for calls inside the cluster, which
# need none; for those that do, `Wire` reads them.
with _certificates_unread():
    import aiohttp
    from aiohttp import (
        ClientHandlerType,
        ClientRequest,
        ClientResponse,
        ClientSession,
        ClientTimeout,
        DummyCookieJar,
        TCPConnector,
    )

# Connections to one service. More callers at the same time wait.
CONNECTIONS = 50

# Seconds until one attempt to connect is given up.
CONNECT = 0.5

# Seconds. Idle connections are left before the other side closes them (`keep_alive_seconds`).
KEEP = 30

# Seconds that an address is taken to be where its name pointed: many connections at once need to ask but once.
ADDRESS_HOLDS = 1


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to another service; the same for each attempt."""

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=CIMultiDict[str])
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What another service said, read whole. The case of headers' names makes no difference."""

    status_code: int
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=CIMultiDict[str])

    @property
    def is_success(self) -> bool:
        """Whether it did what it was asked."""
        return 200 <= self.status_code < 300


class Failure(Exception):
    """There is no answer."""


class Unsent(Failure):
    """There is no connection, so nothing was sent."""


class Lost(Failure):
    """The connection broke, or what came is no HTTP; what was sent may have arrived."""


class Nonsense(Failure):
    """There is an answer that nobody here can read."""


class Late(Failure):
    """It took too long."""


class UnsentInTime(Unsent, Late):
    """There was no connection in time, so nothing was sent."""


class Crowded(Late):
    """All connections were busy for too long. Nothing was sent, and more callers would not empty them."""


class Silent(Late):
    """What was sent may have arrived; no (more of the) answer came in time."""


class Transport(Protocol):
    """Carries requests to a service."""

    async def send(self, request: Request) -> Response:
        """The answer.

        Raises:
            Failure: There is none; what kind of failure it is says whether the request may have arrived.
        """
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...


class Wire:
    """Connections to one service. Make it where the event loop runs.

    It follows no redirection, keeps no cookie and knows no proxy; it sends each request once.

    Args:
        read: Seconds to wait for (more of) an answer.
        secure: Whether connections are encrypted.
    """

    def __init__(self, *, read: float, secure: bool = False) -> None:
        self._read = read
        # The connector's own limit counts waiting for a free connection as connecting.
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._session = ClientSession(
            connector=TCPConnector(
                limit=0,
                keepalive_timeout=KEEP,
                ttl_dns_cache=ADDRESS_HOLDS,
                ssl=ssl.create_default_context() if secure else True,
            ),
            timeout=ClientTimeout(total=None, connect=CONNECT, sock_read=read),
            cookie_jar=DummyCookieJar(),
            # Nobody here compresses, so nobody is asked to.
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
            auto_decompress=False,
            # Proxy settings of the machine are not meant for calls inside the cluster.
            trust_env=False,
            middlewares=(_once,),
        )

    async def send(self, request: Request) -> Response:
        """The answer to one attempt.

        Raises:
            Failure: There is none.
        """
        await self._turn()
        try:
            with _told():
                response = await self._session.request(
                    request.method, request.url, headers=request.headers, data=request.content, allow_redirects=False
                )
                content = await response.read()
        finally:
            self._turns.release()
        if coding := response.headers.get("Content-Encoding"):
            raise Nonsense(f"its answer is encoded as {coding[:40]!r}, unasked")
        return Response(response.status, content, response.headers)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(self._read):
                await self._turns.acquire()
        except TimeoutError:
            raise Crowded(f"all {CONNECTIONS} connections are busy") from None


async def _once(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
    """Keeps the library from sending a request again on its own, unseen: how often is for the caller to say."""
    with _told():
        return await send(request)


@contextmanager
def _told() -> Generator[None]:
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise UnsentInTime(f"no connection within {CONNECT:g} s") from error
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
        raise Unsent(str(error)) from error
    except aiohttp.ServerTimeoutError as error:
        raise Silent("no answer in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Lost(f"{type(error).__name__}: {error}") from error
