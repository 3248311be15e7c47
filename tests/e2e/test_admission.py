"""What stage and prod admit, whoever asks: approved images, pods of the cluster's controllers, applications of the records."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import admission, applications, names
from slipway.kube import NOT_YET, Kube, KubeError, ready, rollout
from slipway.promotion import Change
from slipway.waiting import Failed, Pending, Ready, wait_for
from tests.agreement import CASES, Case
from tests.e2e import delivering, writing
from tests.e2e.admitting import KINDS, SECURITY, actor, kubectl, may, refuser, stranger, workload
from tests.e2e.conftest import Instance
from tests.e2e.delivering import ARRIVAL_TIMEOUT
from tests.e2e.developing import Workspace

GUARDED = ("stage", "prod")
ROLES = ("developer", "lead", "pipeline")
EVERYBODY = (*ROLES, "admin")
ARGO = applications.API_VERSION

# How many questions are asked at a time.
ASKERS = 4


def said_no(ask: Callable[[], object]) -> tuple[str, str]:
    """Who refused it, and in which words; ("", "") when nobody did."""
    try:
        ask()
    except KubeError as error:
        return refuser(error), str(error)
    return "", ""


def image_of(instance: Instance, environment: str, service: str = "catalog") -> str:
    """The image that a service of an environment runs."""
    return deployment(instance, environment, service)["spec"]["template"]["spec"]["containers"][0]["image"]


def deployment(instance: Instance, environment: str, service: str = "catalog") -> dict[str, Any]:
    found = instance.kube.get("Deployment", service, namespace=environment, api_version="apps/v1")
    assert found
    return found


def pods(instance: Instance, environment: str, service: str = "catalog") -> list[Mapping[str, Any]]:
    found = instance.kube.list("Pod", namespace=environment, labels=f"app.kubernetes.io/name={service}")
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def containers(image: str) -> Mapping[str, Any]:
    """A change of what a Deployment's main container runs, as `kubectl set image` makes it, for the service catalog."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "catalog", "image": image}]}}}}


# --- images


