"""What every service promises to whoever runs it; each service of the checkout must pass."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway import settings, waiting
from slipway.waiting import Pending, Ready
from tests.services.environments import SERVICES
from tests.services.running import COMMIT, DIGEST, VERSION, Answer, Running, Surroundings, starting

ENVIRONMENTS = tuple(settings.load().environments)
EXIT_CONFIG = 78
PLATFORM_ROUTES = {"/healthz", "/readyz", "/version", "/admin/faults"}


def requests_in(process: Running, identifier: str) -> list[dict[str, Any]]:
    return [line for line in process.log() if line.get("request_id") == identifier and line["message"] == "request"]


def told(process: Running, answer: Answer) -> dict[str, Any]:
    """The one log line of an answered request; it may come a moment after the answer."""

    def probe() -> Ready[dict[str, Any]] | Pending:
        lines = requests_in(process, answer.headers["x-request-id"])
        return Ready(lines[0]) if len(lines) == 1 else Pending(f"{len(lines)} lines")

    return waiting.wait_for("the request's line in the log", probe, timeout=5, tolerate=(ValueError,))


def is_problem(answer: Answer) -> bool:
    return (
        answer.headers["content-type"] == "application/problem+json"
        and answer.json["status"] == answer.status
        and bool(answer.json["detail"])
        and answer.json["request_id"] == answer.headers["x-request-id"]
    )


def test_it_says_that_it_is_alive_and_ready(dev: Running) -> None:
    assert [dev.ask(path).status for path in ("/healthz", "/readyz")] == [200, 200]


def test_it_says_what_runs_and_where(dev: Running) -> None:
    assert dev.ask("/version").json == {
        "service": dev.service,
        "environment": "dev",
        "version": VERSION,
        "commit": COMMIT,
        "digest": DIGEST,
    }


@pytest.mark.parametrize("meant", ["another.dev", "{service}.prod"])
def test_what_is_meant_for_another_service_or_environment_is_refused(dev: Running, meant: str) -> None:
    answer = dev.ask("/version", headers={"Meant-For": meant.format(service=dev.service)})
    assert (answer.status, answer.headers["connection"]) == (421, "close")
    assert is_problem(answer)
    assert dev.ask("/version", headers={"Meant-For": f"{dev.service}.dev"}).status == 200


def test_it_counts_requests_by_method_route_and_status(dev: Running) -> None:
    def count() -> float:
        text = dev.ask("/metrics").body.decode()
        found = re.search(r'^http_requests_total\{method="GET",route="/version",status="200"\} (\S+)$', text, re.MULTILINE)
        return float(found[1]) if found else 0

    before = count()
    dev.ask("/version")
    assert count() == before + 1


def test_its_metrics_have_the_agreed_names_and_labels(dev: Running) -> None:
    dev.ask("/version")
    answer = dev.ask("/metrics")
    text = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for bound in ("0.001", "0.05", "0.1", "0.5", "1.0", "10.0", "+Inf"):
        assert f'http_request_duration_seconds_bucket{{le="{bound}",method="GET",route="/version"}}' in text
    assert "\nhttp_requests_in_flight 1.0\n" in text
    assert re.search(rf'^slipway_build_info{{commit="{COMMIT}",.*service="{dev.service}",version="{VERSION}"}} 1.0$', text, re.M)


def test_a_made_up_path_does_not_become_a_label(dev: Running) -> None:
    dev.ask("/no/such/path-31337")
    text = dev.ask("/metrics").body.decode()
    assert "31337" not in text
    assert 'route="unmatched",status="404"' in text


def test_the_callers_request_id_is_echoed_and_stands_in_the_log(dev: Running) -> None:
    answer = dev.ask("/version", headers={"X-Request-ID": "order-7.of:12_a"})
    assert answer.headers["x-request-id"] == "order-7.of:12_a"
    line = told(dev, answer)
    assert {name: line[name] for name in ("level", "service", "environment", "method", "route", "status")} == {
        "level": "info",
        "service": dev.service,
        "environment": "dev",
        "method": "GET",
        "route": "/version",
        "status": 200,
    }
    assert line["duration_ms"] > 0


@pytest.mark.parametrize("offered", ["", "x" * 65, 'a"b', "a b", "caf\xe9", "a;b"])
def test_a_request_id_that_could_do_harm_is_replaced(dev: Running, offered: str) -> None:
    answer = dev.ask("/version", headers={"X-Request-ID": offered})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert told(dev, answer)["status"] == 200


def test_probes_and_scrapes_do_not_fill_the_log(prod: Running) -> None:
    answers = [prod.ask(path) for path in ("/healthz", "/readyz", "/metrics", "/version")]
    told(prod, answers[-1])
    assert [len(requests_in(prod, answer.headers["x-request-id"])) for answer in answers] == [0, 0, 0, 1]


def test_a_path_that_is_not_there_is_a_problem_with_a_reason(dev: Running) -> None:
    answer = dev.ask("/no-such-path")
    assert (answer.status, is_problem(answer)) == (404, True)
    assert "/openapi.json" in answer.json["detail"]


def test_a_method_that_is_not_allowed_is_a_problem_that_names_the_allowed(dev: Running) -> None:
    answer = dev.ask("/version", method="DELETE")
    assert (answer.status, answer.headers["allow"], is_problem(answer)) == (405, "GET", True)


def test_a_body_that_does_not_fit_is_a_problem_that_names_each_part(dev: Running) -> None:
    answer = dev.arm({"status": 200, "colour": "red"})
    assert (answer.status, is_problem(answer)) == (422, True)
    assert {error["where"] for error in answer.json["errors"]} == {"body.faults.0.status", "body.faults.0.colour"}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_refused_before_it_is_read(dev: Running, chunked: bool) -> None:
    body, headers = b" " * 70_000, {"Content-Type": "application/json"}
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    answer = dev.ask("/admin/faults", method="PUT", body=body, headers=headers)
    assert (answer.status, is_problem(answer)) == (413, True)


def test_what_may_be_got_may_be_asked_for_its_head(dev: Running) -> None:
    whole, head = dev.ask("/version"), dev.ask("/version", method="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", whole.headers["content-length"])


def test_its_openapi_document_is_whole(dev: Running) -> None:
    document = dev.ask("/openapi.json").json
    assert document["info"]["title"] == dev.service
    assert set(document["paths"]) > PLATFORM_ROUTES
    for reference in re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], f"{method} {path} does not say what it does"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_configuration_of_each_environment_is_accepted(
    service: str, surroundings: Surroundings, environment: str, folder: Path
) -> None:
    with starting(service, folder, surroundings, environment=environment) as process:

        def listening() -> Ready[None] | Pending | waiting.Failed:
            if process.exit_code() is not None:
                return waiting.Failed(process.output.read_text())
            return Ready(None) if any(line["message"] == "listening" for line in process.log()) else Pending("no such line yet")

        waiting.wait_for("the line that says it listens", listening, timeout=30, tolerate=(ValueError,))
        process.signal()
        assert process.ended() == 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"drain_seconds": -1}, "drain_seconds: Input should be greater than or equal to 0"),
        ({"faults": [{"status": 503}]}, "faults are refused in the environment 'prod'"),
    ],
)
def test_a_configuration_that_cannot_be_used_stops_it_with_a_reason(
    service: str, surroundings: Surroundings, folder: Path, config: Mapping[str, Any], said: str
) -> None:
    with starting(service, folder, surroundings, environment="prod", config=config) as process:
        assert process.ended() == EXIT_CONFIG
        (line,) = process.log()
    assert (line["level"], said in line["message"]) == ("critical", True), line["message"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_its_values_files_say_only_what_differs_from_the_chart(service: str, environment: str) -> None:
    defaults = yaml.safe_load((settings.ROOT / "charts" / "microservice" / "values.yaml").read_text())
    values = yaml.safe_load((SERVICES / service / "helm" / f"{environment}-values.yaml").read_text()) or {}
    assert set(values) <= set(defaults) - {"service", "environment", "tier", "image", "version", "commit", "config"}
    # One replica stands in each file all the same: it is the first thing one looks for there.
    assert [name for name, value in values.items() if value == defaults[name] and name != "replicas"] == []


def test_every_error_is_described(dev: Running) -> None:
    for path, operations in dev.ask("/openapi.json").json["paths"].items():
        for method, operation in operations.items():
            errors = {status: answer for status, answer in operation["responses"].items() if not status.startswith(("2", "3"))}
            assert "default" in errors, f"{method} {path} does not say what an error looks like"
            for status, answer in errors.items():
                assert "application/problem+json" in answer["content"], f"{method} {path} {status}"
