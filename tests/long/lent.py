"""The instance of long tests: one of their own, or one that they are lent."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from slipway.waiting import Pending, Ready, wait_for
from tests.e2e.conftest import UP_TIMEOUT, Instance, existing


@contextmanager
def own_or_lent(request: pytest.FixtureRequest, name: str) -> Generator[Instance]:
    """An instance of this name, removed at the end; or the one of `--instance`, which stays. It ends as healthy as it began."""
    lent = request.config.getoption("--instance")
    made = existing(lent or name)
    if not lent:
        made.invoke("down")
    try:
        if not lent:
            made.invoke("up", timeout=UP_TIMEOUT)
        yield made
        wait_for(f"{made.settings.instance} to be healthy after its tests", lambda: _healthy(made), timeout=UP_TIMEOUT)
    finally:
        if not lent:
            made.invoke("down")


def _healthy(instance: Instance) -> Ready[None] | Pending:
    told = json.loads(instance.invoke("status", "--json", check=False).stdout)
    return Ready(None) if told["state"] == "healthy" else Pending(f"it is {told['state']}: {told['trouble']}")
