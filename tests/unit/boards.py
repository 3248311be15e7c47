"""Boards as the tests want them: what was seen, without a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from slipway import names
from slipway.measures import Key, Measured, Traffic
from slipway.overview import Board
from slipway.prometheus import Alert, Alertmanager, Prometheus
from slipway.status import Part, Service, Status

ENVIRONMENTS = ("dev", "qa", "stage", "prod")
SERVICES = ("cart", "catalog", "orders", "storefront")
STORES = ("postgresql", "valkey")
AT = datetime(2026, 5, 17, 12, 30, 15, tzinfo=UTC)

HISTORY = (None, None, 0.0, 2.5, 3.0, 6.5, 12.5, 12.0, 9.0, 12.5)


def service(name: str, environment: str, **changes: Any) -> Service:
    """A service or store that is well."""
    store = name in STORES
    well = Service(
        environment=environment,
        service=name,
        kind="store" if store else "service",
        version="18.1" if store else "0.1.0",
        digest="sha256:" + "d" * 64,
        commit="" if store else "c0ffee1234" + "0" * 30,
        sync="Synced",
        health="Healthy",
        ready=2,
        replicas=2,
        url="" if store else f"http://{name}.{environment}.localhost:8080",
        trouble="",
    )
    return dataclasses.replace(well, **changes)


def seen(*changed: Service, environments: Iterable[str] = ENVIRONMENTS, monitoring: bool = True, **changes: Any) -> Status:
    """An instance in which all is well, but for the services that were changed."""
    replaced = {(row.environment, row.service): row for row in changed}
    rows = [service(name, where) for where in environments for name in (*SERVICES, *STORES)]
    doors = [f"{names.FRONT}.{where}" for where in environments]
    parts = ["argocd", "git", *(["prometheus", "alertmanager"] if monitoring else [])]
    well = Status(
        instance="test",
        state="degraded" if any(row.trouble for row in changed) else "healthy",
        profile="full" if monitoring else "minimal",
        kubernetes="v1.36.3",
        node="test-control-plane (running)",
        kubeconfig="/nowhere/kubeconfig",
        urls={name: f"http://{name}.localhost:8080" for name in (*doors, *parts)},
        service_urls={f"{row.service}.{row.environment}": row.url for row in rows if row.url},
        platform=(Part("coredns", "kube-system", 2, 2, ""), Part("argocd-server", "argocd", 1, 1, "")),
        services=tuple(replaced.get((row.environment, row.service), row) for row in rows),
        trouble="",
    )
    return dataclasses.replace(well, **changes)


def alert(name: str = "ErrorRatioHigh", /, *, severity: str = "critical", silenced: bool = False, **labels: str) -> Alert:
    """An alert that fires since a minute ago."""
    return Alert(name, severity, labels, f"{name} it is.", "Look at it.", AT - timedelta(minutes=1), silenced)


BUSY = Traffic(rate=12.5, errors=0.0, p95=0.0382, read=True, history=HISTORY)
IDLE = Traffic(rate=0.0, read=True)


def measured(traffic: Mapping[Key, Traffic] | None = None, *alerts: Alert, **changes: Any) -> Measured:
    """What Prometheus says when every service is read and idle, but for those with traffic."""
    idle = {(where, name): IDLE for where in ENVIRONMENTS for name in SERVICES}
    prometheus = Prometheus("http://prometheus.localhost:8080")
    whole = Measured(
        traffic={**idle, **(traffic or {})},
        alerts=alerts,
        link=lambda expression: prometheus.link(expression, pages=False),
        told=Alertmanager("http://alertmanager.localhost:8080").link,
    )
    return dataclasses.replace(whole, **changes)


def board(status: Status | None = None, measures: Measured | None = None, *, at: datetime = AT) -> Board:
    """What was seen, at noon and half an hour."""
    status = status or seen()
    environments = tuple(dict.fromkeys(row.environment for row in status.services))
    known = bool(status.profile)
    return Board(at, status, measures, environments, SERVICES if known else (), STORES if known else ())


def minimal() -> Board:
    """An instance of profile minimal: one environment, no monitoring."""
    return board(seen(environments=("dev",), monitoring=False))


def troubled() -> Board:
    """An instance with a bit of everything."""
    newer = {"version": "0.2.0-rc.3", "digest": "sha256:" + "e" * 64, "commit": "badcab1e" + "0" * 32}
    newest = {"version": "0.3.0-dev.17", "digest": "sha256:" + "f" * 64, "commit": "5ca1ab1e" + "0" * 32}
    status = seen(
        service("catalog", "dev", **newest),
        service("catalog", "qa", **newest),
        service("catalog", "stage", **newer),
        service(
            "orders",
            "dev",
            **newest,
            ready=0,
            replicas=1,
            health="Degraded",
            trouble="container main: CrashLoopBackOff, last exit code 1",
        ),
        service("cart", "qa", **newer, ready=1, health="Progressing", trouble="1/2 ready, 1/2 available"),
        service("cart", "stage", sync="OutOfSync", trouble="Argo CD says OutOfSync, Healthy"),
        platform=(
            Part("coredns", "kube-system", 2, 2, ""),
            Part("argocd-server", "argocd", 0, 1, "container main: ImagePullBackOff"),
        ),
    )
    status = dataclasses.replace(
        status,
        services=tuple(row for row in status.services if (row.environment, row.service) != ("prod", "orders")),
        trouble="4 part(s) in trouble. `./invoke up` repairs what it can; docs/troubleshooting.md goes on from the symptom.",
    )
    traffic = {
        ("dev", "storefront"): BUSY,
        ("prod", "storefront"): dataclasses.replace(BUSY, rate=1234.5, errors=0.0004, p95=0.0007, history=HISTORY[::-1]),
        ("prod", "catalog"): dataclasses.replace(BUSY, rate=0.0042, errors=0.125, p95=2.45),
        ("qa", "catalog"): Traffic(rate=0.0, read=True, begun=True),
        ("stage", "catalog"): Traffic(read=False),
    }
    return board(
        status,
        measured(
            traffic,
            alert(environment="prod", service="catalog"),
            alert("ArgoCDSilent"),
            alert("PodRestarts", severity="warning", namespace="dev", environment="dev", pod="orders-5d7f-xk2"),
            alert("ApplicationOutOfSync", severity="warning", silenced=True, name="cart-stage"),
            alert("NamespaceFull", severity="warning", namespace="qa"),
            orders={"dev": 61.3, "prod": 0.0},
        ),
    )
