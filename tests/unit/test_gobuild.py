from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import gobuild, machine, shell
from slipway.errors import CommandFailed, ToolMissing
from slipway.gobuild import Recipe
from slipway.progress import Phase
from slipway.settings import Settings

FACTS = machine.look(Path("/nowhere"))


class Go:
    """A compiler that writes what it is asked for, and remembers how."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(folder, folder / "home", "test")
        self.ran: list[list[str]] = []
        self.env: dict[str, str] = {}
        self.missing, self.fails = False, False
        module = folder / "module"
        module.mkdir()
        (module / "go.mod").write_text("module x\n\ngo 1.26.3\n")
        (module / "go.sum").write_text("sums\n")
        self.recipe = Recipe("group", module, {"etcd": "go.etcd.io/etcd/server/v3", "kind": "sigs.k8s.io/kind"}, tags=("a", "b"))
        monkeypatch.setattr(shell, "run", self.run)

    def run(
        self, argv: list[str], *, env: dict[str, str], on_line: Callable[[str], None] | None = None, **_: Any
    ) -> shell.Result:
        if self.missing:
            raise ToolMissing("go is not installed")
        self.ran.append(argv)
        self.env = env
        if argv[1] == "list":
            return shell.Result(0, "one\ntwo\n", "")
        if argv[1:4] == ["mod", "download", "-json"]:
            return shell.Result(0, json.dumps({"Dir": f"/modules/{argv[4]}"}), "")
        output = Path(argv[argv.index("-o") + 1])
        for name in ("server", "kind") if output.is_dir() else ("",):
            (output / name).write_text("program")
        if on_line:
            for line in ("go: downloading x", "one", "one", "elsewhere", "two"):
                on_line(line)
        if self.fails:
            raise CommandFailed(argv, 1, "no")
        return shell.Result(0, "", "")


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    return Go(tmp_path, monkeypatch)


def test_programs_get_the_names_of_the_recipe(go: Go) -> None:
    folder = gobuild.build(go.settings, replace(go.recipe, links={"kubectl": "kind"}), Phase("x"))
    assert sorted(path.name for path in folder.iterdir()) == ["etcd", "kind", "kubectl"]
    assert (folder / "kubectl").readlink() == Path("kind")


def test_a_second_build_runs_nothing(go: Go) -> None:
    gobuild.build(go.settings, go.recipe, Phase("x"))
    go.ran.clear()
    phase = Phase("x")
    gobuild.fetch(go.settings, go.recipe, phase)
    gobuild.build(go.settings, go.recipe, phase)
    assert go.ran == []
    assert phase.skipped


def test_one_program_alone_is_written_by_name(go: Go) -> None:
    folder = gobuild.build(go.settings, replace(go.recipe, programs={"etcd": "go.etcd.io/etcd/server/v3"}), Phase("x"))
    assert [path.name for path in folder.iterdir()] == ["etcd"]


@pytest.mark.parametrize(
    "change",
    [
        {"tags": ("a",)},
        {"variables": {"main.version": "1"}},
        {"programs": {"kind": "sigs.k8s.io/kind"}},
        {"links": {"a": "kind"}},
    ],
)
def test_another_recipe_is_another_artefact(go: Go, change: dict[str, Any]) -> None:
    assert gobuild.artefact(go.settings, go.recipe) != gobuild.artefact(go.settings, replace(go.recipe, **change))


def test_another_sum_is_another_artefact(go: Go) -> None:
    before = gobuild.artefact(go.settings, go.recipe)
    (go.recipe.folder / "go.sum").write_text("other sums\n")
    assert gobuild.artefact(go.settings, go.recipe) != before


def test_the_users_own_go_settings_do_not_reach_the_build(go: Go) -> None:
    gobuild.build(go.settings, go.recipe, Phase("x"))
    # An empty GOFLAGS would let in what `go env -w` has stored.
    assert go.env["GOFLAGS"]
    assert go.env["GOWORK"] == "off"
    assert go.env["CGO_ENABLED"] == "0"
    assert "GOPROXY" not in go.env


def test_the_bar_counts_each_package_once(go: Go) -> None:
    phase = Phase("x")
    gobuild.build(go.settings, go.recipe, phase)
    assert (phase.done, phase.total) == (2, 2)


def test_values_are_linked_in(go: Go) -> None:
    gobuild.build(go.settings, replace(go.recipe, variables={"main.b": "2", "main.a": "1"}), Phase("x"))
    assert "-s -w -X main.a=1 -X main.b=2" in go.ran[-1]


def test_without_go_the_cure_names_the_version_that_is_needed(go: Go) -> None:
    go.missing = True
    with pytest.raises(ToolMissing, match=r"Install Go 1\.26\.3 or newer.*--source=pull"):
        gobuild.build(go.settings, go.recipe, Phase("x"))


def test_a_failed_compilation_is_not_kept(go: Go) -> None:
    go.fails = True
    with pytest.raises(CommandFailed):
        gobuild.build(go.settings, go.recipe, Phase("x"))
    assert not gobuild.artefact(go.settings, go.recipe).made


def test_a_modules_files_are_found_where_go_keeps_them(go: Go) -> None:
    assert gobuild.module_folder(go.recipe.folder, "sigs.k8s.io/kind") == Path("/modules/sigs.k8s.io/kind")


def test_the_compiler_collects_garbage_seldom_within_its_share_of_the_memory(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "look", lambda: replace(FACTS, cores=4, memory=16 << 30))
    monkeypatch.setattr(gobuild.os, "environ", {})
    gobuild.build(go.settings, go.recipe, Phase("x"))
    assert (go.env["GOGC"], go.env["GOMEMLIMIT"]) == ("400", str(2 << 30))


def test_who_has_set_the_compilers_memory_is_left_alone(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gobuild.os, "environ", {"GOGC": "50"})
    gobuild.build(go.settings, go.recipe, Phase("x"))
    assert "GOGC" not in go.env
    assert "GOMEMLIMIT" not in go.env
