"""What a commit says of itself in its trailers: it must be so, for the history is told from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from slipway.policy import Refusal
from slipway.receive.scene import Scene, some
from slipway.records import Record

_OF_RECORDS = {
    "Environment": "environment",
    "Service": "service",
    "Version": "version",
    "Source-Commit": "source_commit",
    "Branch": "branch",
    "Release": "release",
    "Lock": "lock",
}

_ALLOWED = "trailers that name what the commit changes, and nothing else"


def judge(scene: Scene, wanted: Sequence[Record]) -> Iterable[Refusal]:
    """Every rule that forbids what a commit says of the records that it changes."""
    if scene.kind == "genesis":
        return
    for name, told in _OF_RECORDS.items() if wanted else ():
        yield from _same(scene, name, {value for record in wanted if (value := asdict(record)[told])})
    yield from _same(scene, "Approved-By", _approvers(scene, wanted))
    yield from _origin(scene, wanted)


def _same(scene: Scene, name: str, true: set[str]) -> Iterable[Refusal]:
    said = {word.strip() for word in scene.trailers.get(name, "").split(",")} - {""}
    if absent := sorted(true - said):
        yield Refusal("trailers", f"its trailer {name} does not say {some(absent)}", _ALLOWED)
    if invented := sorted(said - true):
        yield Refusal("trailers", f"its trailer {name} says {some(invented)}, which is not so", _ALLOWED)


def _approvers(scene: Scene, wanted: Sequence[Record]) -> set[str]:
    """Those whom the commit has to name: who approves by it, or who approved what it promotes before it."""
    if scene.kind == "approval":
        return {scene.user}
    named = {record.lock for record in wanted if record.lock}
    return {one.by for one in scene.approvals if one.lock in named} if scene.kind == "promotion" else set()


def _origin(scene: Scene, wanted: Sequence[Record]) -> Iterable[Refusal]:
    """Where it says that it was promoted from; what a gate guards comes from where it was tried."""
    said, rules = scene.trailers.get("Promoted-From", ""), scene.ledger.policy
    if scene.kind != "promotion":
        yield from _same(scene, "Promoted-From", set())
        return
    for environment in sorted({record.environment for record in wanted}):
        gate = rules.approvals.get(environment)
        allowed = (gate.after,) if gate else tuple(name for name in ("", *rules.environments) if name != environment)
        if said not in allowed:
            where = gate.after if gate else "an environment that there is, and another one"
            yield Refusal("trailers", f"its trailer Promoted-From says {said or 'nothing'}", f"Promoted-From: {where}")
