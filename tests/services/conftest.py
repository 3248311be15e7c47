"""What the tests of the services share: every service of the checkout, and one that runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from slipway import settings
from tests.services.running import Running, running

SERVICES = settings.load().services


@pytest.fixture(scope="session", params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """Each service of this checkout, in turn."""
    return request.param


@pytest.fixture(scope="session")
def stores(service: str) -> Mapping[str, str]:
    """The variables that tell the service where its real stores are.

    A service that keeps state gets its PostgreSQL or Valkey here, started for the session; catalog keeps none.
    """
    return {}


@pytest.fixture(scope="session")
def dev(service: str, stores: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """The service, as it runs in dev, for tests that leave it as they found it."""
    with running(service, tmp_path_factory.mktemp(service), stores=stores) as process:
        yield process


@pytest.fixture(scope="session")
def prod(service: str, stores: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """The service, as it runs in prod."""
    with running(service, tmp_path_factory.mktemp(f"{service}-prod"), environment="prod", stores=stores) as process:
        yield process


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place for a process of the test's own."""
    return tmp_path
