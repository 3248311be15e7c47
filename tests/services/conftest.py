"""What the tests of the services share: every service of the checkout, what it needs, and one that runs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from slipway import settings
from tests.services.running import Running, Surroundings, running
from tests.services.stores import Stores, real_stores
from tests.services.surroundings import Neighbourhood

SERVICES = settings.load().services


@pytest.fixture(scope="session")
def stores() -> Generator[Stores]:
    """The real stores of this run; each starts when it is first needed."""
    with real_stores(settings.load()) as found:
        yield found


@pytest.fixture(scope="session")
def neighbourhood(stores: Stores) -> Generator[Neighbourhood]:
    """Makes surroundings: fresh databases, and the services that are called, for as long as the session lasts."""
    with Neighbourhood(stores, SERVICES) as found:
        yield found


@pytest.fixture(scope="session", params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """Each service of this checkout, in turn."""
    return request.param


@pytest.fixture(scope="session")
def surroundings(service: str, neighbourhood: Neighbourhood) -> Surroundings:
    """What the service needs to run, made once for it."""
    return neighbourhood.surroundings(service)


@pytest.fixture(scope="session")
def dev(service: str, surroundings: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """The service, as it runs in dev, for tests that leave it as they found it."""
    with running(service, tmp_path_factory.mktemp(service), surroundings) as process:
        yield process


@pytest.fixture(scope="session")
def prod(service: str, neighbourhood: Neighbourhood, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """The service, as it runs in prod."""
    made = neighbourhood.surroundings(service, "prod")
    with running(service, tmp_path_factory.mktemp(f"{service}-prod"), made, environment="prod") as process:
        yield process


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place for a process of the test's own."""
    return tmp_path
