"""What `down` removes, and what it leaves alone."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from slipway import dockerd, down, engine, instance, names, nodestore, recipes, registry, waiting
from slipway.errors import SlipwayError, ToolMissing, UsageError, WaitTimeout
from slipway.kube import Kube
from slipway.settings import ROOT, Settings
from tests.unit.fake_cluster import FakeEngine, FakeNode
from tests.unit.fakes import FakeClock, Screen


class Host:
    """A state folder with two instances' worth of things, and an engine."""

    def __init__(self, home: Path) -> None:
        self.home, self.settings = home, Settings(ROOT, home, "test")
        self.engine = FakeEngine(test=FakeNode())
        self.registry: registry.Registry | None = None
        self.screen = Screen()
        self.add("instances/test/kubeconfig")
        self.add("cache/node/oci")
        self.add("trust.json")

    def add(self, name: str) -> None:
        (self.home / name).parent.mkdir(parents=True, exist_ok=True)
        (self.home / name).touch()

    def down(self, *, purge: bool = False) -> tuple[str, ...]:
        return down.down(self.settings, purge=purge, progress=self.screen.progress).what


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    made = Host(tmp_path / "home")

    def remove(_: engine.Engine) -> bool:
        made.engine.calls.append("registry")
        return True

    monkeypatch.setattr(engine, "find", lambda _: made.engine)
    monkeypatch.setattr(engine, "barred", lambda: "")
    monkeypatch.setattr(registry, "remove", remove)
    monkeypatch.setattr(registry, "find", lambda _: made.registry)
    monkeypatch.setattr(dockerd, "started", lambda _: 0)
    return made


def test_down_removes_the_node_and_the_state_and_nothing_else(host: Host) -> None:
    host.add("evidence/test-1/causes.txt")
    assert host.down() == ("cluster test", "its state on this host")
    assert host.engine.container(host.settings.node) is None
    assert not host.settings.folder.exists()
    assert (host.home / "cache" / "node" / "oci").exists()
    assert (host.home / "evidence" / "test-1" / "causes.txt").exists()
    assert host.engine.calls == []


def test_the_runner_and_what_it_started_go_with_the_instance_in_any_state(host: Host) -> None:
    check = host.engine.nodes["a check"] = FakeNode(status="exited")
    other = host.engine.nodes["other-runner"] = FakeNode()
    check.labels = {names.INSTANCE_LABEL: "test"}
    other.labels = {names.INSTANCE_LABEL: "other"}
    runner = host.engine.add_runner(host.settings)
    runner.status, runner.refusals = "created", 1
    assert host.down() == ("its runner", "cluster test", "its state on this host")
    assert runner.removed
    assert check.removed
    assert not other.removed


def test_a_runner_that_never_ends_is_said_with_the_command_that_tries_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SystemClock", FakeClock)
    host.engine.add_runner(host.settings).refusals = 10_000
    with pytest.raises(WaitTimeout, match=r"the runner to end(?s:.*)`\./invoke down --name test` again"):
        host.down()


def test_down_twice_is_fine(host: Host) -> None:
    host.down()
    assert host.down() == ()
    assert "there is no instance test" in host.screen.text


def without_an_engine(host: Host, monkeypatch: pytest.MonkeyPatch, *, made: bool, cure: str = "", barred: str = "") -> None:
    monkeypatch.setattr(engine, "find", lambda _: None)
    monkeypatch.setattr(engine, "barred", lambda: barred)
    monkeypatch.setattr(engine, "refusal", lambda _: cure or barred)
    if not made:
        host.settings.kubeconfig.unlink()


@pytest.mark.parametrize("kept", ["kubeconfig", "secrets/secrets.json"])
@pytest.mark.parametrize(
    ("cure", "said"), [("Join its group.", r"Join its group\."), ("", r"`\./invoke up --name test` starts one\.")]
)
@pytest.mark.parametrize("purge", [False, True])
def test_what_is_kept_of_an_instance_stays_while_no_engine_says_that_it_is_gone(
    host: Host, monkeypatch: pytest.MonkeyPatch, kept: str, cure: str, said: str, purge: bool
) -> None:
    without_an_engine(host, monkeypatch, made=False, cure=cure)
    host.add(f"instances/test/{kept}")
    folder = host.settings.folder
    again = "down --purge --name test" if purge else "down --name test"
    told = (
        rf"^nothing was removed of .* none answers\. {said}.*DOCKER_HOST.*`\./invoke {again}` again\. .*remove {folder} yourself"
    )
    with pytest.raises(ToolMissing, match=told):
        host.down(purge=purge)
    assert (folder / kept).exists()
    assert (host.home / "cache" / "node" / "oci").exists()


