"""How an idle instance is weighed: the arithmetic, what is counted once, and what a person is told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import bench_idle, cluster, engine, nodestore, recipes, usage
from slipway.bench_idle import Report
from slipway.errors import SlipwayError, UsageError
from slipway.settings import Settings
from slipway.usage import Size, Use
from tests.unit.fakes import Screen

MIB = 1024**2


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, tmp_path / "home", "slipway")


@pytest.mark.parametrize(
    "details",
    [{"total_inactive_file": 30, "inactive_file": 7}, {"inactive_file": 30}],
    ids=["cgroup v1 with what is inside", "cgroup v2"],
)
def test_file_cache_that_could_go_at_once_is_not_in_use(details: Mapping[str, int]) -> None:
    assert usage.working_set({"usage": 100, "stats": details}) == 70


@pytest.mark.parametrize("seconds", [0, -1, 29, 3601])
def test_a_window_that_says_nothing_is_refused_before_anything_is_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    monkeypatch.setattr(engine, "find", lambda _: pytest.fail("the engine was asked"))
    with pytest.raises(UsageError, match="from 30 to 3600"):
        bench_idle.bench_idle(settings, seconds=seconds, progress=Screen().progress)


@pytest.mark.parametrize("state", [None, "exited"])
def test_an_instance_that_does_not_run_is_not_measured(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    monkeypatch.setattr(engine, "find", lambda _: SimpleNamespace())
    node = state and cluster.Node("slipway-control-plane", state, "image", 8080, None)
    monkeypatch.setattr(cluster, "find", lambda *_: node)
    with pytest.raises(SlipwayError, match=r"'slipway' does not run\. `\./invoke up"):
        bench_idle.bench_idle(settings, seconds=60, progress=Screen().progress)


def told(memory: int, processor: float, moment: str) -> dict[str, Any]:
    return {
        "memory": {"workingSetBytes": memory * MIB},
        "cpu": {"usageCoreNanoSeconds": processor * 1e9, "time": moment},
    }


BEFORE, AFTER = "2026-01-01T10:00:00Z", "2026-01-01T10:00:50.250000001Z"


class World:
    """An instance of one node with two pods, looked at twice; the engine has its images, volumes and containers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
        self.looks = 0
        (settings.home / "cache").mkdir(parents=True)
        store = settings.home / "cache" / "store"
        store.mkdir()
        (store / "blob").write_bytes(b"x" * 4096)
        found: Any = self
        monkeypatch.setattr(engine, "find", lambda _: found)
        node = cluster.Node("slipway-control-plane", "running", "image", 8080, None)
        monkeypatch.setattr(cluster, "find", lambda *_: node)
        monkeypatch.setattr(bench_idle, "Kube", lambda *_: SimpleNamespace(usage=self._usage))
        monkeypatch.setattr(bench_idle.time, "sleep", self._sleep)
        monkeypatch.setattr(nodestore, "mounted", lambda *_: store)
        monkeypatch.setattr(recipes, "plan", lambda *_: SimpleNamespace(pinned={"a": "slipway/a:1", "b": "slipway/b:1"}))
        for variable in ("GOCACHE", "GOMODCACHE"):
            monkeypatch.setenv(variable, str(settings.home / "none"))
        self.slept: list[float] = []
        self.info = {"NCPU": 2}
        self.client = SimpleNamespace(df=self._df, images=SimpleNamespace(get=self._image))

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.looks += 1

    def container(self, name: str) -> Any:
        if name != "slipway-control-plane":
            return None
        processor = 10e9 + self.looks * 20e9
        said = {
            "cpu_stats": {"cpu_usage": {"total_usage": processor}},
            "memory_stats": {"usage": 2000 * MIB, "stats": {"inactive_file": 500 * MIB}},
            "read": "2026-01-01T10:01:40.5Z" if self.looks else BEFORE,
        }
        return SimpleNamespace(status="running", stats=lambda stream: said, top=self._top)

    def _top(self, ps_args: str) -> Any:
        assert ps_args == "-eo pid,rss,comm"
        comm = Path("/proc/self/comm").read_text().strip()
        mine = [str(os.getpid()), "2048", comm]
        return {"Processes": [mine, [str(os.getpid()), "1024", "another-program"], ["999999999", "1024", "gone"]]}

    def _usage(self, node: str) -> dict[str, Any]:
        assert node == "slipway-control-plane"
        moment = AFTER if self.looks else BEFORE
        return {
            "node": {
                **told(1400, 100, moment),
                "systemContainers": [
                    {"name": "kubelet", **told(100, 5, moment)},
                    {"name": "pods", **told(900, 50, moment)},
                    {"name": "starting"},
                ],
            },
            "pods": [
                {"podRef": {"namespace": "dev", "name": "small"}, **told(100, self.looks * 5.025, moment)},
                {"podRef": {"namespace": "argocd", "name": "big"}, **told(700, 1 + self.looks * 10.05, moment)},
                {"podRef": {"namespace": "argocd", "name": "new"}, **(told(50, 99, moment) if self.looks else {})},
            ],
        }

    def _df(self) -> Any:
        ours = {"slipway.dev/owner": "slipway"}
        return {
            "Images": [{"Id": "slipway/a:1", "Labels": ours}, {"Id": "old", "Labels": ours}, {"Id": "x", "Labels": None}],
            "Volumes": [
                {"Name": "var", "UsageData": {"Size": 4000}},
                {"Name": "registry", "UsageData": {"Size": 300}},
                {"Name": "other", "UsageData": {"Size": 9999}},
            ],
            "Containers": [
                {"Names": ["/slipway-control-plane"], "SizeRw": 7, "Mounts": [{"Name": "var", "Destination": "/var"}, {}]},
                {"Names": ["/slipway-registry"], "Mounts": [{"Name": "registry", "Destination": "/data"}]},
                {"Names": ["/somebody"], "SizeRw": 5555, "Mounts": [{"Name": "other", "Destination": "/"}]},
            ],
            "BuildCache": [{"Size": 40, "Shared": False}, {"Size": 50, "Shared": True}],
        }

    def has_image(self, name: str) -> bool:
        return name != "slipway/gone:1"

    def _image(self, name: str) -> Any:
        def step(by: str, size: int) -> dict[str, Any]:
            return {"Created": 1, "CreatedBy": by, "Size": size}

        # The newest step stands first; "a" and "b" stand on the same base, and do the same on top of different things.
        histories = {
            "slipway/a:1": [step("top", 10), step("a", 200), step("base", 1000)],
            "slipway/b:1": [step("top", 10), step("b", 300), step("base", 1000)],
            "old": [step("old", 77), step("base", 1000)],
        }
        return SimpleNamespace(history=lambda: histories[name])


