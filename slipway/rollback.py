"""Rollback: an environment goes back to exactly what it ran before, byte for byte, in one commit, and stays there."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from slipway import access, git, gitops, promotion, versions
from slipway.access import Access
from slipway.errors import UsageError, unknown
from slipway.gitops import Entry
from slipway.progress import Progress
from slipway.promotion import Change, Moved, moved, show_moved
from slipway.records import RETIRED
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

# How far back is looked.
_DEPTH = 2000

_SHORT = 9

# What a release brings and ends; stores stay what they are.
_OURS = (gitops.CHART, RETIRED)
_COMMIT = re.compile(r"[0-9a-f]{6,40}")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class RolledBack:
    """An environment that runs what it ran before.

    Attributes:
        environment: The environment.
        release: The release that is back; empty for none.
        restores: The commit whose records are back.
        made: Whether anything had to be changed.
        commit: The commit that the environment runs.
        services: The services.
        left: Services that were not there then, and stay as they are.
        next: What to type next.
    """

    environment: str
    release: str
    restores: str
    made: bool
    commit: str
    services: tuple[Moved, ...]
    left: tuple[str, ...]
    next: str


@dataclass(frozen=True)
class Past:
    """What an environment's records said after one commit, by service; `undone` when the next one took it back unwell."""

    commit: git.Commit
    records: Mapping[str, Mapping[str, str]]
    undone: bool = False

    @property
    def releases(self) -> frozenset[str]:
        """The releases that its services were of."""
        return frozenset(record.get("release", "") for record in self.records.values() if record.get("chart") != RETIRED)

    @property
    def state(self) -> frozenset[tuple[str, str]]:
        """What ran: a lock or a release where there is one, else the artifact and the configuration of each service."""
        return frozenset((service, _what(record)) for service, record in self.records.items())


def rollback(settings: Settings, environment: str, *, to: str = "", user: str, progress: Progress) -> RolledBack:
    """An environment, running exactly what a former release was there.

    Args:
        settings: The instance's.
        environment: The environment.
        to: The release, a version of a service or a commit of the GitOps repository; by default what ran before what
            runs now first came.
        user: On whose behalf.
        progress: Shows what happens.

    Raises:
        UsageError: There is no such environment or user, or the environment never ran that.
        Refused: The policy forbids it.
        PromotionFailed: The environment did not come to run it.
    """
    settings.environment(environment)
    if user not in settings.roles:
        raise unknown("user", user, settings.roles)
    pipeline = access.open(settings)
    if environment not in pipeline.environments:
        raise unknown("environment of this instance", environment, pipeline.environments)
    remote = pipeline.records(environment)
    with progress.showing(), tempfile.TemporaryDirectory(prefix="slipway-rollback-") as folder:
        tree = Path(folder, "tree")
        with progress.phase(f"Find what {environment} ran") as phase:
            gitops.patiently(remote, lambda: git.mirror(remote, tree) or True)
            told = past(tree, environment)
            chosen = choose(told, environment, to)
            phase.say(f"{', '.join(sorted(chosen.releases - {''})) or 'what it was'} as at {chosen.commit.sha[:_SHORT]}")
        entries = restored(tree, environment, chosen, Path(folder, "restored"))
        change = Change(
            environment=environment,
            kind="rollback",
            branch=_each(entry.record.branch for entry in entries),
            entries=entries,
            how="rollback",
            release=_each(entry.record.release for entry in entries),
            lock=_each(entry.record.lock for entry in entries),
            triggered_by=user,
            restores=chosen.commit.sha,
            reason="Roll back",
        )
        with progress.phase(f"{environment} goes back") as phase:
            done = promotion.deploy(pipeline, change, phase=phase)
    runs = told[0].records
    before = {name: record.get("version", "") for name, record in runs.items()}
    services = moved((entry.record for entry in entries), before, done.changed)
    left = tuple(sorted(set(runs) - {entry.record.service for entry in entries}))
    following = settings.command(f"history {environment}")
    return RolledBack(environment, change.release, chosen.commit.sha, done.made, done.commit, services, left, following)


def now(pipeline: Access, environment: str) -> str:
    """The commit that made an environment what it is: what to name to come back to it.

    Raises:
        UsageError: Nothing was ever delivered there.
    """
    remote = pipeline.records(environment)
    with tempfile.TemporaryDirectory(prefix="slipway-rollback-") as folder:
        tree = Path(folder, "tree")
        gitops.patiently(remote, lambda: git.mirror(remote, tree) or True)
        return past(tree, environment)[0].commit.sha


