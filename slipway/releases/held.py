"""What was rolled back stays rolled back: nothing that comes by itself brings it again, only somebody who asks for it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from slipway import git, gitops, locks
from slipway.access import Access
from slipway.gitops import Record

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def held(access: Access, environment: str, wanted: Sequence[Record], *, commit: str = "") -> tuple[str, ...]:
    """The services of which an environment was rolled back from what is wanted there, or from something newer.

    Args:
        access: An instance, whose mirror of the application is up to date.
        environment: The environment.
        wanted: What would come by itself.
        commit: Of a release, the commit of its branch that it is made of.
    """
    remote = access.records(environment)
    with tempfile.TemporaryDirectory(prefix="slipway-held-") as folder:
        tree = Path(folder, "tree")
        gitops.patiently(remote, lambda: git.mirror(remote, tree) or True)
        left = {record.service: _left(tree, environment, record.service) for record in wanted}
        made = _made_of(tree) if any(one.get("lock") for one in left.values()) else {}

    def same_or_older(record: Record) -> bool:
        was = left[record.service]
        if not record.lock:
            return bool(was) and git.contains(access.mirror, was["source_commit"], record.source_commit)
        if was.get("lock") == record.lock:
            return True
        end = made.get(was.get("lock", ""), "") if was.get("release") == record.release else ""
        return bool(end and commit) and git.contains(access.mirror, end, commit)

    return tuple(record.service for record in wanted if same_or_older(record))


def _left(tree: Path, environment: str, service: str) -> Mapping[str, str]:
    """The record from which a service was rolled back; empty when its last change was none."""
    place = f"envs/{environment}/{service}"
    last = git.log(tree, gitops.REFERENCE, paths=[place], limit=1)
    if not last or last[0].trailers.get("Kind") != "rollback" or not git.tree(tree, f"{last[0].sha}^", place):
        return {}
    with tempfile.TemporaryDirectory(prefix="slipway-left-") as folder:
        git.export(tree, f"{last[0].sha}^", [f"{place}/record.yaml"], Path(folder))
        return yaml.load(Path(folder, place, "record.yaml").read_text(), Loader=_Loader)  # noqa: S506 the loader is a safe one


def _made_of(tree: Path) -> Mapping[str, str]:
    """The commit that each lock was made of."""
    with tempfile.TemporaryDirectory(prefix="slipway-locks-") as folder:
        git.export(tree, gitops.REFERENCE, [locks.RELEASES], Path(folder))
        return {lock.hash: lock.commit for lock in locks.read_locks(Path(folder))}


__all__ = ["held"]
