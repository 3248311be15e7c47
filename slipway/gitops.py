"""The GitOps repositories: every change is one commit, computed whole on what is there and pushed, or none.

A repository holds envs/<environment>/<service>/{record,values,manifests}.yaml and nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slipway import git
from slipway.errors import SlipwayError
from slipway.records import CHART, Entry, Record, Source, dump, entries, render, render_all

__all__ = [
    "CHART",
    "Entries",
    "Entry",
    "Published",
    "Record",
    "Source",
    "begin",
    "change",
    "dump",
    "entries",
    "message",
    "read",
    "render",
    "render_all",
]

BRANCH = "main"
REFERENCE = f"refs/heads/{BRANCH}"
PIPELINE = git.Identity("pipeline", "pipeline@slipway.localhost")

# Somebody else can come first a few times; more often means that something is wrong.
_ATTEMPTS = 6


Entries = Mapping[tuple[str, str], Entry]


def read(remote: git.Remote) -> tuple[str, dict[tuple[str, str], Entry]]:
    """The newest commit of a GitOps repository, and its entries."""
    with tempfile.TemporaryDirectory(prefix="slipway-gitops-") as folder:
        tree = Path(folder, "tree")
        git.clone(remote, tree, branch=BRANCH, depth=1)
        return git.resolve(tree, "HEAD") or "", entries(tree)


@dataclass(frozen=True)
class Published:
    """Where the branch stands after a change; `made` is false when there was nothing to change."""

    commit: str
    made: bool


def change(
    remote: git.Remote,
    edit: Callable[[Entries], Iterable[Entry]],
    *,
    reason: str,
    trailers: Mapping[str, str] | None = None,
) -> Published:
    """The commit after which a GitOps repository holds what `edit` wants: one commit for all of it.

    When somebody else pushes in between, everything is read and computed again on top of theirs: two changes
    never merge by their text.

    Args:
        remote: The repository, as the pipeline.
        edit: Told the entries there are; gives those to be written. It may be called several times.
        reason: The first words of the commit's subject.
        trailers: What else the commit says of itself, beside what its records say.

    Raises:
        PushRefused: The Git server's rules forbid it.
        PushConflict: Somebody else was faster every time.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        with tempfile.TemporaryDirectory(prefix="slipway-gitops-") as folder:
            tree = Path(folder, "tree")
            git.clone(remote, tree, branch=BRANCH, depth=1)
            wanted = list(edit(entries(tree)))
            made = _commit(tree, wanted, reason, trailers or {})
            if made is None:
                return Published(git.resolve(tree, "HEAD") or "", made=False)
            try:
                git.push(tree, remote, {REFERENCE: made})
            except git.PushConflict:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return Published(made, made=True)
    raise SlipwayError("unreachable: the last attempt returns or raises")


def begin(remote: git.Remote, first: Sequence[Entry], *, reason: str, trailers: Mapping[str, str]) -> Published | None:
    """The first commit of an empty GitOps repository; None when it is not empty, which then is left alone."""
    if git.refs(remote):
        return None
    with tempfile.TemporaryDirectory(prefix="slipway-gitops-") as folder:
        tree = Path(folder, "tree")
        git.init(tree, branch=BRANCH)
        made = _commit(tree, first, reason, trailers)
        if made is None:
            raise SlipwayError("there is no record to begin with: the profile has no environment in this repository")
        try:
            git.push(tree, remote, {REFERENCE: made}, only_new=True)
        except git.PushConflict:  # another `up` was faster
            return None
        return Published(made, made=True)


def _commit(tree: Path, wanted: Sequence[Entry], reason: str, trailers: Mapping[str, str]) -> str | None:
    for entry in wanted:
        for name, content in entry.files.items():
            file = tree / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    if not wanted or not git.stage(tree, ["envs"]):
        return None
    return git.commit(tree, message(wanted, reason, trailers), identity=PIPELINE)


def message(wanted: Sequence[Entry], reason: str, trailers: Mapping[str, str]) -> str:
    """What a commit says of itself: a subject, a line per record, and trailers that `git log` alone can be asked for."""
    records = sorted((entry.record for entry in wanted), key=lambda record: record.key)
    environments = ", ".join(dict.fromkeys(record.environment for record in records))
    services = ", ".join(dict.fromkeys(record.service for record in records))
    lines = [f"{record.environment}/{record.service} {record.version} {record.digest[:19]}" for record in records]
    told = {
        "Environment": environments,
        "Service": services,
        "Version": ", ".join(dict.fromkeys(record.version for record in records)),
        "Source-Commit": ", ".join(dict.fromkeys(record.source_commit for record in records)),
        **trailers,
    }
    ending = [f"{name}: {value}" for name, value in told.items() if value]
    return "\n".join([f"{reason}: {services} in {environments}", "", *lines, "", *ending, ""])
