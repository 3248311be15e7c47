"""The board as `./invoke board` serves it, for tests."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from slipway import shell
from slipway.settings import ROOT
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e.conftest import Instance

START_TIMEOUT = 60.0


@contextmanager
def serving_board(instance: Instance, folder: Path) -> Generator[str]:
    """Where the board of an instance answers while this block runs; in the end it goes as it is told, and without a trace."""
    log = folder / "log"
    pid = shell.start([ROOT / "invoke", "board"], log_file=log, env=instance.environ, cwd=ROOT)

    def said() -> Ready[str] | Pending:
        text = log.read_text()
        found = re.search(r"^(http://127\.0\.0\.1:\d+) ", text, re.MULTILINE)
        return Ready(found[1]) if found else Pending(text)

    try:
        yield wait_for("the board's address", said, timeout=START_TIMEOUT)
    finally:
        os.kill(pid, signal.SIGTERM)
        _, code = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(code) == 143, log.read_text()
    assert "Traceback" not in log.read_text()
