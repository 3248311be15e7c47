"""The benchmark of services for real: it measures every service without an error, and leaves nothing, whatever ends it."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from slipway import bench_services, engine, shell
from slipway.bench_network import RUN
from slipway.bench_shop import BARE
from slipway.settings import ROOT, load
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e.test_lifecycle import HEEDING_INTERRUPTS

TIMEOUT = 900.0


def left() -> list[str]:
    """What the benchmark has in the engine now."""
    client = engine.connect(load()).client
    containers = [str(container.name) for container in client.containers.list(all=True) if str(container.name).startswith(RUN)]
    networks = [str(network.name) for network in client.networks.list(names=[RUN])]
    return containers + networks + [tag for image in client.images.list() for tag in image.tags if "/bench-" in tag]


def test_every_service_is_measured_without_an_error() -> None:
    result = shell.run([ROOT / "invoke", "bench.services", "--json"], cwd=ROOT, timeout=TIMEOUT)
    rows = json.loads(result.stdout)["rows"]
    assert {row["service"] for row in rows} == {BARE, *load().services}
    assert all(row["answers"] > 0 and row["per_core"] > 0 and not row["errors"] for row in rows)
    assert all(0 < row["p50"] <= row["p99"] for row in rows)
    for service in load().services:
        wanted = {route.name for route in bench_services.ROUTES.get(service, ())} or {"health", "front"}
        assert {row["route"] for row in rows if row["service"] == service} == wanted
    assert left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_it_is_ended_halfway(number: int) -> None:
    with subprocess.Popen([*HEEDING_INTERRUPTS, "bench.services"], cwd=ROOT, stderr=subprocess.PIPE) as process:

        def measuring() -> Ready[None] | Pending:
            there = left()
            return Ready(None) if f"{RUN}-{load().services[-1]}" in there else Pending(f"there is {there}")

        try:
            wait_for("the last service to be started", measuring, timeout=TIMEOUT)
        finally:
            process.send_signal(number)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode in (130, 143)
    assert left() == []
