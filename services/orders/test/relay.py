"""A way to the database that a test can cut, freeze and mend: what a restart, a dead node and a healed one look like."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

# Turns of the loop in the end.
TURNS = 10


class Relay:
    """Passes on what comes to a port of its own, in a thread of its own.

    Attributes:
        port: Where it listens, on 127.0.0.1.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target, self._cut = (host, port), False
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._writers = set[asyncio.StreamWriter]()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port: int = self._do(self._listen())

    def cut(self) -> None:
        """Break every connection, and each new one."""
        self._do(self._break())

    def freeze(self) -> None:
        """Take connections and bytes, and pass nothing on."""
        self._do(self._hold())

    def mend(self) -> None:
        """Let everything flow again."""
        self._do(self._release())

    def close(self) -> None:
        """End it."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> int:
        self._flowing.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _break(self) -> None:
        self._cut = True
        for writer in self._writers:
            writer.transport.abort()

    async def _hold(self) -> None:
        self._flowing.clear()

    async def _release(self) -> None:
        self._cut = False
        self._flowing.set()

    async def _end(self) -> None:
        await self._break()
        self._server.close()
        self._flowing.set()
        # Who was let in a moment ago gets a task in the next turn of the loop, and what was aborted is closed in the one after.
        for _ in range(TURNS):
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = {writer}
        try:
            if not self._cut:
                behind_reader, behind_writer = await asyncio.open_connection(*self._target)
                pair.add(behind_writer)
                self._writers |= pair
                if not self._cut:
                    await asyncio.gather(self._pass_on(reader, behind_writer), self._pass_on(behind_reader, writer))
        except OSError:
            pass  # nobody is behind it
        finally:
            self._writers -= pair
            for end in pair:
                end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
