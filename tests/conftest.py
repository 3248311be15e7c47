"""What all tests share."""

from __future__ import annotations

import signal
from typing import NoReturn

import pytest


def _end(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def pytest_configure(config: pytest.Config) -> None:
    """Let a run that is told to end take down what its fixtures made, as it does on Ctrl-C."""
    signal.signal(signal.SIGTERM, _end)
