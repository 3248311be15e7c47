"""Tests that tests run: every run in a process of its own, forked from one that has imported the libraries already."""

from __future__ import annotations

import atexit
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from slipway.settings import ROOT

# Seconds that a run gets to take down what its fixtures made, when it is told to end.
GRACE = 60.0

# What the tests import and do not change at import: most of what a run of one test would take.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pytest", "docker", "kubernetes.client", "rich.console", "slipway.pipeline", "slipway.receive"])


def run(words: Sequence[str], *, log: Path, env: Mapping[str, str], timeout: float) -> None:
    """Run pytest with these words, its output in a file; it is ended after `timeout` seconds."""
    process = _FORKS.Process(target=_main, args=(list(words), str(log), dict(env)))
    process.start()
    try:
        process.join(timeout)
    finally:
        if process.is_alive():
            process.terminate()
            process.join(GRACE)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _main(words: list[str], log: str, env: dict[str, str]) -> None:
    import pytest

    os.chdir(ROOT)
    os.environ.update(env)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in (1, 2):
        os.dup2(sink, number)
    try:
        pytest.main(words)
    finally:
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  a fork ends without them
