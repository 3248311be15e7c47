"""The Git server, or what applies in Argo CD, is away in the middle of a promotion: it is late, never lost and never twice."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slipway import names, shell
from slipway.kube import NOT_YET, rollout
from slipway.waiting import Failed, Pending, Ready, stays, wait_for
from tests.e2e import delivering, developing, ledger, train
from tests.e2e.conftest import Instance
from tests.e2e.developing import Workspace
from tests.long.lent import own_or_lent

NAME = "long-away"
REPOSITORY = "gitops-nonprod"

# Seconds that something is away, and that its going and its coming may take.
AWAY = 20.0
EFFECT_TIMEOUT = 120.0

Gone = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def instance(request: pytest.FixtureRequest) -> Generator[Instance]:
    """An instance of these tests, or the one that they are lent."""
    with own_or_lent(request, NAME) as made:
        yield made


@contextmanager
def gone(instance: Instance, kind: str, name: str, namespace: str, label: str) -> Generator[None]:
    """A part of the platform scaled to nothing while a block runs, and back, and ready."""
    where: dict[str, Any] = {"namespace": namespace, "api_version": "apps/v1"}

    def scaled(replicas: int) -> None:
        instance.kube.patch(kind, name, {"spec": {"replicas": replicas}}, **where)

    def left() -> Ready[None] | Pending:
        pods = instance.kube.list("Pod", namespace=namespace, labels=f"app.kubernetes.io/name={label}")
        return Pending(f"{len(pods)} pod(s) are there") if pods else Ready(None)

    def back() -> Ready[Any] | Pending | Failed:
        found = instance.kube.get(kind, name, **where)
        if found and found["spec"].get("replicas") != 1:
            return Pending("it is not scaled back")
        return rollout(found)

    scaled(0)
    try:
        wait_for(f"{name} to be gone", left, timeout=EFFECT_TIMEOUT, tolerate=NOT_YET)
        yield
    finally:
        scaled(1)
        wait_for(f"{name} to be back", back, timeout=EFFECT_TIMEOUT, tolerate=NOT_YET)


PARTS = {
    "the Git server": ("Deployment", "git", names.SYSTEM, "git"),
    "the application controller": (
        "StatefulSet",
        "argocd-application-controller",
        names.ARGOCD,
        "argocd-application-controller",
    ),
}


@pytest.fixture
def changed(instance: Instance, tmp_path: Path) -> str:
    """A service that dev runs otherwise than qa."""
    branch = f"feature/{secrets.token_hex(3)}"
    work = Workspace.clone(instance, tmp_path / "work")
    work.touch("catalog")
    work.commit()
    train.passed(instance, work.push(branch, options=["deploy=dev"]), branch)
    return "catalog"


def head(instance: Instance) -> str:
    return delivering.read(instance, REPOSITORY)[0]


def landed(instance: Instance, before: str) -> None:
    """Return when somebody has committed."""

    def look() -> Ready[None] | Pending:
        return Ready(None) if head(instance) != before else Pending("there is no commit yet")

    wait_for("the commit of the promotion", look, timeout=EFFECT_TIMEOUT)


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("part", PARTS)
def test_a_promotion_waits_for_what_is_away_and_is_made_once(
    instance: Instance, changed: str, tmp_path: Path, part: str, after: bool
) -> None:
    before = ledger.look(instance)
    wanted = before.records["dev", changed]
    assert before.records["qa", changed].digest != wanted.digest
    away: Gone = partial(gone, instance, *PARTS[part])
    with ThreadPoolExecutor(1) as pool:
        if after:
            promoting = promote(pool, instance, changed)
            landed(instance, before.commits[REPOSITORY])
            with away():
                stays("the promotion not to fail", partial(unfailed, promoting), seconds=AWAY)
        else:
            with away():
                promoting = promote(pool, instance, changed)
                stays("the promotion to wait", partial(waiting, promoting), seconds=AWAY)
        done = promoting.result(timeout=train.FOLLOWED)
    assert done.code == 0, done.stderr

    now = ledger.look(instance)
    assert now.records["qa", changed].digest == wanted.digest
    assert now.images["qa", changed] == {wanted.digest}
    made: Sequence[Any] = developing.commits(instance, tmp_path / "tree", REPOSITORY, since=before.commits[REPOSITORY])
    assert [(one.trailers["Kind"], one.trailers["Service"]) for one in made] == [("promotion", changed)]
    assert before.changed(now, ["stage", "prod"]) == set()


def promote(pool: ThreadPoolExecutor, instance: Instance, service: str) -> Future[shell.Result]:
    """A promotion of what dev runs to qa, under way."""
    words = ("promote", "qa", "--service", service)
    return pool.submit(instance.invoke, *words, check=False, timeout=train.FOLLOWED)


def waiting(promoting: Future[shell.Result]) -> Ready[None] | Pending:
    return Pending(f"it has ended: {promoting.result()}") if promoting.done() else Ready(None)


def unfailed(promoting: Future[shell.Result]) -> Ready[None] | Pending:
    ended = promoting.done() and promoting.result().code != 0
    return Pending(f"it has failed: {promoting.result()}") if ended else Ready(None)
