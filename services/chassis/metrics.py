"""The numbers every service counts, in a registry of its own so that two services in one process never mix."""

from __future__ import annotations

from functools import cached_property

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from chassis.identity import Identity

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Seconds. Fine where a healthy answer lies, wide enough to see a time-out.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# What a service answers when it is at fault, or somebody whom it asks.
FAILURES = (500, 502, 503, 504)

# The route of a request that no route took: its path is the caller's invention, and must not become a label.
UNMATCHED = "unmatched"


class CallMetrics:
    """Counts calls to other services."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "upstream_requests",
            "Calls to other services, by how they ended: 2xx to 5xx, timeout, unreachable or error.",
            ("upstream", "method", "result"),
            registry=registry,
        )
        self._seconds = Histogram(
            "upstream_request_duration_seconds",
            "Time of a call to another service, with all its attempts.",
            ("upstream",),
            buckets=BUCKETS,
            registry=registry,
        )
        self._retries = Counter("upstream_retries", "Attempts after the first one.", ("upstream",), registry=registry)

    def observe(self, *, upstream: str, method: str, result: str, seconds: float) -> None:
        """Count one call."""
        self._requests.labels(upstream, method, result).inc()
        self._seconds.labels(upstream).observe(seconds)

    def retried(self, *, upstream: str) -> None:
        """Count one attempt after the first."""
        self._retries.labels(upstream).inc()


class Metrics:
    """Counts requests; a service adds its own counters to `registry`."""

    def __init__(self, identity: Identity) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter("http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry)
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("http_requests_in_flight", "Requests being answered now.", registry=self.registry)
        build = Gauge(
            "slipway_build_info",
            "1; the labels say what runs.",
            ("service", "environment", "version", "commit", "digest"),
            registry=self.registry,
        )
        build.labels(identity.service, identity.environment, identity.version, identity.commit, identity.digest).set(1)

    def show_failures(self, method: str, route: str) -> None:
        """Show from the start that no request to a route has failed: a counter that is not there yet hides its first step."""
        for status in FAILURES:
            self._requests.labels(method, route, str(status))

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        known = method if method in METHODS else "OTHER"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)

    @cached_property
    def calls(self) -> CallMetrics:
        """The numbers of calls to other services, for services that make any."""
        return CallMetrics(self.registry)

    def text(self) -> bytes:
        """Everything counted, in Prometheus's text format."""
        return generate_latest(self.registry)
