"""The key of a request that is done once, however often it is sent."""

from __future__ import annotations

import re
from typing import Any

from fastapi import Request

from chassis.problems import Problem

KEY_HEADER = "Idempotency-Key"

# What a key consists of; whoever needs a whole pattern writes its ends.
KEY = r"[A-Za-z0-9._:-]{8,128}"

# Described by hand: what the framework finds missing or malformed it answers with 422, and here that means other content.
KEY_PARAMETER: dict[str, Any] = {
    "name": KEY_HEADER,
    "in": "header",
    "required": True,
    "description": "The same for each attempt to do the same thing: it is done at most once.",
    "schema": {"type": "string", "pattern": f"^{KEY}$", "minLength": 8, "maxLength": 128},
}


async def idempotency_key(request: Request) -> str:
    """The key of the request.

    Raises:
        Problem: There is none, there are two, or it is malformed (400).
    """
    match request.headers.getlist(KEY_HEADER):
        case [key] if re.fullmatch(KEY, key):
            return key
        case []:
            raise Problem(400, f"the header {KEY_HEADER} is missing; make one for each thing to be done once, such as a UUID")
        case _:
            raise Problem(400, f"the header {KEY_HEADER} must be there once, with 8 to 128 letters, digits and . _ : -")