def test_nothing_is_removed_while_an_engine_that_may_run_the_instance_refuses_this_user(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_an_engine(host, monkeypatch, made=False, barred="Join its group.")
    for purge in (False, True):
        with pytest.raises(ToolMissing, match=r"^nothing was removed of instance 'test'\. Join its group\. Then run .* again\.$"):
            host.down(purge=purge)
    assert host.settings.folder.exists()
    assert (host.home / "cache" / "node" / "oci").exists()


def test_what_never_became_an_instance_is_removed_without_an_engine(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    without_an_engine(host, monkeypatch, made=False)
    assert host.down() == ("its state on this host",)
    assert host.down() == ()


def test_a_machine_on_which_nothing_was_ever_made_has_nothing_to_remove(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "find", lambda _: None)
    monkeypatch.setattr(engine, "barred", lambda: "")
    screen = Screen()
    for purge in (False, True, True):
        done = down.down(Settings(ROOT, tmp_path / "home", "test"), purge=purge, progress=screen.progress)
        assert not set(done.what) - {str(tmp_path / "home")}
    assert "there is no instance test" in screen.text


def test_a_purge_without_an_engine_says_what_may_be_left_in_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    without_an_engine(host, monkeypatch, made=False, cure="Start it.")
    told = (
        r"host is removed\..*slipway-registry, .* kind and .*images\. Start it\. Run `\./invoke down --purge --name test` again"
    )
    with pytest.raises(ToolMissing, match=told):
        host.down(purge=True)
    assert not host.home.exists()


def test_an_instance_that_another_engine_runs_keeps_what_this_host_knows_of_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def healthy(_: Kube, *, timeout: float = 2.0) -> bool:
        return True

    monkeypatch.setattr(Kube, "healthy", healthy)
    there = host.engine.nodes.pop(host.settings.node)
    with pytest.raises(
        ToolMissing, match=r"It answers, and .* unix:///fake has no test-control-plane: another.*DOCKER_HOST.*again\.$"
    ):
        host.down()
    assert host.settings.kubeconfig.exists()
    host.engine.nodes[host.settings.node] = there
    assert host.down() == ("cluster test", "its state on this host")


def test_what_is_kept_of_a_node_that_is_gone_goes_too(host: Host) -> None:
    del host.engine.nodes[host.settings.node]
    assert host.down() == ("its state on this host",)


def test_a_half_made_node_without_state_is_removed_too(host: Host) -> None:
    host.settings.kubeconfig.unlink()
    host.settings.folder.rmdir()
    host.engine.add("test", FakeNode(status="created", profile=None))
    assert host.down() == ("cluster test",)


def test_somebody_elses_cluster_of_that_name_is_refused_and_left_alone(host: Host) -> None:
    foreign = host.engine.add("test", FakeNode(profile=None, image="kindest/node:v1.33.1"))
    with pytest.raises(UsageError, match="test-control-plane is not Slipway's"):
        host.down()
    assert not foreign.removed


def test_another_instance_is_left_alone(host: Host) -> None:
    host.engine.add("other", FakeNode())
    host.add("instances/other/kubeconfig")
    host.down()
    assert host.engine.container("other-control-plane")
    assert (host.home / "instances" / "other" / "kubeconfig").exists()


def test_purge_is_refused_before_anything_is_removed_while_another_instance_exists(host: Host) -> None:
    host.add("instances/other/kubeconfig")
    with pytest.raises(UsageError, match=r"needed by other; nothing was removed.*down --name other"):
        host.down(purge=True)
    assert host.engine.container(host.settings.node)
    assert host.settings.kubeconfig.exists()
    assert host.engine.calls == []


@pytest.mark.parametrize(
    ("here", "told"),
    [
        ((), r"by far \(of another SLIPWAY_HOME\); nothing was removed.*down --name far` first, with the SLIPWAY_HOME"),
        (("near",), r"by near, far \(of another SLIPWAY_HOME\); nothing was removed.*down --name near` first, or"),
        (("far",), r"by far; nothing was removed.*down --name far` first, or"),
    ],
)
def test_purge_is_refused_while_an_instance_of_another_state_folder_exists(host: Host, here: tuple[str, ...], told: str) -> None:
    for name in here:
        host.add(f"instances/{name}/kubeconfig")
    host.engine.add("far", FakeNode(status="exited"))
    with pytest.raises(UsageError, match=told):
        host.down(purge=True)
    assert host.engine.container(host.settings.node)
    assert host.settings.kubeconfig.exists()
    assert host.engine.calls == []
    assert host.down() == ("cluster test", "its state on this host")


def test_purge_is_not_kept_off_by_somebody_elses_cluster(host: Host) -> None:
    theirs = host.engine.add("theirs", FakeNode(profile=None, image="kindest/node:v1.33.1"))
    host.down(purge=True)
    assert not theirs.removed
    assert not host.home.exists()


def test_purge_removes_registry_images_caches_and_the_state_folder(host: Host) -> None:
    what = host.down(purge=True)
    assert host.engine.calls == ["registry", "images", "engine"]
    assert {"registry", "3 images", str(host.home)} <= set(what)
    assert not host.home.exists()


def test_purge_removes_what_bears_the_registrys_name_too(host: Host) -> None:
    host.registry = registry.Registry(5004, "slipway-registry", "exited", "slipway/registry:1")
    host.down(purge=True)
    assert host.engine.calls == ["registry", "images localhost:5004", "engine"]


def test_purge_twice_is_fine(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.down(purge=True)
    monkeypatch.setattr(registry, "remove", lambda _: False)
    host.down(purge=True)
    assert not host.home.exists()


def test_purge_keeps_what_an_engine_of_ours_needs_for_other_peoples_containers(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.add("engine/shim")
    monkeypatch.setattr(dockerd, "started", lambda _: 7)
    host.down(purge=True)
    assert [path.name for path in host.home.iterdir()] == ["engine"]
    assert (host.home / "engine" / "shim").exists()


def test_purge_removes_the_folder_of_an_engine_that_was_stopped(host: Host) -> None:
    host.add("engine/shim")
    host.down(purge=True)
    assert not host.home.exists()


def test_purge_does_not_follow_a_link_out_of_the_state_folder(host: Host, tmp_path: Path) -> None:
    elsewhere = tmp_path / "big-disk"
    elsewhere.mkdir()
    (elsewhere / "store").mkdir()
    (elsewhere / "store" / "mine").touch()
    shutil.rmtree(host.home / "cache")
    (host.home / "cache").symlink_to(elsewhere)
    host.down(purge=True)
    assert (elsewhere / "store" / "mine").exists()
    assert not host.home.exists()


def test_purge_leaves_what_else_lies_in_the_state_folder(host: Host) -> None:
    ours = ("cache/locks/a.lock", "engine/dockerd.log", "evidence/test-1/causes.txt", "tools/kind-1", "slipway-cold-x/cache/a")
    for name in (*ours, "trust.lock", "trust.new", "photos/cache/1.jpg", "thesis.tex"):
        host.add(name)
    host.down(purge=True)
    assert sorted(path.name for path in host.home.rglob("*")) == ["1.jpg", "cache", "photos", "thesis.tex"]


def test_purge_is_content_with_a_state_folder_that_cannot_be_removed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(_: Path) -> None:
        raise OSError(errno.EBUSY, "a disk of its own")

    monkeypatch.setattr(Path, "rmdir", busy)
    host.down(purge=True)
    assert host.home.exists()


def test_purge_has_the_engine_remove_stores_while_it_has_an_image_to_do_so(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(_: engine.Engine, folder: Path, *, node_image: str) -> None:
        host.engine.calls.append(f"{folder.relative_to(host.home)} by {node_image}")
        shutil.rmtree(folder)

    host.add("cache/store/k/meta.db")
    monkeypatch.setattr(nodestore, "remove", remove)
    host.down(purge=True)
    image = recipes.plan(host.settings, host.engine, "build").image("node")
    assert host.engine.calls == [f"cache/store by {image}", "registry", "images", "engine"]


def test_a_store_that_belongs_to_root_is_told_when_no_engine_can_remove_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: Path, *words: Any, **more: Any) -> None:
        if place.name == "store":
            raise PermissionError
        rmtree(place, *words, **more)

    rmtree = shutil.rmtree
    host.add("cache/store/k/meta.db")
    without_an_engine(host, monkeypatch, made=False)
    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(SlipwayError, match=r"cache/store belongs to root.*once one does"):
        host.down(purge=True)


def test_an_instance_that_another_command_works_on_is_not_removed(host: Host) -> None:
    with instance.locked(host.settings, "up"), pytest.raises(UsageError, match=r"`\./invoke up` is working on instance 'test'"):
        host.down()
    assert host.engine.container(host.settings.node)
    assert host.settings.kubeconfig.exists()


def test_the_next_command_is_said_only_when_something_was_removed() -> None:
    screen = Screen()
    down.show(down.Removed((), "./invoke up"), screen.progress.console)
    assert screen.text == ""
    down.show(down.Removed(("cluster test",), "./invoke up --name test"), screen.progress.console)
    assert screen.lines == ["Next: ./invoke up --name test"]


def test_the_next_command_makes_this_instance_and_no_other(host: Host) -> None:
    assert down.down(host.settings, purge=False, progress=host.screen.progress).next == "./invoke up --name test"
