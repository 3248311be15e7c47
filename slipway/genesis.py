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

BRANCHES = ("main", "develop")

# What every service begins with; from then on the pipeline counts.
VERSION = "0.1.0"

_NO_COMMIT = (
    "Delivery begins with a commit, and there is none here. Clone Slipway with git, or make this folder a repository:\n"
    "    git init && git add --all && git commit --message 'Start'"
)


@dataclass(frozen=True)
class Image:
    """A service's image: where it lies, and which it is."""

    repository: str
    digest: str


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
    """Whether the application's repository was empty; now its branches main and develop are at this commit.

    Args:
        settings: The instance's.
        remote: The repository, as the pipeline.
        commit: One of the checkout's.
    """
    there = git.refs(remote)
    updates = {name: commit for name in (f"refs/heads/{branch}" for branch in BRANCHES) if name not in there}
    if not updates or any(sha != commit for sha in there.values()):
        return False
    # Git cannot push two branches that begin at the same cut of a shallow history at once: the second one fails.
    one_by_one = git.shallow(settings.root)
    try:
        for part in [{name: sha} for name, sha in updates.items()] if one_by_one else [updates]:
            git.push(settings.root, remote, part, only_new=True)
    except git.PushConflict:  # another `up` was faster
        return False
    return True


def empty(remotes: Mapping[str, git.Remote]) -> dict[str, git.Remote]:
    """Those of the repositories that nobody has pushed to yet."""
    return {name: remote for name, remote in remotes.items() if not git.refs(remote)}


def seed_records(
    settings: Settings,
    remotes: Mapping[str, git.Remote],
    *,
    commit: str,
    environments: Sequence[str],
    images: Mapping[str, Image],
    version: str,
    helm_program: Path,
) -> dict[str, str]:
    """The first commit of each GitOps repository that was empty, by its name; the others are left alone.

    Args:
        settings: The instance's.
        remotes: The repositories by name, as the pipeline.
        commit: The commit that charts and services are taken from.
        environments: Which environments the instance has.
        images: The image of each service.
        version: The version that every service begins with.
        helm_program: Helm.

    Raises:
        UsageError: A service lacks a file for an environment.
        ChartError: The chart refuses a service's values.
    """
    made: dict[str, str] = {}
    with source(settings, commit) as taken:
        for name, remote in remotes.items():
            there = [env for env in map(settings.environment, environments) if env.repository == name]
            if not there:
                continue
            jobs = [
                partial(
                    gitops.render,
                    gitops.Record(env.name, service, version, image.repository, image.digest, commit),
                    taken.values(service, env.name),
                    tier=env.tier,
                    chart=taken.chart(),
                    helm_program=helm_program,
                    kubernetes=settings.versions["versions"]["kubernetes"],
                )
                for env in there
                for service, image in sorted(images.items())
            ]
            begun = gitops.begin(remote, gitops.render_all(jobs), reason="Genesis", trailers={"Kind": "genesis"})
            if begun:
                made[name] = begun.commit
    return made
