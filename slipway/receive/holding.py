"""What was rolled back stays rolled back: what an environment's own history says of that, to the hook and to the tasks alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from slipway.locks import Lock
from slipway.receive import entries
from slipway.receive.bare import ZERO, Bare, Past
from slipway.records import Record


@dataclass(frozen=True)
class Left:
    """What a rollback left.

    Attributes:
        record: The record that ran until then.
        commit: The commit that rolled back.
        time: When it was made, in seconds since 1970.
    """

    record: Record
    commit: str
    time: int


def left(bare: Bare, commit: str, environment: str, service: str) -> tuple[Left, ...]:
    """What the last rollbacks of a service left, the newest first; nothing once something else has come to stay.

    Args:
        bare: The environment's repository, with its history.
        commit: Up to where that is looked at.
        environment: The environment.
        service: The service.
    """
    path = entries.file(environment, service)
    steps = trailing(bare.past(commit, path)) if commit else ()
    contents = bare.contents(step.old for step in steps)
    return tuple(Left(entries.parse(path, contents[step.old]), step.commit, step.time) for step in steps)


def trailing(past: Sequence[Past]) -> Sequence[Past]:
    """The rollbacks at the end of a record's history that left something, the newest first.

    What was taken back as unhealthy counts as if it had never come, a rollback too. And what a later rollback brought back
    is not left any more.
    """
    rest, found, back = list(past), list[Past](), set[str]()
    while rest and rest[-1].trailer in ("rollback", "revert"):
        last = rest.pop()
        if last.trailer == "revert":
            del rest[-1:]
            continue
        back.add(last.new)
        if last.old != ZERO and last.old not in back:
            found.append(last)
    return found


def holding(wanted: Record, told: Sequence[Left], known: Mapping[str, Lock], contains: Callable[[str, str], bool]) -> Left | None:
    """The newest rollback that left what is wanted, something newer, or the same content under another name.

    Args:
        wanted: What would come.
        told: What was left of the service.
        known: Every lock, by its hash.
        contains: Whether a commit of the application (the first one) is another one or comes after it.
    """
    return next((one for one in told if _same_or_older(wanted, one.record, known, contains)), None)


def _same_or_older(wanted: Record, was: Record, known: Mapping[str, Lock], contains: Callable[[str, str], bool]) -> bool:
    mine, theirs = known.get(wanted.lock), known.get(was.lock)
    if mine and theirs:
        # A release is wanted whole: what did not change in it came back with what did.
        if {one.service: one.inputs for one in mine.services} == {one.service: one.inputs for one in theirs.services}:
            return True
        return mine.release == theirs.release and contains(theirs.commit, mine.commit)
    if wanted.lock:
        return wanted.lock == was.lock
    return bool(wanted.inputs and wanted.inputs == was.inputs) or contains(was.source_commit, wanted.source_commit)
