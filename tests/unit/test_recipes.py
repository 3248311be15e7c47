from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from slipway import gobuild, images, nodestore, recipes, registry, tools
from slipway.catalogue import Catalogue
from slipway.engine import Engine
from slipway.errors import ToolMissing, UsageError
from slipway.progress import Phase
from slipway.recipes import Plan
from slipway.registry import Registry
from slipway.settings import ROOT, Settings

BESIDE = Registry(5001, "slipway-registry", "running", "slipway/registry:1")


class FakeEngine(Engine):
    """Holds the images it is said to hold."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.mounts: list[dict[str, str]] = []

    def image_id(self, reference: str) -> str | None:
        return f"sha256:{reference}" if reference in self.held else None

    def container(self, name: str) -> Any:
        return SimpleNamespace(attrs={"Mounts": self.mounts})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(ROOT, tmp_path / "home", "test")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    monkeypatch.setattr(registry, "find", lambda _: None)
    monkeypatch.setattr(tools, "find_on_path", lambda *_: None)
    return FakeEngine()


def copy(settings: Settings, folder: Path) -> Settings:
    shutil.copytree(settings.cluster, folder / "cluster")
    return Settings(folder, settings.home, "test", folder / "cluster" / "versions.toml")


def references(settings: Settings) -> dict[str, str]:
    return {name: image.reference for name, image in Catalogue(settings).images.items()}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_every_image_that_the_platform_runs_is_known_before_it_is_made(settings: Settings, engine: FakeEngine) -> None:
    agreed = {
        "node", "registry", "argocd", "prometheus", "alertmanager", "kube-state-metrics",
        "git-server", "postgresql", "valkey", "local-path", "python", "debian",
    }  # fmt: skip
    for source, names in (("build", agreed), ("pull", agreed - {"local-path"})):  # which upstream's node has already
        plan = recipes.plan(settings, engine, source)
        assert all(plan.image(name).startswith(f"slipway/{name}:") for name in names)
        assert names <= set(plan.pinned)


def test_the_two_sources_never_give_one_name_to_two_images(settings: Settings, engine: FakeEngine) -> None:
    build, pull = (set(recipes.plan(settings, engine, source).pinned.values()) for source in ("build", "pull"))
    assert not build & pull


@pytest.mark.parametrize("source", ["build", "pull"])
def test_every_step_needs_only_steps_of_the_plan(settings: Settings, engine: FakeEngine, source: str) -> None:
    steps = recipes.plan(settings, engine, source).steps
    names = [step.name for step in steps]
    assert len(names) == len(set(names))
    assert {need for step in steps for need in step.needs} <= set(names)
    assert {"image node", "image registry", "image python", "tool kind", "tool helm", "node store", "registry"} <= set(names)


@pytest.mark.parametrize("source", ["build", "pull"])
def test_the_python_that_services_run_on_is_taken_out_of_the_one_they_are_built_on(
    settings: Settings, engine: FakeEngine, source: str
) -> None:
    plan = recipes.plan(settings, engine, source)
    needs = {step.name: step.needs for step in plan.steps}
    assert needs["image python"] == ("image python-build",)
    assert needs["image python-build"] == (("image debian",) if source == "build" else ())
    assert plan.image("python") != plan.image("python-build")


def test_programs_are_compiled_one_group_after_the_other_with_the_nodes_first(settings: Settings, engine: FakeEngine) -> None:
    steps = {step.name: step for step in recipes.plan(settings, engine, "build").steps if step.lane == "compiler"}
    order = list(steps)
    assert order[:2] == ["programs node", "programs containerd"]
    assert all(order[at - 1] in steps[name].needs for at, name in enumerate(order) if at)
    assert "programs promtool" not in steps


def test_a_changed_dockerfile_changes_its_image_and_those_that_stand_on_it(settings: Settings, tmp_path: Path) -> None:
    here = copy(settings, tmp_path)
    before = references(here)
    with (here.cluster / "images" / "git" / "Dockerfile").open("a") as file:
        file.write("# changed\n")
    assert changed(before, references(here)) == {"git", "git-server", "argocd"}


def test_a_changed_go_module_changes_what_is_compiled_from_it(settings: Settings, tmp_path: Path) -> None:
    here = copy(settings, tmp_path)
    before = references(here)
    with (here.cluster / "go" / "containerd" / "go.sum").open("a") as file:
        file.write("changed\n")
    assert changed(before, references(here)) == {"node", "kubernetes", "kube-proxy", "etcd", "coredns", "pause"}


def test_a_changed_version_changes_the_images_of_it(settings: Settings, tmp_path: Path) -> None:
    here = copy(settings, tmp_path)
    before = references(here)
    pins = here.cluster / "versions.toml"
    pins.write_text(pins.read_text().replace('alertmanager = "0.31.1"', 'alertmanager = "0.31.2"'))
    assert changed(before, references(replace(here))) == {"alertmanager"}


def test_the_control_plane_has_the_names_that_kubeadm_asks_for(settings: Settings) -> None:
    versions = settings.versions["versions"]
    names = Catalogue(settings).control_plane
    assert f"registry.k8s.io/kube-apiserver:v{versions['kubernetes']}" in names
    assert f"registry.k8s.io/etcd:{versions['etcd']}" in names
    assert names[f"registry.k8s.io/pause:{versions['pause']}"].startswith("slipway/pause:")


def test_the_node_uses_the_pause_image_that_it_is_given(settings: Settings) -> None:
    config = (settings.cluster / "node" / "etc" / "containerd" / "config.toml").read_text()
    assert f"registry.k8s.io/pause:{settings.versions['versions']['pause']}" in config


def test_every_recipe_has_a_dockerfile_that_uses_what_it_is_given(settings: Settings) -> None:
    for image in Catalogue(settings).images.values():
        text = (image.folder / "Dockerfile").read_text()
        assert ("ARG BASE" in text) == bool(image.base), image.name
        assert ("ADD rootfs.tar" in text) == bool(image.rootfs), image.name
        assert all(program in text for programs in image.programs.values() for program in programs), image.name
        assert not image.stage or f" AS {image.stage}\n" in text, image.name


def test_kinds_configuration_lets_the_kubelet_start_on_old_control_groups(settings: Settings) -> None:
    config = yaml.safe_load((settings.cluster / "kind.yaml").read_text())
    patches = [yaml.safe_load(text) for text in config["kubeadmConfigPatches"]]
    [patch] = [patch for patch in patches if patch["kind"] == "KubeletConfiguration"]
    assert patch["failCgroupV1"] is False
    assert patch["featureGates"] == {"KubeletInUserNamespace": True}


def test_an_image_that_is_there_is_not_built(settings: Settings, engine: FakeEngine) -> None:
    plan = recipes.plan(settings, engine, "build")
    engine.held = set(plan.pinned.values())
    phase = Phase("x")
    next(step for step in plan.steps if step.name == "image argocd").do(phase)
    assert phase.skipped


def test_an_unknown_image_or_tool_gets_the_list_of_valid_ones(settings: Settings, engine: FakeEngine) -> None:
    plan = recipes.plan(settings, engine, "build")
    with pytest.raises(UsageError, match="argocd"):
        plan.image("argo")
    with pytest.raises(UsageError, match="kubectl"):
        plan.tool("kubctl")
    with pytest.raises(UsageError, match="kubectl"):
        recipes.plan(settings, engine, "pull").tool("promtool")


def test_a_pulled_tool_is_the_users_own_when_it_is_of_the_right_version(
    settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "find_on_path", lambda name, _: Path("/usr/bin/helm") if name == "helm" else None)
    plan = recipes.plan(settings, engine, "pull")
    assert plan.tool("helm") == Path("/usr/bin/helm")
    assert plan.tool("kind").is_relative_to(settings.home)


class Stores:
    """Remembers which store was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.contents: list[dict[str, str]] = []
        monkeypatch.setattr(nodestore, "ensure", self.ensure)

    def ensure(self, *_: Any, contents: dict[str, str], **__: Any) -> Path:
        self.contents.append(contents)
        return Path("/cache/store/k")


