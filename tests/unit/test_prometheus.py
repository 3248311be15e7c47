"""What is read from Prometheus and Alertmanager, and what is made of answers that are none."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from slipway import measures, prometheus
from slipway.measures import Measured, Traffic, measure, place
from slipway.ports import free_port
from slipway.prometheus import Alertmanager, NoAnswer, Prometheus, matches
from tests.unit.boards import alert

LABELS = {"environment": "dev", "service": "catalog"}


class Door(ThreadingHTTPServer):
    """A gateway with what it answers by path, or by path and query; everything else is 404."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, str]] = {}
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.hosts: set[str] = set()

    def says(self, path: str, answer: Any, *, status: int = 200, query: str = "") -> None:
        self.answers[path + query] = (status, answer if isinstance(answer, str) else json.dumps(answer))

    def series(self, query: str, *values: tuple[dict[str, str], str]) -> None:
        result = [{"metric": labels, "value": [1.0, value]} for labels, value in values]
        self.says("/api/v1/query", {"status": "success", "data": {"resultType": "vector", "result": result}}, query=query)


class Handler(BaseHTTPRequestHandler):
    """Answers what the door was told."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Door)
        parts = urlsplit(self.path)
        asked = parse_qs(parts.query)
        self.server.asked.append((parts.path, asked))
        self.server.hosts.add(self.headers["Host"])
        known = self.server.answers
        status, body = known.get(parts.path + asked.get("query", [""])[0]) or known.get(parts.path) or (404, "nothing")
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def door() -> Generator[Door]:
    with Door() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def source(door: Door) -> Prometheus:
    return Prometheus(f"http://prometheus.localhost:{door.server_port}")


@pytest.fixture
def manager(door: Door) -> Alertmanager:
    return Alertmanager(f"http://alertmanager.localhost:{door.server_port}")


def test_what_was_scraped_is_asked_for_by_its_window_and_nothing_else_is_made_of_it(door: Door, source: Prometheus) -> None:
    result = [{"metric": LABELS, "values": [[98.5, "1"], [99.5, "NaN"], [100.5, "3"]]}]
    door.says("/api/v1/query", {"status": "success", "data": {"resultType": "matrix", "result": result}})
    [course] = source.samples('up{job="services"}', start=90.25, end=101.5)
    assert (course.labels, course.points) == (LABELS, ((98.5, 1.0), (100.5, 3.0)))
    assert door.asked == [("/api/v1/query", {"query": ['up{job="services"}[11250ms]'], "time": ["101.500"]})]


def test_a_name_below_localhost_is_looked_up_by_nobody(door: Door, source: Prometheus) -> None:
    door.series("up", (LABELS, "1"))
    assert [sample.value for sample in source.query("up")] == [1.0]
    assert door.hosts == {f"prometheus.localhost:{door.server_port}"}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
def test_what_is_no_number_is_no_sample(door: Door, source: Prometheus, value: str) -> None:
    door.series("x", (LABELS, value), ({}, "0.25"))
    assert [(sample.labels, sample.value) for sample in source.query("x")] == [({}, 0.25)]


def test_a_refused_expression_carries_prometheuss_reason(door: Door, source: Prometheus) -> None:
    door.says("/api/v1/query", {"status": "error", "error": "unclosed left parenthesis"}, status=400)
    with pytest.raises(NoAnswer, match="answers 400: unclosed left parenthesis"):
        source.query("x(")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (502, "<html>Bad Gateway</html>", "answers 502"),
        (200, "<html>somebody else</html>", "answers 200"),
        (200, '{"items": []}', "not Prometheus's"),
        (200, "[]", "not Prometheus's"),
    ],
)
def test_an_answer_of_somebody_else_is_no_answer(door: Door, source: Prometheus, status: int, body: str, said: str) -> None:
    door.says("/api/v1/query", body, status=status)
    with pytest.raises(NoAnswer, match=said):
        source.query("up")


def test_nobody_there_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="does not answer"):
        Prometheus(f"http://prometheus.localhost:{free_port(40000)}").query("up")


def test_it_tells_when_it_began_to_the_microsecond(door: Door, source: Prometheus) -> None:
    door.says("/api/v1/status/runtimeinfo", {"data": {"startTime": "2027-01-15T08:00:00.123456789Z"}})
    assert source.began() == pytest.approx(1_800_000_000.123456, abs=1e-6)


@pytest.mark.parametrize("told", [{}, [], {"startTime": None}, {"startTime": "yesterday"}])
def test_it_is_no_answer_that_does_not_tell_when_it_began(door: Door, source: Prometheus, told: Any) -> None:
    door.says("/api/v1/status/runtimeinfo", {"data": told})
    with pytest.raises(NoAnswer, match="does not tell when it began"):
        source.began()


def test_a_course_has_its_times_and_leaves_gaps_out(door: Door, source: Prometheus) -> None:
    result = [{"metric": LABELS, "values": [[30, "1"], [60, "NaN"], [90, "2.5"]]}]
    door.says("/api/v1/query_range", {"status": "success", "data": {"result": result}})
    (found,) = source.range("x", start=0, end=90, step=30)
    assert (found.labels, found.points) == (LABELS, ((30.0, 1.0), (90.0, 2.5)))
    assert door.asked == [("/api/v1/query_range", {"query": ["x"], "start": ["0.000"], "end": ["90.000"], "step": ["30"]})]


FIRING = {
    "labels": {"alertname": "ServiceDown", "severity": "critical", **LABELS},
    "annotations": {"summary": "It is down.", "description": "Look."},
    "state": "firing",
    "activeAt": "2026-05-17T12:00:00.123456789Z",
    "value": "1e+00",
}


def test_an_alert_that_only_may_fire_soon_is_left_out(door: Door, source: Prometheus) -> None:
    door.says("/api/v1/alerts", {"status": "success", "data": {"alerts": [FIRING, {**FIRING, "state": "pending"}]}})
    (found,) = source.alerts()
    assert (found.name, found.severity, found.labels, found.summary) == ("ServiceDown", "critical", LABELS, "It is down.")
    assert found.since == datetime(2026, 5, 17, 12, 0, 0, 123456, tzinfo=UTC)


def silenced(**labels: str) -> dict[str, Any]:
    return {
        "labels": {"cluster": "slipway", **labels},
        "status": {"state": "suppressed", "silencedBy": ["a1"], "inhibitedBy": []},
    }


def test_only_what_somebody_silenced_is_silenced(door: Door, manager: Alertmanager) -> None:
    inhibited = {
        "labels": {"alertname": "B", "severity": "critical"},
        "status": {"state": "suppressed", "silencedBy": [], "inhibitedBy": ["x"]},
    }
    door.says("/api/v2/alerts", [silenced(alertname="A", severity="critical"), inhibited])
    quiet = manager.silenced()
    assert matches(alert("A"), quiet)
    assert not matches(alert("B"), quiet)
    assert not matches(alert("A", service="catalog"), quiet)


def test_links_lead_to_pages_only_where_there_are_some(door: Door, source: Prometheus) -> None:
    assert not source.pages()
    door.says("/query", "it is starting", status=502)
    with pytest.raises(NoAnswer, match="answers 502"):  # which says nothing of its pages
        source.pages()
    door.says("/query", "<html>")
    assert source.pages()
    assert source.link('up{a="b c"}', pages=True).startswith(f"{source.url}/query?g0.expr=up%7Ba%3D%22b+c%22%7D&")
    assert source.link("up", pages=False) == f"{source.url}/api/v1/query?query=up"


# What the board makes of it.
@pytest.fixture
def world(door: Door) -> Door:
    door.says("/api/v1/query", {"status": "success", "data": {"result": []}})
    door.says("/api/v1/query_range", {"status": "success", "data": {"result": []}})
    door.says("/api/v1/alerts", {"status": "success", "data": {"alerts": []}})
    door.says("/api/v2/alerts", [])
    return door


def recorded(door: Door, **values: str) -> None:
    rules = {"rate": measures.RATE, "errors": measures.ERRORS, "p95": measures.P95}
    door.series(
        f'{{__name__=~"{"|".join(rules.values())}"}}',
        *(({"__name__": rules[name], **LABELS}, text) for name, text in values.items()),
    )


def now(source: Prometheus, manager: Alertmanager) -> Measured:
    return measure(source, manager, pages=False, now=1000.0)


def test_numbers_come_by_environment_and_service(world: Door, source: Prometheus, manager: Alertmanager) -> None:
    recorded(world, rate="12.5", errors="0.25", p95="0.04")
    world.series('max by (environment, service) (up{job="services", environment!=""})', (LABELS, "1"))
    world.series("60 * sum by (environment) (rate(orders_accepted_total[2m]))", ({"environment": "prod"}, "3"))
    end = 1000 // measures.STEP * measures.STEP
    points = [[end - measures.STEP, "1"], [end, "2"]]
    world.says("/api/v1/query_range", {"status": "success", "data": {"result": [{"metric": LABELS, "values": points}]}})
    seen = now(source, manager)
    found = seen.traffic["dev", "catalog"]
    assert (found.rate, found.errors, found.p95, found.read, found.begun) == (12.5, 0.25, 0.04, True, False)
    assert found.history[-3:] == (None, 1.0, 2.0)
    assert len(found.history) == measures.HISTORY // measures.STEP + 1
    assert (seen.orders, seen.trouble, seen.unheard) == ({"prod": 3.0}, "", "")


def test_a_service_that_is_read_but_idle_has_no_ratio_and_one_that_is_down_is_not_read(
    world: Door, source: Prometheus, manager: Alertmanager
) -> None:
    recorded(world, rate="0")
    world.series('max by (environment, service) (up{job="services", environment!=""})', (LABELS, "0"))
    assert now(source, manager).traffic == {("dev", "catalog"): Traffic(rate=0.0, read=False)}


def test_without_prometheus_there_are_no_numbers_and_the_reason_is_kept(
    world: Door, source: Prometheus, manager: Alertmanager
) -> None:
    recorded(world, rate="12.5")
    world.says("/api/v1/alerts", "<html>", status=503)
    seen = now(source, manager)
    assert (seen.traffic, seen.alerts) == ({}, ())
    assert "answers 503" in seen.trouble


def test_without_alertmanager_alerts_are_shown_and_it_is_said_that_nobody_hears_them(
    world: Door, source: Prometheus, manager: Alertmanager
) -> None:
    world.says("/api/v1/alerts", {"status": "success", "data": {"alerts": [FIRING]}})
    world.says("/api/v2/alerts", "<html>", status=503)
    seen = now(source, manager)
    assert [(found.name, found.silenced) for found in seen.alerts] == [("ServiceDown", False)]
    assert "answers 503" in seen.unheard


@pytest.mark.parametrize("label", ["namespace", "environment"])
def test_what_is_broken_in_local_is_nobodys_alert(world: Door, source: Prometheus, manager: Alertmanager, label: str) -> None:
    others = {**FIRING, "labels": {**LABELS, label: "local"}}
    world.says("/api/v1/alerts", {"status": "success", "data": {"alerts": [FIRING, others]}})
    assert [alert.labels for alert in now(source, manager).alerts] == [LABELS]


def test_the_worst_alerts_come_first_and_silenced_ones_last(world: Door, source: Prometheus, manager: Alertmanager) -> None:
    def firing(name: str, severity: str) -> dict[str, Any]:
        return {**FIRING, "labels": {"alertname": name, "severity": severity}}

    listed = [firing("Minor", "warning"), firing("Quiet", "critical"), firing("Major", "critical")]
    world.says("/api/v1/alerts", {"status": "success", "data": {"alerts": listed}})
    world.says("/api/v2/alerts", [silenced(alertname="Quiet", severity="critical")])
    assert [(found.name, found.silenced) for found in now(source, manager).alerts] == [
        *(("Major", False), ("Minor", False), ("Quiet", True))
    ]


KNOWN = [("dev", ""), ("prod", ""), ("dev", "cart"), ("dev", "cart-extra"), ("prod", "cart")]


@pytest.mark.parametrize(
    ("labels", "where"),
    [
        ({"environment": "prod", "service": "cart"}, ("prod", "cart")),
        ({"namespace": "dev", "service": "cart"}, ("dev", "cart")),
        ({"environment": "prod", "service": "unknown"}, ("prod", "")),
        ({"name": "cart-prod", "namespace": "argocd"}, ("prod", "cart")),
        ({"name": "cart-prod", "dest_namespace": "prod"}, ("prod", "cart")),
        ({"namespace": "dev", "pod": "cart-extra-5d7f-x2"}, ("dev", "cart-extra")),
        ({"namespace": "dev", "pod": "cart-5d7f-x2"}, ("dev", "cart")),
        ({"namespace": "dev", "pod": "stranger-1"}, ("dev", "")),
        ({"namespace": "monitoring", "pod": "cart-1"}, ("", "")),
        ({}, ("", "")),
    ],
)
def test_an_alert_belongs_to_what_its_labels_name(labels: dict[str, str], where: tuple[str, str]) -> None:
    assert place(prometheus.Alert("X", "warning", labels, "", "", datetime.now(UTC)), KNOWN) == where
