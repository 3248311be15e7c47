"""Runs of the pipeline: what was asked, how far it is and how it ended, each in a folder of its own with its log.

The runner writes them and everybody reads them: a file is always whole, whoever looks at it and whenever.
"""

from __future__ import annotations

from slipway.runs.keeping import (
    ENDED,
    FAILED,
    HERE,
    KEPT,
    LOCK_TIMEOUT,
    PASSED,
    QUEUED,
    RUNNER,
    RUNNING,
    SKIPPED,
    SUPERSEDED,
    Run,
    Stage,
    alone,
    attended,
    every,
    folder,
    load,
    log_file,
    name,
    new,
    prune,
    save,
    settled,
)
from slipway.runs.recording import Recorded, Recorder, log

__all__ = [
    "ENDED",
    "FAILED",
    "HERE",
    "KEPT",
    "LOCK_TIMEOUT",
    "PASSED",
    "QUEUED",
    "RUNNER",
    "RUNNING",
    "SKIPPED",
    "SUPERSEDED",
    "Recorded",
    "Recorder",
    "Run",
    "Stage",
    "alone",
    "attended",
    "every",
    "folder",
    "load",
    "log",
    "log_file",
    "name",
    "new",
    "prune",
    "save",
    "settled",
]