def use_store(plan: Plan) -> None:
    next(step for step in plan.steps if step.name == "node store").do(Phase("x"))


def test_a_first_node_starts_with_the_control_plane_alone(
    settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = Stores(monkeypatch)
    plan = recipes.plan(settings, engine, "build")
    use_store(plan)
    assert stores.contents == [plan.catalogue.control_plane]
    assert plan.mounts == [(Path("/cache/store/k"), "/kind/store")]
    needs = next(step for step in plan.steps if step.name == "node store").needs
    assert "image argocd" not in needs  # the cluster starts while that is still compiled


def test_a_later_node_starts_with_everything(settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = Stores(monkeypatch)
    monkeypatch.setattr(registry, "find", lambda _: BESIDE)
    plan = recipes.plan(settings, engine, "build")
    engine.held = set(plan.pinned.values())
    use_store(plan)
    assert stores.contents[0][f"localhost:5001/{plan.image('argocd')}"] == plan.image("argocd")
    assert plan.catalogue.control_plane.items() <= stores.contents[0].items()
    assert "image argocd" in next(step for step in plan.steps if step.name == "node store").needs


def test_a_node_with_everything_gets_no_push(settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find", lambda _: BESIDE)
    monkeypatch.setattr(registry, "ensure", lambda *_, **__: BESIDE)
    pushed: list[str] = []
    monkeypatch.setattr("slipway.images.publish", lambda _, __, local: pushed.append(local) or "pushed")
    plan = recipes.plan(settings, engine, "build")
    engine.held = set(plan.pinned.values())
    next(step for step in plan.steps if step.name == "registry").do(Phase("x"))
    store = nodestore.artefact(settings, engine, plan.contents(BESIDE)).folder
    engine.mounts = [{"Destination": "/kind/store", "Source": str(store)}]
    assert plan.provide("argocd") == f"localhost:5001/{plan.image('argocd')}"
    assert pushed == []


def test_a_node_without_the_image_finds_it_in_the_registry(
    settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "ensure", lambda *_, **__: BESIDE)
    monkeypatch.setattr("slipway.images.publish", lambda _, __, local: f"localhost:5001/{local}")
    plan = recipes.plan(settings, engine, "build")
    next(step for step in plan.steps if step.name == "registry").do(Phase("x"))
    engine.mounts = [{"Destination": "/kind/store", "Source": "/cache/store/other"}]
    assert plan.provide("argocd") == f"localhost:5001/{plan.image('argocd')}"


def test_a_tool_is_compiled_on_demand(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    monkeypatch.setattr(gobuild, "build", lambda _, recipe, __: built.append(recipe.name))
    path = recipes.build_tool(settings, "promtool", phase=Phase("x"))
    assert built == ["promtool"]
    assert path.name == "promtool"


@pytest.mark.parametrize("source", ["build", "pull"])
def test_a_change_of_what_slipway_needs_makes_another_runner_and_nothing_else(
    settings: Settings, engine: FakeEngine, tmp_path: Path, source: str
) -> None:
    here = copy(settings, tmp_path)
    shutil.copyfile(settings.root / "requirements.txt", tmp_path / "requirements.txt")
    before = recipes.plan(here, engine, source).pinned
    with (tmp_path / "requirements.txt").open("a") as file:
        file.write("# changed\n")
    assert changed(dict(before), dict(recipes.plan(here, engine, source).pinned)) == {"runner"}


def test_the_runner_is_made_from_what_services_are_built_on_and_no_node_gets_it(settings: Settings, engine: FakeEngine) -> None:
    catalogue = Catalogue(settings)
    assert catalogue.bases("runner")[-1] == "python-build"
    assert "runner" not in catalogue.platform
    assert catalogue.parts(catalogue.image("runner"))["requirements.txt"] == settings.root / "requirements.txt"


@pytest.mark.parametrize("source", ["build", "pull"])
def test_up_makes_no_load_generator_and_no_node_gets_one(settings: Settings, engine: FakeEngine, source: str) -> None:
    plan = recipes.plan(settings, engine, source)
    assert "image load" not in {step.name for step in plan.steps}
    assert "load" not in plan.pinned
    assert "load" not in plan.catalogue.platform


def test_an_image_on_demand_is_built_at_its_first_use_and_found_in_the_registry(
    settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recipes.plan(settings, engine, "build")
    built: list[str] = []

    def build(_: Engine, *, tag: str, **__: Any) -> None:
        built.append(tag)
        engine.held.add(tag)

    monkeypatch.setattr(images, "build", build)
    monkeypatch.setattr(images, "publish", lambda _engine, found, local: f"{found.name}/{local}")
    with pytest.raises(ToolMissing, match=r"image python-build is not there. `./invoke up --name test` makes it"):
        plan.make("load", BESIDE, Phase("image"))
    engine.held.add(plan.image("python-build"))
    names = [plan.make("load", BESIDE, Phase("image")) for _ in range(2)]
    assert names == [f"{BESIDE.name}/{plan.image('load')}"] * 2
    assert built == [plan.image("load")]


def test_a_change_of_the_generator_s_code_makes_another_image_of_it_and_nothing_else(settings: Settings, tmp_path: Path) -> None:
    here = copy(settings, tmp_path)
    shutil.copytree(ROOT / "loadtests", here.root / "loadtests")
    shutil.copy(ROOT / "requirements.txt", here.root)
    before = references(here)
    with (here.root / "loadtests" / "generator" / "journeys.py").open("a") as file:
        file.write("# changed\n")
    assert changed(before, references(here)) == {"load"}
