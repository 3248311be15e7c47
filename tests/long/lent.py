"""The instance of long tests: one of their own, or one that they are lent."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager

import pytest

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
        state = json.loads(made.invoke("status", "--json").stdout)["state"]
        assert state == "healthy", f"{made.settings.instance} is {state} after its tests"
    finally:
        if not lent:
            made.invoke("down")
