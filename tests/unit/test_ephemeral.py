"""An instance for one command: gone afterwards, whatever happened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from slipway import down, ephemeral, logs, shell, up
from slipway.errors import SlipwayError, UsageError
from slipway.settings import Settings
from tests.unit.fakes import Screen

URLS = {"catalog.dev": "http://catalog.dev.localhost:8080"}


class World:
    """What happened, in order; any part can be told to fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.happened: list[str] = []
        self.names: set[str] = set()
        self.env: Mapping[str, str] = {}
        self.up_fails: BaseException | None = None
        self.down_fails: BaseException | None = None
        self.screen = Screen()
        self.command: int | BaseException = 0
        monkeypatch.setattr(up, "up", self._up)
        monkeypatch.setattr(down, "down", self._down)
        monkeypatch.setattr(shell, "interactive", self._run)
        monkeypatch.setattr(logs, "exports", lambda settings: {"KUBECONFIG": str(settings.kubeconfig)})

    def _up(self, settings: Settings, *, source: str, profile: str | None, progress: Any) -> up.Made:
        del progress
        self.names.add(settings.instance)
        self.happened.append(f"up {source} {profile}")
        assert f"instance {settings.instance} is made for" in self.screen.text, "whoever kills it has to know the name"
        if self.up_fails:
            raise self.up_fails
        return up.Made(settings.instance, "full", "build", URLS, "", "", 1.0, {})

    def _down(self, settings: Settings, *, purge: bool, progress: Any) -> None:
        del progress
        self.names.add(settings.instance)
        self.happened.append("down --purge" if purge else "down")
        if self.down_fails:
            raise self.down_fails

    def _run(self, argv: Sequence[str], *, env: Mapping[str, str]) -> int:
        self.env = env
        self.happened.append(" ".join(argv))
        if isinstance(self.command, BaseException):
            raise self.command
        return self.command


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    return World(monkeypatch)


def run(world: World, *argv: str) -> int:
    return ephemeral.ephemeral(argv, source="build", profile="minimal", progress=world.screen.progress)


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_is_the_commands_and_the_instance_is_gone(world: World, code: int) -> None:
    world.command = code
    assert run(world, "pytest", "-q") == code
    assert world.happened == ["up build minimal", "pytest -q", "down"]


def test_the_command_finds_the_instance_in_its_environment(world: World) -> None:
    run(world, "true")
    (name,) = world.names
    assert world.env["KUBECONFIG"].endswith(f"/instances/{name}/kubeconfig")
    assert json.loads(world.env["SLIPWAY_URLS"]) == URLS


@pytest.mark.parametrize("error", [SlipwayError("no room"), KeyboardInterrupt()])
def test_an_instance_that_could_not_be_made_is_removed_and_nothing_runs(world: World, error: BaseException) -> None:
    world.up_fails = error
    with pytest.raises(type(error)):
        run(world, "true")
    assert world.happened == ["up build minimal", "down"]


@pytest.mark.parametrize("error", [SlipwayError("no such program"), KeyboardInterrupt()])
def test_the_instance_is_removed_when_the_command_cannot_run_or_is_interrupted(world: World, error: BaseException) -> None:
    world.command = error
    with pytest.raises(type(error)):
        run(world, "true")
    assert world.happened[-1] == "down"


@pytest.mark.parametrize("error", [SlipwayError("no engine"), KeyboardInterrupt()])
@pytest.mark.parametrize("made", [True, False])
def test_an_instance_that_could_not_be_removed_is_named_with_the_command_that_removes_it(
    world: World, error: BaseException, made: bool
) -> None:
    world.down_fails, world.up_fails = error, None if made else SlipwayError("no room")
    with pytest.raises(type(error)):
        run(world, "true")
    (name,) = world.names
    assert f"`./invoke down --name {name}` removes it" in world.screen.lines[-1]


def test_an_instance_that_was_removed_is_not_said_to_be_left(world: World) -> None:
    run(world, "true")
    assert "may be left" not in world.screen.text


def test_two_runs_side_by_side_never_share_an_instance(world: World) -> None:
    run(world, "true")
    run(world, "true")
    assert len(world.names) == 2
    assert all(name.startswith("ephemeral-") for name in world.names)


def test_without_a_command_nothing_is_made(world: World) -> None:
    with pytest.raises(UsageError, match="say what to run"):
        run(world)
    assert world.happened == []
