"""The ways that are measured: a push until it runs, a commit until its pods are ready, a release until prod runs it, and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from slipway import git, gitops, promotion, releases, rollback, runs
from slipway.bench_pipeline.floor import Floor, Quick, rolled
from slipway.bench_pipeline.ground import HEADS, TAGS, Ground, brought, checkout, touch
from slipway.errors import SlipwayError
from slipway.gitops import Entry
from slipway.kube import NOT_YET
from slipway.locks import Lock
from slipway.policy import DEPLOY
from slipway.progress import Phase, Progress
from slipway.promotion import Change
from slipway.waiting import Failed, Pending, Ready, wait_for

# Seconds.
RUN_TIMEOUT, READY_TIMEOUT = 600.0, 180.0


@dataclass(frozen=True)
class Pushed:
    """What the pushes took, and the last two states that they left.

    Attributes:
        ready: From each push until every new pod was ready.
        ended: From each push until its run had ended.
        states: What ran after the last two pushes, each with its commit in the GitOps repository.
    """

    ready: Sequence[float]
    ended: Sequence[float]
    states: Sequence[tuple[str, Entry]]


def pushes(ground: Ground, count: int, phase: Phase) -> Pushed:
    """So many pushes of one service, each waited for; one more before them warms the caches."""
    ready: list[float] = []
    ended: list[float] = []
    states: list[tuple[str, Entry]] = []
    head = git.resolve(ground.pipeline.mirror, f"{HEADS}develop") or git.resolve(ground.pipeline.mirror, f"{HEADS}main") or ""
    with checkout(ground, head) as tree:
        for number in range(count + 1):
            phase.parts(number, count + 1)
            commit = touch(ground, tree, [ground.service])
            began = time.monotonic()
            git.push(tree, ground.author.app, {f"{HEADS}{ground.branch}": commit}, options={DEPLOY: ground.first})
            _wait_for_push(ground, commit)
            took = time.monotonic() - began
            releases.follow(ground.settings, ground.branch, commit, phase=phase)
            ready.append(took)
            ended.append(time.monotonic() - began)
            states.append(_state(ground))
    return Pushed(ready[1:], ended[1:], states[-2:])


def _state(ground: Ground) -> tuple[str, Entry]:
    _, found = gitops.read(ground.pipeline.records(ground.first))
    return brought(ground, ground.first), found[ground.first, ground.service]


def _wait_for_push(ground: Ground, commit: str) -> None:
    def probe() -> Ready[None] | Pending | Failed:
        run = next((one for one in runs.every(ground.settings) if (one.branch, one.commit) == (ground.branch, commit)), None)
        if run and run.over and not run.well:
            return Failed(f"the run failed: {run.trouble}. Read why with `./invoke ci.runs --run {run.id}`")
        item = ground.pipeline.kube.get("Deployment", ground.service, namespace=ground.first, api_version="apps/v1") or {}
        meta = item.get("metadata") or {}
        if (meta.get("annotations") or {}).get("slipway.dev/commit") != commit:
            return Pending(f"{ground.first} does not run {commit[:9]} yet")
        image = item["spec"]["template"]["spec"]["containers"][0]["image"]
        return rolled(ground.pipeline.kube, ground.first, {ground.service: image.rpartition("@")[2]})

    what = f"{ground.first} to run {ground.service} of {commit[:9]}"
    wait_for(what, probe, timeout=RUN_TIMEOUT, tolerate=NOT_YET, clock=Quick())


def commits(ground: Ground, states: Sequence[tuple[str, Entry]], count: int, phase: Phase) -> Sequence[float]:
    """So many commits of the GitOps repository, from the answer to the push until every new pod is ready."""
    found: list[float] = []
    for number in range(count):
        phase.parts(number, count)
        sha, entry = states[number % 2]  # the second of them runs now
        made = gitops.change(
            ground.pipeline.records(ground.first),
            lambda _, entry=entry: [entry],
            reason="Roll back",
            trailers={"Kind": "rollback", "Triggered-By": ground.author.user, "Restores": sha},
            identity=ground.pipeline.identity,
            key=ground.pipeline.key,
        )
        began = time.monotonic()
        if not made.made:
            raise SlipwayError(
                f"{ground.first} runs {entry.record.version} already: somebody else deploys. Measure when it is quiet."
            )
        _wait_for_images(ground, ground.first, {ground.service: entry.record.digest})
        found.append(time.monotonic() - began)
        promotion.arrive(ground.pipeline, ground.first, [entry], made, phase=phase, timeout=READY_TIMEOUT)
    return found


def _wait_for_images(ground: Ground, environment: str, images: Mapping[str, str]) -> None:
    what = f"{environment} to run {', '.join(images)}"
    probe = lambda: rolled(ground.pipeline.kube, environment, images)  # noqa: E731
    wait_for(what, probe, timeout=READY_TIMEOUT, tolerate=NOT_YET, clock=Quick())


def release(ground: Ground, phase: Phase) -> Lock:
    """A release in which every service is another one; stage runs it, and it is approved."""
    branch, reference = f"release/{ground.release}", f"{HEADS}release/{ground.release}"
    former = next(iter(ground.records(ground.gate.environment).values())).release
    begin = git.resolve(ground.pipeline.mirror, f"{TAGS}{former}")
    if begin is None:
        raise SlipwayError(f"{former} has no tag yet, so no release can follow it: `./invoke release.finish {former[1:]}`.")
    with checkout(ground, begin) as tree:
        git.push(tree, ground.author.app, {reference: begin}, only_new=True)
        commit = touch(ground, tree, ground.services)
        git.push(tree, ground.author.app, {reference: commit})
    releases.follow(ground.settings, branch, commit, phase=phase)
    approved = releases.approve(ground.settings, ground.release, user=ground.approver)
    lock = releases.look(ground.pipeline).lock(approved.lock)
    if lock is None:
        raise SlipwayError(f"{ground.gate.after} ran {ground.release}, and nothing says what it is made of. See ./invoke status.")
    return lock


@dataclass(frozen=True)
class Released:
    """What a release took each time: there until written, until ready and until the command was done, and the way back."""

    written: Sequence[float]
    ready: Sequence[float]
    done: Sequence[float]
    back: Sequence[float]


class Watched(Phase):
    """Remembers when a promotion said that its commit is written."""

    written: float = 0.0

    def say(self, detail: str) -> None:
        """Look for that word."""
        super().say(detail)
        if not self.written and detail.startswith("commit "):
            self.written = self.seconds


def promotions(ground: Ground, lock: Lock, count: int, phase: Phase, progress: Progress) -> Released:
    """So many promotions of a release, each rolled back again."""
    prod = ground.gate.environment
    user = next(iter(ground.gate.dispatchers))
    before = {name: record.digest for name, record in ground.records(prod).items()}
    there = brought(ground, prod)
    # As `promote` does it, but for the release's own tag on the images: tags never move, and this one would stay for ever.
    change = Change(
        environment=prod,
        kind="promotion",
        branch=lock.branch,
        records=releases.records_of(lock, prod),
        how="dispatch",
        release=lock.release,
        lock=lock.hash,
        promoted_from=ground.gate.after,
        triggered_by=user,
        reason=f"Promote {lock.release}",
    )
    written: list[float] = []
    ready: list[float] = []
    done: list[float] = []
    back: list[float] = []
    for number in range(count):
        phase.parts(number, count)
        watched = Watched("deploy")
        deploy = lambda watched=watched: promotion.deploy(ground.pipeline, change, phase=watched)  # noqa: E731
        both = _timed(ground, prod, lock.digests, deploy)
        written.append(watched.written)
        ready.append(both[0])
        done.append(both[1])
        again = lambda: rollback.rollback(ground.settings, prod, to=there, user=user, progress=progress)  # noqa: E731
        back.append(_timed(ground, prod, before, again)[0])
    return Released(written, ready, done, back)


def _timed(ground: Ground, environment: str, images: Mapping[str, str], do: Callable[[], object]) -> tuple[float, float]:
    """Seconds until an environment runs these images, and until what makes it do so was done."""
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(do)

        def probe() -> Ready[None] | Pending | Failed:
            if doing.done() and (error := doing.exception()):
                return Failed(str(error))
            return rolled(ground.pipeline.kube, environment, images)

        wait_for(f"{environment} to run {', '.join(images)}", probe, timeout=READY_TIMEOUT, tolerate=NOT_YET, clock=Quick())
        ready = time.monotonic() - began
        doing.result()
    return ready, time.monotonic() - began


def floors(floor: Floor, images: Sequence[Mapping[str, str]], count: int, phase: Phase) -> Sequence[float]:
    """So many changes by hand from one set of images to the other; both are brought to the node before."""
    for one in images:
        floor.change(one)
    found: list[float] = []
    for number in range(count):
        phase.parts(number, count)
        found.append(floor.change(images[number % 2]))
    return found


__all__ = ["Pushed", "Released", "commits", "floors", "promotions", "pushes", "release"]
