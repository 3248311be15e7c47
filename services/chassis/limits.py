"""How much of a request is read."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import Message, Receive

from chassis.problems import Problem


def limited(receive: Receive, headers: Sequence[tuple[bytes, bytes]], *, limit: int) -> Receive:
    """A `receive` that stops a request whose body is longer than `limit` bytes.

    Raises:
        Problem: With status 413, from the returned callable, before the longer body is in memory.
    """
    if not any(name in (b"content-length", b"transfer-encoding") for name, _ in headers):
        return receive
    seen = 0

    async def receive_some() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise Problem(413, f"the body is longer than {limit} bytes")
        return message

    return receive_some
