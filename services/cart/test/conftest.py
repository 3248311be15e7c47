"""The cart through ASGI, on the Valkey that VALKEY_URL names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Generator
from typing import Any, cast

import pytest
import valkey
from hypothesis import HealthCheck, settings
from starlette.testclient import TestClient

import main
from chassis import Identity

# A machine with much else to do is slow, not wrong.
settings.register_profile("patient", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def url() -> str:
    """The real Valkey's."""
    found = os.environ.get(main.VALKEY_URL)
    if not found:
        pytest.fail(f"{main.VALKEY_URL} is not set; these tests need a real Valkey. `./invoke test.services` starts one.")
    return found


@pytest.fixture(scope="session")
def ttl() -> int:
    """Seconds that a cart is kept after its last change."""
    return 3600


@pytest.fixture
def store(url: str) -> Generator[Any]:
    """Valkey itself, to look at what the service keeps there."""
    with cast("Any", valkey.Valkey).from_url(url, decode_responses=True) as client:
        yield client


@pytest.fixture
def serve(ttl: int) -> Generator[Callable[[str], TestClient]]:
    """Makes a client of a cart service, by the URL of its store."""
    clients: list[TestClient] = []

    def make(url: str) -> TestClient:
        config = main.CartConfig(cart_ttl_seconds=ttl)
        service = main.create(config, Identity("cart", "qa"), environ={main.VALKEY_URL: url})
        clients.append(TestClient(service.asgi, raise_server_exceptions=False).__enter__())
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__()


@pytest.fixture
def client(serve: Callable[[str], TestClient], url: str) -> TestClient:
    """A client of a cart service on the real Valkey."""
    return serve(url)


@pytest.fixture
def cart() -> str:
    """The id of a cart that nobody has used."""
    return uuid.uuid4().hex
