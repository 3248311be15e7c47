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
    announced = {name: value for name, value in headers if name in (b"content-length", b"transfer-encoding")}
    if not announced or announced.get(b"content-length") == b"0":
        return receive
    too_long = Problem(413, f"the body is longer than {limit} bytes")
    length = announced.get(b"content-length", b"")
    seen = int(length) if length.isdigit() else 0

    async def refuse() -> Message:
        raise too_long

    if seen > limit:
        return refuse
    seen = 0

    async def receive_some() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise too_long
        return message

    return receive_some
