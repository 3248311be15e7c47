"""Limits of load tests: read from the checkout's file, and refused with the line where something is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slipway.errors import UsageError
from slipway.load import thresholds
from slipway.load.thresholds import Threshold
from slipway.settings import ROOT
from slipway.settings import load as settings

FILE = ROOT / thresholds.FILE
TEXT = FILE.read_text()
SETTINGS = settings()
SERVICES = thresholds.endpoints(ROOT, SETTINGS.services)
KNOWN = {"cart": {"GET /carts/{cart_id}"}, "orders": {"POST /orders", "GET /orders"}}

SMALL = """\
environments:
  any:
    whole: {errors: 0.01, delivered: 0.9}
    services:
      any: {p95: 0.5, restarts: 0}
      orders:
        p95: 0.4
        endpoints:
          POST /orders: {errors: 0}
  stage:
    whole: {delivered: 0.99}
    services:
      any: {p95: 0.2, saturated: 0.8}
      orders: {server p99: 1}
"""


def read(text: str, folder: Path, environment: str = "stage") -> dict[tuple[str, str, str], float]:
    (folder / "thresholds.yaml").write_text(text)
    found = thresholds.load(folder / "thresholds.yaml", environment, environments=["dev", "qa", "stage", "prod"], services=KNOWN)
    assert len({(one.service, one.endpoint, one.measure) for one in found}) == len(found)
    return {(one.service, one.endpoint, one.measure): one.limit for one in found}


def refused(text: str, folder: Path) -> tuple[int, str]:
    with pytest.raises(UsageError) as caught:
        read(text, folder)
    found = re.fullmatch(rf"{re.escape(str(folder))}/thresholds\.yaml:([0-9]+): (.+)\. Correct the line\.", str(caught.value))
    assert found, str(caught.value)
    return int(found[1]), found[2]


@pytest.mark.parametrize("environment", SETTINGS.environments)
def test_the_checkouts_own_limits_hold_for_every_environment_and_service(environment: str) -> None:
    found = thresholds.load(FILE, environment, environments=SETTINGS.environments, services=SERVICES)
    assert {one.service for one in found} == {"", *SETTINGS.services}
    for service in SETTINGS.services:
        mine = {one.measure for one in found if one.service == service and not one.endpoint}
        assert {"errors", "p95", "p99", "server errors", "restarts", "throttled", "saturated"} <= mine
    assert {one.measure for one in found if not one.service} == {"errors", "delivered"}


def test_the_services_histograms_have_an_edge_where_somebody_draws_a_line() -> None:
    """Between two edges a percentile is guessed: only at one of them it is known on which side it lies."""
    edges = re.search(r"^BUCKETS = \((.+)\)$", (ROOT / "services" / "chassis" / "metrics.py").read_text(), re.MULTILINE)
    alert = re.search(
        r"alert: LatencyHigh\n *expr: .+:p95_2m > (\S+) ", (ROOT / "charts/monitoring/rules/services.yaml").read_text()
    )
    assert edges
    assert alert
    limits = {
        (one.service, one.endpoint, one.measure): one.limit
        for environment in SETTINGS.environments
        for one in thresholds.load(FILE, environment, environments=SETTINGS.environments, services=SERVICES)
        if one.measure.startswith("server p")
    }
    assert limits
    known = {float(edge) for edge in edges[1].split(",")}
    assert {what: limit for what, limit in {**limits, "LatencyHigh": float(alert[1])}.items() if limit not in known} == {}


def test_endpoints_are_those_that_the_services_code_has() -> None:
    assert "POST /api/orders" in SERVICES["storefront"], "named over several lines"
    assert "PUT /carts/{cart_id}/lines/{product_id}" in SERVICES["cart"]
    assert SERVICES["orders"] == {"POST /orders", "GET /orders", "GET /orders/{order_id}"}


def test_a_services_own_limit_counts_before_that_of_any_and_an_environments_before_that_of_any(tmp_path: Path) -> None:
    assert read(SMALL, tmp_path) == {
        ("", "", "errors"): 0.01,
        ("", "", "delivered"): 0.99,
        ("cart", "", "p95"): 0.2,
        ("cart", "", "restarts"): 0,
        ("cart", "", "saturated"): 0.8,
        ("orders", "", "p95"): 0.4,
        ("orders", "", "restarts"): 0,
        ("orders", "", "saturated"): 0.8,
        ("orders", "", "server p99"): 1,
        ("orders", "POST /orders", "errors"): 0,
    }
    assert read(SMALL, tmp_path, "dev")["cart", "", "p95"] == 0.5


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        (
            "  stage:",
            "  staging:",
            10,
            "there is no environment 'staging'; there are any, dev, prod, qa, stage",
        ),
        (
            "      orders:\n        p95",
            "      order:\n        p95",
            6,
            "no service 'order'; there are any, cart, orders",
        ),
        ("POST /orders:", "PUT /orders:", 9, "orders has no endpoint 'PUT /orders'; there are GET /orders, POST /orders"),
        ("{p95: 0.5, restarts: 0}", "{p95: 0.5, p90: 0}", 5, "Additional properties are not allowed ('p90' was unexpected)"),
        (
            "{p95: 0.5, restarts: 0}",
            "{p95: '0.5', restarts: 0}",
            5,
            "any.services.any.p95: '0.5' is not of type 'number'",
        ),
        ("{p95: 0.5, restarts: 0}", "{p95: 0, restarts: 0}", 5, "services.any.p95: 0 is less than or equal to the minimum of 0"),
        ("restarts: 0}", "restarts: 0.5}", 5, "services.any.restarts: 0.5 is not of type 'integer'"),
        ("errors: 0.01", "errors: 1.5", 3, "whole.errors: 1.5 is greater than the maximum of 1"),
        ("delivered: 0.99", "p95: 0.99", 11, "('p95' was unexpected)"),
        ("delivered: 0.99", "delivered: .nan", 11, "is no number that anything could be compared with"),
        ("        p95: 0.4", "        p95: 0.4\n        p95: 0.5", 8, "the key 'p95' stands here twice"),
        ("environments:", "environs:", 1, "'environments' is a required property"),
        ("  stage:", "  stage", 11, "this is no YAML"),
        ("{server p99: 1}", "{endpoints: {GET /orders: {restarts: 0}}}", 14, "('restarts' was unexpected)"),
        ("any: {p95: 0.2, saturated: 0.8}", "any: {endpoints: {GET /orders: {p95: 1}}}", 13, "endpoints belong to one service"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(old: str, new: str, line: int, reason: str, tmp_path: Path) -> None:
    assert old in SMALL
    at, said = refused(SMALL.replace(old, new, 1) if old != "  stage:" else SMALL.replace(old, new), tmp_path)
    assert reason in said
    assert at == line


def test_a_file_that_is_not_there_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml cannot be read"):
        thresholds.load(tmp_path / "nowhere.yaml", "stage", environments=["stage"], services=KNOWN)
    assert refused("", tmp_path)[0] == 1
    assert refused("- a\n", tmp_path)[0] == 1


def test_a_limit_says_what_it_is_about_and_what_it_allows() -> None:
    slow = Threshold("cart", "GET /carts/{cart_id}", "p95", 0.25)
    assert (slow.about, slow.allowed) == ("cart GET /carts/{cart_id} p95", "<= 0.25 s")
    assert [slow.holds(seen) for seen in (0.25, 0.2501)] == [True, False]
    served = Threshold("", "", "delivered", 0.99)
    assert (served.about, served.allowed) == ("delivered", ">= 0.99")
    assert [served.holds(seen) for seen in (0.99, 0.9899)] == [True, False]
    assert not any(limit.holds(float("nan")) for limit in (slow, served))
