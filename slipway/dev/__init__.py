"""`dev`: the services of this checkout in the namespace `local`, where Tilt keeps them as the working tree has them."""

from __future__ import annotations

from slipway.dev.ground import down, show_down
from slipway.dev.running import alone, run
from slipway.dev.told import answer, facts

__all__ = ["alone", "answer", "down", "facts", "run", "show_down"]
