"""Whether what lies behind the gateway answers, asked anew each time."""

from __future__ import annotations

import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from slipway import gateway
from slipway.waiting import Pending, Ready


class Door(ThreadingHTTPServer):
    """A server that keeps connections, as the gateway does, and counts them."""

    status = 200
    connections = 0

    def get_request(self) -> tuple[object, object]:  # type: ignore[override] - what it returns is passed on unread
        self.connections += 1
        return super().get_request()


class Handler(BaseHTTPRequestHandler):
    """Answers everything with the door's status."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Door)
        self.send_response(self.server.status if (self.headers["Host"], self.path) == ("git.localhost", "/healthz") else 421)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def door() -> Generator[Door]:
    with Door(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_each_look_makes_a_connection_of_its_own(door: Door) -> None:
    for _ in range(3):
        assert isinstance(gateway.answers(door.server_port, "git.localhost"), Ready)
    assert door.connections == 3


def test_another_answer_is_told_and_waited_out(door: Door) -> None:
    door.status = 502
    assert gateway.answers(door.server_port, "git.localhost") == Pending("it answers 502")


def test_no_answer_is_waited_out() -> None:
    with Door(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    seen = gateway.answers(port, "git.localhost")
    assert isinstance(seen, Pending)
    assert f"port {port} does not answer" in seen.why
