"""Runs a service: reads what it is told, serves, and goes away without losing a request."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TypeVar

import uvicorn

from chassis import identity, logs
from chassis.config import DEFAULT_PATH, Config, ConfigError, load
from chassis.identity import Identity
from chassis.lifecycle import Lifecycle
from chassis.service import Service

log = logging.getLogger("chassis")

DEFAULT_PORT = 8000
EVERYWHERE = "0.0.0.0"  # noqa: S104 - a pod is reached from outside, and by nobody the cluster does not let in

# The exit code that sysexits.h gives a configuration error.
EXIT_CONFIG = 78

# Seconds for a connection that was let in and has said nothing yet, when there was no draining in which it could.
FIRST_WORD = 1.0

C = TypeVar("C", bound=Config)


def run(
    name: str, create: Callable[[C, Identity], Service[C]], model: type[C], *, environ: Mapping[str, str] = os.environ
) -> None:
    """Serve until told to stop; exits the process with the reason in the log when it cannot start.

    Args:
        name: The service's name.
        create: Makes the service of its configuration and identity.
        model: What its configuration must look like.
        environ: SLIPWAY_CONFIG, SLIPWAY_HOST, SLIPWAY_PORT and what `Identity` is made of.
    """
    who = identity.identify(name, environ=environ)
    logs.configure(who)
    try:
        config = load(model, Path(environ.get("SLIPWAY_CONFIG") or DEFAULT_PATH))
        host = environ.get("SLIPWAY_HOST") or EVERYWHERE
        port = _port(environ.get("SLIPWAY_PORT", ""))
        service = create(config, who)
    except ConfigError as error:
        log.critical("cannot start: %s", error)
        sys.exit(EXIT_CONFIG)
    logs.configure(who, level=config.log_level)
    settings = uvicorn.Config(
        service.asgi,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=config.keep_alive_seconds,
        timeout_graceful_shutdown=config.finish_seconds,
    )
    Server(settings, lifecycle=service.lifecycle, drain_seconds=config.drain_seconds).run()


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigError(f"SLIPWAY_PORT is {text!r}; it must be a number from 1 to 65535")
    return int(text)


class Server(uvicorn.Server):
    """Uvicorn that drains, and sleeps while nothing happens.

    SIGTERM turns readiness off at once. The socket stays open and requests on open connections are answered, each with
    `Connection: close`, until no connection is left or `drain_seconds` have passed; then the rest is closed as Uvicorn does.
    A second SIGTERM, or SIGINT, skips the waiting: the socket is closed at once, and only who has come just before is heard.
    """

    def __init__(self, config: uvicorn.Config, *, lifecycle: Lifecycle, drain_seconds: float) -> None:
        super().__init__(config)
        self._lifecycle, self._drain_seconds = lifecycle, drain_seconds
        self._drained = False
        self._signalled: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take note of a signal; called by the interpreter between any two instructions."""
        if self.should_exit:
            self.force_exit = True
        elif self._lifecycle.draining or sig == signal.SIGINT or self._loop is None:
            self.should_exit = True
        self._lifecycle.draining = True
        if self._loop and self._signalled:
            self._loop.call_soon_threadsafe(self._signalled.set)

    async def main_loop(self) -> None:
        """Serve until a signal came and the connections are done."""
        self._loop, self._signalled = asyncio.get_running_loop(), asyncio.Event()
        log.info("listening", extra={"fields": {"port": self.config.port}})
        # Uvicorn's own loop wakes up ten times a second. Once is what the Date header needs.
        while not self._lifecycle.draining:
            await self.on_tick(0)
            try:
                async with asyncio.timeout(1):
                    await self._signalled.wait()
            except TimeoutError:
                continue
        log.info("draining", extra={"fields": {"connections": len(self.server_state.connections)}})
        deadline = time.monotonic() + self._drain_seconds
        while self.server_state.connections and not self.should_exit and time.monotonic() < deadline:
            await self.on_tick(0)
            await asyncio.sleep(0.05)
        self._drained = not self.should_exit
        self.should_exit = True

    def _unheard(self) -> bool:
        """Whether there is a connection that nothing was asked on: Uvicorn would close it, whatever is on its way."""
        return any(getattr(connection, "cycle", None) is None for connection in self.server_state.connections)

    async def shutdown(self, sockets: object = None) -> None:
        """Let nobody else in, hear who has just come, close what is left, and say so."""
        for server in self.servers:
            server.close()
        deadline = time.monotonic() + (0.0 if self._drained else FIRST_WORD)
        while self._unheard() and not self.force_exit and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        left = len(self.server_state.connections)
        await super().shutdown()
        log.info("stopped", extra={"fields": {"connections_closed": left}})
