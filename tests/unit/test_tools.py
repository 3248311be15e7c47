from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from slipway import machine, shell, tools, waiting
from slipway.errors import PinMismatch, SlipwayError, WaitFailed
from slipway.progress import Phase
from slipway.settings import ROOT, Settings, load

FACTS = replace(machine.look(Path("/nowhere")), system="linux", architecture="amd64")


def pinned(folder: Path, content: bytes, *, member: str = "", name: str = "kubectl") -> Settings:
    (folder / "cluster").mkdir()
    extra = f'member = "{member}"' if member else ""
    (folder / "cluster" / "versions.toml").write_text(
        f'[versions]\nkubernetes = "1.36.3"\n[tools.{name}]\npin = "kubernetes"\n{extra}\n'
        f'url = "https://files.example/v{{version}}/{{system}}/{{architecture}}/{name}"\n'
        f'sha256 = {{ "linux/amd64" = "{hashlib.sha256(content).hexdigest()}" }}\n'
    )
    return Settings(folder, folder / "home", "test", folder / "cluster" / "versions.toml")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that were asked for; each is answered with b"program"."""
    seen: list[str] = []

    class Answer(io.BytesIO):
        headers: ClassVar[dict[str, str]] = {}

    def urlopen(url: str, **_: Any) -> Answer:
        seen.append(url)
        return Answer(CONTENT[0])

    monkeypatch.setattr(tools.urllib.request, "urlopen", urlopen)
    CONTENT[:] = [b"program"]
    return seen


CONTENT: list[bytes] = [b""]


def fetch(settings: Settings, target: Path, **options: Any) -> Path:
    return tools.download(settings, "kubectl", target=target, phase=Phase("x"), facts=FACTS, environ={}, **options)


def test_a_tool_with_the_right_sum_is_kept_executable(tmp_path: Path, asked: list[str]) -> None:
    target = fetch(pinned(tmp_path, b"program"), tmp_path / "bin" / "kubectl")
    assert asked == ["https://files.example/v1.36.3/linux/amd64/kubectl"]
    assert target.read_bytes() == b"program"
    assert target.stat().st_mode & 0o111


def test_a_tool_with_another_sum_is_refused_and_nothing_of_it_is_kept(tmp_path: Path, asked: list[str]) -> None:
    with pytest.raises(PinMismatch, match=r"has the sum .*Install kubectl 1\.36\.3 yourself"):
        fetch(pinned(tmp_path, b"another program"), tmp_path / "bin" / "kubectl")
    assert list((tmp_path / "bin").iterdir()) == []


def test_two_downloads_of_the_same_at_once_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, target = pinned(tmp_path, b"program"), tmp_path / "bin" / "kubectl"
    others = [lambda: fetch(settings, target)]

    class Answer(io.BytesIO):
        headers: ClassVar[dict[str, str]] = {}

        def read(self, size: int | None = -1) -> bytes:
            if others:
                others.pop()()  # all of another, while this one is under way
            return super().read(size)

    monkeypatch.setattr(tools.urllib.request, "urlopen", lambda *_, **__: Answer(b"program"))  # pyright: ignore[reportUnknownLambdaType]
    assert fetch(settings, target).read_bytes() == b"program"
    assert list((tmp_path / "bin").iterdir()) == [target]


def test_a_download_ends_when_everything_is_called_off_and_nothing_of_it_is_kept(tmp_path: Path, asked: list[str]) -> None:
    waiting.call_off()
    try:
        with pytest.raises(WaitFailed, match="interrupted"):
            fetch(pinned(tmp_path, b"program"), tmp_path / "bin" / "kubectl")
    finally:
        waiting.resume()
    assert list((tmp_path / "bin").iterdir()) == []


def test_one_file_is_taken_out_of_an_archive(tmp_path: Path, asked: list[str]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("linux-amd64/helm")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"helm"))
    CONTENT[:] = [buffer.getvalue()]
    settings = pinned(tmp_path, CONTENT[0], member="{system}-{architecture}/helm")
    assert fetch(settings, tmp_path / "helm").read_bytes() == b"helm"


def test_an_archive_without_that_file_is_refused(tmp_path: Path, asked: list[str]) -> None:
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w:gz").close()
    CONTENT[:] = [buffer.getvalue()]
    with pytest.raises(PinMismatch, match="holds no file helm"):
        fetch(pinned(tmp_path, CONTENT[0], member="helm"), tmp_path / "helm")


def test_a_machine_for_which_no_sum_is_known_gets_nothing_unverified(tmp_path: Path, asked: list[str]) -> None:
    settings = pinned(tmp_path, b"program")
    with pytest.raises(SlipwayError, match=r"no sum of kubectl 1\.36\.3 is known for linux/riscv64"):
        tools.download(settings, "kubectl", target=tmp_path / "x", phase=Phase("x"), facts=replace(FACTS, architecture="riscv64"))
    assert asked == []


def test_a_mirror_is_asked_with_the_upstream_host_in_the_path(tmp_path: Path, asked: list[str]) -> None:
    settings = pinned(tmp_path, b"program")
    environ = {tools.MIRROR: "http://127.0.0.1:9/mirror/"}
    tools.download(settings, "kubectl", target=tmp_path / "x", phase=Phase("x"), facts=FACTS, environ=environ)
    assert asked == ["http://127.0.0.1:9/mirror/files.example/v1.36.3/linux/amd64/kubectl"]


def test_a_mirror_that_is_no_url_is_refused(tmp_path: Path, asked: list[str]) -> None:
    with pytest.raises(SlipwayError, match="no address to download from"):
        tools.download(
            pinned(tmp_path, b"program"),
            "kubectl",
            target=tmp_path / "x",
            phase=Phase("x"),
            facts=FACTS,
            environ={tools.MIRROR: "file:///etc"},
        )


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:port", "http://127.0.0.1 :9"])
def test_a_mirror_whose_host_can_be_none_is_refused(tmp_path: Path, mirror: str) -> None:
    settings, environ = pinned(tmp_path, b"program"), {tools.MIRROR: mirror}
    with pytest.raises(SlipwayError, match=f"no address to download from .*Check {tools.MIRROR}"):
        tools.download(settings, "kubectl", target=tmp_path / "x", phase=Phase("x"), facts=FACTS, environ=environ)


@pytest.mark.parametrize(
    ("name", "wanted", "says", "right"),
    [
        ("kind", "0.32.0", "kind v0.32.0 go1.26.8 linux/amd64", True),
        ("kind", "0.32.0", "kind v0.31.0 go1.26.8 linux/amd64", False),
        ("kubectl", "1.36.3", "Client Version: v1.36.1\nKustomize Version: v5.8.1", True),
        ("kubectl", "1.36.3", "Client Version: v1.35.3", False),
        ("helm", "3.19.5", "v3.19.5", True),
        ("helm", "3.19.5", "v3.19.4", False),
        ("helm", "3.19.5", "", False),
    ],
)
def test_only_the_right_version_on_the_path_is_used(
    monkeypatch: pytest.MonkeyPatch, name: str, wanted: str, says: str, right: bool
) -> None:
    monkeypatch.setattr(shell, "which", lambda _: [Path("/bin/tool")])
    monkeypatch.setattr(shell, "run", lambda *_, **__: shell.Result(0, says, ""))
    assert tools.find_on_path(name, wanted) == (Path("/bin/tool") if right else None)


def test_a_program_that_does_not_start_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[Path | str], **_: Any) -> shell.Result:
        if argv[0] == Path("/a/kind"):
            raise PermissionError
        return shell.Result(0, "kind v0.32.0", "")

    monkeypatch.setattr(shell, "which", lambda _: [Path("/a/kind"), Path("/b/kind")])
    monkeypatch.setattr(shell, "run", run)
    assert tools.find_on_path("kind", "0.32.0") == Path("/b/kind")


@pytest.mark.parametrize("name", ["kind", "kubectl", "helm"])
def test_every_tool_is_pinned_by_sum_on_every_usual_machine(name: str) -> None:
    settings = load(environ={"SLIPWAY_HOME": "/nowhere"})
    assert settings.root == ROOT
    sums = settings.versions["tools"][name]["sha256"]
    assert set(sums) == {f"{system}/{kind}" for system in ("linux", "darwin") for kind in ("amd64", "arm64")}
    assert all(len(value) == 64 for value in sums.values())
    assert tools.version(settings, name)[0].isdigit()
