from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import gitops, promoting, rollback
from slipway.errors import UsageError
from slipway.load import during
from slipway.load.thresholds import Threshold
from slipway.progress import Progress
from slipway.settings import ROOT, Settings

READY = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}


class Cluster:
    """A cluster that replaces pods at once, and remembers what it was told."""

    def __init__(self) -> None:
        self.patched: list[tuple[str, str, Mapping[str, Any]]] = []

    def patch(self, kind: str, name: str, change: Mapping[str, Any], *, namespace: str, api_version: str) -> None:
        assert (kind, api_version) == ("Deployment", "apps/v1")
        self.patched.append((namespace, name, change))

    def get(self, kind: str, name: str, *, namespace: str, api_version: str) -> Mapping[str, Any]:
        meta = {"name": name, "namespace": namespace, "generation": 2}
        return {"kind": kind, "metadata": meta, "spec": {"replicas": 1}, "status": READY}


class Records:
    """A GitOps repository, whose commit a change may move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        self.commit, self.digest = "c1", "sha256:a"
        monkeypatch.setattr(gitops, "read", lambda _: (self.commit, self.entries))
        self.access: Any = SimpleNamespace(settings=Settings(ROOT, tmp_path, "test"), records=lambda environment: environment)

    @property
    def entries(self) -> Mapping[tuple[str, str], Any]:
        record = SimpleNamespace(record=SimpleNamespace(digest=self.digest))
        return {("stage", "cart"): record, ("stage", "postgresql"): record, ("prod", "cart"): record}

    def work(self, kind: str, cluster: Cluster | None = None, *, release: str = "") -> during.Work:
        admin: Any = cluster or Cluster()
        return during.work(self.access, admin, "stage", kind, release=release, user="lead", progress=Progress())


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Records:
    return Records(monkeypatch, tmp_path)


def test_a_rollout_replaces_the_pods_of_every_service_and_changes_no_image(records: Records) -> None:
    cluster = Cluster()
    assert records.work("rollout", cluster)() == {"cart": "sha256:a"}
    assert [(where, name) for where, name, _ in cluster.patched] == [("stage", name) for name in records.access.settings.services]
    marks = [change["spec"]["template"]["metadata"]["annotations"] for _, _, change in cluster.patched]
    assert len({*(mark["slipway.dev/replaced"] for mark in marks)}) == len(marks)
    assert all(set(change["spec"]["template"]) == {"metadata"} for _, _, change in cluster.patched)


def test_a_promotion_is_made_as_asked_and_tells_what_has_to_run_then(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def promote(_: Settings, asked: promoting.Asked, *, progress: Progress) -> None:
        assert (asked.to, asked.release, asked.user) == ("stage", "v0.2.0", "lead")
        records.commit, records.digest = "c2", "sha256:b"

    monkeypatch.setattr(promoting, "promote", promote)
    assert records.work("promotion", release="v0.2.0")() == {"cart": "sha256:b"}


def test_a_rollback_is_made_as_asked(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def back(_: Settings, environment: str, *, to: str, user: str, progress: Progress) -> None:
        assert (environment, to, user) == ("stage", "", "lead")
        records.commit = "c2"

    monkeypatch.setattr(rollback, "rollback", back)
    assert records.work("rollback")() == {"cart": "sha256:a"}


def test_a_change_that_changes_nothing_proves_nothing(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promoting, "promote", lambda *_, **__: None)
    with pytest.raises(UsageError, match="nothing is proven"):
        records.work("promotion", release="v0.2.0")()


def test_where_releases_are_tried_nobody_knows_which_one_is_to_come(records: Records) -> None:
    with pytest.raises(UsageError, match="stage runs the newest release by itself: say with --release"):
        records.work("promotion")


def test_a_change_that_there_is_not_is_refused_with_those_there_are(records: Records) -> None:
    with pytest.raises(UsageError, match="promotion, rollback, rollout"):
        records.work("earthquake")


def test_no_request_may_fail_during_a_change_and_restarts_count_while_times_do_not() -> None:
    limits = tuple(Threshold(name, "", measure, 0.5) for name in ("cart", "orders") for measure in ("errors", "p95", "restarts"))
    made = {(limit.service, limit.measure): limit.limit for limit in during.strict(limits)}
    assert made == {
        ("", "errors"): 0.0,
        ("", "delivered"): 1.0,
        ("cart", "errors"): 0.0,
        ("orders", "errors"): 0.0,
        ("cart", "restarts"): 0.5,
        ("orders", "restarts"): 0.5,
    }
