"""Answers that a caller may keep: an ETag, how long they are fresh, and 304 when nothing changed."""

from __future__ import annotations

import hashlib

from fastapi import Request, Response


def cacheable(
    request: Request, body: bytes, *, max_age: int, media_type: str = "application/json", unchanging: bool = False
) -> Response:
    """The body with its ETag, or 304 when the caller has it already.

    Args:
        request: Whose If-None-Match is honoured.
        body: What is sent, encoded.
        max_age: Seconds it stays fresh; 0 makes callers ask again each time.
        media_type: What the body is.
        unchanging: Whether this address will never have another body, so that nobody needs to ask again even on a reload.
    """
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    fresh = f"public, max-age={max_age}{', immutable' if unchanging else ''}"
    headers = {"ETag": etag, "Cache-Control": fresh if max_age else "no-cache"}
    if _has(request.headers.get("If-None-Match", ""), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)


def _has(offered: str, etag: str) -> bool:
    tags = (tag.strip().removeprefix("W/") for tag in offered.split(","))
    return any(tag in (etag, "*") for tag in tags)
