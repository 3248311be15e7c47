from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import nodestore, shell
from slipway.engine import Engine
from slipway.errors import CommandFailed, SlipwayError
from slipway.progress import Phase
from slipway.settings import ROOT, Settings

CONTENTS = {
    "registry.k8s.io/kube-apiserver:v1": "slipway/kubernetes:1",
    "registry.k8s.io/kube-scheduler:v1": "slipway/kubernetes:1",
    "localhost:5001/slipway/argocd:1": "slipway/argocd:1",
}


class FakeEngine(Engine):
    """Holds images by id; what runs in it fills a store, or does not."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(ROOT, folder / "home", "test")
        self.ids = {"slipway/kubernetes:1": "sha256:1", "slipway/argocd:1": "sha256:2"}
        self.ran: list[list[str]] = []
        self.fills, self.fails = True, False
        self.names = ""
        self.mounts: list[dict[str, str]] | None = None
        monkeypatch.setattr(shell, "run", self.run)

    @property
    def build_cli(self) -> Any:  # type: ignore[override]
        return Path("/bin/docker"), {}

    def image_id(self, reference: str) -> str | None:
        return self.ids.get(reference)

    def container(self, name: str) -> Any:
        return None if self.mounts is None else SimpleNamespace(attrs={"Mounts": self.mounts})

    def run(self, argv: list[Any], **_: Any) -> shell.Result:
        words = [str(word) for word in argv]
        self.ran.append(words)
        if words[1] == "save":
            Path(words[words.index("--output") + 1]).write_bytes(b"tar")
        mounts = [word.removeprefix("--volume=").split(":") for word in words if word.startswith("--volume=")]
        volumes = {mount[1]: Path(mount[0]) for mount in mounts}
        if "/store" in volumes:
            self.names = (volumes["/in"] / "names").read_text()
            if self.fails:
                raise CommandFailed(words, 1, "no")
            if self.fills:
                metadata = volumes["/store"] / "io.containerd.metadata.v1.bolt"
                metadata.mkdir()
                (metadata / "meta.db").write_text("x")
        return shell.Result(0, "", "")

    def ensure(self) -> Path:
        """A store with the contents."""
        return nodestore.ensure(self.settings, self, contents=CONTENTS, node_image="slipway/node:1", phase=Phase("x"))


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    return FakeEngine(tmp_path, monkeypatch)


def test_a_store_is_filled_once(engine: FakeEngine) -> None:
    folder = engine.ensure()
    count = len(engine.ran)
    assert engine.ensure() == folder
    assert len(engine.ran) == count


def test_each_image_is_saved_once_and_gets_every_name(engine: FakeEngine) -> None:
    engine.ensure()
    saved = engine.ran[0][engine.ran[0].index("--output") + 2 :]
    assert saved == ["slipway/argocd:1", "slipway/kubernetes:1"]
    assert sorted(engine.names.splitlines()) == sorted(f"{local} {name}" for name, local in CONTENTS.items())


def test_an_image_that_was_made_again_is_another_store(engine: FakeEngine) -> None:
    before = engine.ensure()
    engine.ids["slipway/argocd:1"] = "sha256:3"
    assert engine.ensure() != before


def test_a_store_that_stays_empty_is_refused_with_a_cure(engine: FakeEngine) -> None:
    engine.fills = False
    with pytest.raises(SlipwayError, match="Set SLIPWAY_HOME"):
        engine.ensure()
    assert not nodestore.artefact(engine.settings, engine, CONTENTS).made


def test_a_store_that_could_not_be_filled_is_not_kept(engine: FakeEngine) -> None:
    engine.fails = True
    with pytest.raises(CommandFailed):
        engine.ensure()
    assert list((engine.settings.cache / "store").iterdir()) == []


def test_what_belongs_to_root_is_removed_by_the_engine(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(shutil, "rmtree", refuse)
    nodestore.remove(engine, Path("/cache/store/k"), node_image="slipway/node:1")
    assert engine.ran[-1][-3:] == ["slipway/node:1", "-rf", "/stores/k"]


def test_a_node_says_which_store_it_was_made_with(engine: FakeEngine) -> None:
    assert nodestore.mounted(engine, "test-control-plane") is None
    engine.mounts = [{"Destination": "/var", "Source": "/x"}]
    assert nodestore.mounted(engine, "test-control-plane") is None
    engine.mounts.append({"Destination": "/kind/store", "Source": "/cache/store/k"})
    assert nodestore.mounted(engine, "test-control-plane") == Path("/cache/store/k")
