"""The cluster of an instance: what kind is told, what is kept and what is made again."""

from __future__ import annotations

import copy
import io
import ipaddress
import re
import stat
import tarfile
import threading
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import yaml

from slipway import cluster, doctor, freezer, ports, recipes, shell, waiting
from slipway.engine import EngineError
from slipway.errors import SlipwayError, UsageError, WaitFailed, WaitTimeout
from slipway.instance import Facts
from slipway.kube import Kube
from slipway.progress import Phase
from slipway.settings import ROOT, Settings
from slipway.waiting import SystemClock
from tests.unit.fake_cluster import FakeEngine, FakeKube, FakeNode, pod, workload
from tests.unit.fakes import FakeClock

FACTS = Facts("minimal", "build")
FOREIGN = "kindest/node:v1.33.1@sha256:" + "5" * 64
BASE = yaml.safe_load((ROOT / "cluster" / "kind.yaml").read_text())


class Kind:
    """kind's binary: it makes the container, writes the kubeconfig for all to read, and remembers how it was called."""

    def __init__(self, settings: Settings, engine: FakeEngine) -> None:
        self.settings, self.engine = settings, engine
        self.calls: list[list[str]] = []
        self.told: dict[str, Any] = {}
        self.env: dict[str, str] = {}

    def __call__(self, argv: Sequence[Any], *, env: Mapping[str, str], **_: Any) -> shell.Result:
        words = [str(word) for word in argv]
        self.calls.append(words[1:3])
        assert words[words.index("--kubeconfig") + 1] == str(self.settings.kubeconfig)
        if words[1] == "create":
            self.env.update(env)
            self.told = yaml.safe_load(Path(words[words.index("--config") + 1]).read_text())
            port = self.told["nodes"][0]["extraPortMappings"][0]["hostPort"]
            self.engine.add(self.settings.instance, FakeNode(profile=None, port=port))
        self.settings.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self.settings.kubeconfig.write_text("admin")
        self.settings.kubeconfig.chmod(0o644)
        return shell.Result(0, "", "")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(ROOT, tmp_path, "test")
    made.folder.mkdir(parents=True)
    return made


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def healthy(_: Kube, *, timeout: float = 2.0) -> bool:
        return True

    monkeypatch.setattr(Kube, "healthy", healthy)
    monkeypatch.setattr(ports, "free", lambda port: port >= 8080)
    monkeypatch.setattr(waiting, "SystemClock", FakeClock)