def measured(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Report:
    world = World(monkeypatch, settings)
    found = bench_idle.bench_idle(settings, seconds=60, progress=Screen().progress)
    assert world.slept == [60]
    return found


def test_memory_is_that_of_the_containers_and_cores_are_averages_by_their_own_clock(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measured(monkeypatch, settings)
    assert (found.memory, found.cores) == (1500 * MIB, round(20 / 100.5, 3))
    assert found.containers == (Use("slipway-control-plane", 1500 * MIB, round(20 / 100.5, 4)),)


def test_pods_are_told_by_memory_and_summed_by_namespace(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, settings)
    assert found.pods == (
        Use("argocd/big", 700 * MIB, 0.2),
        Use("dev/small", 100 * MIB, 0.1),
        Use("argocd/new", 50 * MIB, 0.0),  # what it used before it was first seen was not in this window
    )
    assert found.namespaces == (Use("argocd", 750 * MIB, 0.2), Use("dev", 100 * MIB, 0.1))


def test_what_is_neither_a_pod_nor_known_is_everything_else(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, settings).system == (Size("everything else", 400 * MIB), Size("kubelet", 100 * MIB))


def test_programs_are_those_of_this_machine_by_the_name_they_have(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    comm = Path("/proc/self/comm").read_text().strip()
    assert [(use.name, use.memory) for use in measured(monkeypatch, settings).programs] == [(comm, 2 * MIB)]


def test_a_layer_that_images_share_counts_once_and_others_things_never(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measured(monkeypatch, settings)
    sizes = {size.name: size.bytes for size in found.disk}
    assert sizes == {
        "images of this checkout in the engine": 1000 + 200 + 10 + 300 + 10,
        "node store": 4096,
        "volume of slipway-control-plane (/var)": 4000,
        "volume of slipway-registry (/data)": 300,
        "written by slipway-control-plane": 7,
        "written by slipway-registry": 0,
    }
    assert found.disk_bytes == sum(sizes.values())
    apart = {size.name: size.bytes for size in found.apart}
    assert apart == {
        "older images in the engine (images.prune)": 77,
        "artefacts kept for the next build": 0,
        "BuildKit's cache": 40,
    }


def report(**changes: Any) -> Report:
    usual = Report(
        instance="slipway",
        seconds=60,
        memory=1500 * MIB,
        memory_budget=3584 * MIB,
        cores=0.25,
        cores_budget=0.4,
        disk_bytes=5_000_000_000,
        disk_budget=6_000_000_000,
        containers=(),
        namespaces=(),
        pods=(),
        system=(),
        programs=(),
        disk=(),
        apart=(),
        host_cores=0.3,
        machine_cores=2,
    )
    return replace(usual, **changes)


def shown(found: Report) -> str:
    screen = Screen()
    bench_idle.show(found, screen.progress.console)
    return screen.text


@pytest.mark.parametrize(
    ("changes", "over"),
    [
        ({}, []),
        ({"memory": 3585 * MIB}, ["memory"]),
        ({"cores": 0.41}, ["processor"]),
        ({"disk_bytes": 6_000_000_001}, ["disk"]),
    ],
)
def test_what_is_over_its_budget_is_said_to_be(changes: Mapping[str, Any], over: list[str]) -> None:
    lines = shown(report(**changes)).splitlines()
    assert [line.split()[0] for line in lines if line.endswith("over")] == over


@pytest.mark.parametrize(("host", "noisy"), [(0.5, False), (0.6, True), (None, False)])
def test_a_machine_with_other_work_is_said_to_be_noisy(host: float | None, noisy: bool) -> None:
    text = shown(report(host_cores=host))
    assert ("Other work ran" in text) is noisy
    assert ("cores busy" in text) is (host is not None)


def test_the_pods_that_take_most_of_either_are_listed() -> None:
    pods = tuple(Use(f"ns/pod-{number}", (100 - number) * MIB, number / 1000) for number in range(40))
    text = shown(report(pods=pods))
    assert "ns/pod-0 " in text
    assert "ns/pod-39 " in text
    assert "ns/pod-20 " not in text
