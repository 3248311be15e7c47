from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import pytest
from multidict import CIMultiDict

from chassis import Identity, context
from chassis.client import RetryBudget, Unavailable, Upstream
from chassis.context import time_limit
from chassis.metrics import Metrics
from chassis.wire import Crowded, Failure, Lost, Nonsense, Request, Response, Silent, Unsent, UnsentInTime

Outcome = int | type[Failure] | Response


class Server:
    """Answers each request with the next of its outcomes; the last one again and again. None is silence."""

    def __init__(self, *outcomes: Outcome | None) -> None:
        self.outcomes, self.requests = list(outcomes), list[Request]()
        self.closed = False

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if outcome is None:
            await asyncio.Event().wait()
        if isinstance(outcome, int):
            return Response(outcome)
        if isinstance(outcome, Response):
            return outcome
        assert outcome
        raise outcome("no luck")

    async def aclose(self) -> None:
        self.closed = True


def told_to_come_back(after: str) -> Response:
    return Response(503, headers=CIMultiDict({"retry-after": after}))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Identity("sample"))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replaces the waits between attempts by a list of their seconds."""
    seen: list[float] = []

    async def wait(seconds: float) -> None:
        seen.append(seconds)

    monkeypatch.setattr("chassis.client.asyncio.sleep", wait)
    return seen


def call(
    server: Server,
    metrics: Metrics,
    method: str = "GET",
    *,
    headers: Mapping[str, str] | None = None,
    seconds: float = 30,
    within: float = 30,
) -> int:
    async def main() -> int:
        with time_limit(within):
            async with Upstream(
                "catalog", "http://catalog", metrics, environment="dev", seconds=seconds, transport=server
            ) as upstream:
                return (await upstream.request(method, "/products", headers=headers)).status_code

    return asyncio.run(main())


def refused(server: Server, metrics: Metrics, method: str = "GET", *, headers: Mapping[str, str] | None = None) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        call(server, metrics, method, headers=headers)
    assert caught.value.service == "catalog"
    assert "catalog" in caught.value.detail
    return caught.value


TRANSIENT = [502, 503, 504, Unsent, UnsentInTime, Silent, Lost]


@pytest.mark.parametrize("first", TRANSIENT)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_may_be_sent_again_is_sent_again(metrics: Metrics, waits: list[float], first: Outcome, method: str) -> None:
    server = Server(first, 200)
    assert (call(server, metrics, method), len(server.requests)) == (200, 2)


@pytest.mark.parametrize("status", [200, 201, 304, 404, 409, 422, 429])
def test_an_answer_that_would_not_change_is_taken(metrics: Metrics, status: int) -> None:
    server = Server(status)
    assert (call(server, metrics), len(server.requests)) == (status, 1)


@pytest.mark.parametrize(("outcome", "status"), [(503, 503), (502, 503), (Unsent, 503), (Lost, 503)])
def test_it_gives_up_after_three_attempts(metrics: Metrics, waits: list[float], outcome: Outcome, status: int) -> None:
    server = Server(outcome)
    assert refused(server, metrics).status_code == status
    assert len(server.requests) == 3


@pytest.mark.parametrize("outcome", [500, 501, Nonsense])
def test_what_is_broken_is_not_asked_again_and_is_a_bad_gateway(metrics: Metrics, outcome: Outcome) -> None:
    server = Server(outcome)
    assert refused(server, metrics).status_code == HTTPStatus.BAD_GATEWAY
    assert len(server.requests) == 1


@pytest.mark.parametrize("first", [503, Silent, Lost])
def test_a_post_that_may_have_arrived_is_not_sent_again(metrics: Metrics, first: Outcome) -> None:
    server = Server(first, 201)
    assert refused(server, metrics, "POST").status_code == 503
    assert len(server.requests) == 1


@pytest.mark.parametrize("first", [Unsent, UnsentInTime])
def test_a_post_that_never_left_is_sent_again(metrics: Metrics, waits: list[float], first: Outcome) -> None:
    assert call(Server(first, 201), metrics, "POST") == 201


@pytest.mark.parametrize("first", TRANSIENT)
def test_a_post_with_a_key_is_sent_again_with_the_same_key(metrics: Metrics, waits: list[float], first: Outcome) -> None:
    server = Server(first, 201)
    assert call(server, metrics, "POST", headers={"Idempotency-Key": "k1"}) == 201
    assert [request.headers["Idempotency-Key"] for request in server.requests] == ["k1", "k1"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_reached_somebody_else_was_not_done_and_is_sent_again(metrics: Metrics, waits: list[float], method: str) -> None:
    server = Server(421, 201)
    assert (call(server, metrics, method), len(server.requests)) == (201, 2)
    assert {request.headers["Meant-For"] for request in server.requests} == {"catalog.dev"}


def test_what_reaches_somebody_else_again_and_again_is_away(metrics: Metrics, waits: list[float]) -> None:
    server = Server(421)
    assert refused(server, metrics, "POST").status_code == 503
    assert len(server.requests) == 3


def test_a_full_pool_is_not_made_fuller(metrics: Metrics) -> None:
    server = Server(Crowded)
    refused(server, metrics)
    assert len(server.requests) == 1


def test_the_waits_grow_and_stay_short(metrics: Metrics, waits: list[float]) -> None:
    call(Server(503, 503, 200), metrics)
    first, second = waits
    assert 0.025 <= first <= 0.05 <= second <= 0.1


def test_who_is_told_when_to_come_back_does_not_come_earlier(metrics: Metrics, waits: list[float]) -> None:
    assert call(Server(told_to_come_back("7"), 200), metrics) == 200
    assert waits == [7]


def test_who_is_told_to_come_back_too_late_says_so_at_once(metrics: Metrics, waits: list[float]) -> None:
    server = Server(told_to_come_back("31"))
    assert (refused(server, metrics).headers or {})["Retry-After"] == "31"
    assert (len(server.requests), waits) == (1, [])


@pytest.mark.parametrize("told", ["", "soon", "-1", "Wed, 21 Oct 2099 07:28:00 GMT", "9" * 5000, "²"])
def test_a_retry_after_that_is_no_number_counts_as_none(metrics: Metrics, waits: list[float], told: str) -> None:
    server = Server(told_to_come_back(told), 200)
    assert call(server, metrics) == 200
    assert waits[0] <= 0.05


def test_silence_ends_with_the_call_and_not_later(metrics: Metrics) -> None:
    with pytest.raises(Unavailable, match="does not answer in time"):
        call(Server(None), metrics, seconds=0.01)


def test_silence_ends_with_the_request_that_is_served(metrics: Metrics) -> None:
    with pytest.raises(Unavailable, match="does not answer in time"):
        call(Server(None), metrics, within=0.01)


def test_an_inner_limit_never_outlives_an_outer_one() -> None:
    with time_limit(0.0), time_limit(60):
        assert context.remaining() == 0
    assert context.remaining() == float("inf")


def test_callers_in_numbers_do_not_multiply_the_load(metrics: Metrics, waits: list[float]) -> None:
    server = Server(503)

    async def main() -> None:
        async with Upstream("catalog", "http://catalog", metrics, environment="dev", transport=server) as upstream:
            for _ in range(200):
                with pytest.raises(Unavailable):
                    await upstream.request("GET", "/")

    asyncio.run(main())
    # One each, the reserve of 20, and a retry for every fifth call.
    assert 200 + 20 <= len(server.requests) <= 200 + 20 + 40
    assert f'upstream_retries_total{{upstream="catalog"}} {len(server.requests) - 200}.0' in metrics.text().decode()


def test_a_request_carries_what_it_is_told_to(metrics: Metrics) -> None:
    server = Server(200)

    async def main() -> None:
        async with Upstream("catalog", "http://catalog/", metrics, environment="dev", transport=server) as upstream:
            await upstream.request("GET", "/search", params={"q": "rope & tar+å", "limit": 3})
            await upstream.request("PUT", "/carts/a%2Fb", json={"name": "Zoë"}, headers={"If-Match": "x"})

    asyncio.run(main())
    asked, put = server.requests
    assert (str(asked.url), asked.url.query["q"], asked.content) == (
        "http://catalog/search?q=rope+%26+tar%2B%C3%A5&limit=3",
        "rope & tar+å",
        None,
    )
    assert (str(put.url), json.loads(put.content or b"")) == ("http://catalog/carts/a%2Fb", {"name": "Zoë"})
    assert (put.headers["content-type"], put.headers["if-match"]) == ("application/json", "x")


def test_its_connections_are_closed_with_it(metrics: Metrics) -> None:
    server = Server(200)
    assert (call(server, metrics), server.closed) == (200, True)


def test_a_call_outside_of_its_life_says_what_is_wrong(metrics: Metrics) -> None:
    upstream = Upstream("catalog", "http://catalog", metrics, environment="dev")
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(upstream.request("GET", "/"))


def test_the_retries_come_back_once_things_go_well() -> None:
    budget = RetryBudget(share=0.5, reserve=1)
    assert [budget.spend(), budget.spend()] == [True, False]
    budget.earn()
    assert not budget.spend()
    budget.earn()
    assert budget.spend()


def test_the_request_id_goes_along(metrics: Metrics) -> None:
    server = Server(200)

    async def main() -> None:
        async with Upstream("catalog", "http://catalog", metrics, environment="dev", transport=server) as upstream:
            await upstream.request("GET", "/products")
            context.enter(b"order-7")
            await upstream.request("GET", "/products")

    asyncio.run(main())
    assert [request.headers.get("X-Request-ID") for request in server.requests] == [None, "order-7"]


@pytest.mark.parametrize(
    ("outcomes", "result"),
    [
        ([200], "2xx"),
        ([404], "4xx"),
        ([500], "5xx"),
        ([Silent], "timeout"),
        ([UnsentInTime], "timeout"),
        ([Unsent], "unreachable"),
        ([Lost], "unreachable"),
        ([Nonsense], "error"),
    ],
)
def test_calls_are_counted_by_how_they_ended(
    metrics: Metrics, waits: list[float], outcomes: Sequence[Outcome], result: str
) -> None:
    with contextlib.suppress(Unavailable):
        call(Server(*outcomes), metrics)
    text = metrics.text().decode()
    assert f'upstream_requests_total{{method="GET",result="{result}",upstream="catalog"}} 1.0' in text
    assert 'upstream_request_duration_seconds_count{upstream="catalog"} 1.0' in text


def test_a_service_that_calls_nobody_has_no_such_numbers(metrics: Metrics) -> None:
    assert "upstream" not in metrics.text().decode()


def test_a_failure_is_told_in_the_log_with_its_cause(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    refused(Server(Crowded), metrics)
    (record,) = (record for record in caplog.records if record.name == "chassis")
    assert record.fields == {"upstream": "catalog", "method": "GET", "path": "/products", "cause": "Crowded: no luck"}  # type: ignore[attr-defined]


class Draining:
    """A real server that keeps each connection for one answer, and then closes it as a draining one does, unannounced."""

    def __init__(self) -> None:
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        if self.connections % 2:  # one in two goes away in the middle of the next request
            await reader.read(1)
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("POST", {"Idempotency-Key": "k1"})])
def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing(
    metrics: Metrics, method: str, headers: dict[str, str]
) -> None:
    draining = Draining()

    async def main() -> list[int]:
        server = await asyncio.start_server(draining, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Upstream("catalog", f"http://127.0.0.1:{port}", metrics, environment="dev") as upstream:
            return [(await upstream.request(method, "/", headers=headers)).status_code for _ in range(10)]

    assert asyncio.run(main()) == [200] * 10
    assert draining.connections == 10
    assert int(re.findall(r'upstream_retries_total\{upstream="catalog"\} (\d+)', metrics.text().decode())[0]) >= 5


class Reassigned:
    """A place where the service answered once; since then its address is somebody else's, who knows by the header."""

    def __init__(self, *, says: str) -> None:
        self.says, self.connections = says, 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        answers = ["200 OK", self.says] if self.connections == 1 else ["200 OK"] * 3
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            closes = "Connection: close\r\n" if answer == self.says else ""
            writer.write(f"HTTP/1.1 {answer}\r\n{closes}Content-Length: 2\r\n\r\nok".encode())
            await writer.drain()
        writer.close()
        await writer.wait_closed()


def test_a_kept_connection_that_leads_to_somebody_else_is_left_for_another_one(metrics: Metrics) -> None:
    place = Reassigned(says="421 Misdirected Request")

    async def main() -> list[int]:
        server = await asyncio.start_server(place, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Upstream("catalog", f"http://127.0.0.1:{port}", metrics, environment="dev") as upstream:
            return [(await upstream.request("POST", "/")).status_code for _ in range(4)]

    assert asyncio.run(main()) == [200] * 4
    assert place.connections == 2
