"""The load generator against a real server of this process that counts, errs, breaks off or falls silent."""

from __future__ import annotations

import contextlib
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from slipway import httpload
from slipway.httpload import NUMBER, Load

Answer = Callable[[bytes, bytes], bytes]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server(socketserver.ThreadingTCPServer):
    """Keeps every request that came, as head and body; answers one at a time with what it is given, in two pieces."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.answer, self.turn = answer, threading.Lock()
        self.requests: list[tuple[bytes, bytes]] = []
        self.connections = 0


class Talk(socketserver.StreamRequestHandler):
    server: Server  # type: ignore[reportIncompatibleVariableOverride]
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.server.connections += 1
        with contextlib.suppress(ConnectionError):
            while head := self._head():
                _, found, value = head.partition(b"Content-Length: ")
                body = self.rfile.read(int(value.split(b"\r\n")[0])) if found else b""
                with self.server.turn:
                    self.server.requests.append((head, body))
                    answer = self.server.answer(head, body)
                if not answer:
                    break
                for piece in (answer[:20], answer[20:]):  # no answer comes in one piece for certain
                    self.wfile.write(piece)

    def _head(self) -> bytes:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            lines.append(line)
        return b"".join(lines)


@contextlib.contextmanager
def serving(answer: Answer = lambda head, body: OK) -> Generator[tuple[Server, Load]]:
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server, Load("127.0.0.1", server.server_address[1], "/x", seconds=0.3, connections=3)
        finally:
            server.shutdown()
            thread.join()


def test_a_closed_load_counts_every_answer_and_keeps_its_connections() -> None:
    with serving() as (server, load):
        result = httpload.run(load)
    assert result.answers == len(server.requests) > 3
    assert (result.errors, result.bytes, server.connections) == ({}, 2, 3)
    assert 0 < result.p50 <= result.p99 < result.seconds


def test_an_open_load_sends_what_was_agreed_and_no_more() -> None:
    with serving() as (server, load):
        result = httpload.run(replace(load, rate=100, seconds=0.5))
    assert (result.answers, len(server.requests), result.errors) == (50, 50, {})


def test_an_open_load_counts_the_wait_for_a_free_connection() -> None:
    def slow(head: bytes, body: bytes) -> bytes:
        threading.Event().wait(0.05)  # nobody else is answered meanwhile
        return OK

    with serving(slow) as (_, load):
        result = httpload.run(replace(load, rate=100, seconds=0.3))
    # Thirty requests were due within 0.3 s, and one takes 0.05 s: the last waited for more than a second.
    assert (result.answers, result.errors) == (30, {})
    assert result.p99 > 1


def test_what_an_open_load_could_not_send_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpload, "SILENCE", 0.3)

    def slow(head: bytes, body: bytes) -> bytes:
        threading.Event().wait(0.1)
        return OK

    with serving(slow) as (server, load):
        result = httpload.run(replace(load, rate=100, seconds=0.3))
    assert result.errors == {"due and never sent": 30 - len(server.requests)}
    assert result.answers == len(server.requests) < 30


def test_every_request_has_a_number_of_its_own_in_path_headers_and_body() -> None:
    with serving() as (server, load):
        body = json.dumps({"n": NUMBER})
        httpload.run(replace(load, path=f"/{NUMBER}", headers={"Key": f"k-{NUMBER}"}, body=body, method="POST", first=7_000))
    numbers = [int(head.split(b" ")[1][1:]) for head, _ in server.requests]
    assert sorted(numbers) == list(range(7_000, 7_000 + len(numbers)))
    for number, (head, body) in zip(numbers, server.requests, strict=True):
        assert f"Key: k-{number:012d}\r\n".encode() in head
        assert json.loads(body) == {"n": f"{number:012d}"}


def test_another_status_is_an_error_and_no_answer() -> None:
    turns = iter(range(1_000_000))

    def flaky(head: bytes, body: bytes) -> bytes:
        return OK if next(turns) else b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"

    with serving(flaky) as (server, load):
        result = httpload.run(load)
    assert result.errors == {"status 503": 1}
    assert result.answers == len(server.requests) - 1


def test_a_broken_connection_is_an_error_and_the_load_goes_on() -> None:
    turns = iter(range(1_000_000))

    def flaky(head: bytes, body: bytes) -> bytes:
        return OK if next(turns) else b""

    with serving(flaky) as (server, load):
        result = httpload.run(load)
    assert result.errors == {"the connection was closed": 1}
    assert (server.connections, result.answers) == (4, len(server.requests) - 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "status 200 and no more on this connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "an answer without a length"),
        (b"SSH-2.0-x\r\n\r\n", "an answer that is not HTTP"),
    ],
)
def test_an_answer_that_it_cannot_count_on_is_an_error(answer: bytes, error: str) -> None:
    with serving(lambda head, body: answer) as (_, load):
        result = httpload.run(replace(load, seconds=0.05))
    assert result.answers == 0
    assert set(result.errors) == {error}


def test_an_empty_answer_by_status_needs_no_length() -> None:
    with serving(lambda head, body: b"HTTP/1.1 204 No Content\r\n\r\n") as (_, load):
        result = httpload.run(replace(load, expect=204))
    assert (result.errors, result.bytes) == ({}, 0)
    assert result.answers > 0


def test_a_server_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpload, "SILENCE", 0.3)
    with serving(lambda head, body: b"HTTP/1.1 200 OK\r\n") as (_, load):  # the rest never comes
        result = httpload.run(load)
    assert (result.answers, result.errors) == (0, {"no answer within 0.3 s": 3})


def test_a_server_that_is_not_there_is_an_error_of_the_caller() -> None:
    with serving() as (_, load):
        pass
    with pytest.raises(ConnectionRefusedError):
        httpload.run(load)


def test_it_stands_alone_as_a_text_for_any_python() -> None:
    with serving() as (server, load):
        given = json.dumps({"host": load.host, "port": load.port, "path": "/y", "seconds": 0.1, "connections": 1})
        code = Path(httpload.__file__).read_text()
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code, given], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["answers"] == len(server.requests) > 0
