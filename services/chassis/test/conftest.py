"""A service with nothing of its own, in any environment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from chassis import Config, Identity, Service

Make = Callable[..., Service[Config]]


@pytest.fixture
def make() -> Make:
    """Makes a service; takes its environment and the keys of its configuration."""

    def make(environment: str = "dev", **config: object) -> Service[Config]:
        return Service(Config.model_validate(config), Identity("sample", environment), description="A sample.")

    return make


@pytest.fixture
def ask() -> Callable[[Service[Config]], TestClient]:
    """Makes a client of a service, through ASGI; an error of the service is an answer, not an exception."""
    return lambda service: TestClient(service.asgi, raise_server_exceptions=False)
