"""The plan of one load test: a profile, as somebody asked for it; and the same as the order that the generator gets."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime

from slipway.errors import UsageError
from slipway.load.model import SLOW, Asked, Host, Phase, Plan, Target
from slipway.load.profiles import STREAMS, Profile, normal

# Seconds that the longest journey's requests take to be sent by a slow sender: eight of them, each for three.
SLOWEST = 24.0


def make(profile: Profile, asked: Asked) -> Plan:
    """The plan.

    Raises:
        UsageError: What is asked for cannot be planned.
    """
    for name, value in (("rate", asked.rate), ("duration", asked.duration), ("workers", asked.workers)):
        if value < 0:
            raise UsageError(f"--{name} is {value:g}; it has to be more than 0.")
    if strange := set(asked.streams) - set(STREAMS):
        raise UsageError(f"there is no stream {', '.join(sorted(strange))}; valid: {', '.join(STREAMS)}")
    streams = normal(asked.streams) if asked.streams else profile.streams
    return Plan(
        profile=profile.name,
        environment=asked.environment,
        seed=asked.seed,
        workers=asked.workers or profile.workers,
        phases=_stretched(_scaled(profile.phases, asked.rate), asked.duration),
        weights=profile.weights,
        streams=streams,
        think=profile.think,
        patience=profile.patience,
        # What a slow sender takes for itself is nobody else's fault.
        drain=profile.drain + (SLOWEST if SLOW in streams else 0.0),
    )


def _scaled(phases: tuple[Phase, ...], rate: float) -> tuple[Phase, ...]:
    """The phases with this as their highest rate."""
    factor = rate / max(max(phase.begin_rate, phase.end_rate) for phase in phases) if rate else 1.0
    return tuple(replace(phase, begin_rate=phase.begin_rate * factor, end_rate=phase.end_rate * factor) for phase in phases)


def _stretched(phases: tuple[Phase, ...], duration: float) -> tuple[Phase, ...]:
    """The phases of which those that count take so long, all together."""
    factor = duration / sum(phase.seconds for phase in phases if phase.counted) if duration else 1.0
    return tuple(replace(phase, seconds=phase.seconds * (factor if phase.counted else 1.0)) for phase in phases)


def identify(now: datetime | None = None) -> str:
    """A name for a run: when it began, in UTC, and something that no other one has."""
    return f"{(now or datetime.now(UTC)).strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def order(plan: Plan, run: str, addresses: Mapping[str, str], *, hosts: Mapping[str, str], keep: bool = False) -> str:
    """What the generator is told, as JSON; see loadtests/generator/order.py.

    Args:
        plan: What to send, and when.
        run: The run's name.
        addresses: Where each service answers.
        hosts: What each is called in a request, when that is not its address.
        keep: Whether the carts stay.
    """
    told = {
        "run": run,
        "seed": plan.seed,
        "workers": plan.workers,
        "phases": [asdict(phase) for phase in plan.phases],
        "weights": dict(plan.weights),
        "streams": dict(plan.streams),
        "think": plan.think,
        "patience": plan.patience,
        "drain": plan.drain,
        "addresses": dict(addresses),
        "hosts": dict(hosts),
        "keep": keep,
    }
    return json.dumps(told, sort_keys=True)


def comparable(plan: Plan, target: Target, host: Host, tools: Mapping[str, str]) -> str:
    """The hash of what has to be equal for two runs to be compared: how it was sent, from where, by what, and the machine."""
    phases = [asdict(phase) for phase in plan.phases]
    told = {
        "phases": phases,
        "weights": dict(plan.weights),
        "streams": dict(plan.streams),
        "think": plan.think,
        "patience": plan.patience,
        "workers": plan.workers,
        "environment": target.environment,
        "local": target.local,
        "cores": host.cores,
        "processor": host.model,
        "generator": tools.get("generator"),
        "locust": tools.get("locust"),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
