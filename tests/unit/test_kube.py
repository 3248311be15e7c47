from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3.exceptions
import yaml
from kubernetes.client import ApiException, CoreV1Api
from kubernetes.dynamic.exceptions import ConflictError, DynamicApiError, NotFoundError

from slipway import kube as kube_module
from slipway.kube import NOT_YET, Away, Conflict, Kube, KubeError, UnknownKind, describe, ready, rollout
from slipway.waiting import Pending, Ready
from tests.unit.fake_cluster import away


def deployment(*, replicas: int = 2, generation: int = 5, **status: int) -> dict[str, Any]:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    return {
        "kind": "Deployment",
        "metadata": {"name": "catalog", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": generation, **counts, **status},
    }


def test_a_deployment_whose_newest_generation_runs_with_every_replica_is_rolled_out() -> None:
    item = deployment()
    assert rollout(item) == Ready(item)


def test_a_generation_that_was_not_observed_yet_is_pending_whatever_the_counts_say() -> None:
    assert rollout(deployment(generation=5, observedGeneration=4)) == Pending("generation 5 is not observed yet")


@pytest.mark.parametrize("name", ["updated", "ready", "available"])
def test_a_replica_that_lacks_is_pending_and_named(name: str) -> None:
    assert rollout(deployment(**{f"{name}Replicas": 1})) == Pending(f"1/2 {name}")


def test_an_old_replica_that_still_runs_is_pending() -> None:
    assert rollout(deployment(replicas=2) | {"status": {**deployment()["status"], "replicas": 3}}) == Pending(
        "1 old replica(s) still there"
    )


def test_a_workload_that_is_not_there_or_has_no_status_is_pending() -> None:
    assert rollout(None) == Pending("it does not exist yet")
    assert isinstance(rollout({**deployment(), "status": None}), Pending)


def test_a_deployment_scaled_to_nothing_is_rolled_out() -> None:
    item = deployment(replicas=0)
    assert rollout(item) == Ready(item)


def test_a_workload_without_a_number_of_replicas_wants_one() -> None:
    item = deployment(replicas=1)
    del item["spec"]["replicas"]
    assert rollout(item) == Ready(item)
    item["status"]["readyReplicas"] = 0
    assert rollout(item) == Pending("0/1 ready")


def test_a_stateful_set_that_is_not_being_updated_counts_its_current_replicas() -> None:
    item = deployment(replicas=1, updatedReplicas=0)
    item["kind"] = "StatefulSet"
    item["status"] |= {"updateRevision": "a", "currentRevision": "a", "currentReplicas": 1}
    assert rollout(item) == Ready(item)
    item["status"]["updateRevision"] = "b"
    assert rollout(item) == Pending("0/1 updated")


def condition(**fields: str) -> dict[str, Any]:
    return {"kind": "Node", "metadata": {"name": "n"}, "status": {"conditions": [{"type": "Other", "status": "True"}, fields]}}


def test_an_object_is_ready_when_its_condition_is_true() -> None:
    item = condition(type="Ready", status="True")
    assert ready(item) == Ready(item)


def test_another_condition_can_be_asked_for() -> None:
    item = condition(type="Ready", status="False")
    assert ready(item, "Other") == Ready(item)


def test_a_condition_that_is_not_true_gives_its_message_else_its_reason() -> None:
    assert ready(condition(type="Ready", status="False", message="no network", reason="X")) == Pending(
        "Ready is False: no network"
    )
    assert ready(condition(type="Ready", status="Unknown", reason="Stale")) == Pending("Ready is Unknown: Stale")
    assert ready(condition(type="Ready", status="False")) == Pending("Ready is False: no reason given")


def test_an_object_without_the_condition_is_pending() -> None:
    assert ready(None) == Pending("it does not exist yet")
    assert ready({"metadata": {"name": "n"}}) == Pending("it has no condition Ready yet")


def test_an_object_is_described_by_kind_namespace_and_name() -> None:
    assert describe({"kind": "Service", "metadata": {"name": "catalog", "namespace": "dev"}}) == "Service dev/catalog"
    assert describe({"kind": "Node", "metadata": {"name": "n"}}) == "Node n"


class FakeResource:
    """Takes server-side applies for one kind."""

    def __init__(self, kind: str, applied: list[str], refusal: str | None) -> None:
        self.kind, self.applied, self.refusal = kind, applied, refusal

    def server_side_apply(self, *, body: dict[str, Any], **_: Any) -> None:
        if self.refusal:
            error = DynamicApiError(_Refused(self.refusal))
            raise error
        self.applied.append(f"{self.kind}/{body['metadata']['name']}")


class _Refused(Exception):
    """What the client library raises."""

    def __init__(self, body: str) -> None:
        super().__init__(body)
        self.status, self.reason, self.body, self.headers = 422, "Invalid", body, {}


def fake_kube(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, *, refusal: str | None = None) -> tuple[Kube, list[str]]:
    applied: list[str] = []
    kube = Kube(tmp_path / "kubeconfig", "kind-x")
    monkeypatch.setattr(kube, "_resource", lambda kind, _: FakeResource(kind, applied, refusal))
    return kube, applied


def test_what_others_stand_on_is_applied_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    kube, applied = fake_kube(monkeypatch, tmp_path)
    kinds = ["Deployment", "Secret", "Namespace", "PersistentVolumeClaim", "ServiceAccount", "CustomResourceDefinition"]
    kube.apply([{"kind": kind, "apiVersion": "v1", "metadata": {"name": "x"}} for kind in kinds])
    ranks = [name.split("/")[0] for name in applied]
    assert set(ranks[:2]) == {"Namespace", "CustomResourceDefinition"}
    assert ranks[2] == "ServiceAccount"
    assert set(ranks[3:5]) == {"Secret", "PersistentVolumeClaim"}
    assert ranks[5] == "Deployment"


def test_a_refused_object_is_named_with_the_servers_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    kube, _ = fake_kube(monkeypatch, tmp_path, refusal='{"message": "spec.replicas: must not be negative"}')
    item = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "catalog", "namespace": "dev"}}
    with pytest.raises(KubeError, match=r"^Deployment dev/catalog was refused: spec\.replicas: must not be negative$"):
        kube.apply([item])