def ensure(settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> tuple[cluster.Node, Kind, Phase]:
    kind, phase = Kind(settings, engine), Phase("cluster")
    monkeypatch.setattr(shell, "run", kind)
    tool, image = Path("kind"), "slipway/node:1"
    node = cluster.ensure(settings, engine, cluster.Blueprint(tool, image, [], FACTS), phase=phase)
    return node, kind, phase


def test_kind_is_told_to_listen_on_this_machine_alone() -> None:
    made = cluster.config(BASE, http_port=8081, mounts=[])
    (mapped,) = made["nodes"][0]["extraPortMappings"]
    assert mapped == {"containerPort": 30080, "hostPort": 8081, "listenAddress": "127.0.0.1", "protocol": "TCP"}
    assert made["networking"]["apiServerAddress"] == "127.0.0.1"


def test_a_node_can_only_read_what_it_sees_of_the_host() -> None:
    made = cluster.config(BASE, http_port=8081, mounts=[(Path("/cache/store"), "/store")])
    assert made["nodes"][0]["extraMounts"] == [{"hostPath": "/cache/store", "containerPath": "/store", "readOnly": True}]
    assert "extraMounts" not in cluster.config(BASE, http_port=8081, mounts=[])["nodes"][0]


@pytest.mark.parametrize("stock", [True, False])
def test_only_kinds_own_node_gets_kinds_own_pod_network(stock: bool) -> None:
    made = cluster.config(BASE, http_port=8081, mounts=[], stock=stock)
    assert made["networking"]["disableDefaultCNI"] is not stock


def test_what_all_instances_share_is_not_changed_by_one() -> None:
    before = copy.deepcopy(BASE)
    cluster.config(BASE, http_port=8081, mounts=[(Path("/a"), "/b")])
    assert before == BASE


@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_node_is_found_with_its_port_and_what_it_was_made_as(settings: Settings, state: str) -> None:
    found = cluster.find(settings, FakeEngine(test=FakeNode(status=state, port=8083)))
    assert found == cluster.Node("test-control-plane", state, "slipway/node:1", 8083, Facts("full", "build"))


def test_a_half_made_node_was_made_as_nothing(settings: Settings) -> None:
    found = cluster.find(settings, FakeEngine(test=FakeNode(profile=None)))
    assert found
    assert found.facts is None


def test_a_node_without_a_mapped_port_has_port_0(settings: Settings) -> None:
    found = cluster.find(settings, FakeEngine(test=FakeNode(port=None)))
    assert found
    assert found.http_port == 0
    assert cluster.find(settings, FakeEngine()) is None


def test_a_running_whole_node_is_kept_and_said_to_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.kubeconfig.write_text("admin")
    node = FakeNode()
    found, kind, phase = ensure(settings, FakeEngine(test=node), monkeypatch)
    assert found.facts == Facts("full", "build")
    assert (node.started, node.removed, kind.calls) == (0, False, [])
    assert phase.skipped


def test_a_stopped_whole_node_is_started_and_not_made_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.kubeconfig.write_text("admin")
    node = FakeNode(status="exited")
    found, kind, _ = ensure(settings, FakeEngine(test=node), monkeypatch)
    assert (found.state, node.started, node.removed, kind.calls) == ("running", 1, False, [])


def test_a_paused_node_goes_on_and_is_not_made_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.kubeconfig.write_text("admin")
    node = FakeNode(status="paused")
    found, kind, _ = ensure(settings, FakeEngine(test=node), monkeypatch)
    assert (found.state, node.started, node.removed, kind.calls) == ("running", 0, False, [])


def test_a_node_that_ends_as_soon_as_it_is_started_is_not_removed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode(status="exited", starts_as="exited")
    with pytest.raises(SlipwayError, match=r"its container is exited\n.*docker logs test-control-plane"):
        ensure(settings, FakeEngine(test=node), monkeypatch)
    assert not node.removed


def test_a_node_that_the_engine_cannot_start_is_said_in_the_engines_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: FakeNode) -> None:
        raise docker.errors.APIError("500", explanation="port is already allocated")

    monkeypatch.setattr(FakeNode, "start", start)
    with pytest.raises(EngineError, match="test-control-plane: the engine says: port is already allocated"):
        ensure(settings, FakeEngine(test=FakeNode(status="exited")), monkeypatch)


@pytest.mark.parametrize("status", ["running", "created"])
def test_a_half_made_node_is_removed_and_made_again(settings: Settings, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    half = FakeNode(status=status, profile=None)
    settings.kubeconfig.write_text("of a cluster that never was")
    found, kind, _ = ensure(settings, FakeEngine(test=half), monkeypatch)
    assert half.removed
    assert kind.calls == [["create", "cluster"]]
    assert found.facts == FACTS
    assert settings.kubeconfig.read_text() == "admin"


def test_a_half_made_node_that_cannot_be_started_does_not_keep_up_from_making_it_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: FakeNode) -> None:
        raise docker.errors.APIError("500", explanation="port is already allocated")

    monkeypatch.setattr(FakeNode, "start", start)
    half = FakeNode(status="created", profile=None)
    found, kind, _ = ensure(settings, FakeEngine(test=half), monkeypatch)
    assert (half.removed, kind.calls, found.facts) == (True, [["create", "cluster"]], FACTS)


@pytest.mark.parametrize("status", ["running", "exited"])
def test_a_node_that_somebody_else_made_with_kind_is_neither_started_nor_removed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    foreign = FakeNode(status=status, profile=None, image=FOREIGN)
    engine = FakeEngine(test=foreign)
    for change in (lambda: ensure(settings, engine, monkeypatch), lambda: cluster.remove(settings, engine)):
        with pytest.raises(UsageError, match="container test-control-plane is not Slipway's: choose another --name"):
            change()
    assert (foreign.started, foreign.removed) == (0, False)


def test_a_node_that_remembers_what_it_was_made_as_is_ours_whatever_its_image_is_called(settings: Settings) -> None:
    node = FakeNode(image=FOREIGN)
    assert cluster.remove(settings, FakeEngine(test=node))
    assert node.removed


def test_other_instances_are_found_by_their_nodes_in_any_state_and_nobody_elses_cluster_is(settings: Settings) -> None:
    nodes = {
        "test": FakeNode(),
        "two": FakeNode(status="exited"),
        "one": FakeNode(image=FOREIGN),
        "half": FakeNode(status="created", profile=None),
        "theirs": FakeNode(profile=None, image=FOREIGN),
    }
    engine = FakeEngine(**nodes)
    engine.add_runner(Settings(ROOT, settings.home, "four"))
    assert cluster.others(settings, engine) == ["half", "one", "two"]
    nodes["two"].removed = True
    assert cluster.others(settings, engine) == ["half", "one"]


