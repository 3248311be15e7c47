"""A Prometheus with what it scraped of three services: real HTTP, and nothing computed that a test does not say."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from slipway.prometheus import Prometheus

Points = list[tuple[float, float]]

BEGAN, ENDED, GAP = 1_800_000_000.0, 1_800_000_060.0, 5.0
SERVICES = ("cart", "orders", "storefront")

_WINDOW = re.compile(r"^(\w+)\{(.*)\}\[([0-9]+)ms\]$", re.DOTALL)


def ticks(begin: float = BEGAN - 60, end: float = ENDED + 10) -> list[float]:
    """When a target is scraped."""
    return [begin + GAP * index for index in range(int((end - begin) / GAP) + 1)]


def steady(rate: float, begin: float = BEGAN - 60, end: float = ENDED + 10) -> Points:
    """A counter that grows evenly while the test runs, and not before or after."""
    return [(at, 7.0 + rate * (min(max(at, BEGAN), ENDED) - BEGAN)) for at in ticks(begin, end)]


class Scraped(ThreadingHTTPServer):
    """What was scraped, by the metric's name.

    Attributes:
        raw: The samples of each metric, with their labels.
        courses: What a query over time gives, by a word in it: a value for each service.
        silent: Services of which every query over time says nothing.
        refuses: Words; a query that has one is answered with an error.
        stamps: When each service's pods were last scraped.
        node: When the node's account of each container was, pod by pod.
        began: When it was started itself; None when it does not tell.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        pods = [{"service": service, "pod": f"{service}-{number}"} for service in SERVICES for number in (1, 2)]
        inside = [{"container": pod["service"], "pod": pod["pod"]} for pod in pods]
        flat: Points = [(at, 0.0) for at in ticks()]
        self.raw: dict[str, list[tuple[Mapping[str, str], Points]]] = {
            "up": [(pod, [(at, 1.0) for at in ticks()]) for pod in pods],
            "process_cpu_seconds_total": [(pod, steady(0.25)) for pod in pods],
            "kube_pod_container_status_restarts_total": [(one, flat) for one in inside],
            "http_requests_total": [({**pod, "status": "200"}, steady(4.0)) for pod in pods],
            "upstream_requests_total": [(pod, steady(1.0)) for pod in pods if pod["service"] == "storefront"],
        }
        self.silent: set[str] = set()
        self.refuses: set[str] = set()
        self.stamps: dict[str, float] = dict.fromkeys(SERVICES, 4e9)
        self.node: list[tuple[str, float]] = []
        self.began: float | None = BEGAN - 3600
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Scraped)
        parts = urlsplit(self.path)
        if parts.path == "/api/v1/status/runtimeinfo":
            began = server.began and {"startTime": datetime.fromtimestamp(server.began, UTC).isoformat()}
            self._say(200, {"status": "success", "data": began or {}})
            return
        told = {name: values[0] for name, values in parse_qs(parts.query).items()}
        query = told["query"]
        server.asked.append(query)
        refused = any(word in query for word in server.refuses)
        body = {"status": "error", "error": "no"} if refused else {"status": "success", "data": {"result": _result(server, told)}}
        self._say(422 if refused else 200, body)

    def _say(self, status: int, body: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _result(server: Scraped, told: Mapping[str, str]) -> list[Any]:
    query = told["query"]
    if query.startswith("timestamp(container"):
        return [{"metric": {"container": name}, "value": [0, str(at)]} for name, at in server.node]
    if query.startswith("timestamp("):
        return [{"metric": {"service": name}, "value": [0, str(at)]} for name, at in server.stamps.items()]
    if "start" in told:
        times = [float(told["start"]), float(told["end"])]
        loud = [name for name in SERVICES if name not in server.silent]
        return [{"metric": {"service": name}, "values": [[at, "0.5"] for at in times]} for name in loud]
    found = _WINDOW.match(query)
    assert found, query
    name, labels, window = found.groups()
    end = float(told["time"])
    return [
        {"metric": labelled, "values": [[at, str(value)] for at, value in points if end - int(window) / 1000 < at <= end]}
        for labelled, points in server.raw.get(name, [])
        if _answered(labels, labelled)
    ]


def _answered(selector: str, labelled: Mapping[str, str]) -> bool:
    """Whether a selector that asks for errors, or for questions with an answer or without one, is about these labels."""
    if 'status=~"5.."' in selector and not labelled.get("status", "").startswith("5"):
        return False
    answered = labelled.get("result", "2xx").endswith("xx")
    return ('result=~"[1-5]xx"' not in selector or answered) and ('result!~"[1-5]xx"' not in selector or not answered)


@contextmanager
def scraped() -> Generator[tuple[Scraped, Prometheus]]:
    """The Prometheus, and a client of it."""
    with Scraped() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server, Prometheus(f"http://prometheus.localhost:{server.server_port}", timeout=10)
        finally:
            server.shutdown()
            thread.join()