@pytest.mark.parametrize("place", ["containers", "initContainers", "volumes"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("environment", GUARDED)
def test_no_kind_of_workload_runs_an_image_that_is_not_approved_wherever_it_stands(
    instance: Instance, environment: str, kind: str, place: str
) -> None:
    good, bad = image_of(instance, environment), stranger()
    item = workload(kind, environment, bad, place=place, good=good)
    who, words = said_no(lambda: instance.kube.create(item, dry_run=True))
    assert who == "approved digests", words
    assert f"image {bad} is not approved for {environment}" in words
    assert f"Allowed: what ./invoke promote --to {environment} brought here." in words


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("environment", GUARDED)
def test_every_kind_of_workload_may_run_an_approved_image_whoever_makes_it(
    instance: Instance, environment: str, kind: str
) -> None:
    item = workload(kind, environment, image_of(instance, environment))
    assert said_no(lambda: instance.kube.create(item, dry_run=True)) == ("", "")


@pytest.mark.parametrize(
    "disguise",
    [
        lambda good: good.partition("@")[0],
        lambda good: f"{good.partition('@')[0]}:0.1.0",
        lambda good: good.replace("@", ":0.1.0@"),
        lambda good: good.replace("catalog@", "copy@"),
        lambda good: good.replace("localhost:5001", "elsewhere.example"),
        lambda good: good.partition("/")[2],
        lambda good: good[:-1],
        lambda _: "",
    ],
    ids=[
        "no digest",
        "a tag",
        "a tag and the digest",
        "another name",
        "another registry",
        "no registry",
        "half a digest",
        "none",
    ],
)
def test_an_image_is_approved_under_its_full_name_and_digest_or_not_at_all(
    instance: Instance, disguise: Callable[[str], str]
) -> None:
    item = workload("Job", "prod", disguise(image_of(instance, "prod")))
    who, words = said_no(lambda: instance.kube.create(item, dry_run=True))
    assert who == "approved digests" or "image: Required value" in words, words


def test_what_is_approved_for_one_environment_is_not_for_the_other(instance: Instance) -> None:
    image = stranger()
    admission.approve(instance.kube, "stage", [image])
    try:
        assert said_no(lambda: instance.kube.create(workload("Job", "stage", image), dry_run=True))[0] == ""
        assert said_no(lambda: instance.kube.create(workload("Job", "prod", image), dry_run=True))[0] == "approved digests"
    finally:
        admission.revoke(instance.kube, "stage", [image])


@pytest.mark.parametrize("kind", [*KINDS, "Pod", "ReplicaSet"])
def test_where_anything_may_be_tried_nothing_is_asked(instance: Instance, kind: str) -> None:
    assert said_no(lambda: instance.kube.create(workload(kind, "dev", stranger()), dry_run=True)) == ("", "")


@pytest.mark.parametrize("environment", GUARDED)
@pytest.mark.parametrize("kind", ["Pod", "ReplicaSet"])
def test_pods_and_what_they_are_copied_from_come_from_the_clusters_controllers_alone(
    instance: Instance, environment: str, kind: str
) -> None:
    who, words = said_no(lambda: instance.kube.create(workload(kind, environment, image_of(instance, environment)), dry_run=True))
    assert who == "controllers", words
    assert f"images approved for {environment}" in words


def test_a_former_revision_that_a_controller_would_go_back_to_cannot_be_forged(instance: Instance) -> None:
    meta = {"name": "try", "namespace": "prod"}
    item = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": meta, "revision": 1, "data": {}}
    assert said_no(lambda: instance.kube.create(item, dry_run=True))[0] == "controllers"


def test_the_images_of_a_running_pod_and_of_its_replica_set_cannot_be_changed(instance: Instance) -> None:
    [pod, *_] = pods(instance, "prod")
    [owner] = pod["metadata"]["ownerReferences"]
    changed = [{**pod["spec"]["containers"][0], "image": stranger()}]
    for kind, name, version, change in (
        ("Pod", pod["metadata"]["name"], "v1", {"spec": {"containers": changed}}),
        ("ReplicaSet", owner["name"], "apps/v1", {"spec": {"template": {"spec": {"containers": changed}}}}),
    ):
        who, words = said_no(
            lambda kind=kind, name=name, version=version, change=change: instance.kube.patch(
                kind, name, change, namespace="prod", api_version=version, dry_run=True
            )
        )
        assert who == "controllers", words
    labelled = {"metadata": {"labels": {"looked-at": "yes"}}}
    assert said_no(lambda: instance.kube.patch("Pod", pod["metadata"]["name"], labelled, namespace="prod", dry_run=True))[0] == ""


# --- who may do what, and who says no

Ask = Callable[[Kube, Instance, str], object]


def _debug(kube: Kube, instance: Instance, environment: str) -> object:
    [pod, *_] = pods(instance, environment)
    extra = {"spec": {"ephemeralContainers": [{"name": "look", "image": stranger(), "securityContext": SECURITY}]}}
    name = pod["metadata"]["name"]
    return kube.patch("Pod", name, extra, namespace=environment, subresource="ephemeralcontainers", dry_run=True)


def _patch(kind: str, version: str, change: Mapping[str, Any], *, subresource: str = "") -> Ask:
    def ask(kube: Kube, instance: Instance, environment: str) -> object:
        del instance
        return kube.patch(
            kind, "catalog", change, namespace=environment, api_version=version, subresource=subresource, dry_run=True
        )

    return ask


def _add_to_list(kube: Kube, _: Instance, environment: str) -> object:
    image = stranger()
    data = {"data": {image.rpartition("@")[2].replace(":", "-"): image}}
    return kube.patch("ConfigMap", names.approved(environment), data, namespace=names.ADMISSION, dry_run=True)


def _other_path(kube: Kube, _: Instance, environment: str) -> object:
    change = {"spec": {"source": {"path": "envs/dev/catalog"}}}
    return kube.patch("Application", f"catalog-{environment}", change, namespace="argocd", api_version=ARGO, dry_run=True)


def _weaken(kube: Kube, _: Instance, environment: str) -> object:
    change = {"spec": {"validationActions": ["Warn"]}}
    name = f"slipway-approved-digests-{environment}"
    return kube.patch("ValidatingAdmissionPolicyBinding", name, change, api_version=admission.API_VERSION, dry_run=True)


def _widen(kube: Kube, *_: object) -> object:
    change = {"spec": {"sourceRepos": ["*"]}}
    return kube.patch("AppProject", "prod", change, namespace="argocd", api_version=ARGO, dry_run=True)


# What somebody may try, and who refuses it to the cluster's admin, whom no role restrains; "" where the admin is the one
# who decides.
TRIES: Mapping[str, tuple[Ask, str]] = {
    "make a pod": (lambda kube, at, env: kube.create(workload("Pod", env, image_of(at, env)), dry_run=True), "controllers"),
    "make a deployment": (
        lambda kube, _, env: kube.create(workload("Deployment", env, stranger()), dry_run=True),
        "approved digests",
    ),
    "make a job": (lambda kube, _, env: kube.create(workload("Job", env, stranger()), dry_run=True), "approved digests"),
    "debug a pod": (_debug, "approved digests"),
    "set an image": (_patch("Deployment", "apps/v1", containers(stranger())), "approved digests"),
    "scale": (_patch("Deployment", "apps/v1", {"spec": {"replicas": 1}}, subresource="scale"), ""),
    "approve an image": (_add_to_list, ""),
    "weaken a rule": (_weaken, ""),
    "point an application elsewhere": (_other_path, "sources"),
    "widen a project": (_widen, ""),
}


@pytest.mark.parametrize("environment", GUARDED)
@pytest.mark.parametrize("what", TRIES)
@pytest.mark.parametrize("who", EVERYBODY)
def test_who_refuses_what_to_whom(instance: Instance, who: str, what: str, environment: str) -> None:
    ask, admins = TRIES[what]
    kube = actor(instance, who)
    expected = admins if who == "admin" else "" if (who, what) == ("pipeline", "approve an image") else "roles"
    refused, words = said_no(lambda: ask(kube, instance, environment))
    assert refused == expected, words


# (verb, resource, API group, namespace): what would be as good as a way around.
WRITES, GROUP = ("create", "update", "patch", "delete"), "rbac.authorization.k8s.io"
INTO_PODS = ("pods/exec", "pods/attach", "pods/portforward", "pods/proxy")
# Where the guards are, with their code and what they judge by, and whatever says what they are.
GUARDS = (names.SYSTEM, names.ARGOCD, "kube-system")
WAYS_AROUND = [
    *((verb, "pods", "", space) for space in (*GUARDED, *GUARDS) for verb in WRITES),
    *(("create", part, "", space) for space in (*GUARDED, *GUARDS) for part in INTO_PODS),
    *((verb, "pods/ephemeralcontainers", "", space) for space in (*GUARDED, *GUARDS) for verb in ("update", "patch")),
    *(
        (verb, kind, "apps", space)
        for space in (*GUARDED, *GUARDS)
        for kind in ("deployments", "statefulsets", "daemonsets", "replicasets")
        for verb in WRITES
    ),
    *((verb, kind, "batch", space) for space in (*GUARDED, *GUARDS) for kind in ("jobs", "cronjobs") for verb in WRITES),
    *(
        (verb, kind, "", space)
        for space in (*GUARDED, *GUARDS)
        for kind in ("configmaps", "secrets", "services", "serviceaccounts", "persistentvolumeclaims")
        for verb in WRITES
    ),
    # Of the lists the pipeline may write those that there are, by their names.
    *((verb, "configmaps", "", names.ADMISSION) for verb in ("update", "patch", "delete", "deletecollection")),
    *(
        (verb, resource, "admissionregistration.k8s.io", "")
        for resource in (
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "validatingwebhookconfigurations",
            "mutatingwebhookconfigurations",
        )
        for verb in WRITES
    ),
    *(
        (verb, resource, "argoproj.io", names.ARGOCD)
        for resource in ("applications", "applicationsets", "appprojects")
        for verb in (*WRITES, "deletecollection")
    ),
    *((verb, "customresourcedefinitions", "apiextensions.k8s.io", "") for verb in WRITES),
    *(("create", "serviceaccounts/token", "", space) for space in (*GUARDED, *GUARDS)),
    *(("get", "secrets", "", space) for space in (*GUARDED, *GUARDS, names.ADMISSION)),
    *(("list", "secrets", "", space) for space in (*GUARDED, *GUARDS, names.ADMISSION)),
    ("impersonate", "users", "", ""),
    ("impersonate", "groups", "", ""),
    *(("impersonate", "serviceaccounts", "", space) for space in (*GUARDED, *GUARDS, names.ADMISSION)),
    *((verb, "namespaces", "", "") for verb in WRITES),
    *((verb, "persistentvolumes", "", "") for verb in WRITES),
    *((verb, kind, GROUP, "") for kind in ("clusterroles", "clusterrolebindings") for verb in (*WRITES, "bind", "escalate")),
    *(
        (verb, kind, GROUP, space)
        for space in (*GUARDED, *GUARDS, names.ADMISSION)
        for kind in ("roles", "rolebindings")
        for verb in WRITES
    ),
    *((verb, "nodes/proxy", "", "") for verb in ("get", "create")),
    *((verb, "nodes", "", "") for verb in ("update", "patch", "delete")),
]


@pytest.mark.parametrize("role", ROLES)
def test_no_role_has_a_right_that_would_be_a_way_around(instance: Instance, role: str) -> None:
    kube = actor(instance, role)
    assert may(kube, "get", "pods", "prod"), "it is really asked"
    with ThreadPoolExecutor(ASKERS) as pool:
        allowed = list(pool.map(lambda way: may(kube, way[0], way[1], way[3], group=way[2]), WAYS_AROUND))
    assert [way for way, can in zip(WAYS_AROUND, allowed, strict=True) if can] == []


def test_only_the_pipeline_may_change_a_list(instance: Instance) -> None:
    for environment in GUARDED:
        can = {
            who
            for who in ROLES
            if may(actor(instance, who), "patch", "configmaps", names.ADMISSION, name=names.approved(environment))
        }
        assert can == {"pipeline"}
    for who in ("developer", "lead"):
        with pytest.raises(KubeError, match=r"cannot patch"):
            admission.approve(actor(instance, who), "stage", [stranger()])
        assert image_of(instance, "prod") in admission.approved(actor(instance, who), "prod"), "looking is for everybody"


def test_where_the_developer_works_no_pod_gets_hold_of_the_node(instance: Instance) -> None:
    kube = actor(instance, "developer")
    inside = workload("Pod", names.LOCAL, stranger())
    assert said_no(lambda: kube.create(inside, dry_run=True)) == ("", "")
    for more in (
        {"volumes": [{"name": "host", "hostPath": {"path": "/etc/kubernetes"}}]},
        {"hostNetwork": True},
        {"hostPID": True},
        {"containers": [{"name": "main", "image": stranger(), "securityContext": {"privileged": True}}]},
    ):
        item = {**inside, "spec": {**inside["spec"], **more}}
        assert said_no(lambda item=item: kube.create(item, dry_run=True))[0] == "Pod Security"


# --- lists


def test_a_list_holds_images_and_nothing_else(instance: Instance) -> None:
    good = stranger()
    key = good.rpartition("@")[2].replace(":", "-")
    assert said_no(lambda: _write(instance, {key: f"{good}\n{good.replace('catalog', 'copy')}"})) == ("", "")
    for data in ({key: "localhost:5001/catalog:latest"}, {key: stranger()}, {"all": "*"}, {key: f"{good}\n*"}, {key: ""}):
        who, words = said_no(lambda data=data: _write(instance, data))
        assert who == "lists", f"{data}: {words}"


def _write(instance: Instance, data: Mapping[str, str]) -> object:
    pipeline = actor(instance, "pipeline")
    return pipeline.patch("ConfigMap", "approved-prod", {"data": data}, namespace=names.ADMISSION, dry_run=True)


def test_the_namespace_of_the_lists_holds_lists_and_nothing_else(instance: Instance) -> None:
    meta = {"name": "something", "namespace": names.ADMISSION}
    item: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {}}
    who, words = said_no(lambda: actor(instance, "pipeline").create(item))
    assert who == "lists", words


def test_a_program_that_may_write_everywhere_may_not_write_a_list(instance: Instance) -> None:
    """Argo CD's controller is such a program; that its own project stops it is another guard."""
    argv = ["--as=system:serviceaccount:argocd:argocd-application-controller", "--namespace", names.ADMISSION]
    said = kubectl(instance, *argv, "annotate", "configmap", "approved-prod", "mine=yes", "--dry-run=server")
    assert said.code != 0
    assert "REFUSED by rule 'lists'" in said.stderr


def test_what_is_approved_is_admitted_at_the_very_moment_that_approving_ends(instance: Instance) -> None:
    pipeline = actor(instance, "pipeline")
    images = [stranger() for _ in range(5)]
    try:
        for image in images:
            assert said_no(lambda image=image: instance.kube.create(workload("Job", "stage", image), dry_run=True))[0]
            admission.approve(pipeline, "stage", [image])
            assert said_no(lambda image=image: instance.kube.create(workload("Job", "stage", image), dry_run=True)) == ("", "")
    finally:
        admission.revoke(pipeline, "stage", images)
    for image in images:
        assert (
            said_no(lambda image=image: instance.kube.create(workload("Job", "stage", image), dry_run=True))[0]
            == "approved digests"
        )


def test_approvals_at_the_same_time_lose_nothing_of_each_other(instance: Instance) -> None:
    images = [stranger() for _ in range(4)]
    before = admission.approved(instance.kube, "stage")
    try:
        with ThreadPoolExecutor(len(images)) as pool:
            list(pool.map(lambda image: admission.approve(actor(instance, "pipeline"), "stage", [image]), images))
        assert admission.approved(instance.kube, "stage") == sorted({*before, *images})
    finally:
        admission.revoke(instance.kube, "stage", images)
    assert admission.approved(instance.kube, "stage") == before


def test_no_rule_has_a_word_that_the_api_server_does_not_understand(instance: Instance) -> None:
    found = instance.kube.list("ValidatingAdmissionPolicy", api_version=admission.API_VERSION)
    ours = [item for item in found if item["metadata"]["name"].startswith("slipway-")]
    assert len(ours) == 5
    for item in ours:
        assert item["status"]["observedGeneration"] == item["metadata"]["generation"]
        assert not item["status"].get("typeChecking", {}).get("expressionWarnings"), item["metadata"]["name"]


# --- what was admitted goes on


@pytest.fixture
def listed(instance: Instance) -> Generator[Callable[[str], Collection[str]]]:
    """What an environment's list holds; whatever a test does to it, it is as it was afterwards."""
    kept: dict[str, list[str]] = {}

    def keep(environment: str) -> Collection[str]:
        return kept.setdefault(environment, admission.approved(instance.kube, environment))

    yield keep
    for environment, images in kept.items():
        admission.approve(instance.kube, environment, images)


def comes_back(instance: Instance, environment: str, kind: str, service: str) -> None:
    """Return when a pod of a workload that is deleted has a successor that is ready."""
    [lost, *_] = pods(instance, environment, service)
    assert instance.kube.delete("Pod", lost["metadata"]["name"], namespace=environment)

    def whole() -> Ready[Any] | Pending | Failed:
        if any(pod["metadata"]["uid"] == lost["metadata"]["uid"] for pod in pods(instance, environment, service)):
            return Pending("the old pod is still there")
        return rollout(instance.kube.get(kind, service, namespace=environment, api_version="apps/v1"))

    wait_for(f"a pod of {service} to come back", whole, timeout=ARRIVAL_TIMEOUT, tolerate=NOT_YET)


def test_without_its_list_an_environment_admits_nothing_and_loses_nothing(
    instance: Instance, listed: Callable[[str], Collection[str]]
) -> None:
    assert listed("stage")
    good = image_of(instance, "stage")
    assert instance.kube.delete("ConfigMap", "approved-stage", namespace=names.ADMISSION)

    def denied() -> Ready[str] | Pending:
        who, words = said_no(lambda: instance.kube.create(workload("Job", "stage", good), dry_run=True))
        return Ready(words) if who == "no list" else Pending(words or "it is admitted")

    words = wait_for("stage to miss its list", denied, timeout=10)
    assert "slipway-approved-digests-stage" in words
    for kind in KINDS:
        assert said_no(lambda kind=kind: instance.kube.create(workload(kind, "stage", good), dry_run=True))[0] == "no list"
    assert said_no(lambda: _debug(instance.kube, instance, "stage"))[0] == "no list"
    assert said_no(lambda: instance.kube.create(workload("Job", "prod", image_of(instance, "prod")), dry_run=True)) == ("", "")
    comes_back(instance, "stage", "Deployment", "catalog")
    comes_back(instance, "stage", "StatefulSet", "valkey")


def test_an_image_that_is_not_approved_any_more_runs_on_and_is_healed_but_never_comes_anew(
    instance: Instance, listed: Callable[[str], Collection[str]]
) -> None:
    good = image_of(instance, "stage")
    assert good in listed("stage")
    admission.revoke(actor(instance, "pipeline"), "stage", [good])
    assert said_no(lambda: instance.kube.create(workload("Job", "stage", good), dry_run=True))[0] == "approved digests"
    comes_back(instance, "stage", "Deployment", "catalog")
    had = deployment(instance, "stage")["spec"]["replicas"]
    instance.kube.patch("Deployment", "catalog", {"spec": {"replicas": had + 1}}, namespace="stage", api_version="apps/v1")

    def healed() -> Ready[Any] | Pending | Failed:
        found = deployment(instance, "stage")
        return rollout(found) if found["spec"]["replicas"] == had else Pending("Argo CD has not healed it yet")

    wait_for("Argo CD to heal what is not approved any more", healed, timeout=ARRIVAL_TIMEOUT)


def test_argo_cd_makes_again_what_is_approved_of_every_kind_that_is_delivered(instance: Instance) -> None:
    jobs = instance.kube.list("Job", namespace="stage", api_version="batch/v1")
    lost = {("Job", "batch/v1", job["metadata"]["name"]): job["metadata"]["uid"] for job in jobs}
    for kind, name in (("Deployment", "catalog"), ("StatefulSet", "valkey")):
        found = instance.kube.get(kind, name, namespace="stage", api_version="apps/v1")
        assert found
        lost[kind, "apps/v1", name] = found["metadata"]["uid"]
    assert len(lost) == 3, "orders has a migration"
    for kind, version, name in lost:
        assert instance.kube.delete(kind, name, namespace="stage", api_version=version)

    def back(kind: str, version: str, name: str) -> Ready[Any] | Pending | Failed:
        found = instance.kube.get(kind, name, namespace="stage", api_version=version)
        if found is None or found["metadata"]["uid"] == lost[kind, version, name]:
            return Pending("it is not made again yet")
        return ready(found, "Complete") if kind == "Job" else rollout(found)

    for kind, version, name in lost:
        wait_for(
            f"Argo CD to make the {kind} {name} again",
            lambda kind=kind, version=version, name=name: back(kind, version, name),
            timeout=ARRIVAL_TIMEOUT,
            tolerate=NOT_YET,
        )


# --- around Git


# Writes a commit past the hook, as only somebody inside of the Git server can; prints the commit there was before.
_PAST_THE_HOOK = r"""
set -e
export GIT_DIR=/srv/git/gitops-prod.git GIT_INDEX_FILE=$(mktemp -u)
export GIT_AUTHOR_NAME=admin GIT_AUTHOR_EMAIL=admin@localhost GIT_COMMITTER_NAME=admin GIT_COMMITTER_EMAIL=admin@localhost
before=$(git rev-parse main)
git read-tree main
for name in manifests record values; do
  blob=$(git show "main:$1/$name.yaml" | sed "s/$2/$3/g" | git hash-object -w --stdin)
  git update-index --cacheinfo "100644,$blob,$1/$name.yaml"
done
git update-ref refs/heads/main "$(echo 'Past the hook' | git commit-tree "$(git write-tree)" -p "$before")" "$before"
rm -f "$GIT_INDEX_FILE"
echo "$before"
"""


@pytest.fixture
def past_the_hook(instance: Instance) -> Generator[Callable[[str, str, str, str], None]]:
    """Writes another digest into a record of the prod tier as the Git server's own admin; undone afterwards."""
    undo: list[tuple[str, str]] = []

    def inside(*argv: str) -> str:
        said = kubectl(instance, "--namespace", names.SYSTEM, "exec", "deployment/git", "--container", "git", "--", *argv)
        assert said.code == 0, said.stderr
        return said.stdout.strip()

    def write(environment: str, service: str, old: str, new: str) -> None:
        before = inside("sh", "-c", _PAST_THE_HOOK, "sh", f"envs/{environment}/{service}", old, new)
        undo.append((f"{service}-{environment}", before))
        _refresh(instance, f"{service}-{environment}")

    yield write
    for name, before in undo:
        inside("git", "--git-dir", "/srv/git/gitops-prod.git", "update-ref", "refs/heads/main", before)
        _refresh(instance, name)

        def back(name: str = name, before: str = before) -> Ready[Any] | Pending | Failed:
            found = instance.kube.get("Application", name, namespace="argocd", api_version=ARGO)
            return applications.delivered(applications.parse(found) if found else None, before)

        wait_for(f"{name} to be as it was", back, timeout=ARRIVAL_TIMEOUT, tolerate=NOT_YET)


def _refresh(instance: Instance, name: str) -> None:
    annotations = {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard"}}}
    instance.kube.patch("Application", name, annotations, namespace="argocd", api_version=ARGO)


def test_a_digest_that_somebody_puts_into_git_past_the_hook_is_refused_by_admission(
    instance: Instance, past_the_hook: Callable[[str, str, str, str], None]
) -> None:
    had = deployment(instance, "stage")
    before, other = image_of(instance, "stage").rpartition("@")[2], stranger().rpartition("@")[2]
    past_the_hook("stage", "catalog", before, other)

    def refused() -> Ready[str] | Pending:
        found = instance.kube.get("Application", "catalog-stage", namespace="argocd", api_version=ARGO)
        assert found
        app = applications.parse(found)
        # "Unknown" would be a comparison that failed, after which Argo CD may take what it compared before for an answer.
        told = app.sync == "OutOfSync" and "REFUSED by rule 'approved digests'" in app.message
        return Ready(app.message) if told else Pending(f"{app.sync} with {app.revision}: {app.message or 'it said nothing yet'}")

    said = wait_for("Argo CD to be refused", refused, timeout=ARRIVAL_TIMEOUT)
    assert other in said
    assert deployment(instance, "stage")["metadata"]["generation"] == had["metadata"]["generation"]
    assert image_of(instance, "stage").endswith(before)


# --- applications


def _application(instance: Instance, *, name: str = "", source: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    own = instance.kube.get("Application", "catalog-prod", namespace="argocd", api_version=ARGO)
    assert own
    told = {**own["spec"], **spec, "source": {**own["spec"]["source"], **(source or {})}}
    meta = {"name": name or "catalog-prod", "namespace": "argocd"}
    return {"apiVersion": ARGO, "kind": "Application", "metadata": meta, "spec": told}


IN_CLUSTER = "https://kubernetes.default.svc"

# What an application that writes into prod may not be told.
DEPARTURES: Mapping[str, Mapping[str, Any]] = {
    "another repository": {"source": {"repoURL": names.repository("gitops-nonprod")}},
    "another branch": {"source": {"targetRevision": "mine"}},
    "a commit": {"source": {"targetRevision": "0" * 40}},
    "another environment's path": {"source": {"path": "envs/stage/catalog"}},
    "another service's path": {"source": {"path": "envs/prod/cart"}},
    "no path": {"source": {"path": "."}},
    "other files": {"source": {"directory": {"include": "*.yaml"}}},
    "a chart": {"source": {"chart": "catalog"}},
    "a generator of manifests": {"source": {"plugin": {"name": "mine"}}},
    "several sources": {"sources": [{"repoURL": names.repository("gitops-prod"), "path": "envs/prod/catalog"}]},
    "another project": {"project": "nonprod"},
    "no project": {"project": "default"},
    "another namespace": {"destination": {"server": IN_CLUSTER, "namespace": "argocd"}},
    "another cluster": {"destination": {"server": "https://elsewhere.example", "namespace": "prod"}},
    "no automation": {"syncPolicy": {}},
    "automation that is switched off": {"syncPolicy": {"automated": {"enabled": False}}},
}


@pytest.mark.parametrize("what", DEPARTURES)
def test_an_application_brings_into_prod_what_its_records_say_and_nothing_else(instance: Instance, what: str) -> None:
    item = _application(instance, name="catalog-try", **DEPARTURES[what])
    departure = {key: value for key, value in item["spec"].items() if key in DEPARTURES[what]}
    ours, words = said_no(lambda: instance.kube.create(item, dry_run=True))
    assert ours == "sources", words
    ours, words = said_no(
        lambda: instance.kube.patch(
            "Application", "catalog-prod", {"spec": departure}, namespace="argocd", api_version=ARGO, dry_run=True
        )
    )
    # An empty mapping changes nothing in a merge.
    assert ours == "sources" or what == "no automation", words


def test_an_application_has_the_name_of_its_records(instance: Instance) -> None:
    """Two applications of one path would fight over it, and only one of them is looked at."""
    assert said_no(lambda: instance.kube.create(_application(instance, name="catalog-two"), dry_run=True))[0] == "sources"


@pytest.mark.parametrize(
    "operation",
    [
        {"sync": {"revision": "0" * 40}},
        {"sync": {"revision": "mine"}},
        {"sync": {"manifests": ['{"apiVersion": "v1", "kind": "ConfigMap"}']}},
        {"sync": {"source": {"repoURL": names.repository("gitops-prod"), "path": "envs/stage/catalog"}}},
        {"sync": {"revisions": ["0" * 40]}},
        {"info": [{"name": "nothing", "value": "to do"}]},
    ],
    ids=["a commit", "a branch", "manifests", "a source", "commits", "no sync"],
)
def test_an_operation_applies_what_the_branch_says_and_nothing_else(instance: Instance, operation: Mapping[str, Any]) -> None:
    def ask(wanted: Mapping[str, Any]) -> tuple[str, str]:
        change = {"operation": wanted}
        return said_no(
            lambda: instance.kube.patch("Application", "catalog-prod", change, namespace="argocd", api_version=ARGO, dry_run=True)
        )

    who, words = ask(operation)
    assert who == "sources", words
    assert ask({"sync": {"revision": "main"}}) == ("", "")
    assert ask({"sync": {}}) == ("", "")


# --- hook and admission; tests/delivery brings every case of the table to the hook, and looks at the list


def coming(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.fixture
def work(instance: Instance, tmp_path: Path) -> Workspace:
    """A developer's clone of develop."""
    return Workspace.clone(instance, tmp_path / "work")


@pytest.mark.parametrize("name", ["stage: of a feature branch", "prod: of a feature branch", "stage: of develop"])
def test_what_the_git_server_refuses_is_on_no_list_and_the_cluster_refuses_it_too(
    instance: Instance, work: Workspace, tmp_path: Path, name: str
) -> None:
    """Sent by somebody whose own policy asks for nothing: the hook says what the table says, and admission says no as well."""
    case = coming(name)
    environment, branch = case.environment, case.asked.branch
    if branch != "develop":
        branch = f"feature/{secrets.token_hex(3)}"
        work.touch("catalog")
        work.commit()
        work.push(branch, options=["ci.skip"])
    had, before = admission.approved(instance.kube, environment), delivering.read(instance, "gitops-prod")[0]
    record = replace(
        delivering.entry(instance, environment, "catalog").record,
        digest=stranger().rpartition("@")[2],
        version="9.9.9-dev.1",
        source_commit=work.head,
        branch=branch,
        release="",
        lock="",
        config="",
    )
    image, by = f"{record.image}@{record.digest}", "pipeline" if case.asked.kind == "automatic" else "developer"
    change = Change(environment, "deploy", branch, (record,), how=case.asked.kind, triggered_by=by)
    try:
        said = writing.refusal(writing.unjudging(instance, tmp_path), change)
        assert writing.rules(said) == set(case.rules), said
        assert admission.approved(instance.kube, environment) == had
        for kind in ("Deployment", "Job"):
            who, words = said_no(lambda kind=kind: instance.kube.create(workload(kind, environment, image), dry_run=True))
            assert who == "approved digests", words
    finally:
        admission.revoke(instance.kube, environment, [image])
    assert delivering.read(instance, "gitops-prod")[0] == before


@pytest.mark.parametrize("environment", GUARDED)
def test_what_has_landed_is_listed_and_is_admitted(instance: Instance, environment: str) -> None:
    entries = delivering.read(instance, "gitops-prod")[1]
    recorded = {f"{entry.record.image}@{entry.record.digest}" for key, entry in entries.items() if key[0] == environment}
    assert recorded <= set(admission.approved(instance.kube, environment))
    for image in recorded:
        for kind in ("Deployment", "Job"):
            assert said_no(
                lambda kind=kind, image=image: instance.kube.create(workload(kind, environment, image), dry_run=True)
            ) == ("", "")
