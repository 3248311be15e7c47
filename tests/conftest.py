"""What all tests share."""

from __future__ import annotations

import signal
from typing import NoReturn

import hypothesis
import pytest

# How long an example takes says how busy the machine is, and nothing of the code. The examples are the same every time, so that
# a change alone turns a test red; `--hypothesis-profile explore` looks for others.
for name, same in {"explore": False, "steady": True}.items():
    patient = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile(name, deadline=None, suppress_health_check=patient, derandomize=same)
hypothesis.settings.load_profile("steady")


def _end(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def pytest_configure(config: pytest.Config) -> None:
    """Let a run that is told to end take down what its fixtures made, as it does on Ctrl-C.

    A shell's background jobs ignore Ctrl-C, and so does all that they start: tests of it would fail there.
    """
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that tests of a cluster have in common."""
    parser.addoption("--instance", default="", metavar="NAME", help="use this instance as it is, instead of making one")
