"""Load tests with a verdict: what was sent, what came back, what the servers saw, and whether it may be trusted."""

from __future__ import annotations

from slipway.load.command import Made, again, compared, load, runs, show_compared, show_made
from slipway.load.during import PROFILE
from slipway.load.model import Asked
from slipway.load.show import show_runs

__all__ = ["PROFILE", "Asked", "Made", "again", "compared", "load", "runs", "show_compared", "show_made", "show_runs"]
