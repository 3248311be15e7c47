"""The GitOps repositories: every change is one commit, computed whole on what is there and pushed, or none.

A repository holds envs/<environment>/<service>/{record,values,manifests}.yaml; that of the prod tier also holds what
releases are made of and who approved them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from slipway import git
from slipway.errors import CommandFailed, SlipwayError, WaitTimeout
from slipway.records import CHART, Entry, Record, Source, dump, entries, render, render_all
from slipway.waiting import Clock, Pending, Ready, wait_for

__all__ = [
    "CHART",
    "Commit",
    "Entries",
    "Entry",
    "Published",
    "Record",
    "Since",
    "Source",
    "There",
    "away",
    "begin",
    "brought",
    "change",
    "dump",
    "entries",
    "message",
    "patiently",
    "read",
    "render",
    "render_all",
    "since",
    "touched",
]

T = TypeVar("T")

BRANCH = "main"
REFERENCE = f"refs/heads/{BRANCH}"
PIPELINE = git.Identity("pipeline", "pipeline@slipway.localhost")

# Somebody else can come first a few times; more often means that something is wrong.
_ATTEMPTS = 6

# Seconds that a Git server may be away: its pod has time to come back from a node that was lost.
PATIENCE = 180.0

# What git says when nobody answered, or not to the end. Anything else is an answer, and asking again gives the same one.
_AWAY = re.compile(
    r"failed to connect|could not connect|couldn't connect|connection (refused|reset|timed out|was aborted)|recv failure"
    r"|send failure|empty reply|returned error: 5\d\d|the remote end hung up|unexpected disconnect|early eof|rpc failed"
    r"|operation timed out|could not resolve host|it was ended after",
    re.IGNORECASE,
)

Entries = Mapping[tuple[str, str], Entry]


# What a commit says of all its records, by trailer.
_TOLD: Mapping[str, Callable[[Record], str]] = {
    "Version": attrgetter("version"),
    "Source-Commit": attrgetter("source_commit"),
    "Branch": attrgetter("branch"),
    "Release": attrgetter("release"),
    "Lock": attrgetter("lock"),
}


class There(dict[tuple[str, str], Entry]):
    """The entries of a GitOps repository at a commit, with the working tree that they were read from.

    Args:
        folder: The working tree; it is gone when whoever was told of it is done.
        commit: The commit.
    """

    def __init__(self, folder: Path, commit: str) -> None:
        super().__init__(entries(folder))
        self.folder, self.commit = folder, commit


@dataclass(frozen=True)
class Commit:
    """What one commit is to write.

    Attributes:
        entries: The records, each with what follows from it.
        files: Other files, by path.
        trailers: What the commit says of itself, beside what its records say.
    """

    entries: Sequence[Entry] = ()
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    trailers: Mapping[str, str] = field(default_factory=dict[str, str])


Edit = Callable[[There], "Iterable[Entry] | Commit"]


@dataclass(frozen=True)
class Published:
    """Where the branch stands after a change.

    Attributes:
        commit: The commit that has it.
        made: Whether it was made for this; not when there was nothing to change.
        before: The commit it was made on.
        former: The entries of that commit.
        entries: The entries that it wrote.
        trailers: What it says of itself.
    """

    commit: str
    made: bool
    before: str = ""
    former: Entries = field(default_factory=dict[tuple[str, str], Entry])
    entries: tuple[Entry, ...] = ()
    trailers: Mapping[str, str] = field(default_factory=dict[str, str])


class Away(WaitTimeout):
    """A Git server did not answer for as long as anybody was patient."""


def away(error: CommandFailed) -> bool:
    """Whether git failed because the server did not answer, so that the same question may be answered later."""
    return bool(_AWAY.search(str(error)))


def patiently(remote: git.Remote, ask: Callable[[], T | None], *, patience: float = PATIENCE, clock: Clock | None = None) -> T:
    """What a question to a Git server gives at last; None asks again, and so does a server that is away.

    Args:
        remote: The repository.
        ask: Asks once.
        patience: Seconds until giving up.
        clock: Another clock, for tests.

    Raises:
        CommandFailed: The server refuses.
        Away: It does not answer.
    """

    def probe() -> Ready[T] | Pending:
        try:
            found = ask()
        except CommandFailed as error:
            if not away(error):
                raise
            return Pending(str(error).splitlines()[-1].strip())
        return Pending("somebody else was faster") if found is None else Ready(found)

    hint = "Look at `./invoke status`, and repeat."
    try:
        return wait_for(f"the Git server ({remote.url})", probe, timeout=patience, clock=clock, hint=hint)
    except WaitTimeout as error:
        raise Away(str(error)) from error


def read(
    remote: git.Remote, *, patience: float = PATIENCE, clock: Clock | None = None
) -> tuple[str, dict[tuple[str, str], Entry]]:
    """The newest commit of a GitOps repository, and its entries.

    Raises:
        CommandFailed: The server refuses.
        WaitTimeout: It does not answer.
    """

    def look() -> There:
        with tempfile.TemporaryDirectory(prefix="slipway-gitops-") as folder:
            return _clone(remote, Path(folder, "tree"), depth=1)

    there = patiently(remote, look, patience=patience, clock=clock)
    return there.commit, there


@dataclass(frozen=True)
class Since:
    """What became of a commit.

    Attributes:
        there: The newest entries.
        later: The commit and those after it; none when the branch does not have it.
        every: All commits of the branch.
    """

    there: There
    later: frozenset[str]
    every: frozenset[str]


def since(remote: git.Remote, commit: str) -> Since:
    """What became of a commit of a GitOps repository.

    Raises:
        CommandFailed: The server refuses, or does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-gitops-") as folder:
        tree = Path(folder, "tree")
        there = _clone(remote, tree)
        every = git.history(tree, there.commit)
        later = git.history(tree, there.commit, without=commit) | {commit} if commit in every else frozenset[str]()
        return Since(there, later, every)


