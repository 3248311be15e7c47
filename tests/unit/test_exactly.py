"""Whether an environment runs exactly what was recorded: judged by every pod, not by what Argo CD says alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slipway import delivery
from slipway.records import Entry, Record
from slipway.waiting import Failed, Pending, Ready
from tests.unit.fake_cluster import FakeKube, application

DIGEST, FORMER = "sha256:" + "d" * 64, "sha256:" + "f" * 64
COMMIT, OLDER, LATER = "a" * 40, "b" * 40, "e" * 40
LABELS = {"app.kubernetes.io/name": "catalog"}
IMAGE = f"localhost:5001/catalog@{DIGEST}"


def entry(*more: dict[str, Any]) -> Entry:
    container = {"name": "catalog", "image": IMAGE}
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": template}
    workload = {"kind": "Deployment", "metadata": {"name": "catalog", "namespace": "dev"}, "spec": spec}
    record = Record("dev", "catalog", "0.2.0", "localhost:5001/catalog", DIGEST, "c" * 40)
    return Entry(record, {}, [workload, *more])


def deployment(**status: Any) -> dict[str, Any]:
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 2}
    made = dict(entry().manifests[0])
    return {**made, "metadata": {**made["metadata"], "uid": "1", "generation": 2}, "status": {**counts, **status}}


def replicas(mark: str, revision: int) -> dict[str, Any]:
    notes = {"deployment.kubernetes.io/revision": str(revision)}
    labels = {**LABELS, "pod-template-hash": mark}
    meta = {
        "name": f"catalog-{mark}",
        "namespace": "dev",
        "labels": labels,
        "annotations": notes,
        "ownerReferences": [{"uid": "1"}],
    }
    return {"kind": "ReplicaSet", "metadata": meta}


def pod(mark: str = "new", image: str = IMAGE, waiting: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": waiting, "message": "back-off"}} if waiting else {"running": {}}
    status = {"phase": "Running", "containerStatuses": [{"name": "catalog", "imageID": image, "state": state}]}
    meta = {"name": f"catalog-{mark}-1", "namespace": "dev", "labels": {**LABELS, "pod-template-hash": mark}, **more}
    return {"kind": "Pod", "metadata": meta, "status": status}


SETS = replicas("old", 1), replicas("new", 10)


def judge(*objects: dict[str, Any], app: dict[str, Any] | None = None, wanted: Entry | None = None, after: bool = False) -> Any:
    there = FakeKube(app or application("catalog", "dev"), *objects)
    return delivery.exactly(there, "dev", [wanted or entry()], {"catalog": COMMIT}, after=lambda *_: after)


def test_every_pod_of_the_newest_template_with_the_recorded_digest_is_exactly_that() -> None:
    assert judge(deployment(), *SETS, pod()) == Ready({"catalog": DIGEST})


def test_what_argo_cd_says_of_an_older_commit_does_not_count() -> None:
    older = application("catalog", "dev", sync="Synced")
    older["status"]["sync"]["revision"] = OLDER
    assert isinstance(judge(deployment(), *SETS, pod(), app=older), Pending)


def test_a_later_commit_that_contains_it_counts() -> None:
    later = application("catalog", "dev")
    later["status"]["sync"]["revision"] = LATER
    assert judge(deployment(), *SETS, pod(), app=later, after=True) == Ready({"catalog": DIGEST})


def test_a_pod_of_the_former_template_that_is_on_its_way_out_is_waited_for() -> None:
    gone = pod("old", f"localhost:5001/catalog@{FORMER}", deletionTimestamp="2026-01-02T03:04:05Z")
    assert judge(deployment(), *SETS, pod(), gone) == Pending("catalog: 1 pod(s) of the former template still there")


def test_a_pod_that_runs_another_image_than_it_was_told_is_seen() -> None:
    judged = judge(deployment(), *SETS, pod(image=f"localhost:5001/catalog@{FORMER}"))
    assert judged == Pending(f"catalog: pod catalog-new-1 runs {FORMER}")


def test_one_that_has_no_pod_does_not_run() -> None:
    assert judge(deployment(), *SETS) == Pending("catalog: no pod yet")


def test_a_rollout_under_way_is_waited_for() -> None:
    assert judge(deployment(updatedReplicas=0), *SETS, pod()) == Pending("catalog: 0/1 updated")


def test_a_service_that_argo_cd_does_not_know_yet_is_waited_for() -> None:
    judged = judge(deployment(), *SETS, pod(), app=application("cart", "dev"))
    assert judged == Pending("catalog: Argo CD has not made the application yet")


@pytest.mark.parametrize("reason", ["CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerError"])
def test_a_new_pod_that_cannot_start_has_failed(reason: str) -> None:
    judged = judge(deployment(readyReplicas=0), *SETS, pod(waiting=reason))
    assert judged == Failed(f"catalog: pod catalog-new-1: {reason}: back-off")


def test_a_pod_that_is_being_made_has_not_failed() -> None:
    assert isinstance(judge(deployment(readyReplicas=0), *SETS, pod(waiting="ContainerCreating")), Pending)


def test_a_crashing_pod_of_the_former_template_is_not_the_new_ones_fault() -> None:
    assert isinstance(judge(deployment(readyReplicas=0), *SETS, pod("old", waiting="CrashLoopBackOff"), pod()), Pending)


def test_a_crashing_pod_does_not_count_before_argo_cd_has_begun() -> None:
    older = application("catalog", "dev")
    older["status"]["sync"]["revision"] = older["status"]["operationState"]["syncResult"]["revision"] = OLDER
    assert isinstance(judge(deployment(readyReplicas=0), *SETS, pod(waiting="CrashLoopBackOff"), app=older), Pending)


def test_a_crashing_pod_does_not_count_before_argo_cd_has_changed_its_workload() -> None:
    # A commit that takes a bad one back is known before the bad one's pods are gone.
    begun = application("catalog", "dev", sync="OutOfSync")
    assert isinstance(judge(deployment(readyReplicas=0), *SETS, pod(waiting="CrashLoopBackOff"), app=begun), Pending)


def test_the_newest_template_is_known_only_when_its_generation_is_observed() -> None:
    behind = deployment(readyReplicas=0, observedGeneration=1)
    assert isinstance(judge(behind, *SETS, pod("old"), pod()), Pending)


def test_a_migration_that_failed_for_good_has_failed() -> None:
    job = {"kind": "Job", "metadata": {"name": "catalog-migrate-1", "namespace": "dev"}}
    status = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    judged = judge(deployment(), *SETS, pod(), {**job, "status": status}, wanted=entry(job))
    assert judged == Failed("catalog: the migration catalog-migrate-1 failed: BackoffLimitExceeded")


def test_a_migration_of_another_commit_that_failed_is_of_no_account() -> None:
    job = {"kind": "Job", "metadata": {"name": "catalog-migrate-0", "namespace": "dev"}}
    status = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    assert judge(deployment(), *SETS, pod(), {**job, "status": status}) == Ready({"catalog": DIGEST})


def test_a_commit_that_the_cluster_refuses_has_failed_although_argo_cd_tries_again() -> None:
    said = "deployments.apps is forbidden: ValidatingAdmissionPolicy 'slipway-images' denied request: not approved"
    state = {"phase": "Running", "retryCount": 1, "message": said, "operation": {"sync": {"revision": COMMIT}}}
    judged = judge(deployment(), *SETS, pod(), app=application("catalog", "dev", sync="OutOfSync", operationState=state))
    assert judged == Failed(f"catalog: the cluster refuses it: {said}")


def test_pods_that_the_cluster_refuses_have_failed() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden: violates PodSecurity"}
    judged = judge(deployment(readyReplicas=0, conditions=[refused]), *SETS)
    assert judged == Failed("catalog: the cluster refuses its pods: pods is forbidden: violates PodSecurity")


def test_a_rollout_that_made_no_progress_in_its_time_has_failed() -> None:
    stuck = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": "has timed out progressing",
    }
    assert judge(deployment(readyReplicas=0, conditions=[stuck]), *SETS, pod()) == Failed("catalog: has timed out progressing")


def test_pods_of_another_service_do_not_count() -> None:
    other = pod("other", f"localhost:5001/cart@{FORMER}")
    other["metadata"]["labels"] = {"app.kubernetes.io/name": "cart"}
    assert judge(deployment(), *SETS, pod(), other) == Ready({"catalog": DIGEST})


def test_a_pod_that_has_ended_is_not_left() -> None:
    evicted = pod("old", f"localhost:5001/catalog@{FORMER}")
    evicted["status"]["phase"] = "Failed"
    assert judge(deployment(), *SETS, pod(), evicted) == Ready({"catalog": DIGEST})


def retired() -> Entry:
    config = {"kind": "ConfigMap", "metadata": {"name": "catalog-retired", "namespace": "dev"}}
    return Entry(replace(entry().record, chart="retired"), {}, [config])


def test_a_retired_service_has_arrived_when_nothing_of_it_runs() -> None:
    assert judge(wanted=retired()) == Ready({"catalog": DIGEST})
    assert judge(deployment(), wanted=retired()) == Pending("catalog: its Deployment is still there")
    assert judge(pod(), wanted=retired()) == Pending("catalog: 1 pod(s) of it still there")
