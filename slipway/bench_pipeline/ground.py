"""What the benchmark works on: a branch and a release of its own, in an instance that is left as it was found."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slipway import access, git, gitops, history, policy, shell, versions
from slipway.access import Access
from slipway.errors import SlipwayError, UsageError
from slipway.gitops import Record
from slipway.kube import NOT_YET, Kube
from slipway.settings import Settings

HEADS, TAGS = "refs/heads/", "refs/tags/"

# Whose branches a policy lets be made, pushed, deployed on request and removed again.
_BRANCH = "feature/bench-{stamp}"

_AUTHOR = "developer"


@dataclass(frozen=True)
class Ground:
    """An instance, and who does what in it.

    Attributes:
        settings: The instance's.
        pipeline: The instance, as the pipeline.
        author: The instance, as who pushes.
        admin: The cluster, as its admin: only the floor needs it.
        branch: The benchmark's branch.
        release: The benchmark's release.
        gate: What the last environment asks of it.
        service: The service that is pushed alone.
        services: All of them.
    """

    settings: Settings
    pipeline: Access
    author: Access
    admin: Kube
    branch: str
    release: str
    gate: policy.Gate
    service: str
    services: tuple[str, ...]

    @property
    def first(self) -> str:
        """The environment that a branch is pushed to."""
        return self.pipeline.environments[0]

    @property
    def approver(self) -> str:
        """Who approves: somebody else than the author."""
        return next(user for user in self.gate.approvers if user != _AUTHOR)

    def records(self, environment: str) -> dict[str, Record]:
        """What an environment runs of each service."""
        _, found = gitops.read(self.pipeline.records(environment))
        mine = {name: entry.record for (place, name), entry in found.items() if place == environment}
        return {name: record for name, record in mine.items() if record.chart == gitops.CHART}


def survey(settings: Settings) -> Ground:
    """The ground to measure on.

    Raises:
        UsageError: The instance does not run, or its policy or its profile do not have what is measured.
    """
    pipeline, author = access.open(settings), access.open(settings, _AUTHOR)
    rules, branch = settings.policy, _BRANCH.format(stamp=int(time.time()))
    gate = next(iter(rules.approvals.values()), None)
    line, first = policy.line(rules, branch), pipeline.environments[0]
    reach = line.reach.get(first, "refused") if line else "refused"
    if gate is None or reach not in ("request", "automatic") or not any(one.cut_from for one in rules.lines):
        raise UsageError(f"the policy lets no branch {branch} reach {first}, or no release be cut: measure with preset gitflow.")
    if gate.environment not in pipeline.environments:
        raise UsageError(f"{settings.instance} has no {gate.environment}: measure an instance of the profile full.")
    mirror = pipeline.fetch()
    _, found = gitops.read(pipeline.records(gate.environment))
    records = [entry.record for entry in found.values() if entry.record.chart == gitops.CHART]
    last = [record for record in records if record.environment == gate.environment]
    services = tuple(sorted({record.service for record in last}))
    taken = [*git.local_refs(mirror, TAGS), *git.local_refs(mirror, HEADS), *(record.release for record in records)]
    return Ground(
        settings,
        pipeline,
        author,
        Kube(settings.kubeconfig, settings.context),
        branch,
        _hotfix(last, taken),
        gate,
        "catalog" if "catalog" in services else services[0],
        services,
    )


def _hotfix(last: Iterable[Record], taken: Sequence[str]) -> str:
    """The release after the one that the last environment runs: the next minor version stays free for people."""
    named = {record.release for record in last}
    running = versions.parse(next(iter(named))) if len(named) == 1 else None
    if running is None:
        raise UsageError(
            "prod does not run one release, so there is nothing that a release could follow: promote or roll back one."
        )
    found = [versions.release(name.removeprefix(HEADS)) or versions.parse(name.removeprefix(TAGS)) for name in taken]
    line = [one.core for one in (*found, running) if one and (one.major, one.minor) == (running.major, running.minor)]
    return f"v{max(line).next_patch}"


@contextmanager
def checkout(ground: Ground, revision: str) -> Generator[Path]:
    """A working tree of the application at a commit, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        tree = Path(folder, "tree")
        shell.run(
            ["git", "clone", "--quiet", "--no-checkout", ground.pipeline.mirror, tree], env=git.environment(), timeout=120.0
        )
        shell.run(["git", "-C", tree, "checkout", "--quiet", "--detach", revision], env=git.environment(), timeout=120.0)
        yield tree


def touch(ground: Ground, tree: Path, services: Iterable[str]) -> str:
    """The commit after one line of each of these services changed, so that each has another image."""
    said = f"# Measured at {time.time_ns()}.\n"
    for service in services:
        file = tree / "services" / service / "main.py"
        lines = [line for line in file.read_text().splitlines(keepends=True) if not line.startswith("# Measured at ")]
        file.write_text(said + "".join(lines))
    git.stage(tree, ["services"])
    return git.commit(tree, "Measure the pipeline", identity=ground.author.identity)


def brought(ground: Ground, environment: str) -> str:
    """The commit that the environment's records are of."""
    with history.mirrored(ground.pipeline.records(environment)) as at:
        changes = history.read(at, environment, signers=ground.pipeline.secrets.signers_file)
    return next(change.commit for change in changes if change.steps)


class Undo:
    """What has to be put back, the last first; one that fails keeps nobody else from trying."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], object]]] = []
        self.failed: list[str] = []

    def later(self, what: str, step: Callable[[], object]) -> None:
        """Remember a step; only the first of the same name counts."""
        if what not in [known for known, _ in self._steps]:
            self._steps.append((what, step))

    def run(self) -> None:
        """Put everything back."""
        while self._steps:
            what, step = self._steps.pop()
            try:
                step()
            except (SlipwayError, *NOT_YET) as error:
                self.failed.append(f"{what}: {error}")
