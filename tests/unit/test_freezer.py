"""Thawing what a killed container runtime left frozen."""

from __future__ import annotations

from pathlib import Path

from slipway import freezer

ID = "f5e1dd50eaa2"


def group(root: Path, path: str, state: str) -> Path:
    file = root / path / "freezer.state"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{state}\n")
    return file


def test_what_is_frozen_in_the_container_is_thawed_and_nothing_else(tmp_path: Path) -> None:
    inner = group(tmp_path, f"docker/{ID}/kubelet.slice/pod.slice", "FROZEN")
    own = group(tmp_path, f"docker/{ID}", "THAWED")
    other = group(tmp_path, "docker/another/pod.slice", "FROZEN")
    assert freezer.thaw(ID, root=tmp_path) == 1
    assert inner.read_text() == "THAWED"
    assert own.read_text() == "THAWED\n"
    assert other.read_text() == "FROZEN\n"


def test_a_container_below_a_slice_of_systemd_is_found(tmp_path: Path) -> None:
    state = group(tmp_path, f"system.slice/docker-{ID}.scope", "FREEZING")
    assert freezer.thaw(ID, root=tmp_path) == 1
    assert state.read_text() == "THAWED"


def test_without_that_freezer_there_is_nothing_to_thaw(tmp_path: Path) -> None:
    assert freezer.thaw(ID, root=tmp_path / "none") == 0
