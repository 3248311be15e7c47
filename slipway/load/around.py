"""What a load test stands in: what Git says must run, where that answers, on which machine, made by which versions."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from slipway import gitops, machine
from slipway.access import Access
from slipway.errors import SlipwayError
from slipway.load.during import PROMOTION, ROLLBACK
from slipway.load.model import ENVIRONMENT_CODE, Asked, Host, Target
from slipway.settings import Settings

_LOCKED = re.compile(r"^locust==(\S+)", re.MULTILINE)


class NothingThere(SlipwayError):
    """There is nothing that could be tested: the environment's trouble, and nobody's verdict."""

    exit_code = ENVIRONMENT_CODE


def target(access: Access, asked: Asked, addresses: Mapping[str, str]) -> Target:
    """What Git says must run in the environment, and where it answers.

    Args:
        access: The instance.
        asked: What somebody asked for.
        addresses: Where each service answers, from where it is asked.

    Raises:
        NothingThere: The instance has no such environment, or Git says that something else runs there.
    """
    settings, environment = access.settings, asked.environment
    settings.environment(environment)
    if environment not in access.environments:
        raise NothingThere(
            f"instance {settings.instance!r} has no environment {environment!r}; it has {', '.join(access.environments)}. "
            "An instance of the profile full has all of them."
        )
    commit, entries = gitops.read(access.records(environment))
    records = {service: entry.record for (where, service), entry in entries.items() if where == environment}
    missing = [
        service
        for service in settings.services
        if service not in records or records[service].retired or not records[service].digest
    ]
    if missing:
        cure = f"`{settings.command(f'promote {environment}')}` brings it there."
        raise NothingThere(f"nothing of {', '.join(missing)} was brought to {environment}. {cure}")
    ours = [records[service] for service in settings.services]
    release, lock = _same(record.release for record in ours), _same(record.lock for record in ours)
    changes_releases = asked.during in (PROMOTION, ROLLBACK)
    if asked.release and not changes_releases and asked.release.removeprefix("v") != release.removeprefix("v"):
        runs = release or "what no release names"
        raise NothingThere(f"{environment} runs {runs}, not {asked.release}. Promote {asked.release} to {environment} first.")
    return Target(
        environment=environment,
        release=release,
        lock=lock,
        addresses=addresses,
        digests={service: records[service].digest for service in settings.services},
        commit=commit,
        local=asked.local,
        sender=asked.sender,
    )


def host() -> Host:
    """The machine, and how busy it is now."""
    seen = machine.look()
    return Host(seen.cores, seen.memory, _model(), platform.release(), round(os.getloadavg()[0], 2))


def tools(settings: Settings, image: str) -> Mapping[str, str]:
    """Versions of what takes part in a test."""
    pinned = settings.versions["versions"]
    locked = _LOCKED.search((settings.root / "loadtests" / "requirements.txt").read_text())
    return {
        "generator": image,
        "kubernetes": str(pinned["kubernetes"]),
        "locust": locked[1].rstrip("\\ ") if locked else "",
        "prometheus": str(pinned["prometheus"]),
        "python": platform.python_version(),
    }


def _same(values: Iterable[str]) -> str:
    """What all of them are; empty when they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _model() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return found[1].strip() if found else platform.processor()
