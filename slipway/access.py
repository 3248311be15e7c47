"""What somebody needs to work on an instance that runs: its repositories, its cluster, its registry, in one role's name."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from slipway import cache, cluster, credentials, engine, git, gitserver, instance, recipes, registry, roles
from slipway.credentials import Secrets
from slipway.engine import Engine
from slipway.errors import ToolMissing, UsageError, unknown
from slipway.gitops import Source
from slipway.instance import Facts
from slipway.kube import Kube
from slipway.progress import Phase
from slipway.recipes import Plan
from slipway.registry import Registry
from slipway.settings import Settings

PIPELINE = "pipeline"


@dataclass(frozen=True)
class Access:
    """An instance as one role reaches it from the host.

    Attributes:
        settings: The instance's.
        user: The role.
        port: The instance's port on the host.
        secrets: The instance's.
        facts: What the instance was made as.
        engine: The engine it runs in.
    """

    settings: Settings
    user: str
    port: int
    secrets: Secrets
    facts: Facts
    engine: Engine

    def remote(self, repository: str) -> git.Remote:
        """A repository of the instance's Git server."""
        return gitserver.remote(repository, port=self.port, user=self.user, secrets=self.secrets)

    @property
    def app(self) -> git.Remote:
        """The application's repository."""
        return self.remote(gitserver.APP)

    def records(self, environment: str) -> git.Remote:
        """The repository that holds an environment's records.

        Raises:
            UsageError: There is no such environment.
        """
        return self.remote(self.settings.environment(environment).repository)

    @cached_property
    def environments(self) -> tuple[str, ...]:
        """The environments that the instance has, in the order of promotion."""
        there = self.settings.profile(self.facts.profile).environments
        return tuple(name for name in self.settings.environments if name in there)

    @cached_property
    def kube(self) -> Kube:
        """The cluster, as the role."""
        return Kube(roles.kubeconfig(self.settings, self.user), f"{self.settings.context}-{self.user}")

    @property
    def identity(self) -> git.Identity:
        """Who the role's commits are by."""
        return git.Identity(self.user, f"{self.user}@slipway.localhost")

    @cached_property
    def key(self) -> Path:
        """The key that signs the role's commits."""
        return credentials.signing_key(self.settings, self.user)

    @cached_property
    def _plan(self) -> Plan:
        return recipes.plan(self.settings, self.engine, self.facts.source)

    @property
    def plan(self) -> Plan:
        """The instance's images and tools, by name."""
        return self._plan

    @cached_property
    def registry(self) -> Registry:
        """The registry.

        Raises:
            UsageError: It does not run.
        """
        found = registry.find(self.engine)
        if found is None or found.state != "running":
            raise UsageError(f"the registry does not run. `{self.settings.command('up')}` starts it.")
        return found

    @cached_property
    def helm(self) -> Path:
        """Helm.

        Raises:
            ToolMissing: It is not there.
        """
        path = self.plan.tool("helm")
        if not path.is_file():
            raise ToolMissing(f"{path} is not there. `{self.settings.command('up')}` makes it.")
        return path

    @property
    def kubernetes(self) -> str:
        """The version of Kubernetes that manifests are rendered for."""
        return self.settings.versions["versions"]["kubernetes"]

    @property
    def mirror(self) -> Path:
        """A bare repository on the host with what app.git held when `fetch` was last called."""
        return self.settings.folder / "app.git"

    def fetch(self) -> Path:
        """The mirror, with all that app.git holds now; several may ask at a time.

        Raises:
            CommandFailed: The Git server does not answer.
        """
        with cache.locked(self.settings.folder, "app.git", phase=Phase("mirror")):
            git.mirror(self.app, self.mirror)
        return self.mirror

    def say(self, commit: str, text: str, *, kind: str) -> bool:
        """Whether a note on a commit of the application is new; it says this from now on, on the server too.

        Args:
            commit: The commit.
            text: What the note says.
            kind: Which notes it belongs to (refs/notes/KIND).

        Raises:
            PushRefused: The Git server forbids it.
            PushConflict: Somebody else was faster.
            CommandFailed: The Git server does not answer.
        """
        with cache.locked(self.settings.folder, "app.git", phase=Phase("mirror")):
            git.mirror(self.app, self.mirror)
            if git.note(self.mirror, commit, kind=kind).strip() == text.strip():
                return False
            made = git.add_note(self.mirror, commit, text, kind=kind, identity=self.identity)
            git.push(self.mirror, self.app, {f"refs/notes/{kind}": made})
        return True

    @contextmanager
    def source(self, commit: str, paths: Sequence[str] = ("charts", "services")) -> Generator[Source]:
        """Folders of the application as a commit of the mirror has them, for as long as the block lasts.

        Raises:
            UsageError: The mirror has no such commit.
        """
        if git.resolve(self.mirror, commit) is None:
            shows = self.settings.command("ci.runs")
            raise UsageError(f"app.git has no commit {commit[:9]}. Push it first; {shows} shows what was pushed.")
        with tempfile.TemporaryDirectory(prefix="slipway-source-") as folder:
            git.export(self.mirror, commit, paths, Path(folder))
            yield Source(Path(folder), commit)


def open(settings: Settings, user: str = PIPELINE) -> Access:
    """Access to an instance that runs, in a role's name.

    Raises:
        UsageError: There is no such role, or the instance does not run; the message says what to do.
        ToolMissing: The engine that may run it is not the one that answers, if any does.
    """
    if user not in settings.roles:
        raise unknown("user", user, settings.roles)
    found, up = engine.find(settings), settings.command("up")
    node = cluster.find(settings, found) if found else None
    if node is None and (why := instance.unseen(settings, found)):
        raise ToolMissing(f"instance {settings.instance!r} cannot be reached. {why}")
    if found is None or node is None or node.facts is None or not roles.kubeconfig(settings, user).is_file():
        raise UsageError(f"there is no instance {settings.instance!r}, or it was not finished. `{up}` makes it.")
    if node.state != "running":
        raise UsageError(f"instance {settings.instance!r} does not run: its node is {node.state}. `{up}` starts it.")
    return Access(settings, user, node.http_port, credentials.keep(settings), node.facts, found)
