"""One release train, from a feature branch to prod: driven once, by commands and plain git, and looked at from every side."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slipway import access, admission, git, releases, shell
from slipway.promotion import Change
from tests.e2e import admitting, delivering, developing, ledger, writing
from tests.e2e.conftest import Instance
from tests.e2e.developing import Run, Workspace
from tests.e2e.ledger import Sight

FOLLOWED = 600.0


@dataclass(frozen=True)
class Bypass:
    """What became of a release that nobody had approved, when somebody whose tasks ask for nothing sent it to prod.

    Attributes:
        said: What the Git server said.
        image: One of its images.
        listed: What prod admitted afterwards.
        by_hand: What became of it when the cluster's admin gave prod that image by kubectl.
    """

    said: str
    image: str
    listed: tuple[str, ...]
    by_hand: shell.Result


@dataclass
class Train:
    """What happened, in order; a sight of everything after each step.

    Attributes:
        start: Before anything.
        on_request: After catalog's feature branch was pushed with the wish to run in dev.
        unasked: After a branch with cart and orders was pushed without one.
        merged: After both were merged to develop.
        staged: After the release was cut.
        promoted: After prod got it.
        again: After prod was asked for it once more.
        finished: After it was merged to main, and what that pushed has been run.
        too_early: What the promotion said before anybody had approved.
        own: What the author's own approval was answered.
        bypass: What became of it past the tasks.
        misnamed: What the promotion said when somebody had given the release's tag to another image.
        unmoved: The commit of prod's records before that, and after.
    """

    instance: Instance
    version: str
    one: str
    two: str
    start: Sight
    on_request: Sight
    unasked: Sight
    merged: Sight
    staged: Sight
    promoted: Sight
    again: Sight
    finished: Sight
    too_early: shell.Result
    own: shell.Result
    bypass: Bypass
    misnamed: shell.Result
    unmoved: tuple[str, str]
    runs: dict[str, Run] = field(default_factory=dict[str, Run])

    @property
    def release(self) -> str:
        """The release's name."""
        return f"v{self.version}"

    @property
    def sights(self) -> Mapping[str, Sight]:
        """Every sight, by its step."""
        names = ("start", "on_request", "unasked", "merged", "staged", "promoted", "again", "finished")
        return {name: getattr(self, name) for name in names}


def drive(instance: Instance, folder: Path) -> Train:
    """Drive it."""
    token = secrets.token_hex(3)
    one, two = f"feature/one-{token}", f"feature/two-{token}"
    runs: dict[str, Run] = {}
    instance.invoke("ci", "--ref", "develop", "--to", "dev", timeout=FOLLOWED)  # whatever ran there before
    start = ledger.look(instance)

    work = Workspace.clone(instance, folder / "one")
    work.touch("catalog")
    work.commit("Change catalog")
    runs["one"] = passed(instance, work.push(one, options=["deploy=dev"]), one)
    on_request = ledger.look(instance)

    work = Workspace.clone(instance, folder / "two")
    work.touch("cart", "orders")
    work.commit("Change cart and orders")
    runs["two"] = passed(instance, work.push(two), two)
    unasked = ledger.look(instance)

    for branch in (one, two):
        instance.invoke("merge", branch, timeout=FOLLOWED)
    tip = Workspace.clone(instance, folder / "merged").head
    runs["develop"] = passed(instance, tip, "develop")
    merged = ledger.look(instance)

    version = developing.next_release(instance)
    branch = f"release/v{version}"
    instance.invoke("release.cut", version, timeout=FOLLOWED)
    runs["release"] = passed(instance, tip, branch)
    staged = ledger.look(instance)

    too_early = instance.invoke("promote", "prod", "--release", f"v{version}", check=False)
    own = instance.invoke("approve", f"v{version}", check=False)
    bypass = _past_the_tasks(instance, folder)
    instance.invoke("approve", f"v{version}", "--user", "lead")

    head = delivering.read(instance, "gitops-prod")[0]
    ledger.call(instance, "catalog", version, start.records["prod", "catalog"].digest)
    try:
        misnamed = instance.invoke("promote", "prod", "--release", f"v{version}", check=False, timeout=FOLLOWED)
    finally:
        ledger.call(instance, "catalog", version, staged.records["stage", "catalog"].digest)
    unmoved = head, delivering.read(instance, "gitops-prod")[0]
    instance.invoke("promote", "prod", "--release", f"v{version}", timeout=FOLLOWED)
    promoted = ledger.look(instance)
    instance.invoke("promote", "prod", "--release", f"v{version}", timeout=FOLLOWED)
    again = ledger.look(instance)

    instance.invoke("release.finish", version, "--user", "lead", timeout=FOLLOWED)
    for branch in ("main", "develop"):
        runs[branch] = passed(instance, git.refs(delivering.remote(instance, "app"))[f"refs/heads/{branch}"], branch)
    finished = ledger.look(instance)
    return Train(
        instance,
        version,
        one,
        two,
        start,
        on_request,
        unasked,
        merged,
        staged,
        promoted,
        again,
        finished,
        too_early,
        own,
        bypass,
        misnamed,
        unmoved,
        runs,
    )


def _past_the_tasks(instance: Instance, folder: Path) -> Bypass:
    """Send what stage runs to prod, by a policy of one's own that asks for nothing."""
    record = delivering.entry(instance, "stage", "catalog").record
    lock = releases.look(access.open(instance.settings)).lock(record.lock)
    assert lock
    change = Change(
        environment="prod",
        kind="promotion",
        branch=lock.branch,
        records=releases.records_of(lock, "prod"),
        how="dispatch",
        release=lock.release,
        lock=lock.hash,
        promoted_from="stage",
        triggered_by="developer",
    )
    said = writing.refusal(writing.unjudging(instance, folder), change)
    image = f"{record.image}@{record.digest}"
    words = ["--namespace", "prod", "set", "image", "deployment/catalog", f"catalog={image}"]
    return Bypass(said, image, tuple(admission.approved(instance.kube, "prod")), admitting.kubectl(instance, *words))


def passed(instance: Instance, commit: str, branch: str) -> Run:
    """The run of a commit, which has passed."""
    run = developing.wait_run(instance, commit, branch=branch)
    said = "" if run.state == "passed" else instance.invoke("ci.runs", "--run", run.id, check=False).stdout
    assert run.state == "passed", f"{branch} {commit[:9]}: {run.state}\n{said}"
    return run
