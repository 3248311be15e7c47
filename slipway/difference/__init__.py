"""`diff`: what differs between two environments, and whether another artifact or the environment itself is why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slipway import access, git, gitops
from slipway.access import Access
from slipway.difference.comparing import Difference, Differing, Expected, Service, compare
from slipway.difference.shown import show
from slipway.errors import UsageError
from slipway.gitops import Entry, Record
from slipway.history import READER
from slipway.settings import Settings

__all__ = ["Difference", "Differing", "Expected", "Service", "compare", "diff", "show"]


def diff(settings: Settings, first: str, second: str) -> Difference:
    """What differs between what two environments run, as Git records it.

    Raises:
        UsageError: There is no such environment, or the instance does not run.
    """
    repositories = {name: settings.environment(name).repository for name in (first, second)}
    reader = access.open(settings, READER)
    absent = [name for name in repositories if name not in reader.environments]
    if absent:
        raise UsageError(f"{settings.instance} has no {absent[0]}. It has {', '.join(reader.environments)}.")
    read = {name: gitops.read(reader.remote(name))[1] for name in dict.fromkeys(repositories.values())}
    sides = [_of(read[repositories[name]], name) for name in (first, second)]
    return Difference(first, second, compare(sides[0], sides[1], second, expected=_asking(reader)))


def _of(entries: gitops.Entries, environment: str) -> dict[str, Entry]:
    return {service: entry for (name, service), entry in entries.items() if name == environment and not entry.record.retired}


def _asking(reader: Access) -> Expected:
    """Asks app.git, which is fetched only when it has to be asked."""
    fetched: list[bool] = []

    def expected(record: Record, environment: str) -> Mapping[str, Any] | None:
        if not fetched:
            fetched.append(bool(reader.fetch()))
        if git.resolve(reader.mirror, record.source_commit) is None:
            return None
        with reader.source(record.source_commit, paths=("services",)) as source:
            try:
                return source.values(record.service, environment)
            except UsageError:
                return None

    return expected