def test_an_object_of_a_kind_that_the_cluster_does_not_know_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unknown(*_: str) -> None:
        raise UnknownKind("No matches found for {'kind': 'ApplicationSet'}")

    kube = Kube(tmp_path / "kubeconfig", "kind-x")
    monkeypatch.setattr(kube, "_resource", unknown)
    item = {"kind": "ApplicationSet", "apiVersion": "argoproj.io/v1alpha1", "metadata": {"name": "prod"}}
    with pytest.raises(KubeError, match=r"^ApplicationSet prod was not written: .* does not know its kind\. Run `\./invoke up`"):
        kube.apply([item])


def test_a_cluster_that_is_not_there_is_not_healthy(tmp_path: Any) -> None:
    assert not Kube(tmp_path / "no-such-kubeconfig", "kind-x").healthy()


def test_a_server_that_shows_another_clusters_certificate_is_not_healthy(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ApiException(status=0, reason="SSLError: certificate verify failed")

    client = SimpleNamespace(param_serialize=lambda *_, **__: (), call_api=refuse)  # pyright: ignore[reportUnknownLambdaType]
    kube = Kube(tmp_path / "kubeconfig", "kind-x")
    monkeypatch.setitem(vars(kube), "_client", client)
    assert not kube.healthy()


def test_kinds_are_looked_up_by_one_thread_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = 0, 0

    def get(**_: str) -> SimpleNamespace:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.002)
        inside -= 1
        return SimpleNamespace(get=lambda **_: SimpleNamespace(to_dict=dict))

    monkeypatch.setattr(Kube, "_dynamic", SimpleNamespace(resources=SimpleNamespace(get=get)))
    kube = Kube(tmp_path / "config", "context")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: kube.get("Pod", "one"), range(8)))
    assert (found, most) == ([{}] * 8, 1)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Kube, socket.socket]]:
    """An API server that takes connections and says nothing, and how it is asked."""
    monkeypatch.setattr(kube_module, "READ_TIMEOUT", 0.1)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0)
        content = {
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.getsockname()[1]}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "kind-x", "context": {"cluster": "c", "user": "u"}}],
        }
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **content}))
        yield Kube(file, "kind-x"), server


ITEM = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "dev"}}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda kube: kube.get("Pod", "one"), Away),
        (lambda kube: kube.list("Pod"), Away),
        (lambda kube: kube.delete("Pod", "one", namespace="dev"), Away),
        (lambda kube: kube.logs("one", namespace="dev"), Away),
        (lambda kube: kube.apply([ITEM]), KubeError),
        (lambda kube: kube.create(ITEM), KubeError),
        (lambda kube: kube.patch("ConfigMap", "x", {}, namespace="dev"), KubeError),
        (lambda kube: kube.usage("node"), KubeError),
    ],
    ids=["get", "list", "delete", "logs", "apply", "create", "patch", "usage"],
)
def test_a_server_that_hangs_ends_every_request_and_is_asked_once(
    hanging: tuple[Kube, socket.socket], ask: Callable[[Kube], object], error: type[Exception]
) -> None:
    kube, server = hanging
    with pytest.raises(error):
        ask(kube)
    server.accept()[0].close()
    with pytest.raises(BlockingIOError):
        server.accept()


@pytest.mark.parametrize(
    "ask",
    [
        lambda kube: kube.get("Pod", "one"),
        lambda kube: kube.list("Pod"),
        lambda kube: kube.delete("Pod", "one", namespace="dev"),
        lambda kube: kube.logs("one", namespace="dev"),
    ],
    ids=["get", "list", "delete", "logs"],
)
def test_a_question_to_a_server_that_does_not_run_is_an_error_for_the_user_and_a_wait_tolerates_it(
    ask: Callable[[Kube], object], tmp_path: Path
) -> None:
    with pytest.raises(KubeError, match=r"^the API server does not answer \(\w+Error\)\. .*\./invoke status.*repeat") as caught:
        ask(away(tmp_path))
    assert isinstance(caught.value, NOT_YET)


