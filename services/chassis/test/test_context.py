from __future__ import annotations

import math
from contextvars import copy_context

import pytest
from starlette.testclient import TestClient

from chassis import Config, Identity, Service, context


def test_patience_begins_to_run_out_with_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [100.0]
    monkeypatch.setattr(context.time, "monotonic", lambda: moment[0])

    def request() -> None:
        context.enter(b"", patience=3)
        moment[0] += 10
        assert context.remaining() == 3
        moment[0] += 2
        assert context.remaining() == 1
        with context.time_limit(0.5):
            assert context.remaining() == 0.5
        with context.time_limit(60):
            assert context.remaining() == 1
        moment[0] += 2
        assert context.remaining() == 0

    copy_context().run(request)


def test_the_next_request_has_patience_of_its_own() -> None:
    def requests() -> None:
        context.enter(b"", patience=0)
        assert context.remaining() == 0
        context.enter(b"")
        assert context.remaining() == math.inf

    copy_context().run(requests)


def test_a_request_has_the_patience_of_its_service() -> None:
    service = Service(Config(), Identity("sample"), description="A sample.", patience=7)

    @service.app.get("/left")
    async def left() -> float:
        return context.remaining()

    assert 0 < TestClient(service.asgi).get("/left").json() <= 7
