"""The checks of a service, before anything is made of it: style and its own tests, in a container that holds nothing to steal.

What a branch holds is somebody's code. It runs as nobody, on a file system it cannot write, without a network, without a
credential, without the engine's socket, with little memory and for a limited time. A store that its tests need runs beside
it: the two share one loopback device and nothing else.
"""

from __future__ import annotations

from slipway.testing.checking import LINT, PARTS, TEST, ChecksFailed, check
from slipway.testing.sandbox import LABEL, STYLE, labels, options, sweep

__all__ = [
    "LABEL",
    "LINT",
    "PARTS",
    "STYLE",
    "TEST",
    "ChecksFailed",
    "check",
    "labels",
    "options",
    "sweep",
]
