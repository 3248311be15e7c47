"""The id of the request that is being served, wherever in the code one is."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

HEADER = "X-Request-ID"

# Long enough for a UUID or a trace id, and nothing that could forge a log line or a header.
_ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """The id of the current request; empty outside of one."""
    return _current.get()


def enter(offered: bytes) -> str:
    """The id the current request has from now on: the one its caller offered when it is acceptable, else a new one."""
    text = offered.decode("latin-1")
    chosen = text if _ACCEPTED.fullmatch(text) else secrets.token_hex(16)
    _current.set(chosen)
    return chosen
