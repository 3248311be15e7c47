"""What `status` says of an instance, in each state it can be in."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from slipway import agent, engine, instance, runs, status
from slipway.kube import Kube
from slipway.settings import ROOT, Settings
from tests.unit.fake_cluster import FakeEngine, FakeKube, FakeNode, application, pod, waiting, workload

ENVIRONMENTS = ("dev", "qa", "stage", "prod")
PLATFORM = [
    workload("prometheus", "monitoring", kind="StatefulSet"),
    workload("argocd-server", "argocd"),
    workload("coredns", "kube-system", replicas=2),
    workload("kindnet", "kube-system", kind="DaemonSet"),
]
READY = {"type": "Ready", "status": "True"}
NODE = {
    "kind": "Node",
    "metadata": {"name": "test-control-plane"},
    "status": {"nodeInfo": {"kubeletVersion": "v1.36.3"}, "conditions": [READY]},
}
PUBLISHED = {
    "kind": "ConfigMap",
    "metadata": {"name": "platform", "namespace": "slipway-system"},
    "data": {"workloads": "Deployment argocd/argocd-server\nStatefulSet monitoring/prometheus"},
}


def delivered(*environments: str) -> list[dict[str, Any]]:
    return [item for name in environments for item in (application("catalog", name), workload("catalog", name))]


class World:
    """An instance, with a way to make parts of it ill."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.settings = Settings(ROOT, home, "test")
        self.settings.folder.mkdir(parents=True)
        self.settings.kubeconfig.touch()
        self.engine: FakeEngine | None = FakeEngine(test=FakeNode(port=8081))
        self.runner = self.engine.add_runner(self.settings)
        self.kube = FakeKube(NODE, PUBLISHED, *PLATFORM, *delivered(*reversed(ENVIRONMENTS)))
        monkeypatch.setattr(engine, "find", lambda _: self.engine)
        monkeypatch.setattr(status, "Kube", lambda *_: self.kube)

    def replace(self, *items: dict[str, Any]) -> None:
        new = {(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in items}
        kept = [
            item
            for item in self.kube.objects
            if (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) not in new
        ]
        self.kube.objects = [*kept, *items]

    def remove(self, kind: str, name: str) -> None:
        self.kube.objects = [item for item in self.kube.objects if (item["kind"], item["metadata"]["name"]) != (kind, name)]

    def seen(self) -> status.Status:
        return status.status(self.settings)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


def shown(seen: status.Status, width: int) -> list[str]:
    file = io.StringIO()
    status.show(seen, Console(file=file, width=width, color_system=None, soft_wrap=True))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def without_an_engine(world: World, monkeypatch: pytest.MonkeyPatch, refusal: str = "") -> None:
    world.engine = None
    monkeypatch.setattr(engine, "refusal", lambda _: refusal)
    monkeypatch.setattr(engine, "barred", lambda: refusal)


def test_without_an_engine_an_instance_that_was_never_made_is_absent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    without_an_engine(world, monkeypatch)
    world.settings.kubeconfig.unlink()
    seen = world.seen()
    assert (seen.state, seen.healthy) == ("absent", False)
    assert seen.trouble == "No Docker engine runs. `./invoke up --name test` starts one, or says what to install."


@pytest.mark.parametrize("kept", ["kubeconfig", "secrets/secrets.json"])
@pytest.mark.parametrize(
    ("refusal", "cure"), [("Join its group.", "Join its group."), ("", "`./invoke up --name test` starts one.")]
)
def test_without_an_engine_nobody_says_that_an_instance_is_gone_which_was_made(
    world: World, monkeypatch: pytest.MonkeyPatch, kept: str, refusal: str, cure: str
) -> None:
    without_an_engine(world, monkeypatch, refusal)
    world.settings.kubeconfig.unlink()
    (world.settings.folder / kept).parent.mkdir(exist_ok=True)
    (world.settings.folder / kept).touch()
    seen = world.seen()
    assert (seen.state, seen.healthy) == ("unreachable", False)
    assert f"none answers. {cure} If it was made in another one, name that one by DOCKER_HOST" in seen.trouble


def test_an_engine_that_refuses_the_user_is_not_taken_for_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    without_an_engine(world, monkeypatch, "Join its group.")
    world.settings.kubeconfig.unlink()
    seen = world.seen()
    assert (seen.state, seen.trouble) == ("unreachable", "Join its group.")


def test_an_instance_that_another_engine_runs_is_not_absent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def healthy(_: Kube, *, timeout: float = 2.0) -> bool:
        return True

    world.engine = FakeEngine()
    assert world.seen().state == "absent"
    monkeypatch.setattr(Kube, "healthy", healthy)
    seen = world.seen()
    assert seen.state == "unreachable"
    assert "the engine at unix:///fake has no test-control-plane: another one runs it" in seen.trouble


def test_without_a_node_an_instance_is_absent(world: World) -> None:
    world.engine = FakeEngine()
    assert world.seen().state == "absent"
    assert "`./invoke up --name test` makes it" in world.seen().trouble


def test_a_node_that_kind_did_not_finish_is_unfinished(world: World) -> None:
    world.engine = FakeEngine(test=FakeNode(profile=None))
    assert world.seen().state == "unfinished"


def test_a_stopped_instance_says_so_and_how_it_starts(world: World) -> None:
    world.engine = FakeEngine(test=FakeNode(status="exited"))
    seen = world.seen()
    assert (seen.state, seen.node) == ("stopped", "test-control-plane (exited)")
    assert "`./invoke up --name test` starts it again" in seen.trouble


def test_looking_starts_nothing(world: World) -> None:
    node = FakeNode(status="exited")
    world.engine = FakeEngine(test=node)
    world.seen()
    assert node.started == 0


def test_an_api_server_that_does_not_answer_is_unreachable(world: World) -> None:
    world.kube.answers = False
    assert world.seen().state == "unreachable"


def test_an_api_server_that_goes_away_while_it_is_asked_is_unreachable(world: World) -> None:
    world.kube.failing["Pod"] = ConnectionError("refused")
    assert world.seen().state == "unreachable"


def test_a_lost_kubeconfig_is_unreachable(world: World) -> None:
    world.settings.kubeconfig.unlink()
    seen = world.seen()
    assert (seen.state, seen.kubeconfig) == ("unreachable", "")


def test_an_instance_in_which_all_is_well_is_healthy(world: World) -> None:
    seen = world.seen()
    assert (seen.state, seen.trouble, seen.profile, seen.kubernetes) == ("healthy", "", "full", "v1.36.3")
    assert seen.healthy
    assert [part.name for part in seen.platform] == ["coredns", "kindnet", "argocd-server", "prometheus"]
    assert not [part for part in (*seen.platform, *seen.services) if part.trouble]


def test_services_come_in_the_order_of_promotion_with_all_that_git_records(world: World) -> None:
    first, *others = world.seen().services
    assert [row.environment for row in (first, *others)] == list(ENVIRONMENTS)
    assert first == status.Service(
        environment="dev",
        service="catalog",
        kind="service",
        version="0.1.0",
        digest=f"sha256:{'d' * 64}",
        commit="c0ffee" * 6 + "c0de",
        sync="Synced",
        health="Healthy",
        ready=1,
        replicas=1,
        url="http://catalog.dev.localhost:8081",
        trouble="",
    )


def test_a_service_in_trouble_carries_its_pods_reason(world: World) -> None:
    world.replace(
        workload("catalog", "qa", ready=0),
        application("catalog", "qa", health="Degraded"),
        pod("catalog-2", "dev", app="catalog", containerStatuses=waiting("ImagePullBackOff")),
        pod("catalog-1", "qa", app="catalog", containerStatuses=waiting("CrashLoopBackOff", exit_code=1)),
    )
    seen = world.seen()
    assert (seen.state, seen.trouble.partition(".")[0]) == ("degraded", "1 part(s) in trouble")
    (ill,) = [row for row in seen.services if row.trouble]
    assert (ill.environment, ill.trouble) == ("qa", "container main: CrashLoopBackOff, last exit code 1")


def test_a_service_whose_pods_say_nothing_carries_what_its_rollout_lacks(world: World) -> None:
    world.replace(workload("catalog", "qa", replicas=2, ready=1))
    assert [row.trouble for row in world.seen().services if row.trouble] == ["1/2 ready, 1/2 available"]


@pytest.mark.parametrize(
    ("changed", "trouble"),
    [
        ({"sync": "OutOfSync"}, "Argo CD says OutOfSync, Healthy"),
        ({"health": "Progressing"}, "Argo CD says Synced, Progressing"),
        ({"sync": "Unknown", "conditions": [{"type": "ComparisonError", "message": "no such path"}]}, "no such path"),
    ],
)
def test_a_service_that_runs_but_is_not_what_git_says_is_in_trouble(world: World, changed: dict[str, Any], trouble: str) -> None:
    world.replace(application("catalog", "qa", **changed))
    assert world.seen().state == "degraded"
    assert [row.trouble for row in world.seen().services if row.trouble] == [trouble]


def test_an_application_without_its_deployment_is_in_trouble(world: World) -> None:
    world.kube.objects = [item for item in world.kube.objects if item["metadata"].get("namespace") != "prod"]
    (ill,) = [row for row in world.seen().services if row.trouble]
    assert (ill.environment, ill.replicas, ill.digest) == ("prod", 0, "")
    assert ill.trouble == "Argo CD has not made its Deployment yet"


@pytest.mark.parametrize(
    ("item", "trouble"),
    [
        (workload("argocd-server", "argocd", ready=0), "0/1 ready, 0/1 available"),
        (workload("kindnet", "kube-system", kind="DaemonSet", ready=0), "0/1 ready"),
        (workload("prometheus", "monitoring", kind="StatefulSet", ready=0), "0/1 ready, 0/1 available"),
    ],
)
def test_a_part_of_the_platform_that_is_not_ready_makes_the_instance_degraded(
    world: World, item: dict[str, Any], trouble: str
) -> None:
    world.replace(item)
    seen = world.seen()
    assert seen.state == "degraded"
    assert [(part.name, part.trouble) for part in seen.platform if part.trouble] == [(item["metadata"]["name"], trouble)]


def static(name: str, namespace: str = "kube-system", **status: Any) -> dict[str, Any]:
    """A pod that the kubelet runs from a file of the node's."""
    made = pod(f"{name}-test-control-plane", namespace, **status)
    made["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "1"}
    return made


def test_what_the_cluster_itself_consists_of_is_a_part_of_the_platform(world: World) -> None:
    world.replace(static("etcd"), static("kube-scheduler"), static("mine", "default"), pod("coredns-1", "kube-system"))
    seen = world.seen()
    assert seen.healthy
    there = [
        (part.name, part.namespace, part.ready, part.replicas)
        for part in seen.platform
        if part.name in ("etcd", "kube-scheduler")
    ]
    assert there == [("etcd", "kube-system", 1, 1), ("kube-scheduler", "kube-system", 1, 1)]
    assert len(seen.platform) == len(PLATFORM) + len(there)
    assert "  platform: 6 of 6 ready" in shown(seen, 140)


def test_an_instance_in_which_nobody_keeps_the_status_is_not_called_healthy(world: World) -> None:
    world.replace(static("kube-controller-manager", containerStatuses=waiting("CrashLoopBackOff", exit_code=1)))
    seen = world.seen()
    assert (seen.state, seen.trouble.partition(".")[0]) == ("degraded", "1 part(s) in trouble")
    (ill,) = [part for part in seen.platform if part.trouble]
    assert (ill.name, ill.ready, ill.trouble) == (
        "kube-controller-manager",
        0,
        "container main: CrashLoopBackOff, last exit code 1",
    )


def test_a_part_of_the_platform_carries_its_pods_reason(world: World) -> None:
    broken = pod("argocd-server-1", "argocd", app="argocd-server", containerStatuses=waiting("ImagePullBackOff", "no such image"))
    world.replace(workload("argocd-server", "argocd", ready=0), broken)
    (ill,) = [part for part in world.seen().platform if part.trouble]
    assert ill.trouble == "container main: ImagePullBackOff no such image"


def test_an_environment_that_nothing_was_delivered_to_is_named(world: World) -> None:
    world.remove("Application", "catalog-stage")
    seen = world.seen()
    assert seen.state == "degraded"
    assert seen.trouble.startswith("Nothing delivered to stage yet.")


def test_a_minimal_instance_does_not_lack_what_it_is_not_to_have(world: World) -> None:
    world.engine = FakeEngine(test=FakeNode(profile="minimal"))
    world.engine.add_runner(world.settings)
    world.kube.objects = [NODE, PUBLISHED, *PLATFORM, *delivered("dev")]
    seen = world.seen()
    assert seen.state == "healthy"
    assert "prometheus" not in seen.urls


def store(environment: str, **state: Any) -> list[dict[str, Any]]:
    return [application("valkey", environment), workload("valkey", environment, kind="StatefulSet", **state)]


def test_a_store_is_counted_and_listed_only_when_it_is_ill(world: World) -> None:
    world.replace(*store("dev"), *store("prod"))
    lines = shown(world.seen(), 140)
    assert "  stores:   2 of 2 ready" in lines
    assert not [line for line in lines if "valkey" in line]
    world.replace(*store("prod", ready=0))
    seen = world.seen()
    assert "  stores:   1 of 2 ready" in shown(seen, 140)
    (ill,) = [row for row in seen.services if row.trouble]
    assert (ill.environment, ill.service, ill.kind, ill.url) == ("prod", "valkey", "store", "")
    assert ill.trouble == "0/1 ready, 0/1 available"


def test_a_store_without_its_stateful_set_is_in_trouble(world: World) -> None:
    world.replace(application("valkey", "dev"))
    (ill,) = [row for row in world.seen().services if row.trouble]
    assert ill.trouble == "Argo CD has not made its StatefulSet yet"


def test_workloads_of_others_are_not_judged(world: World) -> None:
    world.replace(workload("mine", "default", ready=0))
    assert world.seen().healthy


def test_an_application_for_an_environment_that_nobody_knows_is_left_out(world: World) -> None:
    world.replace(application("mine", "elsewhere", health="Degraded"))
    assert {row.environment for row in world.seen().services} == set(ENVIRONMENTS)


def test_a_machine_reads_the_same_as_a_person(world: World) -> None:
    read = json.loads(json.dumps(world.seen().as_dict()))
    assert set(read) == {
        *(
            "instance",
            "state",
            "profile",
            "kubernetes",
            "node",
            "kubeconfig",
            "urls",
            "service_urls",
            "platform",
            "services",
            "trouble",
            "runner",
            "local",
            "tilt",
        )
    }
    assert set(read["platform"][0]) == {"name", "namespace", "ready", "replicas", "trouble"}
    assert read["services"][0]["url"] == read["service_urls"]["catalog.dev"] == "http://catalog.dev.localhost:8081"


def test_a_service_that_the_checkout_does_not_have_has_an_address_too(world: World) -> None:
    world.replace(application("reviews", "dev"))
    urls = world.seen().service_urls
    assert urls["reviews.dev"] == "http://reviews.dev.localhost:8081"
    assert "reviews.qa" not in urls


@pytest.mark.parametrize(("width", "with_url"), [(140, True), (90, False)])
def test_the_table_has_addresses_only_where_there_is_room(world: World, width: int, with_url: bool) -> None:
    lines = shown(world.seen(), width)
    (head,) = [line for line in lines if line.startswith("ENV")]
    (row,) = [line for line in lines if line.startswith("prod")]
    assert head.endswith("URL") is with_url
    assert row.split()[:8] == ["prod", "catalog", "0.1.0", "dddddddd", "c0ffeec0", "Synced", "Healthy", "1/1"]
    assert row.endswith("http://catalog.prod.localhost:8081") is with_url
    assert max(map(len, lines)) <= width


def test_trouble_is_shown_beside_what_it_is_about_and_brackets_in_it_are_kept(world: World) -> None:
    world.replace(
        workload("catalog", "qa", ready=0),
        pod("catalog-1", "qa", app="catalog", containerStatuses=waiting("ErrImagePull", "[rpc] error")),
        workload("argocd-server", "argocd", ready=0),
    )
    lines = shown(world.seen(), 140)
    assert "  qa/catalog: container main: ErrImagePull [rpc] error" in lines
    assert "  platform: 3 of 4 ready" in lines
    assert "    argocd/argocd-server: 0/1 ready, 0/1 available" in lines
    assert lines[-1].startswith("2 part(s) in trouble. `./invoke up --name test` repairs")


def test_an_absent_instance_is_two_lines(world: World) -> None:
    world.engine = FakeEngine()
    assert shown(world.seen(), 80) == ["● test  absent", "", "There is no such instance. `./invoke up --name test` makes it."]


def test_a_part_of_the_platform_that_somebody_deleted_is_missed(world: World) -> None:
    world.remove("Deployment", "argocd-server")
    seen = world.seen()
    assert seen.state == "degraded"
    assert [(part.name, part.trouble) for part in seen.platform if part.trouble] == [("argocd-server", "its Deployment is gone")]


def test_a_part_of_the_platform_that_was_scaled_to_nothing_is_in_trouble(world: World) -> None:
    world.replace(workload("argocd-server", "argocd", replicas=0))
    assert [part.trouble for part in world.seen().platform if part.trouble] == ["scaled to nothing"]


def test_an_instance_whose_up_was_interrupted_before_its_end_is_not_called_healthy(world: World) -> None:
    world.remove("ConfigMap", "platform")
    seen = world.seen()
    assert seen.state == "degraded"
    assert seen.trouble.startswith("It was not finished")


def test_a_node_that_is_not_ready_is_said_first(world: World) -> None:
    sick = {"type": "Ready", "status": "False", "message": "container runtime is down"}
    world.replace({**NODE, "status": {"conditions": [sick]}})
    assert world.seen().trouble.startswith("The node is not ready: Ready is False: container runtime is down")


def test_a_retired_service_is_listed_nowhere_once_it_is_gone(world: World) -> None:
    over = application("catalog", "dev", resources=[{"kind": "ConfigMap", "name": "catalog-retired"}])
    world.replace(over)
    assert any(row.environment == "dev" for row in world.seen().services), "its Deployment is still there"
    world.replace(application("cart", "dev"), workload("cart", "dev"))
    world.kube.objects = [
        item
        for item in world.kube.objects
        if (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) != ("Deployment", "dev", "catalog")
    ]
    seen = world.seen()
    assert (seen.state, [row.service for row in seen.services if row.environment == "dev"]) == ("healthy", ["cart"])
    assert "catalog.dev" not in seen.service_urls
    assert "catalog.qa" in seen.service_urls


def test_the_runner_says_what_it_does_and_how_the_last_run_ended(world: World) -> None:
    run = runs.new(world.settings, branch="feature/x", commit="c0ffee0123" * 4, pusher="developer", when=1000.0)
    recorder = runs.Recorder(world.settings, run)
    recorder.begin()
    recorder.end(runs.PASSED)
    agent.write_beat(agent.folder(world.settings), agent.Beat(time.time(), run="another", queued=2))
    seen = world.seen()
    assert seen.healthy
    (line,) = (line for line in shown(seen, 140) if line.startswith("  runner:"))
    assert line == "  runner:   runs another, 2 waiting (last: feature/x c0ffee012 passed after 0 s)"


def test_an_instance_whose_runner_is_gone_or_silent_or_cannot_look_is_not_well(world: World) -> None:
    at = agent.folder(world.settings)
    agent.write_beat(at, agent.Beat(time.time(), trouble="the Git server does not answer"))
    seen = world.seen()
    assert (seen.state, seen.trouble.partition(".")[0]) == ("degraded", "The runner is in trouble")
    assert any("runner:   the Git server does not answer" in line for line in shown(seen, 140))
    agent.write_beat(at, agent.Beat(time.time() - 1000))
    assert "said nothing for 1000 s" in str(world.seen().runner)
    world.runner.status = "exited"
    assert "it is exited; pushes wait" in str(world.seen().runner)
    world.runner.removed = True
    assert "there is none; pushes wait until `./invoke up --name test`" in str(world.seen().runner)


def in_local(name: str = "storefront", **differs: Any) -> dict[str, Any]:
    item = workload(name, "local", **differs)
    item["metadata"]["labels"] = {"slipway.dev/environment": "local"}
    return item


def test_what_is_worked_on_is_shown_with_its_address(world: World) -> None:
    world.replace(in_local(), workload("receiver", "local"))
    with instance.tilt(world.settings, "http://127.0.0.1:10350"):
        seen = world.seen()
    assert [(row.service, row.sync, row.trouble) for row in seen.local] == [("storefront", "Tilt", "")]
    assert seen.urls["storefront.local"] == seen.service_urls["storefront.local"] == "http://storefront.local.localhost:8081"
    assert seen.urls["tilt"] == seen.tilt == "http://127.0.0.1:10350"
    assert any("tilt:" in line for line in shown(seen, 160))
    assert any(line.startswith("local") and "storefront" in line for line in shown(seen, 160))


def test_what_is_worked_on_may_be_broken_in_an_instance_that_is_well(world: World) -> None:
    world.replace(in_local(ready=0))
    seen = world.seen()
    assert seen.healthy
    assert seen.local[0].trouble
    assert seen.local[0].sync == ""
    assert "tilt" not in seen.urls
