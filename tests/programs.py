"""The programs that tests run, wherever they come from on this machine."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from slipway import shell


@cache
def program(name: str) -> Path:
    """Where a program is: what SLIPWAY_<NAME> says, or on the PATH. A test without its program fails; it is never skipped."""
    variable = f"SLIPWAY_{name.upper()}"
    if named := os.environ.get(variable):
        if not os.access(named, os.X_OK):
            pytest.fail(f"{variable} is {named}, which is no program.", pytrace=False)
        return Path(named)
    if found := shell.which(name):
        return found[0]
    pytest.fail(f"There is no {name}. `./invoke up` makes one; or put it on the PATH, or name it in {variable}.", pytrace=False)
