"""The Tiltfile, read as Python, which Starlark is a part of: what it does with the facts of the project."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.dev import running, told
from slipway.errors import UsageError
from slipway.settings import ROOT
from tests.unit.loops import SERVICES, World

CONTEXT = "kind-test-developer"


class Refused(Exception):
    """The Tiltfile gave up."""

    def __init__(self, why: str, reader: Reader) -> None:
        super().__init__(why)
        self.reader = reader


class Reader:
    """Runs the Tiltfile; every call of a function that only Tilt has is kept, in order."""

    def __init__(self, world: World, *services: str, context: str = CONTEXT, command: str = "up") -> None:
        self.world, self.calls = world, list[tuple[str, tuple[Any, ...], dict[str, Any]]]()
        config = SimpleNamespace(
            define_string_list=self._told("define_string_list"),
            parse=lambda: {"services": list(services)} if services else {},
            tilt_subcommand=command,
        )
        given = {
            "config": config,
            "decode_json": json.loads,
            "local": self._local,
            "k8s_context": lambda: context,
            "fail": self._fail,
        }
        text = (ROOT / "Tiltfile").read_text()
        names = set(compile(text, "Tiltfile", "exec").co_names)
        there = {"dict", "TRIGGER_MODE_MANUAL", *given}
        functions = {name: self._told(name) for name in names - there}
        exec(compile(text, "Tiltfile", "exec"), {**functions, **given, "TRIGGER_MODE_MANUAL": "manual"})

    def _told(self, name: str) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
            self.calls.append((name, words, options))
            return self.calls[-1]

        return call

    def _fail(self, why: str) -> None:
        raise Refused(why, self)

    def _local(self, argv: Sequence[str], **_: Any) -> str:
        assert argv[:3] == ["./invoke", "dev.facts", "--json"]
        return json.dumps(told.answer(self.world.settings, [word.partition("=")[2] for word in argv[3:]]))

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """How a function was called."""
        return [(words, options) for called, words, options in self.calls if called == name]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


@pytest.mark.parametrize("context", ["kind-test", "kind-other-developer", "minikube"])
def test_any_context_but_the_instances_is_refused_before_anything_is_told_to_tilt(world: World, context: str) -> None:
    with pytest.raises(Refused, match=f"for the context {CONTEXT} alone, and you are in {context}. Start it by ./invoke dev"):
        Reader(world, context=context)
    assert Reader(world).of("allow_k8s_contexts") == [((CONTEXT,), {})]


def test_a_tilt_older_than_the_pinned_one_is_refused_and_nobody_is_told_of_its_use(world: World) -> None:
    seen = Reader(world)
    pinned = world.settings.versions["versions"]["tilt"]
    assert seen.of("version_settings") == [((), {"constraint": f">={pinned}", "check_updates": False})]
    assert seen.of("analytics_settings") == [((False,), {})]


def test_files_are_watched_also_where_one_of_them_is_malformed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def malformed(*_: object) -> dict[str, Any]:
        raise UsageError("envs/local.yaml is no YAML")

    whole = Reader(world).of("watch_file")
    monkeypatch.setattr(told, "values", malformed)
    with pytest.raises(Refused, match=r"envs/local.yaml is no YAML") as refused:
        Reader(world)
    assert refused.value.reader.of("watch_file") == whole != []


def test_the_deadline_of_ci_is_ours_alone(world: World) -> None:
    # Its own, without which everything has until `--timeout`: "0s" is none, and left out it is five minutes.
    assert Reader(world, command="ci").of("ci_settings") == [((), {"readiness_timeout": "0s"})]
    assert running.CI_TIMEOUT > 300


def test_saved_files_go_where_the_container_looks_for_them(world: World) -> None:
    [(_, options)] = Reader(world, "cart").of("docker_build")
    synced = [words for name, words, _ in options["live_update"] if name == "sync"]
    assert synced == [("services/cart", told.COPY), ("services/chassis", f"{told.COPY}/chassis")]
    assert options["live_update"][-1][1] == (list(told.RELOAD),)


def test_there_is_one_thing_for_each_service_and_its_tests_wait_until_they_are_triggered(world: World) -> None:
    seen = Reader(world, "catalog")
    assert [words[0] for words, _ in seen.of("docker_build")] == ["slipway-live/test/catalog"]
    assert set(SERVICES) <= {words[0] for words, _ in seen.of("k8s_resource")}
    tests = {words[0]: options for words, options in seen.of("local_resource")}
    assert set(tests) == {f"test-{name}" for name in SERVICES}
    assert all(options["auto_init"] is False and options["trigger_mode"] == "manual" for options in tests.values())