@pytest.mark.parametrize("source", ["build", "pull"])
def test_the_image_of_a_half_made_node_is_known_as_ours_whatever_its_source(settings: Settings, source: str) -> None:
    image = recipes.plan(settings, FakeEngine(), source).image("node")
    assert cluster.remove(settings, FakeEngine(test=FakeNode(status="created", profile=None, image=image)))


def test_a_new_node_gets_a_free_port_and_says_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "free", lambda port: port == 8081)
    _, kind, phase = ensure(settings, FakeEngine(), monkeypatch)
    assert kind.told["nodes"][0]["extraPortMappings"][0]["hostPort"] == 8081
    assert phase.detail == "http port 8081 (8080 is taken)"
    assert not phase.skipped


def test_a_node_that_stands_still_keeps_its_port(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    _, kind, _ = ensure(settings, FakeEngine(stopped=FakeNode(status="exited", port=8080)), monkeypatch)
    assert kind.told["nodes"][0]["extraPortMappings"][0]["hostPort"] == 8081


def test_of_two_nodes_that_are_made_at_once_the_second_chooses_its_port_when_the_first_has_its_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = replace(settings, instance="second")
    engine = FakeEngine()
    first, other = Kind(settings, engine), Kind(second, engine)
    waits = threading.Event()
    made: list[threading.Thread] = []

    class Waiting(Phase):
        """Says so when it waits for the other one."""

        def say(self, detail: str) -> None:
            if "another run" in detail:
                waits.set()

    def make(settings: Settings) -> None:
        blueprint = cluster.Blueprint(Path("kind"), "slipway/node:1", [], FACTS)
        cluster.ensure(settings, engine, blueprint, phase=Waiting("cluster"))

    def run(argv: Sequence[Any], **options: Any) -> shell.Result:
        """kind, of whom the second is asked for a cluster as soon as the first begins with its own."""
        if str(second.kubeconfig) in map(str, argv):
            return other(argv, **options)
        if not made:
            made.append(threading.Thread(target=make, args=[second]))
            made[0].start()
            assert waits.wait(timeout=30)
        return first(argv, **options)

    monkeypatch.setattr(waiting, "SystemClock", SystemClock)
    monkeypatch.setattr(shell, "run", run)
    make(settings)
    made[0].join(timeout=30)
    chosen = [kind.told["nodes"][0]["extraPortMappings"][0]["hostPort"] for kind in (first, other)]
    assert chosen == [8080, 8081]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy"])
def test_a_node_made_behind_a_proxy_asks_it_for_nothing_that_lies_beside_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv(name, "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "example.com,localhost.example")
    engine = FakeEngine()
    _, kind, _ = ensure(settings, engine, monkeypatch)
    direct = "example.com,localhost.example,localhost,127.0.0.1,slipway-registry"
    assert kind.env == {**engine.environment, "NO_PROXY": direct, "no_proxy": direct}


def test_a_node_made_without_a_proxy_hears_of_none(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv("NO_PROXY", "example.com")
    engine = FakeEngine()
    _, kind, _ = ensure(settings, engine, monkeypatch)
    assert kind.env == engine.environment


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_new_cluster_does_not_inherit_what_was_known_of_the_old_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = settings.kubeconfig.with_suffix(".discovery.json")
    stale.write_text("{}")
    ensure(settings, FakeEngine(), monkeypatch)
    assert not stale.exists()


def test_a_lost_kubeconfig_is_written_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode()
    _, kind, _ = ensure(settings, FakeEngine(test=node), monkeypatch)
    assert kind.calls == [["export", "kubeconfig"]]
    assert not node.removed


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_a_kubeconfig_is_for_its_owner_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch, new: bool, there: bool) -> None:
    if there:
        settings.kubeconfig.write_text("admin")
        settings.kubeconfig.chmod(0o644)
    ensure(settings, FakeEngine() if new else FakeEngine(test=FakeNode()), monkeypatch)
    assert stat.S_IMODE(settings.kubeconfig.stat().st_mode) == 0o600


def test_an_api_server_that_never_answers_is_an_error_that_says_where_to_look(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def healthy(_: Kube, *, timeout: float = 2.0) -> bool:
        return False

    monkeypatch.setattr(Kube, "healthy", healthy)
    with pytest.raises(
        WaitTimeout,
        match=r"API server of test-control-plane.*\n.*docker logs test-control-plane`; `./invoke down --name test` and",
    ):
        ensure(settings, FakeEngine(test=FakeNode()), monkeypatch)


def test_a_node_that_ends_while_it_is_waited_for_is_not_waited_for_any_longer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = FakeNode()

    def healthy(_: Kube, *, timeout: float = 2.0) -> bool:
        node.status = "exited"
        return False

    monkeypatch.setattr(Kube, "healthy", healthy)
    with pytest.raises(WaitFailed, match="its container is exited"):
        ensure(settings, FakeEngine(test=node), monkeypatch)


def test_kind_that_makes_no_container_is_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(engine, "container", lambda _: None)
    with pytest.raises(SlipwayError, match=r"kind made no container test-control-plane\. `\./invoke down --name test` and"):
        ensure(settings, engine, monkeypatch)


def test_a_node_is_removed_with_its_volumes_and_twice_is_fine(settings: Settings) -> None:
    engine = FakeEngine(test=FakeNode())
    assert cluster.remove(settings, engine)
    assert not cluster.remove(settings, engine)


def test_a_node_that_cannot_be_killed_because_it_is_frozen_is_thawed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    node, thawed = FakeNode(), list[str]()
    node.refusals = 1
    monkeypatch.setattr(freezer, "thaw", thawed.append)
    assert cluster.remove(settings, FakeEngine(test=node), clock=FakeClock())
    assert (thawed, node.removed) == ([node.id], True)


def test_a_node_that_never_ends_is_an_error_with_the_engines_reason(settings: Settings) -> None:
    node = FakeNode()
    node.refusals = 10_000
    with pytest.raises(WaitTimeout, match=r"could not kill running container(?s:.*)`\./invoke down --name test` again"):
        cluster.remove(settings, FakeEngine(test=node), clock=FakeClock())


def test_waiting_for_a_node_tells_the_kubelets_reason(settings: Settings) -> None:
    condition = {"type": "Ready", "status": "False", "message": "no network yet"}
    item = {"kind": "Node", "metadata": {"name": settings.node}, "status": {"conditions": [condition]}}
    with pytest.raises(WaitTimeout, match="no network yet"):
        cluster.wait_node_ready(settings, FakeEngine(test=FakeNode()), FakeKube(item), Phase("x"))


def test_a_node_whose_pods_would_not_reach_the_api_server_is_not_ready(settings: Settings) -> None:
    node = {"kind": "Node", "metadata": {"name": settings.node}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    engine = FakeEngine(test=FakeNode())
    proxy = workload("kube-proxy", "kube-system", kind="DaemonSet", ready=0)
    with pytest.raises(WaitTimeout, match=r"kube-proxy: not within .* 0/1 ready"):
        cluster.wait_node_ready(settings, engine, FakeKube(node, proxy), Phase("x"))
    whole = workload("kube-proxy", "kube-system", kind="DaemonSet")
    cluster.wait_node_ready(settings, engine, FakeKube(node, whole), Phase("x"))


@pytest.mark.parametrize("statuses", ["containerStatuses", "initContainerStatuses"])
def test_a_pod_that_is_said_to_run_since_before_the_nodes_start_is_waited_for(settings: Settings, statuses: str) -> None:
    engine = FakeEngine(test=FakeNode(started_at="2026-11-29T21:17:40.123456789Z"))
    node = {"kind": "Node", "metadata": {"name": settings.node}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    proxy = workload("kube-proxy", "kube-system", kind="DaemonSet")

    def run(state: dict[str, Any]) -> None:
        told = pod("git-server-0", "slipway")
        told["status"][statuses] = [{"name": "main", "state": state}]
        cluster.wait_node_ready(settings, engine, FakeKube(node, proxy, told), Phase("x"))

    with pytest.raises(WaitTimeout, match="slipway/git-server-0 is told of as before the node's start"):
        run({"running": {"startedAt": "2026-11-29T21:17:39Z"}})
    for state in (
        {"running": {"startedAt": "2026-11-29T21:17:40Z"}},
        {"terminated": {"startedAt": "2026-11-29T20:00:00Z", "exitCode": 255}},
        {"waiting": {"reason": "CrashLoopBackOff"}},
    ):
        run(state)


@pytest.mark.parametrize(
    ("ready", "addresses", "uid", "right"),
    [
        (True, ["10.244.0.7"], "git", True),
        (True, ["10.244.0.8"], "git", False),  # the pod came back under another address
        (True, ["10.244.0.7"], "gone", False),
        (False, ["10.244.0.8"], "git", True),  # nobody is sent there
    ],
)
def test_a_service_that_leads_to_where_its_pod_was_before_the_nodes_start_is_waited_for(
    settings: Settings, ready: bool, addresses: list[str], uid: str, right: bool
) -> None:
    node = {"kind": "Node", "metadata": {"name": settings.node}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    git = pod("git-0", "slipway-system", podIPs=[{"ip": "10.244.0.7"}])
    git["metadata"]["uid"] = "git"
    target = {"kind": "Pod", "name": "git-0", "namespace": "slipway-system", "uid": uid}
    endpoints = [{"addresses": addresses, "conditions": {"ready": ready}, "targetRef": target}, {"addresses": ["10.0.0.1"]}]
    led = {"kind": "EndpointSlice", "metadata": {"name": "git-x", "namespace": "slipway-system"}, "endpoints": endpoints}
    kube = FakeKube(node, git, led, workload("kube-proxy", "kube-system", kind="DaemonSet"))
    if right:
        cluster.wait_node_ready(settings, FakeEngine(test=FakeNode()), kube, Phase("x"))
        return
    with pytest.raises(WaitTimeout, match="slipway-system/git-x leads to where git-0 was"):
        cluster.wait_node_ready(settings, FakeEngine(test=FakeNode()), kube, Phase("x"))


def test_no_program_of_which_there_is_one_waits_for_the_lead() -> None:
    patches = [yaml.safe_load(patch) for patch in BASE["kubeadmConfigPatches"]]
    (told,) = (patch for patch in patches if patch["kind"] == "ClusterConfiguration")
    for program in ("controllerManager", "scheduler"):
        assert {"name": "leader-elect", "value": "false"} in told[program]["extraArgs"]
    assert len(BASE["nodes"]) == 1


def test_the_registry_is_published_by_the_convention_that_other_tools_read() -> None:
    kube = FakeKube()
    cluster.publish_registry(kube, registry="localhost:5001")
    (item,) = kube.objects
    assert (item["metadata"]["namespace"], item["metadata"]["name"]) == ("kube-public", "local-registry-hosting")
    assert yaml.safe_load(item["data"]["localRegistryHosting.v1"])["host"] == "localhost:5001"


def test_the_node_fetches_images_of_the_registry_from_its_container_in_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, str] = {}
    monkeypatch.setattr(cluster, "write", lambda _, path, content: written.update({path: content.decode()}))
    cluster.trust_registry(None, registry="localhost:5001", mirror="http://slipway-registry:5000")
    (path, content), *_ = written.items()
    assert path == "/etc/containerd/certs.d/localhost:5001/hosts.toml"
    read = tomllib.loads(content)
    assert read["server"] == "http://slipway-registry:5000"
    assert read["host"]["http://slipway-registry:5000"]["capabilities"] == ["pull", "resolve"]


def test_what_is_meant_for_a_service_is_kept_on_the_node_now_and_after_its_next_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, str] = {}
    monkeypatch.setattr(cluster, "write", lambda _, path, content: written.update({path: content.decode()}))
    node = FakeNode()
    cluster.keep_calls_inside(settings, node)
    ((path, content),) = written.items()
    assert re.fullmatch(r"/etc/systemd/system/kubelet\.service\.d/\d+-slipway\.conf", path)
    section, *starts = content.splitlines()
    assert section == "[Service]"
    for chain, start, run in zip(("FORWARD", "OUTPUT"), starts, node.executed, strict=True):
        rule = f"{chain} --destination 10.96.0.0/16 --jump REJECT"
        # A kubelet that is started again adds nothing twice, nor does a second `up`.
        once = f"iptables --wait --check {rule} || iptables --wait --append {rule}"
        assert start == f'ExecStartPre=-/bin/sh -euc "{once}"'
        assert run == ["/bin/sh", "-euc", once]


def test_the_addresses_of_services_are_those_that_gateway_kind_and_doctor_know(settings: Settings) -> None:
    told = yaml.safe_load((settings.cluster / "kind.yaml").read_text())["networking"]["serviceSubnet"]
    resolver = yaml.safe_load((ROOT / "charts" / "gateway" / "values.yaml").read_text())["resolver"]
    assert ipaddress.ip_address(resolver) in ipaddress.ip_network(told)
    assert ipaddress.ip_network(told) in doctor.CLUSTER_NETWORKS


def test_a_file_written_into_a_container_is_one_tar_entry_with_its_mode() -> None:
    taken: list[tarfile.TarInfo] = []

    class Container:
        def put_archive(self, path: str, content: bytes) -> None:
            assert path == "/"
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                taken.extend(archive.getmembers())

    cluster.write(Container(), "/etc/x/y", b"abc", mode=0o600)
    assert [(one.name, one.size, one.mode) for one in taken] == [("etc/x/y", 3, 0o600)]
