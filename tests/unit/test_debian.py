from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import debian, machine, shell
from slipway.debian import Rootfs
from slipway.errors import CommandFailed, ToolMissing
from slipway.progress import Phase
from slipway.settings import Settings

FACTS = replace(machine.look(Path("/nowhere")), distribution="debian", root=True)
BASE = Rootfs("trixie", ["tzdata", "ca-certificates"])


class Host:
    """A machine that remembers what it runs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(folder, folder / "home", "test")
        self.ran: list[list[str]] = []
        self.env: dict[str, str] = {}
        self.fails: Callable[[list[str]], bool] = lambda _: False
        self.installed = {"mmdebstrap"}
        self.facts = FACTS
        monkeypatch.setattr(shell, "run", self.run)
        monkeypatch.setattr(shell, "which", lambda name: [Path(name)] if name in self.installed else [])
        monkeypatch.setattr(machine, "look", lambda: self.facts)

    def run(self, argv: list[Any], *, env: dict[str, str], **_: Any) -> shell.Result:
        words = [str(word) for word in argv]
        self.ran.append(words)
        self.env = env
        if self.fails(words):
            raise CommandFailed(words, 100, "no")
        if words[0] == "mmdebstrap":
            Path(words[-1]).write_bytes(b"tar")
        return shell.Result(0, "", "")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_file_system_is_made_once(host: Host) -> None:
    archive = debian.build(host.settings, BASE, Phase("x"))
    assert archive.read_bytes() == b"tar"
    phase = Phase("x")
    assert debian.build(host.settings, BASE, phase) == archive
    assert len(host.ran) == 1
    assert phase.skipped


def test_the_order_of_packages_does_not_matter_to_the_key_but_the_set_does(host: Host) -> None:
    same, more = Rootfs("trixie", ["ca-certificates", "tzdata"]), Rootfs("trixie", ["ca-certificates", "tzdata", "git"])
    assert debian.artefact(host.settings, BASE) == debian.artefact(host.settings, same)
    assert debian.artefact(host.settings, BASE) != debian.artefact(host.settings, more)


def test_files_get_a_fixed_time(host: Host) -> None:
    debian.build(host.settings, BASE, Phase("x"))
    assert host.env["SOURCE_DATE_EPOCH"].isdigit()


def test_mmdebstrap_is_installed_where_it_is_missing(host: Host) -> None:
    host.installed.clear()
    debian.build(host.settings, BASE, Phase("x"))
    assert [words[0] for words in host.ran] == ["apt-get", "mmdebstrap"]


def test_package_lists_are_updated_only_after_an_install_failed(host: Host) -> None:
    host.installed.clear()
    host.fails = lambda words: "install" in words and len(host.ran) == 1
    debian.build(host.settings, BASE, Phase("x"))
    assert [words[2] for words in host.ran[:3]] == ["install", "update", "install"]


@pytest.mark.parametrize("facts", [replace(FACTS, root=False), replace(FACTS, distribution="fedora")])
def test_where_nothing_may_be_installed_the_cure_is_said(host: Host, facts: machine.Machine) -> None:
    host.installed.clear()
    host.facts = facts
    with pytest.raises(ToolMissing, match=r"apt-get install mmdebstrap.*--source=pull"):
        debian.build(host.settings, BASE, Phase("x"))
    assert host.ran == []
