"""What comes back: a rollback restores an environment as it was, a revert undoes the change before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from slipway.receive import entries
from slipway.receive.bare import ZERO, Past
from slipway.receive.scene import Scene, is_commit, paths
from slipway.records import Record, withdrawal

BACK = ("rollback", "revert")


def judge(scene: Scene) -> Callable[[Record], bool]:
    """Whether a record and what follows from it are what they were at the former commit that the commit names."""
    named = scene.trailers.get("Restores", "")
    if not is_commit(named) or not scene.ledger.here.contains(scene.parent, named):
        return lambda _: False
    came_back = _undoes if scene.kind == "revert" else _rolls_back
    return lambda record: came_back(scene, record, named)


def _rolls_back(scene: Scene, record: Record, restored: str) -> bool:
    """Whether the environment is whole what it was, and this record's part of it was not itself taken back as unhealthy."""
    then = scene.ledger.here.blobs(restored, f"envs/{record.environment}/")
    if not _same(scene, record, restored) or any(scene.after.get(path) != blob for path, blob in then.items()):
        return False
    past = _past(scene, record)
    undone = {one.old for one in past if one.trailer == "revert"} - {one.old for one in past if one.trailer != "revert"}
    return scene.after[_path(record)] not in undone


def _undoes(scene: Scene, record: Record, restored: str) -> bool:
    """Whether the last change of the record is undone, which was no revert; a rollback only right after it was made."""
    past = _past(scene, record)
    if not past:
        return False
    last = past[-1]
    if last.trailer == "revert" or last.parent != restored:
        return False
    if not (_withdrawn(scene, record, last) if last.old == ZERO else _same(scene, record, restored)):
        return False
    return last.trailer != "rollback" or scene.ledger.here.last(scene.parent, f"envs/{record.environment}") == last.commit


def _withdrawn(scene: Scene, record: Record, last: Past) -> bool:
    """Whether the record ends what had never run there before, and says nothing else than what that was."""
    brought = entries.parse(_path(record), scene.ledger.here.contents([last.new])[last.new])
    ended = replace(withdrawal(brought), chart_version=record.chart_version, config=record.config)
    return record == ended and not entries.departures(scene.ledger.kitchen, [record], scene.after)


def _same(scene: Scene, record: Record, restored: str) -> bool:
    was = scene.ledger.here.blobs(restored, f"{entries.folder(record.environment, record.service)}/")
    return all(was.get(path) == scene.after[path] for path in paths(record))


def _past(scene: Scene, record: Record) -> list[Past]:
    return scene.ledger.here.past(scene.parent, _path(record))


def _path(record: Record) -> str:
    return entries.file(record.environment, record.service)
