"""Whether a service should be given requests: it is not going away, and what it needs answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

Check = Callable[[], Awaitable[None]]

# Seconds. Shorter than the probe's own time-out, so that the answer can say which check was slow.
CHECK_TIMEOUT = 2.0


class Lifecycle:
    """Knows whether the process drains, and asks the checks of its service."""

    def __init__(self) -> None:
        self.draining = False
        self._checks: dict[str, Check] = {}

    def check(self, name: str, probe: Check) -> None:
        """Add a check; it raises when what it asks is not well."""
        self._checks[name] = probe

    async def unready(self) -> dict[str, str]:
        """Why the service should get no requests, by check; empty when it should."""
        reasons = {"drain": "the process is going away"} if self.draining else {}
        answers = await asyncio.gather(*(self._ask(probe) for probe in self._checks.values()))
        return reasons | {name: answer for name, answer in zip(self._checks, answers, strict=True) if answer}

    async def _ask(self, probe: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await probe()
        except TimeoutError:
            return f"no answer within {CHECK_TIMEOUT:g} s"
        except Exception as error:  # whatever it is, it is the reason
            return f"{type(error).__name__}: {error}"
        return ""
