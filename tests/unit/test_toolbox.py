from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import machine, recipes, shell, toolbox, tools
from slipway.errors import ToolMissing
from slipway.progress import Phase
from slipway.settings import Settings, load

LINUX = replace(machine.look(Path("/nowhere")), system="linux")
BUILT, OWN = Path("/cache/actionlint"), Path("/usr/local/bin/actionlint")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A Linux machine with Go and no other program; nothing is built yet."""

    def build(_: Settings, name: str, *, phase: Phase) -> Path:
        assert name == "actionlint" and phase.detail.startswith("compiling")
        return BUILT

    monkeypatch.setattr(tools, "find_on_path", lambda *_: None)
    monkeypatch.setattr(shell, "which", lambda name: [Path("/go")] if name == "go" else [])
    monkeypatch.setattr(machine, "look", lambda: LINUX)
    monkeypatch.setattr(recipes, "build_tool", build)
    return load(environ={"SLIPWAY_HOME": str(tmp_path)})


def test_the_program_that_reads_workflows_is_compiled_when_there_is_none(settings: Settings) -> None:
    assert toolbox.actionlint(settings, phase=Phase("x")) == BUILT


def test_one_of_the_pinned_version_on_the_path_is_taken(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def own(name: str, wanted: str) -> Path | None:
        assert (name, wanted) == ("actionlint", settings.versions["versions"]["actionlint"])
        return OWN

    monkeypatch.setattr(tools, "find_on_path", own)
    assert toolbox.actionlint(settings, phase=Phase("x")) == OWN


def test_a_compiled_one_is_asked_for_no_version(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    found = toolbox.Catalogue(settings).tool("actionlint")
    found.parent.mkdir(parents=True)
    found.write_text("")
    monkeypatch.setattr(tools, "find_on_path", lambda *_: pytest.fail("lint must stay quick"))
    assert toolbox.actionlint(settings, phase=Phase("x")) == found


@pytest.mark.parametrize(("system", "go"), [("linux", []), ("darwin", [Path("/go")])])
def test_without_a_way_to_have_one_it_says_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, system: str, go: list[Path]
) -> None:
    facts: Any = replace(LINUX, system=system)
    monkeypatch.setattr(machine, "look", lambda: facts)
    monkeypatch.setattr(shell, "which", lambda _: go)
    with pytest.raises(ToolMissing, match=r"no actionlint 1\.7\.\d+.*on the PATH.*install Go"):
        toolbox.actionlint(settings, phase=Phase("x"))
