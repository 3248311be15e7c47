"""The storefront through ASGI, over stand-ins that fail on demand, or over the real services that SLIPWAY_CONFIG names."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings
from starlette.testclient import TestClient

import main
from chassis import Identity, Service, client
from storefront.test.backstage import Backstage, Stage

# A machine with much else to do is slow, not wrong.
settings.register_profile(
    "patient",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("patient")

IDENTITY = Identity("storefront", "qa", "1.2.3", "0123456789abcdef0123", f"sha256:{'5' * 64}")

Shop = Service[main.StorefrontConfig]


# Made once, since a storefront is slow to make; each test puts stand-ins of its own behind it.
STAGE = Stage()


@pytest.fixture
def backstage() -> Backstage:
    """The three services behind the shop, as stand-ins."""
    STAGE.backstage = Backstage()
    return STAGE.backstage


@pytest.fixture(scope="session")
def made() -> Shop:
    """The storefront over whatever stands behind it in a test."""
    config = main.StorefrontConfig(notice="a <notice>", page_size=2, answer_seconds=1)
    return main.create(config, IDENTITY, transport=STAGE)


@pytest.fixture
def shop(made: Shop, backstage: Backstage, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A storefront over the stand-ins, with all retries it may have."""
    monkeypatch.setattr(client, "BACKOFF", 0.001)

    def granted(self: client.RetryBudget) -> bool:
        return True

    monkeypatch.setattr(client.RetryBudget, "spend", granted)
    return made


@pytest.fixture
def visitor(shop: Shop) -> TestClient:
    """A browser: it wants pages, keeps cookies, and shows where it is sent without going there."""
    return TestClient(shop.asgi, headers={"Accept": "text/html,*/*;q=0.8"}, follow_redirects=False)


@pytest.fixture
def program(shop: Shop) -> TestClient:
    """A caller of the JSON routes."""
    return TestClient(shop.asgi, follow_redirects=False)


@pytest.fixture
def numbers(shop: Shop) -> Callable[[str], float]:
    """Reads how far a sample of the metrics, by its name and labels, has gone since the test began."""

    def samples() -> dict[str, float]:
        lines = (line.rsplit(" ", 1) for line in shop.metrics.text().decode().splitlines() if not line.startswith("#"))
        return {sample: float(value) for sample, value in lines}

    before = samples()
    return lambda sample: samples()[sample] - before.get(sample, 0)


@pytest.fixture
def real() -> Shop:
    """A storefront over the real catalog, cart and orders."""
    told = os.environ.get("SLIPWAY_CONFIG")
    config: dict[str, Any] = yaml.safe_load(Path(told).read_text()) if told else {}
    if not {"catalog_url", "cart_url", "orders_url"} <= set(config):
        pytest.skip("SLIPWAY_CONFIG names no real services; ./invoke test.services starts them")
    # They answer none but their own environment.
    identity = dataclasses.replace(IDENTITY, environment=os.environ["SLIPWAY_ENVIRONMENT"])
    return main.create(main.StorefrontConfig.model_validate(config), identity)