def past(tree: Path, environment: str) -> tuple[Past, ...]:
    """What an environment ran after each commit that concerned it, the newest first.

    Args:
        tree: Its GitOps repository, with all its history.
        environment: The environment.

    Raises:
        UsageError: Nothing was ever delivered there.
    """
    commits = git.log(tree, gitops.REFERENCE, paths=[f"envs/{environment}"], limit=_DEPTH)
    if not commits:
        raise UsageError(f"nothing was ever delivered to {environment}, so there is nothing to go back to.")
    bad = _undone(commits)
    return tuple(Past(commit, _records(tree, commit.sha, environment), commit.sha in bad) for commit in commits)


def _undone(commits: Sequence[git.Commit]) -> frozenset[str]:
    """The commits whose state another one took back because it did not run: nobody wants to go there again."""
    shas = [commit.sha for commit in commits]
    bad: set[str] = set()
    for number, commit in enumerate(commits):
        if commit.trailers.get("Kind") == "revert" and number + 1 < len(commits):
            good = commit.trailers.get("Restores", "")
            # The state that came back may be one that another environment's commit stands for: then only the last one was bad.
            end = shas.index(good, number) if good in shas[number + 1 :] else number + 2
            bad.update(shas[number + 1 : end])
    return frozenset(bad)


def choose(told: Sequence[Past], environment: str, to: str) -> Past:
    """The state that is meant.

    Raises:
        UsageError: The environment never ran that.
    """
    usable = [one for one in told if not one.undone]
    if not to:
        return _former(told, usable, environment)
    wanted = versions.parse(to)
    release = f"v{wanted}" if wanted else ""
    by_release = [one for one in usable if one.releases == frozenset({release})] if release else []
    by_version = [one for one in usable if wanted and any(_runs(record, str(wanted)) for record in one.records.values())]
    by_commit = [one for one in usable if _COMMIT.fullmatch(to) and one.commit.sha.startswith(to)]
    found = by_release or by_version or by_commit
    if not found or (found is by_commit and len(found) > 1):
        ran = sorted({name for one in usable for name in one.releases if name}, key=lambda name: str(versions.parse(name)))
        what = f"the releases {', '.join(ran)}" if ran else "no release, but commits"
        raise UsageError(f"{environment} never ran {to!r} whole and well. It ran {what}: see `./invoke history {environment}`.")
    return found[0]


def _former(told: Sequence[Past], usable: Sequence[Past], environment: str) -> Past:
    """What ran before what runs now first came; what came and went in between does not count."""
    now = told[0].state
    # What came last of all that runs now: the youngest first appearance of any service's state.
    first = min(max(number for number, one in enumerate(told) if part in one.state) for part in now)
    before = [one for one in told[first + 1 :] if one in usable and one.state != now]
    if not before:
        raise UsageError(
            f"{environment} ran nothing before what it runs now ({', '.join(sorted(told[0].releases - {''})) or 'no release'}). "
            f"Name where to go with --to: `./invoke history {environment}` lists what it ran."
        )
    return before[0]


def restored(tree: Path, environment: str, chosen: Past, into: Path) -> tuple[Entry, ...]:
    """The services' entries of an environment as a former commit has them, byte for byte."""
    git.export(tree, chosen.commit.sha, [f"envs/{environment}"], into)
    found = gitops.entries(into)
    return tuple(entry for key, entry in sorted(found.items()) if key[0] == environment and entry.record.chart in _OURS)


def _records(tree: Path, commit: str, environment: str) -> dict[str, Mapping[str, str]]:
    found: dict[str, Mapping[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="slipway-past-") as folder:
        git.export(tree, commit, [f"envs/{environment}"], Path(folder))
        for file in sorted(Path(folder).glob(f"envs/{environment}/*/record.yaml")):
            record: Mapping[str, str] = yaml.load(file.read_text(), Loader=_Loader)  # noqa: S506 the loader is a safe one
            # What was new and taken back is as if it had never come.
            if record.get("chart") in _OURS and not (record.get("chart") == RETIRED and record.get("inputs")):
                found[file.parent.name] = record
    return found


def _runs(record: Mapping[str, str], version: str) -> bool:
    return record.get("version") == version and record.get("chart") != RETIRED


def _what(record: Mapping[str, str]) -> str:
    if record.get("chart") == RETIRED:
        return f"{RETIRED} {record.get('source_commit', '')}"
    named = record.get("lock") or record.get("release")
    return named or " ".join(record.get(key, "") for key in ("version", "digest", "chart_version", "config", "source_commit"))


def _each(words: Any) -> str:
    return ", ".join(sorted({word for word in words if word}))


def show(made: RolledBack, console: Console) -> None:
    """Print what is back, for a person."""
    what = made.release or f"what it ran as at {made.restores[:_SHORT]}"
    said = f"is back at {what}, to the byte" if made.made else f"runs {what} already; nothing changed"
    console.print(f"● {made.environment}  {said}", markup=False)
    show_moved(made.services, console)
    if made.left:
        console.print(f"  Not there then, and left as they are: {', '.join(made.left)}", markup=False)
    console.print(f"\nIt stays so until somebody promotes again. Next: {made.next}", markup=False)
