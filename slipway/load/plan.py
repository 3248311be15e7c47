"""The plan of one load test: a profile, as somebody asked for it; and the same as the order that the generator gets."""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime

from slipway.errors import UsageError
from slipway.load.model import SLOW, Asked, Host, Phase, Plan, Target
from slipway.load.profiles import STREAMS, Profile, normal

# Seconds that the longest journey's requests take to be sent by a slow sender: eight of them, each for three.
SLOWEST = 24.0

# The most processes that send; charts/load/values.schema.json has the same.
MOST_WORKERS = 100

# A node's label, as Kubernetes allows it.
_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?|")
_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")

# Request ids of a whole test that are looked for in the services' logs.
_SAMPLES = 300


def make(profile: Profile, asked: Asked) -> Plan:
    """The plan.

    Raises:
        UsageError: What is asked for cannot be planned.
    """
    for name, value in (("rate", asked.rate), ("duration", asked.duration), ("workers", asked.workers)):
        if value < 0 or not math.isfinite(value):
            raise UsageError(f"--{name} is {value:g}; it has to be a number above 0.")
    if strange := set(asked.streams) - set(STREAMS):
        raise UsageError(f"there is no stream {', '.join(sorted(strange))}; valid: {', '.join(STREAMS)}")
    if asked.workers > MOST_WORKERS:
        raise UsageError(f"--workers is {asked.workers}; {MOST_WORKERS} are the most that the chart makes.")
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


def nodes(asked: Asked) -> Mapping[str, str]:
    """The labels of the nodes on which the generator runs; none for any.

    Raises:
        UsageError: It is no label, or the generator runs on none.
    """
    if not asked.nodes:
        return {}
    if asked.local:
        raise UsageError("--local sends from this host: leave out --node-selector.")
    key, equals, value = asked.nodes.partition("=")
    if not (equals and _KEY.fullmatch(key) and _VALUE.fullmatch(value)):
        raise UsageError(
            f"--node-selector is {asked.nodes!r}; it has to be KEY=VALUE, as `kubectl get nodes --show-labels` has them."
        )
    return {key: value}


def each(plan: Plan) -> int:
    """One request of so many is looked for in the services' logs, by its number; a journey has about three."""
    return max(1, int(sum(phase.journeys for phase in plan.phases) * 3 / _SAMPLES))


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
        "each": each(plan),
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
        "sender": target.sender,
        "cores": host.cores,
        "processor": host.model,
        "generator": tools.get("generator"),
        "locust": tools.get("locust"),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
