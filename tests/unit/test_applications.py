"""The judgement whether Argo CD has delivered a commit, on objects as Argo CD writes them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from slipway.applications import Application, applications, delivered, parse
from slipway.kube import Kube, UnknownKind
from slipway.waiting import Failed, Pending, Ready

WANTED = "b" * 40
OLDER = "a" * 40
LATER = "c" * 40


def item(**status: Any) -> dict[str, Any]:
    """An application that has delivered WANTED, with changes."""
    whole: dict[str, Any] = {
        "sync": {"status": "Synced", "revision": WANTED},
        "health": {"status": "Healthy"},
        "operationState": {"phase": "Succeeded", "syncResult": {"revision": WANTED}},
        **status,
    }
    labels = {"slipway.dev/environment": "dev", "slipway.dev/service": "catalog"}
    return {"metadata": {"name": "catalog-dev", "labels": labels}, "status": whole}


def judge(changed: dict[str, Any], **more: Any) -> Ready[Application] | Pending | Failed:
    return delivered(parse(changed), WANTED, **more)


def test_a_commit_is_delivered_when_it_is_applied_in_sync_and_healthy() -> None:
    judged = judge(item())
    assert isinstance(judged, Ready)
    assert (judged.value.environment, judged.value.service, judged.value.revision) == ("dev", "catalog", WANTED)


def test_healthy_at_an_older_commit_is_not_delivered() -> None:
    judged = judge(item(sync={"status": "Synced", "revision": OLDER}))
    assert judged == Pending("Argo CD looks at aaaaaaaaa, not at bbbbbbbbb yet")


def test_a_commit_of_which_something_is_left_out_is_not_delivered_though_the_rest_is_healthy() -> None:
    words = "Resource rbac.authorization.k8s.io/RoleBinding mine is excluded in the settings"
    warned = {"conditions": [{"type": "ExcludedResourceWarning", "message": words}]}
    assert judge(item(**warned)) == Failed(f"Argo CD leaves out a part of bbbbbbbbb: {words}")
    older = judge(item(sync={"status": "Synced", "revision": OLDER}, **warned))
    assert isinstance(older, Pending), "what is said of an older commit says nothing of this one"


def test_a_commit_that_contains_it_is_as_good() -> None:
    newer = item(
        sync={"status": "Synced", "revision": LATER}, operationState={"phase": "Succeeded", "syncResult": {"revision": LATER}}
    )
    assert isinstance(judge(newer), Pending)
    assert isinstance(judge(newer, later=[LATER]), Ready)


def test_a_commit_that_changes_no_object_needs_no_sync_of_its_own() -> None:
    assert isinstance(judge(item(operationState={"phase": "Succeeded", "syncResult": {"revision": OLDER}})), Ready)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sync": {"status": "OutOfSync", "revision": WANTED}}, "OutOfSync with bbbbbbbbb"),
        ({"health": {"status": "Progressing"}}, "Progressing with bbbbbbbbb"),
        ({"health": {"status": "Degraded", "message": "no image"}}, "Degraded with bbbbbbbbb: no image"),
        ({"operationState": {"phase": "Running", "syncResult": {"revision": WANTED}}}, "Argo CD is applying bbbbbbbbb"),
        ({"operationState": {}}, "no sync has succeeded yet (last: none)"),
    ],
)
def test_what_is_under_way_is_pending_and_says_why(changed: dict[str, Any], why: str) -> None:
    assert judge(item(**changed)) == Pending(why)


def test_a_sync_that_is_tried_again_says_what_failed() -> None:
    state = {"phase": "Running", "retryCount": 2, "message": "webhook down", "syncResult": {"revision": WANTED}}
    assert judge(item(operationState=state)) == Pending("Argo CD is applying bbbbbbbbb: webhook down")


def test_a_look_that_was_asked_for_and_not_taken_is_waited_for() -> None:
    asked = item()
    asked["metadata"]["annotations"] = {"argocd.argoproj.io/refresh": "normal"}
    assert judge(asked) == Pending("Argo CD is about to look again")


def test_a_sync_that_failed_for_good_fails_the_wait() -> None:
    state = {"phase": "Failed", "message": "kind not allowed", "syncResult": {"revision": WANTED}}
    failed = item(operationState=state, sync={"status": "OutOfSync", "revision": WANTED})
    assert judge(failed) == Failed("Argo CD could not apply bbbbbbbbb: kind not allowed")


def test_an_older_commits_failure_is_not_this_ones() -> None:
    state = {"phase": "Failed", "message": "bad", "syncResult": {"revision": OLDER}}
    assert isinstance(judge(item(operationState=state, sync={"status": "OutOfSync", "revision": WANTED})), Pending)


def test_an_application_that_is_not_there_yet_is_pending() -> None:
    assert isinstance(delivered(None, WANTED), Pending)


def test_an_application_without_a_status_is_unknown() -> None:
    app = parse({"metadata": {"name": "x"}})
    assert (app.sync, app.health, app.revision, app.operation, app.message) == ("Unknown", "Unknown", "", "", "")


def test_argo_cds_own_errors_are_the_message() -> None:
    errors = [{"type": "ComparisonError", "message": "repository not found"}, {"type": "SharedResourceWarning", "message": "meh"}]
    assert parse(item(conditions=errors)).message == "repository not found"


def test_a_cluster_without_argo_cd_has_no_applications() -> None:
    class Bare:
        def list(self, *_: object, **__: object) -> list[dict[str, Any]]:
            raise UnknownKind("no such kind")

    assert applications(cast(Kube, Bare())) == []


def test_a_service_is_retired_when_only_the_word_of_it_is_to_stay() -> None:
    word = {"kind": "ConfigMap", "name": "catalog-retired"}
    assert not parse(item()).retired
    assert parse(item(resources=[word, {"kind": "Deployment", "name": "catalog", "requiresPruning": True}])).retired
    assert not parse(item(resources=[{**word, "requiresPruning": True}, {"kind": "Deployment", "name": "catalog"}])).retired
