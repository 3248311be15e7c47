"""Genesis: the first content of an instance's repositories, from this checkout's last commit, and only where there is none."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from slipway import git, gitops
from slipway.errors import UsageError
from slipway.settings import Settings

# Where it begins, and what every service begins with; from then on the pipeline counts.
BRANCH = "main"
VERSION = "0.1.0"
RELEASE = f"v{VERSION}"

_NO_COMMIT = (
    "Delivery begins with a commit, and there is none here. Clone Slipway with git, or make this folder a repository:\n"
    "    git init && git add --all && git commit --message 'Start'"
)


@dataclass(frozen=True)
class Part:
    """What an environment begins with: a service or a store.

    Attributes:
        name: Its name.
        version: The version it begins with.
        repository: Where its image lies, without tag or digest.
        digest: Which image it is ("sha256:...").
        chart: The chart it is rendered with. A service has the one chart of all services, and values of its own.
        inputs: The key of what a service is made of; empty for a store.
    """

    name: str
    version: str
    repository: str
    digest: str
    chart: str = gitops.CHART
    inputs: str = ""


@dataclass(frozen=True)
class Origin:
    """The checkout's last commit; `dirty` when the working tree has changes that it does not hold."""

    commit: str
    dirty: bool


def origin(settings: Settings) -> Origin:
    """The commit that an instance begins with.

    Raises:
        UsageError: The checkout is no Git repository of its own, or has no commit.
    """
    top = git.top_level(settings.root)
    if top is None or not top.samefile(settings.root):
        raise UsageError(f"{settings.root} is not a Git repository. {_NO_COMMIT}")
    commit = git.resolve(settings.root, "HEAD")
    if commit is None:
        raise UsageError(f"{settings.root} has no commit. {_NO_COMMIT}")
    return Origin(commit, git.dirty(settings.root))


@contextmanager
def source(settings: Settings, commit: str, paths: Sequence[str] = ("charts", "services")) -> Generator[gitops.Source]:
    """Folders of the checkout as a commit has them, for as long as the block lasts; uncommitted work is not in them."""
    with tempfile.TemporaryDirectory(prefix="slipway-source-") as folder:
        git.export(settings.root, commit, paths, Path(folder))
        yield gitops.Source(Path(folder), commit)


def seed_app(settings: Settings, remote: git.Remote, commit: str) -> bool:
    """Whether the application's repository was empty; now its first branches and its first release are at this commit.

    Args:
        settings: The instance's.
        remote: The repository, as the pipeline.
        commit: One of the checkout's.
    """
    there = git.refs(remote)
    seeds = [*(f"refs/heads/{branch}" for branch in settings.policy.seeds), f"refs/tags/{RELEASE}"]
    updates = {name: commit for name in seeds if name not in there}
    if not updates or any(sha != commit for sha in there.values()):
        return False
    # Git cannot push two references that begin at the same cut of a shallow history at once: the second one fails.
    one_by_one = git.shallow(settings.root)
    try:
        for part in [{name: sha} for name, sha in updates.items()] if one_by_one else [updates]:
            git.push(settings.root, remote, part, only_new=True)
    except git.PushConflict:  # another `up` was faster
        return False
    return True


def began(settings: Settings, remote: git.Remote) -> str:
    """The commit that the application's repository began with: an `up` that was cut off goes on from there, not from a later one.

    Args:
        settings: The instance's.
        remote: The repository, which has content.

    Raises:
        UsageError: The checkout does not have that commit.
    """
    commit = git.refs(remote)[f"refs/tags/{RELEASE}"]
    if git.resolve(settings.root, commit) is None:
        raise UsageError(
            f"this instance began with commit {commit[:9]}, which this checkout does not have, and its records were never "
            f"written. Fetch that commit, or begin anew: {settings.command('down')}, then {settings.command('up')}."
        )
    return commit


def empty(remotes: Mapping[str, git.Remote]) -> dict[str, git.Remote]:
    """Those of the repositories that nobody has pushed to yet."""
    return {name: remote for name, remote in remotes.items() if not git.refs(remote)}


def seed_records(
    settings: Settings,
    remotes: Mapping[str, git.Remote],
    *,
    commit: str,
    environments: Sequence[str],
    parts: Sequence[Part],
    helm_program: Path,
    key: Path | None = None,
) -> dict[str, str]:
    """The first commit of each GitOps repository that was empty, by its name; the others are left alone.

    Args:
        settings: The instance's.
        remotes: The repositories by name, as the pipeline.
        commit: The commit that charts and services are taken from.
        environments: Which environments the instance has.
        parts: The services and the stores.
        helm_program: Helm.
        key: The key that signs the commits: the pipeline's.

    Raises:
        UsageError: A service lacks a file for an environment.
        ChartError: The chart refuses a service's values.
    """
    made: dict[str, str] = {}
    released = {settings.environment(name).tier for name in settings.policy.approvals}
    with source(settings, commit) as taken:
        for name, remote in remotes.items():
            there = [env for env in map(settings.environment, environments) if env.repository == name]
            if not there:
                continue
            jobs = [
                partial(
                    gitops.render,
                    _record(part, env.name, commit, release=RELEASE if env.tier in released else ""),
                    taken.values(part.name, env.name) if part.chart == gitops.CHART else {},
                    tier=env.tier,
                    chart=taken.chart(part.chart),
                    helm_program=helm_program,
                    kubernetes=settings.versions["versions"]["kubernetes"],
                )
                for env in there
                for part in parts
            ]
            begun = gitops.begin(remote, gitops.render_all(jobs), reason="Genesis", trailers={"Kind": "genesis"}, key=key)
            if begun:
                made[name] = begun.commit
    return made


def _record(part: Part, environment: str, commit: str, *, release: str) -> gitops.Record:
    service = part.chart == gitops.CHART
    return gitops.Record(
        environment,
        part.name,
        part.version,
        part.repository,
        part.digest,
        commit,
        release=release if service else "",
        branch=BRANCH,
        inputs=part.inputs,
    )
