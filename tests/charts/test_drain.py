"""A pod is given as long to go away as its service takes: SIGKILL must find nothing under way."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from slipway import settings
from tests.charts.rendering import CHARTS, merged, only, render

SERVICES = settings.ROOT / "services"
ENVIRONMENTS = tuple(settings.load().environments)

# Seconds for what comes after the last request: closing stores and connections, writing the last lines.
LEAVING = 2

# What chassis gives a service that is told nothing; the test of the defaults reads them there, and in the chart.
DRAIN_SECONDS, FINISH_SECONDS = 5, 10


def told(service: str, kind: str, environment: str) -> dict[str, Any]:
    name = {"envs": f"{environment}.yaml", "helm": f"{environment}-values.yaml"}[kind]
    return yaml.safe_load((SERVICES / service / kind / name).read_text()) or {}


def takes(config: dict[str, Any]) -> float:
    """Seconds that a service with this configuration may take from SIGTERM to its end."""
    return config.get("drain_seconds", DRAIN_SECONDS) + config.get("finish_seconds", FINISH_SECONDS) + LEAVING


def test_the_defaults_are_those_of_the_services_and_of_the_chart() -> None:
    source = (SERVICES / "chassis" / "config.py").read_text()
    assert f"drain_seconds: float = Field(\n        default={DRAIN_SECONDS}," in source
    assert f"finish_seconds: int = Field(default={FINISH_SECONDS}," in source
    chart = (CHARTS / "microservice" / "templates" / "_helpers.tpl").read_text()
    assert f'dig "drain_seconds" {DRAIN_SECONDS} ' in chart
    assert f'dig "finish_seconds" {FINISH_SECONDS} ' in chart


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("service", settings.load().services)
def test_a_pod_is_not_killed_while_it_drains(service: str, environment: str) -> None:
    defaults = yaml.safe_load((CHARTS / "microservice" / "values.yaml").read_text())
    values = merged(defaults, told(service, "helm", environment))
    identity = {"service": service, "environment": environment, "image": {"repository": "r", "digest": f"sha256:{'0' * 64}"}}
    objects = render("microservice", merged(values, {**identity, "version": "1.0.0", "commit": "c"}))
    given = only(objects, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert given - values["drain"]["seconds"] >= takes(told(service, "envs", environment))


def test_a_service_that_takes_longer_than_its_pod_is_given_would_be_found() -> None:
    given = yaml.safe_load((CHARTS / "microservice" / "values.yaml").read_text())["drain"]["timeout"]
    assert takes({}) <= given
    assert takes({"finish_seconds": given}) > given
