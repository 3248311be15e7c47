"""A developer at work: a clone of the application's repository, branches, commits and pushes by plain git."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slipway import credentials, git, gitops, shell
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e import delivering
from tests.e2e.conftest import Instance
from tests.laying import lay

# Seconds for a whole run: lint, tests, images, an environment or two; on a machine that has other things to do.
RUN_TIMEOUT = 420.0

# A run in one of these states has ended.
ENDED = ("passed", "failed", "superseded")


@dataclass(frozen=True)
class Run:
    """A run of the pipeline, as `ci.runs` tells it."""

    id: str
    branch: str
    commit: str
    state: str
    said: Mapping[str, Any]


@dataclass
class Workspace:
    """A clone of the application's repository, and whose it is."""

    instance: Instance
    folder: Path
    user: str

    @classmethod
    def clone(cls, instance: Instance, folder: Path, *, user: str = "developer", branch: str = "develop") -> Workspace:
        """A fresh clone of one branch."""
        git.clone(delivering.remote(instance, "app", user=user), folder, branch=branch)
        return cls(instance, folder, user)

    @property
    def remote(self) -> git.Remote:
        """The application's repository, as this workspace's user."""
        return delivering.remote(self.instance, "app", user=self.user)

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return git.resolve(self.folder, "HEAD") or ""

    def edit(self, files: Mapping[str, str | None]) -> None:
        """Give files another content, or none."""
        lay(self.folder, files)

    def touch(self, *services: str) -> None:
        """Change the code of services so that their images are others, and nothing else is."""
        for service in services:
            main = self.folder / "services" / service / "main.py"
            main.write_text(f"{main.read_text()}\n# {secrets.token_hex(8)}\n")

    def configure(self, service: str, environment: str, values: Mapping[str, Any]) -> None:
        """Tell a service something else in one environment."""
        self._update(f"services/{service}/envs/{environment}.yaml", values)

    def run_otherwise(self, service: str, environment: str, values: Mapping[str, Any]) -> None:
        """Run a service in another way in one environment."""
        self._update(f"services/{service}/helm/{environment}-values.yaml", values)

    def commit(self, message: str = "Change something") -> str:
        """The commit of everything that was changed."""
        git.stage(self.folder, ["."])
        return git.commit(self.folder, message, identity=git.Identity(self.user, f"{self.user}@example"))

    def push(self, branch: str, *, options: Sequence[str] = (), revision: str = "HEAD") -> str:
        """The commit that the branch names on the server now, by nothing but git."""
        words = [word for option in options for word in ("-o", option)]
        argv = ["git", "-C", self.folder, "push", "--quiet", *words, self.remote.url, f"{revision}:refs/heads/{branch}"]
        done = shell.run(argv, env=git.environment(self.remote), check=False, timeout=120)
        if done.code:
            raise git.PushRefused(done.stderr)
        return git.resolve(self.folder, revision) or ""

    def _update(self, name: str, values: Mapping[str, Any]) -> None:
        file = self.folder / name
        had = yaml.safe_load(file.read_text()) or {}
        file.write_text(yaml.safe_dump({**had, **values}))


def runs(instance: Instance) -> list[Run]:
    """Every run of the pipeline, the newest first."""
    return [
        Run(found["id"], found["branch"], found["commit"], found["state"], found)
        for found in instance.json("ci.runs", timeout=60)
    ]


def wait_run(instance: Instance, commit: str, *, branch: str = "", timeout: float = RUN_TIMEOUT) -> Run:
    """The run of a commit, once it has ended; however it did."""

    def ended() -> Ready[Run] | Pending:
        found = [run for run in runs(instance) if run.commit == commit and branch in ("", run.branch)]
        if not found:
            return Pending("the runner has not taken it yet")
        return Ready(found[0]) if found[0].state in ENDED else Pending(f"it is {found[0].state}")

    return wait_for(f"the run of {branch} {commit[:9]}", ended, timeout=timeout)


def wait_stage(instance: Instance, commit: str, stage: str) -> None:
    """Return when the run of a commit has come to a stage, or is past it."""

    def there() -> Ready[None] | Pending:
        names = {found["name"] for run in runs(instance) if run.commit == commit for found in run.said["stages"]}
        return Ready(None) if stage in names else Pending(f"it has come to {', '.join(sorted(names)) or 'none'}")

    wait_for(f"the stage {stage} of {commit[:9]}", there, timeout=RUN_TIMEOUT)


def commits(instance: Instance, folder: Path, repository: str, *, since: str) -> Sequence[git.Commit]:
    """The commits of a repository's branch that are newer than another one, the newest first."""
    git.clone(delivering.remote(instance, repository), folder, branch=gitops.BRANCH)
    return git.log(folder, f"{since}..HEAD")


def next_release(instance: Instance) -> str:
    """A version that no release has had, the next minor one."""
    tags = git.refs(delivering.remote(instance, "app"))
    found = [re.fullmatch(r"refs/(?:tags/|heads/release/)v(\d+)\.(\d+)\.\d+", name) for name in tags]
    major, minor = max((int(match[1]), int(match[2])) for match in found if match)
    return f"{major}.{minor + 1}.0"


def secrets_of(instance: Instance) -> credentials.Secrets:
    """What only this instance knows."""
    return credentials.keep(instance.settings)
