"""Argo CD's manifest, checked against its pin wherever it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3

from slipway import shell, upstream
from slipway.errors import PinMismatch, SlipwayError
from slipway.settings import Settings, load
from slipway.upstream import install_manifest

CONTENT = b"kind: A\n---\n---\nkind: B\n"


class Pinned(Settings):
    """Settings whose pin is CONTENT's."""

    @property
    def versions(self) -> Mapping[str, Any]:  # type: ignore[override]
        pins = {"manifest": "https://somewhere/install.yaml", "sha256": hashlib.sha256(CONTENT).hexdigest()}
        return {"argocd": pins, "versions": {"argocd": "3.2.11"}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Pinned(load().root, tmp_path / "home", "slipway")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    file = tmp_path / "module/manifests/install.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    told = json.dumps({"Dir": str(tmp_path / "module")})
    monkeypatch.setattr(shell, "run", lambda *_, **__: shell.Result(0, told, ""))
    return file


def answer(monkeypatch: pytest.MonkeyPatch, content: bytes, status: int = 200) -> None:
    monkeypatch.setattr(urllib3, "request", lambda *_, **__: urllib3.HTTPResponse(content, status=status))


def test_both_sources_give_the_same_objects_and_the_cache_serves_both(
    settings: Settings, module: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer(monkeypatch, CONTENT)
    built = install_manifest(settings, "build")
    pulled = install_manifest(replace(settings, home=tmp_path / "other"), "pull")
    assert built == pulled == [{"kind": "A"}, {"kind": "B"}]
    module.unlink()
    assert install_manifest(settings, "build") == built
    assert install_manifest(settings, "pull") == built


@pytest.mark.parametrize("source", ["build", "pull"])
def test_other_bytes_than_the_pinned_ones_are_refused_and_not_kept(
    settings: Settings, module: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    module.write_bytes(CONTENT + b"---\nkind: Evil\n")
    answer(monkeypatch, module.read_bytes())
    for _ in range(2):
        with pytest.raises(PinMismatch, match=r"cluster/versions\.toml"):
            install_manifest(settings, source)


def test_no_internet_says_what_to_use_instead(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def request(*_: object, **__: object) -> None:
        raise urllib3.exceptions.HTTPError("no route")

    monkeypatch.setattr(upstream.urllib3, "request", request)
    with pytest.raises(SlipwayError, match="--source=build"):
        install_manifest(settings, "pull")
    answer(monkeypatch, b"gone", 404)
    with pytest.raises(SlipwayError, match="answers 404"):
        install_manifest(settings, "pull")
