from __future__ import annotations

import asyncio

import pytest
from starlette.testclient import TestClient

from chassis import lifecycle
from chassis.lifecycle import Lifecycle
from chassis.test.conftest import Make


async def well() -> None:
    return


async def broken() -> None:
    raise ConnectionRefusedError("store says no")


async def silent() -> None:
    await asyncio.Event().wait()


def unready(state: Lifecycle) -> dict[str, str]:
    return asyncio.run(state.unready())


def test_without_checks_it_is_ready() -> None:
    assert unready(Lifecycle()) == {}


def test_it_says_which_check_fails_and_why() -> None:
    state = Lifecycle()
    state.check("cache", well)
    state.check("store", broken)
    assert unready(state) == {"store": "ConnectionRefusedError: store says no"}


def test_a_check_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "CHECK_TIMEOUT", 0.01)
    state = Lifecycle()
    state.check("store", silent)
    assert unready(state) == {"store": "no answer within 0.01 s"}


def test_draining_is_a_reason_of_its_own() -> None:
    state = Lifecycle()
    state.draining = True
    assert set(unready(state)) == {"drain"}


def test_the_probe_tells_the_reasons(make: Make) -> None:
    service = make()
    service.lifecycle.check("store", broken)
    answer = TestClient(service.asgi).get("/readyz")
    assert (answer.status_code, answer.json()["detail"]) == (503, "store: ConnectionRefusedError: store says no")


def test_being_alive_asks_no_store(make: Make) -> None:
    service = make()
    service.lifecycle.check("store", broken)
    assert TestClient(service.asgi).get("/healthz").status_code == 200


def test_the_routes_of_every_service_are_tried_after_its_own(make: Make) -> None:
    service = make()

    @service.app.get("/products")
    async def products() -> str:
        return "all"

    with TestClient(service.asgi) as client:
        assert [getattr(route, "path", "") for route in service.app.router.routes].index("/products") == 0
        assert [client.get(path).status_code for path in ("/products", "/healthz", "/readyz", "/version")] == [200] * 4
