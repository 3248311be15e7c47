"""Waiting as a value: a probe looks once and says ready, pending (why) or failed (why); the loop is here and only here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from slipway.errors import WaitFailed, WaitTimeout

T = TypeVar("T")


@dataclass(frozen=True)
class Ready(Generic[T]):
    """It came true; `value` is what the waiter gets."""

    value: T


@dataclass(frozen=True)
class Pending:
    """Not yet; `why` is what would have to change."""

    why: str


@dataclass(frozen=True)
class Failed:
    """It cannot come true any more."""

    why: str


Probe = Callable[[], "Ready[T] | Pending | Failed"]


class Clock(Protocol):
    """The time as a waiter sees it."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds on the machine's monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`.

        Raises:
            WaitFailed: Every wait of this process was called off meanwhile.
        """
        _called_off.wait(seconds)
        go_on()


_called_off = threading.Event()


def call_off() -> None:
    """End every wait of this process, in whatever thread, until `resume`."""
    _called_off.set()


def resume() -> None:
    """Let this process wait again."""
    _called_off.clear()


def go_on() -> None:
    """Return unless every wait was called off: for long work that asks for the next piece instead of waiting.

    Raises:
        WaitFailed: It was.
    """
    if _called_off.is_set():
        raise WaitFailed("interrupted")


# A probe costs little and most waits are short: start fast, then back off.
FIRST_INTERVAL = 0.05
LONGEST_INTERVAL = 1.0


def wait_for(
    what: str,
    probe: Probe[T],
    *,
    timeout: float,
    hint: str = "",
    on_change: Callable[[str], None] | None = None,
    tolerate: tuple[type[Exception], ...] = (),
    clock: Clock | None = None,
) -> T:
    """What the probe found, once it is ready.

    Args:
        what: What is waited for, with its commit, digest or generation: the subject of the error.
        probe: Looks once, without waiting itself.
        timeout: Seconds from now until giving up.
        hint: What to do when it does not come true; the last line of the error.
        on_change: Told each new reason for pending, once.
        tolerate: Exceptions of the probe that mean "not yet" (a server that is starting refuses connections).
        clock: Another clock, for tests.

    Raises:
        WaitTimeout: The deadline passed; the message carries the last reason.
        WaitFailed: The probe said it cannot come true any more.
    """
    clock = clock or SystemClock()
    started, interval, last = clock.now(), FIRST_INTERVAL, ""
    while True:
        try:
            seen = probe()
        except tolerate as error:
            seen = Pending(f"{type(error).__name__}: {error}".splitlines()[0])
        if isinstance(seen, Ready):
            return seen.value
        if isinstance(seen, Failed):
            raise WaitFailed(_sentence(f"{what}: {seen.why}", hint))
        if seen.why != last:
            last = seen.why
            if on_change:
                on_change(last)
        left = started + timeout - clock.now()
        if left <= 0:
            raise WaitTimeout(_sentence(f"{what}: not within {timeout:g} s; last seen: {last}", hint))
        clock.sleep(min(interval, left))
        interval = min(interval * 1.5, LONGEST_INTERVAL)


def stays(what: str, probe: Probe[T], *, seconds: float, clock: Clock | None = None) -> None:
    """Return when the probe was ready each time it looked during `seconds`.

    Raises:
        WaitFailed: It was not ready once; the message carries its reason.
    """
    clock = clock or SystemClock()
    started = clock.now()
    while True:
        seen = probe()
        if not isinstance(seen, Ready):
            raise WaitFailed(f"{what}: did not stay so for {seconds:g} s: {seen.why}")
        if clock.now() - started >= seconds:
            return
        clock.sleep(min(0.5, seconds))


def _sentence(message: str, hint: str) -> str:
    return f"{message}\n{hint}" if hint else message


__all__ = ["Clock", "Failed", "Pending", "Probe", "Ready", "SystemClock", "call_off", "go_on", "resume", "stays", "wait_for"]