def touched(remote: git.Remote, entries: Iterable[Entry]) -> dict[str, str]:
    """The last commit that changed each entry, by service.

    Raises:
        CommandFailed: The server refuses, or does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-gitops-") as folder:
        tree = Path(folder, "tree")
        git.clone(remote, tree, branch=BRANCH)
        found = {entry.record.service: git.log(tree, "HEAD", paths=[entry.folder], limit=1) for entry in entries}
    return {service: commits[0].sha for service, commits in found.items() if commits}


def brought(remote: git.Remote, wanted: Sequence[Entry]) -> Published:
    """The last commit that changed any of these entries, as whoever made it was told of it; none when they have changed since.

    Its entries are those of their environment that nobody has changed since.

    Args:
        remote: The repository.
        wanted: Entries of one environment, as the repository had them.

    Raises:
        CommandFailed: The server refuses, or does not answer.
    """
    environment = wanted[0].record.environment
    with tempfile.TemporaryDirectory(prefix="slipway-gitops-") as folder:
        tree = Path(folder, "tree")
        there = _clone(remote, tree)
        places = [entry.folder for entry in wanted if there.get(entry.record.key) == entry]
        if not places:
            return Published(there.commit, made=False)
        last = git.log(tree, "HEAD", paths=places, limit=1)[0]
        own = [entry for entry in there.values() if entry.record.environment == environment]
        wrote = tuple(entry for entry in own if git.log(tree, "HEAD", paths=[entry.folder], limit=1)[0].sha == last.sha)
        if not last.parents:
            return Published(last.sha, True, entries=wrote, trailers=last.trailers)
        former, before = Path(folder, "former"), last.parents[0]
        git.export(tree, before, ["envs"], former)
        return Published(last.sha, True, before, There(former, before), wrote, last.trailers)


def change(
    remote: git.Remote,
    edit: Edit,
    *,
    reason: str,
    trailers: Mapping[str, str] | None = None,
    identity: git.Identity = PIPELINE,
    key: Path | None = None,
    patience: float = PATIENCE,
    clock: Clock | None = None,
) -> Published:
    """The commit after which a GitOps repository holds what `edit` wants: one commit for all of it.

    When somebody else pushes in between, everything is read and computed again on top of theirs: two changes
    never merge by their text. While the server is away it is asked again; a push whose answer was lost is looked for
    before anything is computed anew, so that no change is ever made twice.

    Args:
        remote: The repository, as whoever makes the change.
        edit: Told what there is; gives the entries to be written, or a whole Commit. It may be called several times.
        reason: The first words of the commit's subject.
        trailers: What the commit says of itself, beside what its records say and what `edit` adds.
        identity: Who makes it.
        key: The key that signs it.
        patience: Seconds that the server may be away.
        clock: Another clock, for tests.

    Raises:
        PushRefused: The Git server's rules forbid it.
        PushConflict: Somebody else was faster every time.
        WaitTimeout: The server does not answer.
    """
    conflicts, unsure = 0, list[Published]()

    def attempt() -> Published | None:
        nonlocal conflicts
        with tempfile.TemporaryDirectory(prefix="slipway-gitops-") as folder:
            tree = Path(folder, "tree")
            there = _clone(remote, tree, depth=None if unsure else 1)
            landed = next((one for one in unsure if git.contains(tree, there.commit, one.commit)), None)
            if landed:
                return landed
            wanted = edit(there)
            whole = wanted if isinstance(wanted, Commit) else Commit(list(wanted))
            told = {**(trailers or {}), **whole.trailers}
            made = _commit(tree, whole, reason, told, identity=identity, key=key)
            if made is None:
                return Published(there.commit, made=False, before=there.commit, former=there)
            done = Published(made, True, there.commit, there, tuple(whole.entries), told)
            try:
                git.push(tree, remote, {REFERENCE: made})
            except git.PushConflict:
                conflicts += 1
                if conflicts == _ATTEMPTS:
                    raise
                return None
            except CommandFailed:
                unsure.append(done)
                raise
            return done

    return patiently(remote, attempt, patience=patience, clock=clock)


def begin(
    remote: git.Remote, first: Sequence[Entry], *, reason: str, trailers: Mapping[str, str], key: Path | None = None
) -> Published | None:
    """The first commit of an empty GitOps repository; None when it is not empty, which then is left alone.

    Args:
        remote: The repository, as the pipeline.
        first: What it holds from then on.
        reason: The first words of the commit's subject.
        trailers: What the commit says of itself, beside what its records say.
        key: The key that signs it.
    """
    if git.refs(remote):
        return None
    with tempfile.TemporaryDirectory(prefix="slipway-gitops-") as folder:
        tree = Path(folder, "tree")
        git.init(tree, branch=BRANCH)
        made = _commit(tree, Commit(first), reason, trailers, identity=PIPELINE, key=key)
        if made is None:
            raise SlipwayError("there is no record to begin with: the profile has no environment in this repository")
        try:
            git.push(tree, remote, {REFERENCE: made}, only_new=True)
        except git.PushConflict:  # another `up` was faster
            return None
        return Published(made, made=True, entries=tuple(first), trailers=trailers)


def _clone(remote: git.Remote, tree: Path, *, depth: int | None = None) -> There:
    git.clone(remote, tree, branch=BRANCH, depth=depth)
    return There(tree, git.resolve(tree, "HEAD") or "")


def _commit(
    tree: Path, whole: Commit, reason: str, trailers: Mapping[str, str], *, identity: git.Identity, key: Path | None
) -> str | None:
    files = {name: content for entry in whole.entries for name, content in entry.files.items()}
    for name, content in {**files, **whole.files}.items():
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    if not (files or whole.files) or not git.stage(tree, ["."]):
        return None
    return git.commit(tree, message(whole.entries, reason, trailers), identity=identity, key=key)


def message(wanted: Sequence[Entry], reason: str, trailers: Mapping[str, str]) -> str:
    """What a commit says of itself: a subject, a line per record, and trailers that `git log` alone can be asked for."""
    records = sorted((entry.record for entry in wanted), key=lambda record: record.key)
    environments = ", ".join(dict.fromkeys(record.environment for record in records))
    services = ", ".join(dict.fromkeys(record.service for record in records))
    lines = [f"{record.environment}/{record.service} {record.version} {record.digest[:19]}" for record in records]
    told = {
        "Environment": environments,
        "Service": services,
        **{trailer: ", ".join(dict.fromkeys(filter(None, map(value, records)))) for trailer, value in _TOLD.items()},
        **trailers,
    }
    ending = [f"{name}: {value}" for name, value in told.items() if value]
    subject = f"{reason}: {services} in {environments}" if records else reason
    body = ["", *lines] if lines else []
    return "\n".join([subject, *body, *(["", *ending] if ending else []), ""])
