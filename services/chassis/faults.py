"""Misbehaviour on purpose: latency and errors, per route, for drills and load tests; never in prod."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from chassis.config import ConfigError, Fault
from chassis.identity import Identity
from chassis.problems import Problem


@dataclass(frozen=True)
class _Armed:
    fault: Fault
    until: float | None


class Faults:
    """The faults of one process."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._armed: tuple[_Armed, ...] = ()

    def current(self) -> list[Fault]:
        """The faults that are armed now."""
        if self._armed:
            now = time.monotonic()
            self._armed = tuple(armed for armed in self._armed if armed.until is None or armed.until > now)
        return [armed.fault for armed in self._armed]

    def arm(self, faults: Iterable[Fault]) -> None:
        """Replace all faults.

        Raises:
            ConfigError: There are some, and this environment takes none.
        """
        wanted = tuple(faults)
        if wanted and not self._identity.faults_allowed:
            raise ConfigError(
                f"faults are refused in the environment {self._identity.environment!r}: "
                "they may be injected only where SLIPWAY_ENVIRONMENT names an environment other than prod"
            )
        now = time.monotonic()
        self._armed = tuple(_Armed(fault, now + fault.seconds if fault.seconds else None) for fault in wanted)

    async def strike(self, *, method: str, route: str) -> None:
        """Do what the armed faults say for one request.

        Raises:
            Problem: One of them answers with an error.
        """
        for fault in self.current():
            if fault.route not in ("*", route) or fault.method not in ("*", method):
                continue
            if random.random() >= fault.ratio:  # noqa: S311 - a share of the traffic, no secret
                continue
            if fault.latency_ms:
                await asyncio.sleep(fault.latency_ms / 1000)
            if fault.status:
                raise Problem(fault.status, "this error was injected on purpose", headers={"X-Fault": "injected"})

    def route_class(self) -> type[APIRoute]:
        """A class for routes that suffer from these faults."""
        faults = self

        class FaultyRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handle, path = super().get_route_handler(), self.path

                async def handle_or_fail(request: Request) -> Response:
                    if faults._armed:  # pyright: ignore[reportPrivateUsage]
                        await faults.strike(method=request.method, route=path)
                    return await handle(request)

                return handle_or_fail

        return FaultyRoute
