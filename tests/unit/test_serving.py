"""The little server, and values that are looked up only while somebody looks."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from slipway.errors import UsageError
from slipway.serving import Reply, Shared, serving
from slipway.waiting import Pending, Ready, wait_for

TIMEOUT = 10.0


def answer(path: str) -> Reply | None:
    if path == "broken":
        raise ValueError("the secret reason")
    return Reply(f"<p>this is {path}</p>", headers={"Data-Age": "1.5"}) if path in ("", "main") else None


@pytest.fixture
def port() -> Generator[int]:
    with serving(answer, port=48090, fixed=False) as url:
        yield int(url.rpartition(":")[2])


def ask(port: int, path: str, *, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        return reply, reply.read().decode()
    finally:
        connection.close()


def test_a_page_is_answered_with_its_headers(port: int) -> None:
    reply, body = ask(port, "/main?x=1")
    assert (reply.status, body) == (200, "<p>this is main</p>")
    assert (reply.headers["Data-Age"], reply.headers["Content-Type"]) == ("1.5", "text/html; charset=utf-8")
    assert (reply.headers["X-Content-Type-Options"], reply.headers["X-Frame-Options"]) == ("nosniff", "DENY")
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_what_the_asker_knows_already_is_not_sent_again_and_its_age_is(port: int) -> None:
    first, _ = ask(port, "/main")
    again, body = ask(port, "/main", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status, body, again.headers["Data-Age"]) == (304, "", "1.5")
    other, _ = ask(port, "/", **{"If-None-Match": first.headers["ETag"]})
    assert other.status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:48090", "board.localhost:1", "LOCALHOST"])
def test_the_machines_own_names_are_served(port: int, host: str) -> None:
    assert ask(port, "/", Host=host)[0].status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:48090", "127.0.0.1.evil.example", "localhost.evil.example", "", "[::1"]
)
def test_a_foreign_name_that_leads_here_is_refused(port: int, host: str) -> None:
    reply, body = ask(port, "/", Host=host)
    assert reply.status == 421
    assert "this is" not in body


def test_other_paths_and_methods_are_refused(port: int) -> None:
    assert ask(port, "/etc/passwd")[0].status == 404
    assert ask(port, "/../main")[0].status == 404
    assert ask(port, "/", method="POST")[0].status == 501


def test_head_has_no_body(port: int) -> None:
    reply, body = ask(port, "/", method="HEAD")
    assert (reply.status, body, reply.headers["Content-Length"]) == (200, "", str(len("<p>this is </p>")))


def test_a_page_that_cannot_be_made_says_so_without_the_reason_and_the_next_is_served(port: int) -> None:
    reply, body = ask(port, "/broken")
    assert reply.status == 500
    assert "secret" not in body
    assert ask(port, "/")[0].status == 200


def test_it_listens_on_loopback_alone(port: int) -> None:
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=TIMEOUT):
        pass


def test_a_fixed_port_that_is_taken_is_refused_and_another_is_found_otherwise(port: int) -> None:
    with pytest.raises(UsageError, match=f"port {port} is taken"), serving(answer, port=port, fixed=True):
        pass
    with serving(answer, port=port, fixed=False) as url:
        assert url != f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("wrong", [-1, 65536])
def test_what_is_no_port_is_refused(wrong: int) -> None:
    with pytest.raises(UsageError, match=f"{wrong} is no port"), serving(answer, port=wrong, fixed=True):
        pass


def test_it_ends_while_a_browser_holds_a_connection() -> None:
    with serving(answer, port=48090, fixed=False) as url:
        held = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=TIMEOUT)
    held.close()


class Look:
    """A look that counts, fails and hangs as it is told."""

    def __init__(self) -> None:
        self.count, self.failure, self.free = 0, "", threading.Event()
        self.free.set()

    def __call__(self) -> int:
        self.count += 1
        assert self.free.wait(TIMEOUT)
        if self.failure:
            raise RuntimeError(self.failure)
        return self.count


class Clock:
    """A clock that moves when it is told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def until(what: str, *, shared: Shared[int], value: int = 0, failure: str | None = None) -> None:
    """Return once what is shared is at least `value`, or has that failure."""

    def probe() -> Ready[None] | Pending:
        seen = shared.get()
        well = (seen.failure == failure) if failure is not None else bool(seen.value and seen.value >= value)
        return Ready(None) if well else Pending(str(seen))

    wait_for(what, probe, timeout=TIMEOUT)


def test_many_who_look_share_one_look() -> None:
    look = Look()
    shared = Shared(look, every=3600)
    with ThreadPoolExecutor(10) as pool:
        values = {seen.value for seen in pool.map(lambda _: shared.get(), range(30))}
    shared.close()
    assert (values, look.count) == ({1}, 1)


def test_it_looks_again_and_again_while_somebody_looks() -> None:
    look = Look()
    shared = Shared(look, every=0.01)
    until("a third look", shared=shared, value=3)
    shared.close()


def test_nobody_looks_nothing_is_looked_up_and_who_comes_back_gets_a_fresh_look() -> None:
    look, clock = Look(), Clock()
    shared = Shared(look, every=0.01, idle=5, clock=clock)
    assert shared.get().value
    clock.now += 60
    wait_for("the end of looking", lambda: Pending("it goes on") if looking() else Ready(None), timeout=TIMEOUT)
    count = look.count
    fresh = shared.get()
    assert (fresh.value or 0) > count
    assert fresh.age == 0.0
    shared.close()


def looking() -> bool:
    return any(thread.name.endswith("(_run)") for thread in threading.enumerate())


def test_a_failed_look_is_told_beside_what_was_known_and_passes() -> None:
    look = Look()
    shared = Shared(look, every=0.01)
    assert shared.get().value
    look.failure = "the cluster is gone\nwith details"
    until("the failure", shared=shared, failure="the cluster is gone")
    known = shared.get().value
    assert known
    look.failure = ""
    until("the next look", shared=shared, value=known + 1)
    assert shared.get().failure == ""
    shared.close()


def test_a_look_that_hangs_holds_nobody_up_and_what_is_known_grows_old() -> None:
    look, clock = Look(), Clock()
    shared = Shared(look, every=0.01, idle=3600, patience=0.05, clock=clock)
    assert shared.get().value
    look.free.clear()
    clock.now += 42
    hung = shared.get()
    assert hung.value
    assert (hung.age, hung.failure) == (42.0, "")
    look.free.set()
    shared.close()


def test_a_first_look_that_hangs_is_nothing_yet() -> None:
    look = Look()
    look.free.clear()
    shared = Shared(look, every=0.01, patience=0.05)
    assert shared.get().value is None
    assert shared.get().failure == ""
    shared.close()
    look.free.set()


def test_a_connection_that_a_browser_keeps_ends_with_the_server() -> None:
    with serving(answer, port=48090, fixed=False) as url:
        connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=TIMEOUT)
        connection.request("GET", "/main")
        assert connection.getresponse().read()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        connection.request("GET", "/main")
        connection.getresponse()
    connection.close()
