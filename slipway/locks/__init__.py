"""Locks: what a release is made of, that stage ran and withstood it, and who approved it; files beside prod's records.

    releases/<vX.Y.Z>/<hash>/lock.yaml    the artifacts of all services
    releases/<vX.Y.Z>/<hash>/stage.yaml   stage ran exactly these
    releases/<vX.Y.Z>/<hash>/load.yaml    these passed a load test in stage
    approvals/<hash>/<user>.yaml          somebody approved exactly these for prod

A lock is known by its hash. Approvals and results name the hash, never the version: a release that changes after
stage or after its approval is another lock, which nobody has seen run and nobody has approved.
The Git server's hook reads the same files by the same code.
"""

from __future__ import annotations

from slipway.locks.documents import APPROVALS, PASSED, RELEASES, Approval, LoadResult, Lock, Locked, StageResult
from slipway.locks.judging import departures, locked, of, passed
from slipway.locks.parsing import (
    LockError,
    approvals,
    load_results,
    parse_approval,
    parse_load,
    parse_lock,
    parse_stage,
    read_locks,
    stage_results,
)

__all__ = [
    "APPROVALS",
    "PASSED",
    "RELEASES",
    "Approval",
    "LoadResult",
    "Lock",
    "LockError",
    "Locked",
    "StageResult",
    "approvals",
    "departures",
    "load_results",
    "locked",
    "of",
    "parse_approval",
    "parse_load",
    "parse_lock",
    "parse_stage",
    "passed",
    "read_locks",
    "stage_results",
]
