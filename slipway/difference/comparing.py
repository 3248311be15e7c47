"""What differs between what two environments run, service by service."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from slipway.gitops import CHART, Entry, Record

# What an artifact is, and what it is called; the hash of the configuration is told by the values themselves.
CONTENT = ("image", "digest", "chart", "chart_version", "inputs")
NAMES = ("version", "branch", "source_commit", "release", "lock")

# Why two values differ: the same artifact says another thing for each environment; the artifacts differ; nobody can tell.
ENVIRONMENT, ARTIFACT, UNKNOWN = "environment", "artifact", "unknown"

# Values that say which artifact runs where: the records tell it.
_IDENTITY = ("service", "environment", "tier", "image", "version", "commit")

_ABSENT = object()
_MADE_OF = re.compile(r"(?<=-migrate)-[0-9a-f]{8}$")


@dataclass(frozen=True)
class Differing:
    """One thing that differs.

    Attributes:
        name: A record's field, or the path of a value ("config.log_level").
        first: In the first environment; None when it is not set.
        second: The same in the second one.
        cause: "environment", "artifact" or "unknown".
    """

    name: str
    first: Any
    second: Any
    cause: str


@dataclass(frozen=True)
class Service:
    """One service in two environments.

    Attributes:
        first: What the first one runs; None when it runs none of it.
        second: The same of the second one.
        artifact: The fields of the records that differ.
        values: The values that differ, configuration included.
        objects: How many fields differ of each object, by kind and name, apart from those that only say which environment it is.
    """

    service: str
    first: Record | None
    second: Record | None
    artifact: tuple[Differing, ...]
    values: tuple[Differing, ...]
    objects: Mapping[str, int]

    @property
    def same(self) -> bool:
        """Whether both run the same artifact, whatever it is called."""
        return bool(self.first and self.second) and not any(item.name in CONTENT for item in self.artifact)

    def as_dict(self) -> dict[str, Any]:
        """The same, for machines."""
        return {**asdict(self), "same_artifact": self.same}


@dataclass(frozen=True)
class Difference:
    """Two environments side by side."""

    first: str
    second: str
    services: tuple[Service, ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        """The services of which the two run different artifacts."""
        return tuple(one.service for one in self.services if not one.same)


Expected = Callable[[Record, str], "Mapping[str, Any] | None"]


def compare(
    first: Mapping[str, Entry], second: Mapping[str, Entry], environment: str, *, expected: Expected
) -> tuple[Service, ...]:
    """What differs, service by service.

    Args:
        first: What the first environment runs, by service.
        second: The same of the second one.
        environment: The second one.
        expected: What a record's source says for an environment; None when nobody can tell.
    """
    return tuple(_service(name, first.get(name), second.get(name), environment, expected) for name in sorted({*first, *second}))


def _service(name: str, first: Entry | None, second: Entry | None, environment: str, expected: Expected) -> Service:
    if not first or not second:
        return Service(name, first and first.record, second and second.record, (), (), {})
    one, other = asdict(first.record), asdict(second.record)
    artifact = tuple(
        Differing(field, one[field], other[field], ARTIFACT) for field in (*CONTENT, *NAMES) if one[field] != other[field]
    )
    values = _values(first, second, environment, expected)
    return Service(name, first.record, second.record, artifact, values, _objects(first, second))


def _values(first: Entry, second: Entry, environment: str, expected: Expected) -> tuple[Differing, ...]:
    here, there = flat(_told(first.values)), flat(_told(second.values))
    # What the first environment's artifact says for the second one: where that runs something else, the artifacts differ.
    told = second.values if _same_source(first.record, second.record) else expected(first.record, environment)
    promised = flat(_told(told)) if told is not None else None

    def cause(name: str) -> str:
        if promised is None:
            return UNKNOWN if here.get(name) != there.get(name) else ""
        if promised.get(name) != there.get(name):
            return ARTIFACT
        return ENVIRONMENT if here.get(name) != there.get(name) else ""

    causes = {name: cause(name) for name in sorted({*here, *there, *(promised or ())})}
    return tuple(Differing(name, here.get(name), there.get(name), why) for name, why in causes.items() if why)


def _same_source(first: Record, second: Record) -> bool:
    if first.chart != CHART:  # a store has no values of its own
        return True
    return first.source_commit == second.source_commit or bool(first.inputs and first.inputs == second.inputs)


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _IDENTITY}


def flat(data: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Every leaf of nested mappings by its path; a list is a leaf."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        path = f"{above}.{name}" if above else str(name)
        if isinstance(value, Mapping) and value:
            found.update(flat(value, path))
        else:
            found[path] = value
    return found


def _objects(first: Entry, second: Entry) -> dict[str, int]:
    # That one says stage where the other says prod is what makes them two environments.
    own = ((first.record.environment, second.record.environment), (first.values.get("tier"), second.values.get("tier")))
    here, there = ({_name(item): _leaves(item) for item in side.manifests} for side in (first, second))
    counts: dict[str, int] = {}
    for name in sorted({*here, *there}):
        one, other = here.get(name, {}), there.get(name, {})
        pairs = [(one.get(path, _ABSENT), other.get(path, _ABSENT)) for path in {*one, *other}]
        counts[name] = sum(1 for pair in pairs if pair[0] != pair[1] and pair not in own)
    return {name: count for name, count in counts.items() if count}


def _name(item: Mapping[str, Any]) -> str:
    # A migration's name ends with what it is made of.
    return f"{item['kind']} {_MADE_OF.sub('', item['metadata']['name'])}"


def _leaves(item: Any, above: str = "") -> dict[str, Any]:
    if isinstance(item, (Mapping, list)) and item:
        pairs = item.items() if isinstance(item, Mapping) else enumerate(item)
        found: dict[str, Any] = {}
        for key, value in pairs:
            found.update(_leaves(value, f"{above}/{key}"))
        return found
    return {above: item}
