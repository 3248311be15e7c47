"""What Git has a reason to let an environment run: for a list that is gone, and for one that holds more than it should."""

from __future__ import annotations

import tempfile
from pathlib import Path

from slipway import git, gitops, locks, records
from slipway.admission.lists import approved, withdraw
from slipway.kube import Kube
from slipway.settings import Settings


def recorded(settings: Settings, remote: git.Remote, environment: str) -> set[str]:
    """What Git says an environment may run: what it records, and what the locks hold that may come there.

    Where approval is needed, a lock counts only when somebody gave it.

    Args:
        settings: The instance's.
        remote: The repository of the environment's records.
        environment: The environment.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-admission-") as folder:
        tree = Path(folder, "tree")
        git.clone(remote, tree, branch=gitops.BRANCH, depth=1)
        every = [entry.record for entry in gitops.entries(tree).values() if entry.record.environment == environment]
        running = [record for record in every if not record.retired]
        known = locks.read_locks(tree)
        if environment in settings.policy.approvals:
            given = {approval.lock for approval in locks.approvals(tree)}
            known = [lock for lock in known if lock.hash in given]
    return {f"{one.image}@{one.digest}" for one in (*running, *(locked for lock in known for locked in lock.services))}


def tidy(settings: Settings, kube: Kube, remote: git.Remote, environment: str) -> frozenset[str]:
    """The images that an environment admitted without a reason; it does not any more.

    A promotion lists its images before it records them: one that was ended in between has left them there. What the
    environment has recorded, ever, stays: a rollback may bring it back.

    Args:
        settings: The instance's.
        kube: The cluster, as the pipeline or its admin.
        remote: The repository of the environment's records.
        environment: One of the guarded ones.
    """
    return withdraw(kube, environment, approved(kube, environment), kept=lambda: _ever(settings, remote, environment))


def _ever(settings: Settings, remote: git.Remote, environment: str) -> set[str]:
    with tempfile.TemporaryDirectory(prefix="slipway-admission-") as folder:
        at = Path(folder, "mirror")
        git.mirror(remote, at)
        versions = git.every(at, gitops.REFERENCE, f"envs/{environment}/*/record.yaml")
    ran = (records.parse(text) for text in versions)
    return {f"{one.image}@{one.digest}" for one in ran} | recorded(settings, remote, environment)
