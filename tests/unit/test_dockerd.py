from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import dockerd, machine, shell, waiting
from slipway.errors import CommandFailed, ToolMissing, WaitFailed, WaitTimeout
from slipway.machine import Machine
from slipway.settings import ROOT, Settings
from tests.unit.fakes import FakeClock

FACTS: Machine = replace(
    machine.look(Path("/nowhere")), system="linux", distribution="debian", root=True, systemd=False, missing_capabilities=()
)


class Host:
    """A machine whose programs are remembered instead of run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.patch = monkeypatch
        self.installed = {"dockerd", "go"}
        self.ran: list[list[str]] = []
        self.running: dict[str, list[int]] = {}
        self.fails: Callable[[list[str]], bool] = lambda _: False
        self.log_line, self.dies = "", False
        self.settings = Settings(ROOT, folder, "test")
        self.home = folder / "engine"
        clock = FakeClock()
        monkeypatch.setattr(waiting, "SystemClock", lambda: clock)
        monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in self.installed else None)
        monkeypatch.setattr(shell, "run", self.run)
        monkeypatch.setattr(shell, "start", self.start)
        monkeypatch.setattr(machine, "processes", lambda name: self.running.get(name, []))
        monkeypatch.setattr(machine, "runs", lambda pid: any(pid in ids for ids in self.running.values()))
        monkeypatch.setattr(dockerd, "_CONTAINERD_PID", folder / "containerd.pid")
        monkeypatch.setattr(dockerd, "_CONTAINERD_SOCKET", folder / "containerd.sock")

    def run(self, argv: list[Any], **_: Any) -> shell.Result:
        words = [str(word) for word in argv]
        self.ran.append(words)
        if self.fails(words):
            raise CommandFailed(words, 100, "E: Unable to locate package")
        if words[0] == "go":
            Path(words[words.index("-o") + 1]).write_text("shim")
        if words[:3] == ["apt-get", "-q", "install"]:
            self.installed.add("dockerd")
        if words[:2] in (["systemctl", "start"], ["service", "docker"]):
            self.running["dockerd"] = [5] if words[0] == "systemctl" else []
        return shell.Result(0, "Package: docker-cli" if words[-1] == "docker-cli" else "", "")

    def start(self, argv: list[Any], *, log_file: Path) -> int:
        self.ran.append([str(word) for word in argv])
        log_file.write_text(self.log_line)
        if not self.dies:
            self.running["dockerd"] = [77]
            (self.home / "dockerd.pid").write_text("77")
        return 77

    def up(self, facts: Machine = FACTS) -> list[str]:
        said: list[str] = []
        dockerd.start(self.settings, facts, answers=lambda: bool(self.running.get("dockerd")), say=said.append)
        return said

    def programs(self) -> list[str]:
        return [" ".join(words[:3]) for words in self.ran]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    return Host(monkeypatch, tmp_path)


def test_a_mac_is_told_what_to_install() -> None:
    assert "Docker Desktop" in dockerd.possible(replace(FACTS, system="darwin"))


def test_a_user_who_is_not_root_is_told_how_to_get_an_engine() -> None:
    said = dockerd.possible(replace(FACTS, root=False))
    assert "sudo apt-get install docker.io" in said and "usermod -aG docker" in said


def test_root_on_debian_and_its_kin_can_have_one_installed(host: Host) -> None:
    host.installed.clear()
    assert dockerd.possible(FACTS) == ""
    assert dockerd.possible(replace(FACTS, distribution="linuxmint ubuntu debian")) == ""
    assert "package manager of Fedora 44" in dockerd.possible(replace(FACTS, distribution="fedora", name="Fedora 44"))


def test_an_installed_engine_is_started_without_installing_anything(host: Host) -> None:
    host.up()
    assert host.ran == [["dockerd", "--log-level", "warn", "--pidfile", f"{host.home}/dockerd.pid"]]


def test_a_missing_engine_is_installed_first_with_the_packages_split_off_it(host: Host) -> None:
    host.installed.discard("dockerd")
    said = host.up()
    install = next(words for words in host.ran if words[:3] == ["apt-get", "-q", "install"])
    assert install[3:] == ["-y", "--no-install-recommends", "docker.io", "iptables", "ca-certificates", "docker-cli"]
    assert said[0] == "installing docker.io and iptables"
    assert host.ran[-1][0] == "dockerd"


def test_package_lists_are_updated_only_when_the_install_fails(host: Host) -> None:
    host.installed.discard("dockerd")
    host.fails = lambda words: words[2:3] == ["install"] and ["apt-get", "-q", "update"] not in host.ran
    host.up()
    assert [line for line in host.programs() if line.startswith("apt-get")] == [
        "apt-get -q install",
        "apt-get -q update",
        "apt-get -q install",
    ]


def test_an_install_that_fails_for_good_says_so(host: Host) -> None:
    host.installed.discard("dockerd")
    host.fails = lambda words: words[2:3] == ["install"]
    with pytest.raises(CommandFailed, match="Unable to locate"):
        host.up()


def test_systemd_starts_the_engine_where_it_runs_the_machine(host: Host) -> None:
    host.up(replace(FACTS, systemd=True))
    assert host.ran == [["systemctl", "start", "docker"]]


def test_missing_capabilities_bring_the_shim_as_the_default_runtime(host: Host) -> None:
    said = host.up(replace(FACTS, missing_capabilities=("CAP_SYS_RESOURCE",), systemd=True))
    shim = host.home / "slipway-runtime"
    assert shim.exists()
    assert host.ran[-1][5:] == ["--add-runtime", f"slipway={shim}", "--default-runtime", "slipway"]
    assert "shim for the missing CAP_SYS_RESOURCE" in said[-1]


def test_the_shim_is_compiled_once(host: Host) -> None:
    host.home.mkdir()
    for _ in range(2):
        dockerd.build_shim(host.settings, say=lambda _: None)
    assert len(host.ran) == 1


def test_without_go_the_shim_is_refused_with_a_cure(host: Host) -> None:
    host.installed.discard("go")
    with pytest.raises(ToolMissing, match="Install Go"):
        host.up(replace(FACTS, missing_capabilities=("CAP_SYS_RESOURCE",)))


def test_an_engine_that_its_package_started_without_the_shim_is_started_again(host: Host) -> None:
    host.installed.discard("dockerd")
    original = host.run

    def run(argv: list[Any], **options: Any) -> shell.Result:
        result = original(argv, **options)
        if [str(word) for word in argv][2:3] == ["install"]:
            host.running["dockerd"] = [5]
        return result

    host.patch.setattr(shell, "run", run)
    host.up(replace(FACTS, missing_capabilities=("CAP_SYS_RESOURCE",)))
    assert ["service", "docker", "stop"] in host.ran
    assert host.ran[-1][0] == "dockerd"


def test_an_engine_that_ends_shows_the_last_lines_of_its_log(host: Host) -> None:
    host.dies = True
    host.log_line = "first\nfailed to start daemon: no iptables\n"
    with pytest.raises(WaitFailed, match=r"(?s)last lines of .*dockerd\.log.*no iptables"):
        host.up()


def test_an_engine_that_ends_is_not_waited_for_because_others_run(host: Host) -> None:
    host.dies = True
    host.running["dockerd"] = [5]
    with pytest.raises(WaitFailed):
        dockerd.start(host.settings, FACTS, answers=lambda: False, say=lambda _: None)


def test_an_engine_that_ends_because_another_run_started_one_is_no_failure(host: Host) -> None:
    def start(argv: list[Any], *, log_file: Path) -> int:
        log_file.write_text("pid file found\n")
        host.running["dockerd"] = [78]
        return 77

    looks = iter([False, False, True])
    host.patch.setattr(shell, "start", start)
    dockerd.start(host.settings, FACTS, answers=lambda: next(looks), say=lambda _: None)


def test_an_engine_that_has_not_yet_its_own_name_has_not_ended(host: Host) -> None:
    def start(argv: list[Any], *, log_file: Path) -> int:
        host.running["python"] = [77]
        return 77

    looks = iter([False, False, False, True])
    host.patch.setattr(shell, "start", start)
    dockerd.start(host.settings, FACTS, answers=lambda: next(looks), say=lambda _: None)


def test_an_engine_that_another_run_started_meanwhile_is_not_started_again(host: Host) -> None:
    host.running["dockerd"] = [5]
    assert host.up() == [] and host.ran == []


def test_an_engine_that_never_answers_is_given_up_naming_its_log(host: Host) -> None:
    def start(argv: list[Any], *, log_file: Path) -> int:
        log_file.write_text("Loading containers: start.\n")
        host.running["dockerd"] = [77]
        return 77

    host.patch.setattr(shell, "start", start)
    with pytest.raises(WaitTimeout, match=r"(?s)Loading containers.*dockerd\.log"):
        dockerd.start(host.settings, FACTS, answers=lambda: False, say=lambda _: None)


def test_what_a_killed_engine_left_behind_is_cleared_away(host: Host, tmp_path: Path) -> None:
    host.home.mkdir()
    (tmp_path / "containerd.pid").write_text("4")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "containerd.sock"))
    seen: list[bool] = []
    original = host.start

    def start(argv: list[Any], *, log_file: Path) -> int:
        seen.extend((tmp_path / name).exists() for name in ("containerd.pid", "containerd.sock", "engine/dockerd.pid"))
        return original(argv, log_file=log_file)

    (host.home / "dockerd.pid").write_text("3")
    host.patch.setattr(shell, "start", start)
    host.up()
    assert seen == [False, False, False]


def test_what_a_living_process_stands_for_is_kept(host: Host, tmp_path: Path) -> None:
    (tmp_path / "containerd.pid").write_text("4")
    host.running["containerd"] = [4]
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(tmp_path / "containerd.sock"))
        alive.listen()
        host.up()
    assert (tmp_path / "containerd.pid").exists() and (tmp_path / "containerd.sock").exists()


def test_only_an_engine_that_slipway_started_is_stopped(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[tuple[int, int]] = []

    def kill(pid: int, sign: int) -> None:
        ended.append((pid, sign))
        host.running.clear()

    monkeypatch.setattr(os, "kill", kill)
    host.running["dockerd"] = [5]
    assert not dockerd.stop(host.settings)
    host.up()
    assert not ended
    host.home.mkdir(exist_ok=True)
    (host.home / "dockerd.pid").write_text("5")
    assert dockerd.stop(host.settings)
    assert ended == [(5, signal.SIGTERM)]


def test_a_process_id_that_another_program_has_now_is_not_our_engine(host: Host) -> None:
    host.home.mkdir()
    (host.home / "dockerd.pid").write_text("99")
    host.running["dockerd"] = [5]
    assert dockerd.started(host.settings) == 0
