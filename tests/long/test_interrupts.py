"""Ctrl-C at many moments of `up`: whatever it leaves, the next `up` or `down` handles."""

from __future__ import annotations

import json
import signal
import subprocess
import threading

import pytest

from slipway import shell
from slipway.settings import ROOT, load
from tests.e2e.test_lifecycle import HEEDING_INTERRUPTS

NAME = "long-interrupts"
UP_TIMEOUT = 1800.0

# Seconds after the start: while looking at the machine, making the node, filling it, delivering.
MOMENTS = (0.5, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0)


def invoke(*words: str, timeout: float = 300.0, check: bool = True) -> shell.Result:
    return shell.run([ROOT / "invoke", *words, "--name", NAME], timeout=timeout, check=check, cwd=ROOT)


def interrupted(after: float) -> int:
    """The exit code of an `up` that got Ctrl-C so many seconds after its start, unless it was done by then."""
    words = [*HEEDING_INTERRUPTS, "up", "--name", NAME, "--profile", "minimal"]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE) as process:
        timer = threading.Timer(after, process.send_signal, [signal.SIGINT])
        timer.start()
        process.communicate(timeout=UP_TIMEOUT)
        timer.cancel()
        return process.returncode


@pytest.mark.parametrize("moment", MOMENTS)
def test_up_finishes_what_an_interrupted_up_left(moment: float) -> None:
    try:
        assert interrupted(moment) in (130, 0)
        invoke("up", "--profile", "minimal", timeout=UP_TIMEOUT)
        assert json.loads(invoke("status", "--json").stdout)["state"] == "healthy"
    finally:
        invoke("down")


@pytest.mark.parametrize("moment", MOMENTS)
def test_down_removes_what_an_interrupted_up_left(moment: float) -> None:
    assert interrupted(moment) in (130, 0)
    invoke("down")
    assert not load(NAME).folder.exists()
    assert json.loads(invoke("status", "--json", check=False).stdout)["state"] == "absent"
