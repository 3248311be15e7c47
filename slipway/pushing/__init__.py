"""`push`, `ci` and `ci.runs`: hand a branch to the pipeline and see what it makes of it."""

from __future__ import annotations

from slipway.pushing.following import follow
from slipway.pushing.handing import ci, push
from slipway.pushing.telling import listed, printed, show, show_log, show_runs

__all__ = [
    "ci",
    "follow",
    "listed",
    "printed",
    "push",
    "show",
    "show_log",
    "show_runs",
]
