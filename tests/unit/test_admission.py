"""The rules of stage and prod as data, and the lists that they go by, on a cluster that observes them late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from slipway import admission, git, gitops, locks
from slipway.assembly import Assembly
from slipway.errors import SlipwayError, WaitTimeout
from slipway.genesis import Part
from slipway.kube import Conflict, Kube, KubeError
from slipway.locks import Approval, Lock, Locked
from slipway.progress import Phase
from slipway.records import Entry, Record
from slipway.settings import load
from tests.unit.deliveries import Deliveries, record
from tests.unit.fakes import FakeClock

ALL = ("dev", "qa", "stage", "prod")


def image(letter: str, name: str = "catalog") -> str:
    return f"localhost:5001/{name}@sha256:{letter * 64}"


# --- the rules


def of(kind: str, environments: tuple[str, ...] = ALL) -> dict[str, Any]:
    return {item["metadata"]["name"]: item["spec"] for item in admission.manifests(load(), environments) if item["kind"] == kind}


POLICIES, BINDINGS = of("ValidatingAdmissionPolicy"), of("ValidatingAdmissionPolicyBinding")


def covered(policy: str) -> set[tuple[str, str]]:
    """The resources that a policy is asked about, each with an operation."""
    rules = POLICIES[f"slipway-{policy}"]["matchConstraints"]["resourceRules"]
    return {(resource, operation) for rule in rules for resource in rule["resources"] for operation in rule["operations"]}


@pytest.mark.parametrize(
    "resource", ["deployments", "statefulsets", "daemonsets", "replicationcontrollers", "jobs", "cronjobs", "pods", "replicasets"]
)
def test_every_kind_that_runs_images_is_asked_about_when_it_is_made_and_when_it_changes(resource: str) -> None:
    either = covered("approved-digests") | covered("controllers")
    assert {(resource, "CREATE"), (resource, "UPDATE")} <= either


def test_a_container_that_is_put_into_a_running_pod_is_asked_about() -> None:
    assert ("pods/ephemeralcontainers", "UPDATE") in covered("approved-digests")


def test_what_the_clusters_controllers_make_needs_no_list_or_nothing_could_be_rescheduled_without_it() -> None:
    assert "paramKind" not in POLICIES["slipway-controllers"]
    for resource in ("pods", "replicasets"):
        assert not {(resource, "CREATE"), (resource, "UPDATE")} & covered("approved-digests")


def test_a_rule_that_cannot_be_judged_refuses_and_so_does_one_whose_list_is_missing() -> None:
    assert {policy["failurePolicy"] for policy in POLICIES.values()} == {"Fail"}
    assert {tuple(binding["validationActions"]) for binding in BINDINGS.values()} == {("Deny",)}
    listed = [binding["paramRef"] for binding in BINDINGS.values() if "paramRef" in binding]
    assert {one["parameterNotFoundAction"] for one in listed} == {"Deny"}
    assert {(one["namespace"], one["name"]) for one in listed} == {
        ("slipway-admission", f"approved-{env}") for env in ("stage", "prod")
    }


def test_a_policy_with_a_list_is_bound_to_each_environments_own() -> None:
    for environment in ("stage", "prod"):
        binding = BINDINGS[f"slipway-approved-digests-{environment}"]
        [selector] = binding["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert selector == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [environment]}
        assert binding["paramRef"]["name"] == f"approved-{environment}"


def test_no_policy_holds_in_an_environment_where_anything_may_be_tried() -> None:
    places = {
        name
        for binding in BINDINGS.values()
        for selector in binding["matchResources"]["namespaceSelector"]["matchExpressions"]
        for name in selector["values"]
    }
    assert places == {"stage", "prod", "slipway-admission", "argocd"}


def test_every_binding_names_a_policy_and_every_policy_holds_somewhere() -> None:
    assert {binding["policyName"] for binding in BINDINGS.values()} == set(POLICIES)


def test_the_probe_is_asked_about_its_own_object_alone_or_no_missing_list_could_be_made() -> None:
    for environment in ("stage", "prod"):
        [rule] = BINDINGS[f"slipway-observed-{environment}"]["matchResources"]["resourceRules"]
        assert rule["resourceNames"] == [f"observed-{environment}"]


def test_every_refusal_names_its_rule_and_what_would_be_allowed() -> None:
    for policy in POLICIES.values():
        for one in policy["validations"]:
            assert "REFUSED by rule '" in one["messageExpression"]
            assert "Allowed: " in one["messageExpression"]
            assert "\\n" not in one["messageExpression"], "the API server drops a message of several lines"


def test_the_rules_know_the_pipeline_and_the_repository_by_name() -> None:
    told = {one["name"]: one["expression"] for one in POLICIES["slipway-sources"]["variables"]}
    assert told["environments"] == '["stage", "prod"]'
    assert told["project"] == '"prod"'
    assert told["repository"] == '"http://git.slipway-system.svc.cluster.local/gitops-prod.git"'
    assert told["pipeline"] == '"system:serviceaccount:slipway-system:pipeline"'


def test_an_instance_without_such_an_environment_has_no_rules() -> None:
    assert admission.manifests(load(), ("dev",)) == []
    assert admission.guarded(load(), ALL) == ("stage", "prod")


# --- the lists


class Cluster(Kube):
    """A cluster with lists, whose admission knows of a list what it was some looks ago."""

    def __init__(self, data: Mapping[str, str] | None = None, *, late: int = 0, rivals: Sequence[str] = ()) -> None:
        super().__init__(Path("/nowhere"), "kind-fake")
        self.data = dict(data) if data is not None else None
        self.version, self.late, self.rivals = 1, late, list(rivals)
        self.refusing = ""
        self._seen: list[set[str]] = []
        self.writes = 0

    @property
    def references(self) -> set[str]:
        """What is on the list."""
        return {one for value in (self.data or {}).values() for one in value.split("\n")}

    def get(self, kind: str, name: str, *, namespace: str | None = None, api_version: str = "v1") -> dict[str, Any] | None:
        """The list."""
        assert (kind, name, namespace) == ("ConfigMap", "approved-prod", "slipway-admission")
        return None if self.data is None else {"metadata": {"resourceVersion": str(self.version)}, "data": dict(self.data)}

    def create(self, item: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any] | None:
        """Make the list, or judge the probe."""
        if dry_run:
            return self._judge(item)
        self._rival()
        if self.data is not None:
            return None
        self.data, self.writes = dict(item["data"]), self.writes + 1
        return dict(item)

    def patch(self, kind: str, name: str, change: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Change the list, if it is the one that was read."""
        self._rival()
        if change["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict("it changed")
        assert self.data is not None
        merged = {**self.data, **change["data"]}
        self.data = {key: value for key, value in merged.items() if value is not None}
        self.version, self.writes = self.version + 1, self.writes + 1
        return {}

    def _rival(self) -> None:
        if self.rivals:
            one = self.rivals.pop(0)
            self.data = {**(self.data or {}), one.rpartition("@")[2].replace(":", "-"): one}
            self.version += 1

    def _judge(self, item: Mapping[str, Any]) -> dict[str, Any]:
        if self.refusing:
            raise KubeError(self.refusing)
        self._seen.append(self.references)
        known: set[str] = self._seen[-1 - self.late] if len(self._seen) > self.late else set()
        if not set(item["data"]["images"].split("\n")) <= known:
            raise KubeError(
                "ValidatingAdmissionPolicy 'slipway-observed' with binding ... denied request: REFUSED by rule 'observed'"
            )
        return dict(item)


def test_what_was_approved_is_on_the_list_by_its_full_reference_beside_what_was_there() -> None:
    kube = Cluster({"sha256-" + "a" * 64: image("a")})
    admission.approve(kube, "prod", [image("b"), image("c", "cart")])
    assert admission.approved(kube, "prod") == sorted([image("a"), image("b"), image("c", "cart")])


def test_an_environment_without_a_list_gets_one() -> None:
    kube = Cluster()
    assert admission.missing(kube, "prod")
    admission.approve(kube, "prod", [image("a")])
    assert not admission.missing(kube, "prod")
    assert admission.approved(kube, "prod") == [image("a")]


def test_two_names_of_one_digest_are_two_approvals() -> None:
    kube = Cluster()
    admission.approve(kube, "prod", [image("a"), image("a", "copy")])
    assert admission.approved(kube, "prod") == [image("a"), image("a", "copy")]
    admission.revoke(kube, "prod", [image("a")])
    assert admission.approved(kube, "prod") == [image("a", "copy")]


def test_what_is_on_the_list_already_is_not_written_again() -> None:
    kube = Cluster()
    admission.approve(kube, "prod", [image("a")])
    admission.approve(kube, "prod", [image("a")])
    assert kube.writes == 1


@pytest.mark.parametrize("there", [None, {}])
def test_what_somebody_else_approves_meanwhile_is_not_lost(there: Mapping[str, str] | None) -> None:
    kube = Cluster(there, rivals=[image("d"), image("e")])
    admission.approve(kube, "prod", [image("a")])
    assert kube.references == {image("a"), image("d"), image("e")}


def test_it_gives_up_when_somebody_else_is_faster_every_time() -> None:
    kube = Cluster({}, rivals=[image(letter) for letter in "0123456789"])
    with pytest.raises(SlipwayError, match=r"somebody else changed approved-prod.*Repeat"):
        admission.approve(kube, "prod", [image("a")])


def test_approving_ends_only_when_the_api_server_goes_by_the_list() -> None:
    kube, clock, said = Cluster(late=3), FakeClock(), list[str]()
    admission.approve(kube, "prod", [image("a")], clock=clock, on_change=said.append)
    assert len(clock.slept) == 3
    assert "rule 'observed'" in said[0]


def test_an_api_server_that_never_goes_by_the_list_is_an_error_with_the_images_and_the_cure() -> None:
    with pytest.raises(WaitTimeout, match=r"(?s)prod to admit catalog@sha256:aaaa.*\./invoke up"):
        admission.approve(Cluster(late=10**6), "prod", [image("a")], clock=FakeClock())


def test_an_answer_that_is_no_judgement_of_the_list_is_passed_on_at_once() -> None:
    kube, clock = Cluster(), FakeClock()
    kube.refusing = 'configmaps is forbidden: User "x" cannot create resource "configmaps"'
    with pytest.raises(KubeError, match="cannot create"):
        admission.approve(kube, "prod", [image("a")], clock=clock)
    assert clock.slept == []


def test_only_what_was_not_approved_before_is_said_to_be_new() -> None:
    kube = Cluster()
    assert admission.approve(kube, "prod", [image("a")]) == {image("a")}
    assert admission.approve(kube, "prod", [image("a"), image("b")]) == {image("b")}
    assert admission.approve(kube, "prod", [image("a")]) == frozenset()


def test_what_the_api_server_does_not_come_to_admit_does_not_stay_on_the_list() -> None:
    kube = Cluster({"sha256-" + "a" * 64: image("a")}, late=10**6)
    with pytest.raises(WaitTimeout):
        admission.approve(kube, "prod", [image("a"), image("b")], clock=FakeClock())
    assert kube.references == {image("a")}


def test_what_is_withdrawn_is_revoked_but_for_what_has_a_reason() -> None:
    kube = Cluster()
    admission.approve(kube, "prod", [image("a"), image("b"), image("c")])
    assert admission.withdraw(kube, "prod", [image("a"), image("b")], kept=lambda: {image("b")}) == {image("a")}
    assert kube.references == {image("b"), image("c")}


def test_what_somebody_comes_to_need_while_it_is_withdrawn_is_approved_again() -> None:
    kube, reasons = Cluster(), [set[str](), {image("a")}]
    admission.approve(kube, "prod", [image("a"), image("b")])
    assert admission.withdraw(kube, "prod", [image("a"), image("b")], kept=lambda: reasons.pop(0)) == {image("b")}
    assert kube.references == {image("a")}


def test_revoking_ends_only_when_the_api_server_refuses_each_image() -> None:
    kube, clock = Cluster(), FakeClock()
    admission.approve(kube, "prod", [image("a"), image("b"), image("c")])
    kube.late = 1
    admission.revoke(kube, "prod", [image("a"), image("b")], clock=clock)
    assert admission.approved(kube, "prod") == [image("c")]
    assert clock.slept


@pytest.mark.parametrize(
    "wrong", ["localhost:5001/catalog:0.2.0", "catalog@sha256:abc", "", f"a b@sha256:{'a' * 64}", "@sha256:" + "a" * 64]
)
def test_what_names_no_image_for_ever_cannot_be_approved(wrong: str) -> None:
    kube = Cluster()
    with pytest.raises(admission.NotAnImage, match=r"has no digest.*NAME@sha256:DIGEST"):
        admission.approve(kube, "prod", [image("a"), wrong])
    assert kube.data is None


def test_policies_are_waited_for_until_they_refuse_what_nobody_approved() -> None:
    class Slow(Kube):
        """A cluster that admits everything at first."""

        asked = 0

        def create(self, item: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any] | None:
            """Judge as each policy does, from the second question on."""
            assert dry_run
            self.asked += 1
            names = {"Pod": "controllers", "Job": "approved-digests", "ConfigMap": "observed"}
            if self.asked % 2 == 0:
                raise KubeError(f"ValidatingAdmissionPolicy 'slipway-{names[item['kind']]}' with binding 'x' denied request")
            return None

    kube, said = Slow(Path("/nowhere"), "kind-fake"), list[str]()
    admission.wait_until_active(kube, ["stage"], on_change=said.append)
    assert kube.asked == 6
    assert said == ["it is admitted"] * 3


# --- a list that is made again


def test_a_lost_list_is_made_again_from_the_records_and_the_locks_that_were_approved(tmp_path: Path) -> None:
    def locked(letter: str) -> Locked:
        return Locked(
            "catalog", "0.2.0-rc.1", "localhost:5001/catalog", f"sha256:{letter * 64}", "c" * 40, "microservice", "1", "sha256:1"
        )

    given, waiting = (Lock(f"v0.{n}.0", f"0.{n}.0-rc.1", f"release/v0.{n}.0", "d" * 40, (locked(str(n)),)) for n in (2, 3))
    running = [
        Record(env, "catalog", "0.1.0", "localhost:5001/catalog", f"sha256:{letter * 64}", "c" * 40)
        for env, letter in (("stage", "e"), ("prod", "f"))
    ]
    files = {name: content for record in running for name, content in Entry(record, {}, []).files.items()}
    for thing in (given, waiting, Approval("v0.2.0", given.hash, "lead", "2026-11-21T10:01:00Z")):
        files |= thing.files
    tree = tmp_path / "tree"
    git.init(tree, branch=gitops.BRANCH)
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    git.stage(tree, ["."])
    git.commit(tree, "Begin", identity=gitops.PIPELINE)
    remote = git.Remote(str(tree))
    assert locks.read_locks(tree)
    assert admission.recorded(load(), remote, "stage") == {image("e"), image("2"), image("3")}
    assert admission.recorded(load(), remote, "prod") == {image("f"), image("2")}


def test_a_list_keeps_what_the_environment_ever_recorded_and_loses_what_no_commit_came_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Deliveries(tmp_path, monkeypatch)
    told = {"image": "localhost:5001/catalog"}
    made.begin(*(record(env, digest=f"sha256:{letter * 64}", **told) for env, letter in (("prod", "a"), ("stage", "b"))))
    made.change(record("prod", digest=f"sha256:{'c' * 64}", **told))
    kube = Cluster()
    admission.approve(kube, "prod", [image(letter) for letter in "abcd"])
    assert admission.tidy(load(), kube, made.remote, "prod") == {image("b"), image("d")}
    assert kube.references == {image("a"), image("c")}


# --- at `up`


class Begun:
    """As much of an assembly as its lists need."""

    def __init__(self, kube: Cluster) -> None:
        self.kube, self.settings = kube, load()
        self.profile = replace(self.settings.profile("full"), environments=("dev", "prod"))


def lists(kube: Cluster, recorded: Mapping[str, git.Remote], parts: Sequence[Part]) -> None:
    Assembly._approve(cast(Any, Begun(kube)), recorded, parts, Phase("first records"))  # pyright: ignore[reportPrivateUsage]


PARTS = (
    Part("catalog", "0.1.0", "localhost:5001/catalog", f"sha256:{'a' * 64}"),
    Part("valkey", "8", "v", f"sha256:{'b' * 64}", "valkey"),
)


def test_services_and_stores_are_approved_before_anything_is_recorded() -> None:
    kube = Cluster()
    lists(kube, {}, PARTS)
    assert kube.references == {image("a"), image("b", "v").replace("localhost:5001/", "")}


def test_a_list_that_is_there_loses_what_was_never_recorded_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Deliveries(tmp_path, monkeypatch)
    made.begin(record("prod", image="localhost:5001/catalog", digest=f"sha256:{'a' * 64}"))
    kube = Cluster()
    admission.approve(kube, "prod", [image("a"), image("b")])
    for _ in range(2):
        lists(kube, {"gitops-prod": made.remote}, ())
        assert (kube.references, kube.writes) == ({image("a")}, 2)


def test_a_list_that_is_gone_is_made_again_from_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "recorded", lambda *_: {image("c")})
    kube = Cluster()
    lists(kube, {"gitops-prod": git.Remote("nowhere")}, ())
    assert kube.references == {image("c")}
