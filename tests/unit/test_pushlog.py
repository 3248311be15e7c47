"""The push log, read from a server that keeps one."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from slipway import git, pushlog
from slipway.errors import WaitTimeout
from slipway.pushlog import PushLogError, Reader
from tests.unit.fakes import FakeClock

ONE = {
    "time": "2026-01-02T03:04:05Z",
    "user": "developer",
    "repository": "app",
    "reference": "refs/heads/feature/x",
    "before": git.ZERO,
    "after": "a" * 40,
    "options": {"deploy": "dev"},
}
TWO = {**ONE, "time": 1767323046.5, "user": "lead", "reference": "refs/tags/v1", "options": {}}


@dataclass
class Server:
    """Answers with the lines it has, or with a status."""

    lines: list[str] = field(default_factory=list[str])
    status: int = 0
    port: int = 0
    asked: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    connections: int = 0

    @property
    def remote(self) -> git.Remote:
        return git.Remote(f"http://git.localhost:{self.port}/app.git", "pipeline", "a password")


@pytest.fixture
def server() -> Generator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            made.connections += 1
            super().setup()

        def do_GET(self) -> None:
            made.asked.append((self.path, self.headers["Host"], self.headers["Authorization"]))
            body = "".join(f"{line}\n" for line in made.lines).encode()
            tag = f'"{len(body)}"'
            status = made.status or (304 if self.headers.get("If-None-Match") == tag else 200)
            self.send_response(status)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", "0" if status == 304 else str(len(body)))
            self.end_headers()
            if status != 304:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        made.port = httpd.server_port
        thread = threading.Thread(target=lambda: httpd.serve_forever(poll_interval=0.01), daemon=True)
        thread.start()
        yield made
        httpd.shutdown()
        thread.join()


def test_every_push_is_read_with_who_and_what(server: Server) -> None:
    server.lines = [json.dumps(ONE), json.dumps(TWO)]
    one, two = Reader(server.remote).read().pushes
    assert (one.user, one.branch, one.after, one.options, one.removed) == (
        "developer",
        "feature/x",
        "a" * 40,
        {"deploy": "dev"},
        False,
    )
    assert (one.time, two.time) == (1767323045.0, 1767323046.5)
    assert (two.user, two.branch) == ("lead", "")


def test_it_is_asked_for_as_the_user_under_the_servers_name(server: Server) -> None:
    Reader(server.remote).read()
    ((path, host, authorization),) = server.asked
    assert (path, host) == ("/app.git/pushes", "git.localhost")
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"pipeline:a password"


def test_nothing_is_sent_again_while_nobody_pushes(server: Server) -> None:
    server.lines = [json.dumps(ONE)]
    reader = Reader(server.remote)
    assert not reader.read().unchanged
    assert reader.read().unchanged
    server.lines.append(json.dumps(TWO))
    assert len(reader.read().pushes) == 2


def test_before_the_first_push_the_log_is_empty(server: Server) -> None:
    server.status = 404
    assert Reader(server.remote).read() == pushlog.Read()


def test_every_look_has_a_connection_of_its_own_which_leads_to_whoever_serves_now(server: Server) -> None:
    reader = Reader(server.remote)
    for _ in range(3):
        reader.read()
    assert server.connections == 3


def test_a_log_that_was_there_is_not_taken_for_one_that_nobody_has_begun(server: Server) -> None:
    reader = Reader(server.remote)
    reader.read()
    server.status = 404
    with pytest.raises(PushLogError, match="answers 404"):
        reader.read()


@pytest.mark.parametrize("status", [401, 502])
def test_a_refusal_is_said(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(PushLogError, match=f"answers {status}"):
        Reader(server.remote).read()


def test_a_server_that_is_away_is_said_and_asked_again(server: Server) -> None:
    away = git.Remote("http://git.localhost:9/app.git", "pipeline", "a password")
    with pytest.raises(PushLogError, match="does not answer"):
        Reader(away).read()


def test_a_line_that_is_not_whole_is_left_out() -> None:
    text = "\n".join([json.dumps(ONE), '{"time": "2026-01-', "nonsense", "{}", json.dumps(TWO)])
    assert [push.user for push in pushlog.parse(text)] == ["developer", "lead"]


def test_a_branch_that_was_removed_says_so() -> None:
    (push,) = pushlog.parse(json.dumps({**ONE, "after": git.ZERO}))
    assert push.removed


def test_whoever_has_access_reads_the_applications_log(server: Server) -> None:
    server.lines = [json.dumps(ONE)]
    asked: list[str] = []

    class Access:
        def remote(self, repository: str) -> git.Remote:
            asked.append(repository)
            return server.remote

    assert [push.user for push in pushlog.push_log(Access())] == ["developer"]
    assert asked == ["app"]


class Late(FakeClock):
    """A clock by which a server is back after some looks."""

    def __init__(self, server: Server, looks: int) -> None:
        super().__init__()
        self._server, self._looks = server, looks

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._looks -= 1
        if not self._looks:
            self._server.status = 0


class Anybody:
    """Who asks."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def remote(self, repository: str) -> git.Remote:
        return self._server.remote


def test_a_log_that_somebody_judges_by_is_waited_for_while_the_server_is_away(server: Server) -> None:
    server.lines, server.status = [json.dumps(ONE)], 503
    clock = Late(server, 70)
    assert [push.user for push in pushlog.push_log(Anybody(server), clock=clock)] == ["developer"]
    assert clock.time >= 60, "its pod has the time to come back"


def test_a_server_that_stays_away_is_given_up_with_what_it_said(server: Server) -> None:
    server.status = 503
    with pytest.raises(WaitTimeout, match=r"(?s)the Git server's push log: not within .*answers 503.*\./invoke status"):
        pushlog.push_log(Anybody(server), clock=FakeClock())


def test_a_refusal_is_not_waited_out(server: Server) -> None:
    server.status = 401
    clock = FakeClock()
    with pytest.raises(PushLogError, match="answers 401"):
        pushlog.push_log(Anybody(server), clock=clock)
    assert clock.slept == []