def test_a_question_that_a_starting_server_refuses_is_an_error_for_the_user_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(**_: object) -> None:
        raise DynamicApiError(_Refused('{"message": "etcd is not ready"}'))

    kube = Kube(tmp_path / "kubeconfig", "kind-x")
    monkeypatch.setattr(kube, "_resource", lambda *_: SimpleNamespace(get=refuse, delete=refuse))
    asks: list[Callable[[], object]] = [
        lambda: kube.get("Pod", "one"),
        lambda: kube.list("Pod"),
        lambda: kube.delete("Pod", "one"),
    ]
    for ask in asks:
        with pytest.raises(Away, match=r"refused to answer: etcd is not ready\. Look at `\./invoke status`"):
            ask()


def test_what_is_not_there_is_no_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**_: object) -> None:
        raise NotFoundError(_Refused("{}"))

    kube = Kube(tmp_path / "kubeconfig", "kind-x")
    monkeypatch.setattr(kube, "_resource", lambda *_: SimpleNamespace(get=refuse, delete=refuse))
    assert kube.get("Pod", "one") is None
    assert not kube.delete("Pod", "one")


@pytest.mark.timeout(60)
def test_a_write_without_an_answer_says_what_was_not_written_and_what_to_do(hanging: tuple[Kube, socket.socket]) -> None:
    with pytest.raises(KubeError, match=r"^ConfigMap dev/x was not written: .*ReadTimeoutError.*\./invoke status.*repeat"):
        hanging[0].apply([ITEM])


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "ask",
    [lambda kube: kube.healthy(), lambda kube: kube.execute("one", ["true"], namespace="dev", container="one")],
    ids=["request", "web socket"],
)
def test_no_proxy_is_asked_for_an_instances_api_server(
    hanging: tuple[Kube, socket.socket], ask: Callable[[Kube], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    kube, server = hanging
    monkeypatch.setenv("NO_PROXY", "example.com")
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.settimeout(5)

    def hang_up() -> None:
        server.accept()[0].close()

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(hang_up)
        with contextlib.suppress(KubeError):
            ask(kube)
        asked.result()


def test_a_node_that_does_not_say_what_it_uses_is_an_error_for_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kube = Kube(tmp_path / "kubeconfig", "kind-x")
    monkeypatch.setattr(Kube, "_client", None)

    def refuse(*_: object, **__: object) -> None:
        raise urllib3.exceptions.HTTPError("refused")

    monkeypatch.setattr(CoreV1Api, "connect_get_node_proxy_with_path", refuse)
    with pytest.raises(KubeError, match=r"node n does not say what it uses\. Look at `\./invoke status`"):
        kube.usage("n")


class Recording:
    """A kind whose objects are changed by nobody; it keeps what it was asked, and answers as it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.error = error
        self.subresources = {"scale": self}

    def create(self, **asked: Any) -> Any:
        return self.patch(**asked)

    def patch(self, **asked: Any) -> Any:
        self.asked.append(asked)
        if self.error:
            raise self.error
        return SimpleNamespace(to_dict=dict)


def recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception | None = None) -> tuple[Kube, Recording]:
    kube, kind = Kube(tmp_path / "kubeconfig", "kind-x"), Recording(error)
    monkeypatch.setattr(kube, "_resource", lambda *_: kind)
    return kube, kind


def test_a_dry_run_asks_the_api_server_for_all_of_it_and_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kube, kind = recording(monkeypatch, tmp_path)
    for dry in (True, False):
        kube.create(ITEM, dry_run=dry)
        kube.patch("ConfigMap", "x", {}, namespace="dev", dry_run=dry)
    assert [asked.get("dry_run") for asked in kind.asked] == ["All", "All", None, None]


def test_a_part_of_an_object_is_changed_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kube, kind = recording(monkeypatch, tmp_path)
    scale = Recording()
    kind.subresources["scale"] = scale
    kube.patch("Deployment", "x", {"spec": {"replicas": 2}}, namespace="dev", api_version="apps/v1", subresource="scale")
    assert (len(kind.asked), scale.asked[0]["body"]) == (0, {"spec": {"replicas": 2}})


def test_a_change_of_what_somebody_else_changed_is_told_apart_from_a_refusal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    error = _Refused('{"message": "the object has been modified"}')
    error.status = 409
    kube, _ = recording(monkeypatch, tmp_path, ConflictError(error))
    with pytest.raises(Conflict, match=r"^the change of ConfigMap x was refused: the object has been modified$"):
        kube.patch("ConfigMap", "x", {}, namespace="dev")
    assert kube.create(ITEM) is None
