"""A server that does nothing: whatever it is asked, it gives one answer, which is right for who wants one of a thing.

It stands alone, with nothing but the standard library, and is run as a file. It listens on a free port of the loopback
interface, says which on standard error, and ends when it is told to, or after as many seconds as its argument says.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

# The path by which it is told to end.
OVER = "/over"

_THING = "mooring-rope"
_BODY = json.dumps(
    {
        "page": "<html>",
        "id": _THING,
        "items": [{"id": _THING, "name": "Mooring rope"}],
        "lines": [{"product_id": _THING, "quantity": 1}],
    }
).encode()
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(_BODY)
_KEPT, _CLOSED = _HEAD + b"\r\n" + _BODY, _HEAD + b"Connection: close\r\n\r\n" + _BODY


class Answering(asyncio.Protocol):
    """One connection.

    Args:
        over: Set when somebody says that it is over.
    """

    def __init__(self, over: asyncio.Event) -> None:
        self._over, self._seen = over, b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._seen += data
        while self._transport and b"\r\n\r\n" in self._seen:
            head, _, rest = self._seen.partition(b"\r\n\r\n")
            told = head.lower()
            _, found, value = told.partition(b"\r\ncontent-length:")
            size = int(value.split(b"\r\n", 1)[0]) if found else 0
            if len(rest) < size:
                return
            self._seen = rest[size:]
            if told.split(b" ", 2)[1] == OVER.encode():
                self._over.set()
            if b"\r\nconnection: close" in told:
                self._transport.write(_CLOSED)
                self._transport.close()
                return
            self._transport.write(_KEPT)


async def serve(seconds: float) -> None:
    """Answer until it is over, or the seconds are."""
    over = asyncio.Event()
    server = await asyncio.get_running_loop().create_server(lambda: Answering(over), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], file=sys.stderr, flush=True)
    try:
        await asyncio.wait_for(over.wait(), seconds)
    except TimeoutError:
        return
    finally:
        server.close()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
