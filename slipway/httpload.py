"""A small load generator for HTTP: kept-alive connections, one request at a time on each, and hardly any parsing.

It stands alone, with nothing but the standard library, so that it can be handed to any Python (`python -c`). It reads one load
as JSON from its first argument and prints what came of it.
"""

from __future__ import annotations

import json
import math
import selectors
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

# In the path, in headers and in the body these twelve letters become a number that no other request of the load has.
NUMBER = "NNNNNNNNNNNN"

# Seconds without any answer after which a load is given up.
SILENCE = 5.0

_READ = 65536


@dataclass(frozen=True)
class Load:
    """What to send.

    Attributes:
        host: Where to.
        expect: The status of a good answer.
        connections: How many requests may be under way.
        seconds: For how long.
        rate: Requests a second, evenly spaced, whether answers come or not (an open load); 0 sends the next one when an
            answer came (a closed load).
        first: The first number.
    """

    host: str
    port: int
    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: str = ""
    expect: int = 200
    connections: int = 8
    seconds: float = 2.0
    rate: float = 0.0
    first: int = 0

    @property
    def request(self) -> bytes:
        """The bytes of every request, before its number is filled in."""
        body = self.body.encode()
        headers = {"Host": self.host, **self.headers, **({"Content-Length": str(len(body))} if body else {})}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + body


@dataclass(frozen=True)
class Result:
    """What came of a load.

    Attributes:
        answers: How many good answers came.
        errors: How often each other thing happened.
        seconds: How long it took, to the last answer.
        p50: Seconds within which half the answers came; in an open load from when the request was due.
        p99: The same for 99 of 100.
        bytes: Size of the last answer's body.
        busy: The share of a core that the generator itself used: near 1, it and not the server set the pace.
    """

    answers: int
    errors: Mapping[str, int]
    seconds: float
    p50: float
    p99: float
    bytes: int
    busy: float


class Broken(Exception):
    """A connection that cannot be used any more; the message says why."""


class Connection:
    """One kept-alive connection, with at most one request under way."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=SILENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._seen = b""

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at a moment."""
        self.due, self._seen = due, b""
        self.socket.sendall(request)

    def read(self) -> tuple[int, int] | None:
        """Status and size of the answer, once it is whole.

        Raises:
            Broken: It never will be, or none may follow it.
        """
        piece = self.socket.recv(_READ)
        if not piece:
            raise Broken("the connection was closed")
        self._seen += piece
        head, found, rest = self._seen.partition(b"\r\n\r\n")
        if not found:
            return None
        told = head.lower()
        if not told.startswith(b"http/1.1 ") or not head[9:12].isdigit():
            raise Broken("an answer that is not HTTP")
        status = int(head[9:12])
        if b"\r\nconnection: close" in told:
            raise Broken(f"status {status} and no more on this connection")
        _, length, value = told.partition(b"\r\ncontent-length:")
        if not length and status not in (204, 304):
            raise Broken("an answer without a length")
        size = int(value.split(b"\r\n", 1)[0]) if length else 0
        return (status, size) if len(rest) >= size else None


def run(load: Load) -> Result:
    """What came of a load; it ends by itself.

    Raises:
        OSError: The server cannot be reached.
    """
    # By select(), whose time-outs are exact; others round up to a millisecond.
    with selectors.SelectSelector() as selector:
        drive = _Drive(load, selector)
        try:
            return drive.run()
        finally:
            for key in list(selector.get_map().values()):
                key.data.socket.close()


class _Drive:
    def __init__(self, load: Load, selector: selectors.SelectSelector) -> None:
        self._load, self._selector = load, selector
        self._request, self._number = load.request, NUMBER.encode()
        self._idle = deque[Connection]()
        self._latencies: list[float] = []
        self._errors: Counter[str] = Counter()
        self._sent = self._size = 0
        self._total = math.ceil(load.rate * load.seconds)
        for _ in range(load.connections):
            self._connect()

    def run(self) -> Result:
        used, started = time.process_time(), time.perf_counter()
        ended = heard = started
        while True:
            now = time.perf_counter()
            over = self._over(now - started)
            wait = 0.1 if over else self._send(started, now)
            under_way = len(self._selector.get_map()) - len(self._idle)
            if over and not under_way:
                break
            if under_way and now - heard > SILENCE:
                self._errors[f"no answer within {SILENCE:g} s"] += under_way
                break
            ready = self._selector.select(min(wait, 0.1))
            for key, _ in ready:
                self._take(key.data, reconnect=not over)
            if ready or not under_way:
                heard = time.perf_counter()
            if ready:
                ended = heard
        if missed := max(0, self._total - self._sent):
            self._errors["due and never sent"] += missed
        busy = (time.process_time() - used) / max(time.perf_counter() - started, 1e-9)
        found = sorted(self._latencies)
        wall = max(ended - started, 1e-9)
        return Result(len(found), dict(self._errors), wall, _share(found, 0.5), _share(found, 0.99), self._size, busy)

    def _over(self, elapsed: float) -> bool:
        """Whether nothing more is to be sent; what was due in time is sent late rather than forgotten, or no stall would show."""
        if not self._total:
            return elapsed >= self._load.seconds
        return self._sent >= self._total or elapsed >= self._load.seconds + SILENCE

    def _connect(self) -> None:
        connection = Connection(self._load.host, self._load.port)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._idle.append(connection)

    def _send(self, started: float, now: float) -> float:
        """Send what is due; seconds until more is, as far as that is known."""
        while self._idle and (not self._total or self._sent < self._total):
            due = started + self._sent / self._load.rate if self._load.rate else now
            if due > now:
                return due - now
            request = self._request.replace(self._number, b"%012d" % (self._load.first + self._sent))
            connection = self._idle.popleft()
            self._sent += 1
            try:
                connection.send(request, due)
            except OSError as error:  # closed since its last answer
                self._lose(connection, error, reconnect=True)
        return 1.0

    def _lose(self, connection: Connection, error: Exception, *, reconnect: bool) -> None:
        self._errors[str(error)] += 1
        self._selector.unregister(connection.socket)
        connection.socket.close()
        if connection in self._idle:
            self._idle.remove(connection)
        if reconnect:
            self._connect()

    def _take(self, connection: Connection, *, reconnect: bool) -> None:
        try:
            answer = connection.read()
        except (Broken, OSError) as error:
            self._lose(connection, error, reconnect=reconnect)
            return
        if answer is None:
            return
        status, self._size = answer
        if status == self._load.expect:
            self._latencies.append(time.perf_counter() - connection.due)
        else:
            self._errors[f"status {status}"] += 1
        self._idle.append(connection)


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


if __name__ == "__main__":
    print(json.dumps(asdict(run(Load(**json.loads(sys.argv[1]))))))
