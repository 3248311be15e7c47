"""The catalog through ASGI: no socket, no process."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from starlette.testclient import TestClient

import main
from chassis import Identity

# A machine with much else to do is slow, not wrong.
settings.register_profile("patient", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture
def shop() -> Generator[TestClient]:
    """A client of a catalog that callers may keep answers of."""
    service = main.create(main.CatalogConfig(cache_seconds=60, notice="a notice", page_size=7), Identity("catalog", "qa"))
    with TestClient(service.asgi) as client:
        yield client
