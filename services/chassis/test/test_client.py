from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx2
import pytest

from chassis import context
from chassis.client import client


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replaces the waits between attempts by a list of their seconds."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("chassis.client.asyncio.sleep", wait)
    return waits


class Server:
    """Answers each request with the next of its outcomes."""

    def __init__(self, outcomes: Sequence[int | type[httpx2.TransportError]]) -> None:
        self.outcomes, self.requests = list(outcomes), list[httpx2.Request]()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, int):
            return httpx2.Response(outcome)
        raise outcome("no luck")


def call(server: Server, method: str = "GET", headers: dict[str, str] | None = None) -> int:
    async def main() -> int:
        async with client("http://catalog", transport=httpx2.MockTransport(server)) as caller:
            return (await caller.request(method, "/products", headers=headers)).status_code

    return asyncio.run(main())


@pytest.mark.parametrize("first", [502, 503, 504, httpx2.ConnectError, httpx2.ReadTimeout, httpx2.RemoteProtocolError])
def test_what_may_be_sent_again_is_sent_again(first: int | type[httpx2.TransportError]) -> None:
    server = Server([first, 200])
    assert (call(server), len(server.requests)) == (200, 2)


@pytest.mark.parametrize("status", [200, 404, 409, 429, 500, 501])
def test_an_answer_that_would_not_change_is_taken(status: int) -> None:
    server = Server([status])
    assert (call(server), len(server.requests)) == (status, 1)


def test_it_gives_up_after_three_attempts_with_the_last_answer() -> None:
    server = Server([503, 503, 502])
    assert (call(server), len(server.requests)) == (502, 3)


def test_it_gives_up_after_three_attempts_with_the_last_error() -> None:
    server = Server([503, 503, httpx2.ConnectError])
    with pytest.raises(httpx2.ConnectError):
        call(server)
    assert len(server.requests) == 3


@pytest.mark.parametrize("first", [503, httpx2.ReadTimeout])
def test_an_order_that_may_have_arrived_is_not_sent_again(first: int | type[httpx2.TransportError]) -> None:
    server = Server([first, 200])
    if isinstance(first, int):
        assert call(server, "POST") == first
    else:
        with pytest.raises(first):
            call(server, "POST")
    assert len(server.requests) == 1


def test_an_order_that_never_left_is_sent_again() -> None:
    assert call(Server([httpx2.ConnectError, 201]), "POST") == 201


def test_an_order_with_a_key_is_sent_again_with_the_same_key() -> None:
    server = Server([httpx2.ReadTimeout, 201])
    assert call(server, "POST", {"Idempotency-Key": "k1"}) == 201
    assert [request.headers["Idempotency-Key"] for request in server.requests] == ["k1", "k1"]


def test_the_waits_grow_and_stay_short(no_waiting: list[float]) -> None:
    call(Server([503, 503, 200]))
    first, second = no_waiting
    assert 0.025 <= first <= 0.05 <= second <= 0.1


def test_the_request_id_goes_along() -> None:
    server = Server([200, 200])

    async def main() -> None:
        async with client("http://catalog", transport=httpx2.MockTransport(server)) as caller:
            context.enter(b"order-7")
            await caller.get("/products")

    asyncio.run(main())
    call(server)
    assert [request.headers.get("X-Request-ID") for request in server.requests] == ["order-7", None]


def test_no_attempt_waits_for_ever() -> None:
    timeout = client("http://catalog").timeout
    assert (timeout.connect, timeout.read, timeout.write, timeout.pool) == (0.5, 2.0, 2.0, 2.0)
