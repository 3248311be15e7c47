"""The wire over real sockets: what each misfortune is called, and what it never does on its own."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from multidict import CIMultiDict
from yarl import URL

from chassis import wire
from chassis.wire import Crowded, Failure, Lost, Nonsense, Request, Response, Silent, Unsent, UnsentInTime, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# Seconds; longer than any of these tests takes on a machine with much else to do.
PATIENT = 30.0


class Server:
    """Says the same to each request; what it is not told to say it leaves unsaid.

    Attributes:
        heard: What was sent, a request each.
        connections: How many there were.
    """

    def __init__(self, said: bytes = OK, *, closes: bool = False, keeps: float = PATIENT) -> None:
        self.said, self.closes = said, closes
        self.heard, self.connections, self.url = list[bytes](), 0, URL()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
                self.heard.append(head + await reader.readexactly(length))
                writer.write(self.said)
                await writer.drain()
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1") -> AsyncGenerator[None]:
        server = await asyncio.start_server(self, host, 0)
        self.url = URL.build(scheme="http", host=host, port=server.sockets[0].getsockname()[1], path="/products")
        try:
            yield
        finally:
            server.close()


@asynccontextmanager
async def opened(read: float = PATIENT) -> AsyncGenerator[Wire]:
    made = Wire(read=read)
    try:
        yield made
    finally:
        await made.aclose()


def over(server: Server, work: Callable[[Wire], Awaitable[Any]], *, read: float = PATIENT, host: str = "127.0.0.1") -> Any:
    async def main() -> Any:
        async with server.serving(host), opened(read) as made:
            return await work(made)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as a service runs
        return runner.run(main())


def failed(server: Server, kind: type[Failure], *, method: str = "GET", read: float = PATIENT) -> None:
    async def ask(made: Wire) -> None:
        with pytest.raises(Failure) as caught:
            await made.send(Request(method, server.url))
        assert type(caught.value) is kind

    over(server, ask, read=read)


def test_an_answer_is_read_whole() -> None:
    server = Server(
        b"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\nRetry-After: 7\r\n\r\n2\r\nno\r\n1\r\n!\r\n0\r\n\r\n"
    )
    answer: Response = over(server, lambda made: made.send(Request("GET", server.url)))
    assert (answer.status_code, answer.content, answer.headers["retry-after"], answer.is_success) == (409, b"no!", "7", False)


def test_what_is_sent_is_what_was_asked_for() -> None:
    server = Server()
    request = Request("PUT", URL("/a%2Fb?q=x+%26", encoded=True), CIMultiDict({"Idempotency-Key": "k1"}), b'{"quantity": 1}')
    over(server, lambda made: made.send(Request("PUT", server.url.join(request.url), request.headers, request.content)))
    (heard,) = server.heard
    assert heard.startswith(b"PUT /a%2Fb?q=x+%26 HTTP/1.1\r\n")
    assert b"\r\nIdempotency-Key: k1\r\n" in heard
    assert heard.endswith(b'\r\n\r\n{"quantity": 1}')
    assert b"ncoding" not in heard, "nobody is asked to compress"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_connection_is_kept_for_the_next_request(host: str) -> None:
    server = Server()

    async def twice(made: Wire) -> None:
        await made.send(Request("GET", server.url))
        await made.send(Request("GET", server.url))

    over(server, twice, host=host)
    assert (len(server.heard), server.connections) == (2, 1)


def test_a_server_that_says_goodbye_is_not_asked_on_the_same_connection() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    async def twice(made: Wire) -> None:
        await made.send(Request("GET", server.url))
        await made.send(Request("GET", server.url))

    over(server, twice)
    assert server.connections == 2


def test_nothing_is_followed_or_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server = Server(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    async def twice(made: Wire) -> Response:
        await made.send(Request("GET", server.url))
        return await made.send(Request("GET", server.url))

    assert over(server, twice).status_code == 302
    assert len(server.heard) == 2
    assert not any(b"ookie" in heard for heard in server.heard)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "half a chunked body", "no HTTP", "no chunk"],
)
def test_a_connection_that_breaks_loses_the_request_once(said: bytes, method: str) -> None:
    server = Server(said, closes=True)
    failed(server, Lost, method=method)
    assert len(server.heard) == 1, "the library must not send it again on its own"


def test_a_kept_connection_that_breaks_loses_the_request_once() -> None:
    server = Server()

    async def main(made: Wire) -> None:
        await made.send(Request("GET", server.url))
        server.said, server.closes = b"", True
        with pytest.raises(Lost):
            await made.send(Request("GET", server.url))

    over(server, main)
    assert (len(server.heard), server.connections) == (2, 1)


def test_a_port_where_nobody_listens_was_sent_nothing() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = Server()
        port = probe.getsockname()[1]

        async def main() -> None:
            async with opened() as made:
                with pytest.raises(Unsent):
                    await made.send(Request("POST", URL(f"http://127.0.0.1:{port}/")))

        asyncio.run(main())
    assert server.heard == []


def test_a_name_that_nobody_knows_was_sent_nothing() -> None:
    async def main() -> None:
        async with opened() as made:
            with pytest.raises(Unsent):
                await made.send(Request("POST", URL("http://nobody.invalid/")))

    asyncio.run(main())


def test_a_connection_that_nobody_takes_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECT", 0.02)

    async def main() -> None:
        never = asyncio.Event()

        async def hang(*arguments: object, **options: object) -> Any:
            await never.wait()

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
        async with opened() as made:
            with pytest.raises(UnsentInTime):
                await made.send(Request("POST", URL("http://catalog/")))
            never.set()

    asyncio.run(main())


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"], ids=["nothing", "half a body"])
def test_silence_has_an_end(said: bytes) -> None:
    failed(Server(said), Silent, read=0.02)


def test_an_answer_that_is_encoded_unasked_makes_no_sense() -> None:
    body = gzip.compress(b"{}")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    failed(Server(head + body), Nonsense)


def test_no_more_connections_than_agreed_are_open_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECTIONS", 3)
    server = Server()

    async def main(made: Wire) -> list[Response]:
        return await asyncio.gather(*(made.send(Request("GET", server.url)) for _ in range(30)))

    assert [answer.status_code for answer in over(server, main)] == [200] * 30
    assert server.connections <= 3


def test_who_is_cancelled_leaves_its_turn_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECTIONS", 1)
    server = Server(b"")

    async def main(made: Wire) -> Response:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await made.send(Request("GET", server.url))
        server.said = OK
        return await made.send(Request("GET", server.url))

    assert over(server, main).status_code == 200
    assert server.connections == 2, "an answer that nobody waited for must not be taken for the next one"


def test_a_crowded_request_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECTIONS", 1)
    server = Server(b"")

    async def main(made: Wire) -> None:
        busy = asyncio.create_task(made.send(Request("GET", server.url)))
        while not server.heard:
            await asyncio.sleep(0)
        made._read = 0.02  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(Crowded):
            await made.send(Request("GET", server.url))
        busy.cancel()

    over(server, main)


def test_a_name_that_points_elsewhere_is_followed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is gone must not be tried for longer than a second."""
    moments, asked = [1000.0], list[str]()

    async def main() -> int:
        server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        loop = asyncio.get_running_loop()

        async def resolve(host: str, port: int, **options: object) -> list[Any]:
            asked.append(host)
            address = "127.0.0.1" if moments[0] > 1001 else "127.1.1.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        monkeypatch.setattr("aiohttp.connector.monotonic", lambda: moments[0])
        async with server.serving(), opened() as made:
            url = server.url.with_host("catalog")
            with pytest.raises(Unsent):
                await made.send(Request("GET", url))
            moments[0] += 1.001
            return (await made.send(Request("GET", url))).status_code

    assert asyncio.run(main()) == 200
    assert asked == ["catalog", "catalog"]


def test_certificates_are_read_only_for_calls_that_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ssl.SSLContext] = []
    monkeypatch.setattr(ssl, "create_default_context", lambda: made.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) or made[-1])

    async def main() -> None:
        for secure in (False, True):
            await Wire(read=1, secure=secure).aclose()

    asyncio.run(main())
    assert (len(made), made[0].verify_mode, made[0].check_hostname) == (1, ssl.CERT_REQUIRED, True)


UNREAD = """
import gc, os, ssl
import chassis.wire
kept = [context.cert_store_stats() for context in gc.get_objects() if isinstance(context, ssl.SSLContext)]
assert kept and not any(stats["x509"] for stats in kept), kept
assert os.environ["SSL_CERT_FILE"] == ssl.get_default_verify_paths().openssl_cafile and "SSL_CERT_DIR" not in os.environ
"""


def test_an_import_alone_reads_no_certificates() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SSL_CERT_DIR"}
    environment["SSL_CERT_FILE"] = ssl.get_default_verify_paths().openssl_cafile
    subprocess.run([sys.executable, "-c", UNREAD], env=environment, check=True)
