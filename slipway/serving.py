"""Pages for this machine's own browsers: a small server on 127.0.0.1, and values looked up while somebody looks at them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from slipway.errors import UsageError
from slipway.ports import LOOPBACK, free, free_port

T = TypeVar("T")

log = logging.getLogger(__name__)

# Seconds that a connection may be silent; a browser opens some in advance and never uses them.
_SILENCE = 30


@dataclass(frozen=True)
class Seen(Generic[T]):
    """What is known now.

    Attributes:
        value: What the last look found; None before the first one has ended.
        age: Seconds since then; 0 before.
        failure: Why the look after it failed, or empty.
    """

    value: T | None
    age: float
    failure: str


class Shared(Generic[T]):
    """A value that one background thread looks up for all who want it, and only while somebody does.

    Args:
        look: Looks once. What it raises is kept as the failure; the next look comes all the same.
        every: Seconds from the end of a look to the next.
        idle: Seconds after which, unless somebody asks again, looking stops.
        patience: Seconds that an asker waits for a first or a fresh look, before being given what there is.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        look: Callable[[], T],
        *,
        every: float = 2.0,
        idle: float = 15.0,
        patience: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look, self._every, self._idle, self._patience, self._clock = look, every, idle, patience, clock
        self._changed = threading.Condition()
        self._value: T | None = None
        self._failure, self._at, self._wanted, self._looks, self._closed = "", 0.0, 0.0, 0, False
        self._thread: threading.Thread | None = None

    def get(self) -> Seen[T]:
        """What is known; after a pause, or at first, what a fresh look finds, when it ends in time."""
        with self._changed:
            self._wanted = self._clock()
            if self._thread is None and not self._closed:  # nobody wanted it lately: what is known is old
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
                before = self._looks
                self._changed.wait_for(lambda: self._looks > before or self._closed, self._patience)
            elif self._value is None and not self._failure:
                self._changed.wait_for(lambda: self._looks or self._closed, self._patience)
            age = self._clock() - self._at if self._value is not None else 0.0
            return Seen(self._value, age, self._failure)

    def close(self) -> None:
        """Look no more; a look that is under way is not waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            value, failure, began = None, "", self._clock()
            try:
                value = self._look()
            except Exception as error:  # whatever it is, whoever looks at the page must read it there
                log.debug("a look failed", exc_info=True)
                failure = (str(error) or type(error).__name__).splitlines()[0]
            with self._changed:
                if value is not None:
                    self._value, self._at = value, began
                self._failure = failure
                self._looks += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed, self._every)
                if self._closed or self._clock() - self._wanted > self._idle:
                    self._thread = None
                    return


@dataclass(frozen=True)
class Reply:
    """What a path answers."""

    body: str
    kind: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    status: HTTPStatus = HTTPStatus.OK


# Told the path without its leading slash; None means that nothing lives there.
Answer = Callable[[str], "Reply | None"]

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@contextlib.contextmanager
def serving(answer: Answer, *, port: int, fixed: bool) -> Generator[str]:
    """The URL of a server on 127.0.0.1 that runs as long as this block.

    Args:
        answer: Called from several threads.
        port: Where it should listen.
        fixed: Nowhere else, even when that port is taken.

    Raises:
        UsageError: The port is fixed and taken, or none at all.
    """
    if fixed and not 0 < port < 65536:
        raise UsageError(f"{port} is no port. Name one from 1 to 65535, or none: then a free one is found.")
    if fixed and not free(port):
        raise UsageError(f"port {port} is taken. Name another one, or none: then a free one is found.")
    server = _Server((LOOPBACK, port if fixed else free_port(port)), _Handler)
    server.answer = answer
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        server.hang_up()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a browser may hold its connection for ever
    answer: Answer

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open = set[socket.socket]()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End every connection: one that a browser keeps would be answered for as long as the process lives."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # it ended by itself meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep what went wrong with one connection off the terminal: mostly a browser that left."""
        log.debug("a request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "slipway", ""
    timeout = _SILENCE

    def do_GET(self) -> None:
        """Answer with a page."""
        assert isinstance(self.server, _Server)  # noqa: S101 - made by it alone
        # A name that somebody made to resolve to 127.0.0.1 would let any web site read what is served here.
        if not _own_name(self.headers.get("Host", "")):
            self._send(HTTPStatus.MISDIRECTED_REQUEST, Reply("This server has another name.\n", "text/plain"))
            return
        try:
            reply = self.server.answer(urlsplit(self.path).path.lstrip("/"))
        except Exception:
            log.exception("%s was not answered", self.path)
            problem = Reply("This could not be answered; what was wrong stands in the terminal.\n", "text/plain")
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, problem)
            return
        if reply is None:
            self._send(HTTPStatus.NOT_FOUND, Reply("There is no such page.\n", "text/plain"))
        else:
            tag = f'"{hashlib.sha256(reply.body.encode()).hexdigest()[:32]}"'
            known = self.headers.get("If-None-Match") == tag
            self._send(HTTPStatus.NOT_MODIFIED if known else reply.status, reply, tag=tag)

    do_HEAD = do_GET

    def _send(self, status: HTTPStatus, reply: Reply, *, tag: str = "") -> None:
        body = b"" if status is HTTPStatus.NOT_MODIFIED else reply.body.encode()
        self.send_response(status)
        for name, value in {**_HEADERS, **reply.headers, **({"ETag": tag} if tag else {})}.items():
            self.send_header(name, value)
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep requests off the terminal."""
        log.debug(format, *args)


def _own_name(host: str) -> bool:
    name = host.partition(":")[0].lower()
    return name in (LOOPBACK, "localhost") or name.endswith(".localhost")
