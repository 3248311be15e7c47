"""Instances by another policy than the checkout's."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from slipway.settings import ROOT, load
from tests.e2e.conftest import POLLING, UP_TIMEOUT, Instance


@contextmanager
def by_policy(name: str, changed: Mapping[str, Any], folder: Path) -> Generator[Instance]:
    """A full instance by a copy of the policy in which something is chosen otherwise; it is removed whatever it became."""
    file = folder / "policy.yaml"
    data = yaml.safe_load((ROOT / "cluster" / "policy.yaml").read_text())
    file.write_text(yaml.safe_dump({**data, **changed}, sort_keys=False))
    environ = {"SLIPWAY_INSTANCE": name, "SLIPWAY_POLICY": str(file), "SLIPWAY_POLLING": POLLING}
    made = Instance(load(name, environ={**os.environ, **environ}), environ)
    made.invoke("down")
    try:
        made.invoke("up", timeout=UP_TIMEOUT)
        yield made
    finally:
        made.invoke("down")
