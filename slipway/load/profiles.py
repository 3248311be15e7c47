"""Profiles: how a load test goes, as data that people write and this checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.errors import unknown
from slipway.load.model import KEEP_ALIVE, NEW_CONNECTION, SLOW, Phase, Sending
from slipway.load.yamlfile import File

FILE = Path("loadtests", "profiles.yaml")

# What customers come for; what each of them does is in loadtests/generator/journeys.py.
JOURNEYS = ("browse", "search", "cart", "checkout", "lookup", "program")
STREAMS = (KEEP_ALIVE, NEW_CONNECTION, SLOW)

_POSITIVE = {"type": "number", "exclusiveMinimum": 0}
_SHARE = {"type": "number", "minimum": 0}


def _object(properties: Mapping[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


_PHASE = _object(
    {
        # A phase that stands for nothing else must not be called like what comes after the last one.
        "name": {"type": "string", "minLength": 1, "maxLength": 20, "not": {"const": "drain"}},
        "seconds": _POSITIVE,
        "rate": _SHARE,
        "ramp": {"type": "boolean"},
        "counted": {"type": "boolean"},
    },
    "ramp",
    "counted",
)
_PROFILE = _object(
    {
        "description": {"type": "string", "minLength": 1},
        "workers": {"type": "integer", "minimum": 1, "maximum": 100},
        "phases": {
            "type": "array",
            "minItems": 1,
            "items": _PHASE,
            "contains": {"properties": {"counted": {"const": True}}, "required": ["counted"]},
        },
    }
)
SCHEMA = _object(
    {
        "weights": _object(dict.fromkeys(JOURNEYS, _SHARE), *JOURNEYS),
        "streams": _object(dict.fromkeys(STREAMS, _SHARE), *STREAMS),
        "think": _SHARE,
        "patience": _POSITIVE,
        "drain": _SHARE,
        "profiles": {"type": "object", "minProperties": 1, "additionalProperties": _PROFILE},
    }
)


@dataclass(frozen=True, kw_only=True)
class Profile(Sending):
    """How one kind of load test goes."""

    name: str
    description: str


def load(file: Path) -> Mapping[str, Profile]:
    """The profiles of a file, by name.

    Raises:
        UsageError: It is no such file; the message has the line.
    """
    told = File(file, SCHEMA)
    data = told.data
    for part in ("weights", "streams"):
        if sum(data[part].values()) <= 0:
            raise told.wrong([part], "at least one has to be more than 0")
    return {
        name: Profile(
            name=name,
            description=one["description"],
            workers=one["workers"],
            phases=_phases(told, name, one["phases"]),
            weights=normal(data["weights"]),
            streams=normal(data["streams"]),
            think=float(data["think"]),
            patience=float(data["patience"]),
            drain=float(data["drain"]),
        )
        for name, one in data["profiles"].items()
    }


def find(file: Path, name: str) -> Profile:
    """The profile of that name.

    Raises:
        UsageError: There is none, or the file is wrong; the message lists the valid ones, or has the line.
    """
    found = load(file)
    if name not in found:
        raise unknown("load profile", name, found)
    return found[name]


def normal(weights: Mapping[str, float]) -> Mapping[str, float]:
    """Shares that add up to 1, of weights; those of nothing are left out."""
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def _phases(told: File, profile: str, phases: list[Mapping[str, Any]]) -> tuple[Phase, ...]:
    found: list[Phase] = []
    before = 0.0
    for index, phase in enumerate(phases):
        rate, begin = float(phase["rate"]), before if phase.get("ramp") else float(phase["rate"])
        if phase["name"] in {one.name for one in found}:
            raise told.wrong(["profiles", profile, "phases", index, "name"], f"there are two phases {phase['name']!r}")
        if begin <= 0 and rate <= 0:
            raise told.wrong(["profiles", profile, "phases", index, "rate"], "nobody would come in this phase")
        found.append(Phase(phase["name"], float(phase["seconds"]), begin, rate, bool(phase.get("counted"))))
        before = rate
    counted = [index for index, phase in enumerate(found) if phase.counted]
    # What servers counted is told from the first of them to the last, all in one.
    for index in range(counted[0], counted[-1]) if counted else ():
        if index not in counted:
            inside = f"phases that count follow each other, and {found[index].name!r} between them does not count"
            raise told.wrong(["profiles", profile, "phases", index], inside)
    return tuple(found)
