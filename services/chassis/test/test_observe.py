from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable

import pytest
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.testclient import TestClient

from chassis import Config, Identity, Problem, Service, logs, request_id
from chassis.test.conftest import Make

Ask = Callable[[Service[Config]], TestClient]


def test_an_unexpected_error_is_a_problem_that_hides_its_cause(make: Make, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    service = make()

    @service.app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the secret cause")

    answer = ask(service).get("/broken")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text
    assert "the secret cause" in caplog.text
    assert 'route="/broken",status="500"} 1.0' in service.metrics.text().decode()


def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(make: Make) -> None:
    service = make()

    async def half() -> AsyncGenerator[bytes]:
        yield b"half"
        raise RuntimeError("no more")

    @service.app.get("/half")
    async def get_half() -> StreamingResponse:
        return StreamingResponse(half())

    with pytest.raises(RuntimeError):
        TestClient(service.asgi).get("/half")


def test_code_under_a_request_knows_its_id(make: Make, ask: Ask) -> None:
    service = make()

    @service.app.get("/id")
    async def get_id() -> str:
        return request_id()

    assert ask(service).get("/id", headers={"X-Request-ID": "abc"}).json() == "abc"
    assert request_id() == ""


@pytest.mark.parametrize("meant", ["catalog.dev", "sample.qa", "sample", ""])
def test_what_is_meant_for_somebody_else_is_not_done_and_its_connection_is_left(make: Make, ask: Ask, meant: str) -> None:
    service, done = make("dev"), list[str]()

    @service.app.post("/work")
    async def work() -> None:
        done.append("work")

    answer = ask(service).post("/work", headers={"Meant-For": meant})
    assert (answer.status_code, answer.headers["connection"]) == (421, "close")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert done == []
    assert 'status="421"' in service.metrics.text().decode()


def test_what_is_meant_for_this_one_or_does_not_say_is_done(make: Make, ask: Ask) -> None:
    client = ask(make("dev"))
    for headers in ({"Meant-For": "sample.dev"}, {}):
        answer = client.get("/version", headers=headers)
        assert answer.status_code == 200
        assert "connection" not in answer.headers


def test_nothing_is_in_flight_after_an_error(make: Make, ask: Ask) -> None:
    service = make()

    @service.app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    ask(service).get("/broken")
    assert "http_requests_in_flight 0.0" in service.metrics.text().decode()


def test_a_made_up_method_does_not_become_a_label(make: Make, ask: Ask) -> None:
    service = make()
    ask(service).request("BREW", "/version")
    text = service.metrics.text().decode()
    assert "BREW" not in text
    assert 'method="OTHER"' in text


def test_a_body_is_refused_by_the_length_it_has_not_the_one_it_claims(make: Make, ask: Ask) -> None:
    service = make(max_body_bytes=10)

    @service.app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    client = ask(service)
    assert client.post("/length", content=b"x" * 10).json() == 10
    assert client.post("/length", content=b"x" * 11).status_code == 413
    assert client.post("/length", content=iter([b"x" * 6, b"x" * 6])).status_code == 413
    assert client.post("/length", content=b"x" * 11, headers={"Content-Length": "5"}).status_code == 413


def test_a_reason_may_repeat_what_no_encoding_can_hold(make: Make, ask: Ask) -> None:
    service = make()

    @service.app.post("/colours")
    async def paint(colours: dict[str, int]) -> None:
        raise Problem(400, f"there is no colour {next(iter(colours))}")

    answer = ask(service).post("/colours", content=r'{"\ud800": 1}', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (400, "there is no colour \ud800")


def test_the_parts_that_do_not_fit_are_named_briefly(make: Make, ask: Ask) -> None:
    body = json.dumps({"faults": [{"y" * 1000: 1}], "z" * 1000: 2})
    answer = ask(make()).put("/admin/faults", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert max(len(error["where"]) for error in answer.json()["errors"]) < 200


def test_a_log_line_is_one_line_whatever_it_tells() -> None:
    record = logging.LogRecord("shop", logging.WARNING, __file__, 1, "two\nlines\u2028\ud800", (), None)
    record.fields = {"order": "7\n8"}
    line = logs.JsonFormatter(Identity("sample", "dev", "1.0.0")).format(record)
    assert len(line.splitlines()) == 1
    read = json.loads(line)
    assert (read["message"], read["order"], read["level"]) == ("two\nlines\u2028\ud800", "7\n8", "warning")
    assert (read["service"], read["environment"], read["version"], read["logger"]) == ("sample", "dev", "1.0.0", "shop")


@pytest.mark.parametrize(("level", "lines"), [("debug", 2), ("info", 1), ("warning", 0)])
def test_the_level_decides_which_requests_are_told(
    make: Make, ask: Ask, capsys: pytest.CaptureFixture[str], level: str, lines: int
) -> None:
    client = ask(make(log_level=level))
    client.get("/version")
    client.get("/healthz")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["route"] for line in told] == ["/version", "/healthz"][:lines]


def test_a_request_line_is_one_line_whatever_the_path_holds(make: Make, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    ask(make()).get('/%0a%22%e2%80%a8{"level": "info"}')
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["path"] == '/\n"\u2028{"level": "info"}'


def test_a_probe_that_fails_is_told(make: Make, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    service = make()
    service.lifecycle.draining = True
    ask(service).get("/readyz")
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["route"], json.loads(line)["status"]) == ("/readyz", 503)


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/nope", 404), ("/broken", 500)])
def test_headers_of_the_service_are_on_every_answer(path: str, status: int) -> None:
    headers = {"Content-Security-Policy": "default-src 'none'"}
    service = Service(Config(), Identity("sample", "dev"), description="A sample.", headers=headers)

    @service.app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    answer = TestClient(service.asgi, raise_server_exceptions=False).get(path)
    assert (answer.status_code, answer.headers["content-security-policy"]) == (status, "default-src 'none'")
