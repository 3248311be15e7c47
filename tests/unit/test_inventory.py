from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import engine, gobuild, inventory, recipes, registry
from slipway.catalogue import Catalogue
from slipway.engine import Engine, EngineError
from slipway.inventory import Kept
from slipway.settings import ROOT, Settings
from tests.unit.fakes import Screen

NOW = 1_800_000_000.0


class FakeEngine(Engine):
    """Holds images and containers as the library lists them, and forgets what it is told to."""

    def __init__(self) -> None:
        self.images: list[Any] = []
        self.containers: list[Any] = []
        self.refuses: set[str] = set()
        client: Any = SimpleNamespace(
            images=SimpleNamespace(list=lambda: self.images),
            containers=SimpleNamespace(list=lambda **_: self.containers),
        )
        self.client = client

    def add(self, *tags: str, ident: str = "", labels: dict[str, str] | None = None) -> None:
        """Hold one more image."""
        attrs = {"Size": 1000, "Created": "2027-01-15T07:00:00.123Z"}
        self.images.append(
            SimpleNamespace(id=ident or f"sha256:{len(self.images)}", attrs=attrs, labels=labels or {}, tags=list(tags))
        )

    def image_id(self, reference: str) -> str | None:
        return f"id of {reference}"

    def untag(self, reference: str) -> None:
        if reference in self.refuses:
            raise EngineError("conflict")
        self.images = [image for image in self.images if reference not in (image.id, *image.tags)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(ROOT, tmp_path / "home", "test")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(engine, "find", lambda _: fake)
    monkeypatch.setattr(registry, "find", lambda _: None)
    return fake


def artefact(settings: Settings, kind: str, key: str) -> Path:
    folder = settings.cache / kind / key
    folder.mkdir(parents=True)
    (folder / "x").write_bytes(b"x" * 5000)
    os.utime(folder, (NOW - 7200, NOW - 7200))
    return folder


def states(settings: Settings) -> dict[str, str]:
    return {row.place: row.state for row in inventory.look(settings, now=NOW)}


def test_an_image_is_pinned_in_use_or_unused(settings: Settings, found: FakeEngine) -> None:
    pinned = recipes.plan(settings, found, "build").image("argocd")
    found.add(pinned)
    found.add("slipway/argocd:0.1-00000000")
    found.add("slipway/node:0.1-00000000", ident="sha256:used")
    found.containers.append(SimpleNamespace(attrs={"Image": "sha256:used", "Mounts": []}))
    assert states(settings) == {
        pinned: "pinned",
        "slipway/argocd:0.1-00000000": "unused",
        "slipway/node:0.1-00000000": "in use",
    }


def test_an_image_of_the_inner_loop_is_known_by_its_name_and_by_its_label(settings: Settings, found: FakeEngine) -> None:
    tag = "localhost:5001/slipway-live_test_cart:tilt-0123456789abcdef"
    found.add(tag)
    found.add(ident="sha256:replaced", labels={"slipway.dev/owner": "slipway"})
    assert states(settings) == {tag: "unused", "sha256:replaced": "unused"}
    assert set(inventory.prune(settings).removed) == {tag, "sha256:replaced"}
    assert found.images == []


def test_images_of_others_are_not_looked_at(settings: Settings, found: FakeEngine) -> None:
    found.add("postgres:17", "somebody/slipway:1", "localhost:5001/catalog:1")
    found.add(labels={"slipway.dev/owner": "somebody"})
    assert states(settings) == {}


def test_an_image_whose_name_went_to_a_newer_one_is_unused(settings: Settings, found: FakeEngine) -> None:
    found.add(ident="sha256:old", labels={"slipway.dev/owner": "slipway"})
    assert states(settings) == {"sha256:old": "unused"}


def test_artefacts_that_the_recipes_name_are_pinned(settings: Settings, found: FakeEngine) -> None:
    del found
    key = gobuild.artefact(settings, Catalogue(settings).programs["containerd"]).key
    new, old = artefact(settings, "go", key), artefact(settings, "go", "0" * 16)
    assert states(settings) == {str(new): "pinned", str(old): "unused"}


def test_a_store_that_a_node_has_mounted_is_in_use(settings: Settings, found: FakeEngine) -> None:
    store, other = artefact(settings, "store", "1" * 16), artefact(settings, "store", "2" * 16)
    mounts = [{"Destination": "/kind/store", "Source": str(store)}]
    found.containers.append(SimpleNamespace(attrs={"Image": "x", "Mounts": mounts}))
    assert states(settings) == {str(store): "in use", str(other): "unused"}


def test_without_an_engine_no_store_is_called_unused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find", lambda _: None)
    store = artefact(settings, "store", "1" * 16)
    assert states(settings) == {str(store): "in use"}


def test_the_environment_of_a_load_generator_is_pinned_and_a_former_one_is_not(settings: Settings, found: FakeEngine) -> None:
    del found
    now, old = artefact(settings, "load-python", Catalogue(settings).load_python.key), artefact(settings, "load-python", "0" * 16)
    assert states(settings) == {str(now): "pinned", str(old): "unused"}
    assert inventory.prune(settings).removed == (str(old),)


def test_what_the_inner_loop_compiled_is_pinned_and_what_it_had_before_is_not(settings: Settings, found: FakeEngine) -> None:
    del found
    catalogue = Catalogue(settings)
    page = artefact(settings, "tilt-web", catalogue.tilt_page.key)
    plain = artefact(settings, "tilt", catalogue.tilt(whole=False).key)
    old = [artefact(settings, kind, "0" * 16) for kind in ("tilt", "tilt-web")]
    unused = dict.fromkeys(map(str, old), "unused")
    assert states(settings) == {str(page): "pinned", str(plain): "pinned", **unused}
    whole = artefact(settings, "tilt", catalogue.tilt(whole=True).key)
    assert states(settings) == {str(page): "pinned", str(whole): "pinned", str(plain): "unused", **unused}
    assert {row.name for row in inventory.look(settings) if row.state == "pinned"} == {"tilt", "tilt's page"}
    assert set(inventory.prune(settings).removed) == {str(plain), *unused}
    assert whole.is_dir() and page.is_dir()


def test_what_a_build_has_under_way_is_not_listed(settings: Settings, found: FakeEngine) -> None:
    del found
    artefact(settings, "go", ".0000.part")
    assert states(settings) == {}


def test_pruning_removes_what_is_unused_and_nothing_else(settings: Settings, found: FakeEngine) -> None:
    pinned = recipes.plan(settings, found, "build").image("argocd")
    found.add(pinned)
    found.add("slipway/argocd:0.1-00000000")
    key = gobuild.artefact(settings, Catalogue(settings).programs["containerd"]).key
    new, old = artefact(settings, "go", key), artefact(settings, "go", "0" * 16)
    gone = artefact(settings, "store", "2" * 16)
    pruned = inventory.prune(settings)
    assert set(pruned.removed) == {"slipway/argocd:0.1-00000000", str(old), str(gone)}
    assert pruned.bytes > 5000
    assert new.is_dir()
    assert not old.exists()
    assert [image.tags for image in found.images] == [[pinned]]
    assert inventory.prune(settings).removed == ()


def test_an_image_that_another_stands_on_stays_and_the_rest_goes(settings: Settings, found: FakeEngine) -> None:
    found.add("slipway/debian:0.1-00000000")
    found.add("slipway/argocd:0.1-00000000")
    found.refuses.add("slipway/debian:0.1-00000000")
    assert inventory.prune(settings).removed == ("slipway/argocd:0.1-00000000",)


def test_leftovers_of_killed_builds_go_once_they_are_old(settings: Settings, found: FakeEngine) -> None:
    del found
    left = [settings.cache / name for name in (".context-old", "tilt-web/.0000.part", "yarn")]
    for folder in (*left, settings.cache / ".context-new", settings.cache / "tilt" / ".0000.part"):
        folder.mkdir(parents=True)
    for folder in left:
        os.utime(folder, (NOW - 1e6, 0))
    assert set(inventory.prune(settings).removed) == set(map(str, left))
    assert (settings.cache / ".context-new").is_dir()
    assert (settings.cache / "tilt" / ".0000.part").is_dir()


def test_the_list_ends_with_the_command_that_removes_what_is_unused() -> None:
    screen = Screen()
    row = Kept("argocd", "image", "build", "slipway/argocd:1-0", 3 << 30, "0123456789", 7300, "unused")
    inventory.show([row], screen.progress.console)
    assert "3.0 GiB" in screen.text
    assert "2 h" in screen.text
    assert screen.lines[-1] == "1 are unused. Next: ./invoke images.prune"
