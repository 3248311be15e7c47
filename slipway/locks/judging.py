"""Whether what runs, or what was seen, is what a lock says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields

from slipway.locks.documents import LoadResult, Lock, Locked, StageResult
from slipway.records import Record


def of(records: Iterable[Record], *, release: str, version: str, branch: str, commit: str) -> Lock:
    """The lock of a release that runs as these records say."""
    services = tuple(locked(record) for record in sorted(records, key=lambda record: record.service))
    return Lock(release, version, branch, commit, services)


def locked(record: Record) -> Locked:
    """The artifact that a record runs, wherever it runs."""
    told = asdict(record)
    return Locked(**{field.name: told.get(field.name, "") for field in fields(Locked)})


def departures(lock: Lock, records: Iterable[Record]) -> tuple[str, ...]:
    """Which of the records are not what the lock says of their services, and in what; empty when all are."""
    known = {one.service: one for one in lock.services}
    found: list[str] = []
    for record in records:
        wanted = known.get(record.service)
        if record.retired:
            if wanted is not None:
                found.append(f"{record.service} is in the lock, and not retired")
            elif record.source_commit != lock.commit:
                found.append(f"{record.service} is retired by {record.source_commit[:9]}, and the lock is of {lock.commit[:9]}")
            continue
        if wanted is None:
            found.append(f"{record.service} is not in the lock")
            continue
        seen = locked(record)
        wrong = [field.name for field in fields(Locked) if getattr(seen, field.name) != getattr(wanted, field.name)]
        found += [f"{record.service}: {name} is {getattr(seen, name)}, not {getattr(wanted, name)}" for name in wrong]
    return tuple(found)


def passed(lock: Lock, results: Iterable[StageResult | LoadResult], environment: str) -> bool:
    """Whether an environment ran exactly this lock, or withstood load with it: its hash and every one of its digests."""
    return any(
        (result.lock, result.environment, dict(result.digests)) == (lock.hash, environment, lock.digests) for result in results
    )
