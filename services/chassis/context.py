"""What belongs to the request that is being served, wherever in the code one is: its id, and the time it has left."""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "X-Request-ID"

# Long enough for a UUID or a trace id, and nothing that could forge a log line or a header.
_ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_current: ContextVar[str] = ContextVar("request_id", default="")

_until: ContextVar[float] = ContextVar("until", default=math.inf)


class _Patience:
    """Begins to run out with the first call: a slow caller's body costs none of it."""

    __slots__ = ("_seconds", "_until")

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, math.inf

    def until(self) -> float:
        if self._until == math.inf:
            self._until = time.monotonic() + self._seconds
        return self._until


_patience: ContextVar[_Patience | None] = ContextVar("patience", default=None)


def request_id() -> str:
    """The id of the current request; empty outside of one."""
    return _current.get()


def enter(offered: bytes, *, patience: float = math.inf) -> str:
    """The id the current request has from now on: the one its caller offered when it is acceptable, else a new one.

    Args:
        offered: What the caller sent as its id.
        patience: Seconds that calls to other services may take, all together, from the first one on.
    """
    _patience.set(None if patience == math.inf else _Patience(patience))
    text = offered.decode("latin-1")
    chosen = text if _ACCEPTED.fullmatch(text) else secrets.token_hex(16)
    _current.set(chosen)
    return chosen


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Calls to other services in this block end after so many seconds, or when an outer limit says so, all together."""
    token = _until.set(min(_until.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _until.reset(token)


def remaining() -> float:
    """Seconds the current request has left for calls to other services; infinite without a limit."""
    patience = _patience.get()
    until = min(_until.get(), patience.until()) if patience else _until.get()
    return max(0.0, until - time.monotonic())
