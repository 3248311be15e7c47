"""What a commit changes: a service's artifact is known by what it is made of, never by what was pushed last."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slipway import images
from slipway.records import CHART, Record, Source

# What an artifact is made of beside its image: how it is run and what it is told, in every environment.
_TOLD = ("envs", "helm")

_FORMAT = 1


@dataclass(frozen=True)
class Artifact:
    """A service as a commit has it.

    Attributes:
        service: The service.
        inputs: The key of everything it is made of ("sha256:...").
        changed: Whether there is no artifact of these inputs yet, so that one has to be built.
        record: The record whose artifact is taken when it is not changed; else what runs now, or None.
    """

    service: str
    inputs: str
    changed: bool
    record: Record | None


def services(source: Source) -> tuple[str, ...]:
    """The services that a commit has: every folder of services/ with a main.py."""
    return tuple(sorted(file.parent.name for file in (source.folder / "services").glob("*/main.py")))


def inputs(source: Source, service: str, *, base: str, build_base: str) -> str:
    """The key of a service's artifact: it changes when anything does that the service runs or is told, anywhere.

    That is its image, the chart of all services, and its own values for every environment. Neither a version nor a commit
    is in it, nor any other service, nor the service's tests and papers.

    Args:
        source: Charts and services of a commit.
        service: The service.
        base: The engine's name of the image it runs on.
        build_base: The engine's name of the image with the build tools.
    """
    own = source.folder / "services"
    told = {
        "format": _FORMAT,
        "image": images.key(own, service, base=base, build_base=build_base),
        "chart": _contents(source.chart(CHART)),
        **{name: _contents(own / service / name) for name in _TOLD},
    }
    return f"sha256:{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()}"


def survey(keys: Mapping[str, str], running: Mapping[str, Record], others: Sequence[Record] = ()) -> tuple[Artifact, ...]:
    """What a commit has of each service, beside what an environment runs.

    Args:
        keys: The key of each service's inputs, as the commit has them.
        running: What the environment runs, by service. What was made of the same inputs is not changed, whatever its history.
        others: Records whose artifacts may be taken as well, the preferred first: built once, used again.
    """
    made: list[Artifact] = []
    for name, key in keys.items():
        there = running.get(name)
        usable = (record for record in (there, *others) if record and (record.service, record.inputs) == (name, key))
        taken = next(usable, None)
        made.append(Artifact(name, key, taken is None, taken or there))
    return tuple(made)


def removed(source: Source, running: Iterable[Record]) -> tuple[str, ...]:
    """Services that run and that the commit no longer has; sorted."""
    return tuple(sorted({record.service for record in running if record.chart == CHART} - set(services(source))))


def _contents(folder: Path) -> dict[str, tuple[bool, str]]:
    found: dict[str, tuple[bool, str]] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as opened:
                said = hashlib.file_digest(opened, "sha256").hexdigest()
            found[file.relative_to(folder).as_posix()] = os.access(file, os.X_OK), said
    return found
