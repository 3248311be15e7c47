from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway import images, registry, shell
from slipway.engine import Engine
from slipway.errors import CommandFailed, UsageError
from slipway.progress import Phase
from slipway.registry import Registry
from slipway.settings import Settings

DIGEST = f"sha256:{'1' * 64}"
BESIDE = Registry(5001, "slipway-registry", "running", "slipway/registry:1")


class FakeEngine(Engine):
    """Remembers the names it was given and what it pushed; its client is one that can build."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @property
    def build_cli(self) -> Any:  # type: ignore[override]
        return Path("/bin/docker"), {"DOCKER_BUILDKIT": "1"}

    def tag(self, source: str, target: str) -> None:
        self.events.append(f"tag {source} {target}")

    def push(self, reference: str) -> str:
        self.events.append(f"push {reference}")
        return DIGEST

    def untag(self, reference: str) -> None:
        self.events.append(f"untag {reference}")


class Builds:
    """Remembers the builds that were asked for, and what their secrets held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words: list[list[str]] = []
        self.env: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.held: dict[str, str] = {}
        self.fails = False
        monkeypatch.setattr(shell, "run", self.run)
        monkeypatch.setattr(registry, "digest", self.held.get)

    def run(self, argv: list[Any], *, env: dict[str, str], on_line: Callable[[str], None], **_: Any) -> shell.Result:
        words = [str(word) for word in argv]
        self.words.append(words)
        self.env = env
        for word in words:
            if word.startswith("--secret=id="):
                name, __, file = word.removeprefix("--secret=id=").partition(",src=")
                self.secrets[name] = Path(file).read_text()
        on_line("#1 [internal] load build definition")
        on_line("#7 [packages 2/5] RUN pip install")
        on_line("#7 0.3 some output")
        if self.fails:
            raise CommandFailed(words, 1, "no")
        return shell.Result(0, "", "")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Builds:
    return Builds(monkeypatch)


def build(phase: Phase | None = None, **environ: str) -> None:
    images.build(
        FakeEngine(),
        tag="slipway/x:1",
        dockerfile=Path("/x/Dockerfile"),
        context=Path("/x"),
        phase=phase or Phase("x"),
        arguments={"BASE": "slipway/debian:1"},
        environ={"HOME": "/nowhere", **environ},
    )


def services(folder: Path) -> Settings:
    for service in ("cart", "catalog"):
        (folder / "services" / service).mkdir(parents=True)
        (folder / "services" / service / "main.py").write_text(service)
    (folder / "services" / "Dockerfile").write_text("FROM ${BASE}")
    return Settings(folder, folder / "home", "test")


def service(where: Settings, *, commit: str = "c0ffee", base: str = "slipway/python:1") -> images.Built:
    return images.build_service(
        where,
        FakeEngine(),
        BESIDE,
        service="catalog",
        context=where.root / "services",
        base=base,
        build_base="slipway/python-build:1",
        version="0.1.0",
        commit=commit,
        phase=Phase("x"),
    )


def test_an_image_is_named_by_version_and_key() -> None:
    assert images.reference("argocd", "3.2.11", "0123456789abcdef") == "slipway/argocd:3.2.11-01234567"
    assert images.canonical(BESIDE, "slipway/argocd:3.2.11-01234567") == "localhost:5001/slipway/argocd:3.2.11-01234567"


def test_a_build_uses_buildkit_and_labels_what_it_makes(builds: Builds) -> None:
    build()
    assert builds.env["DOCKER_BUILDKIT"] == "1"
    assert "--label=slipway.dev/owner=slipway" in builds.words[0]
    assert "--build-arg=BASE=slipway/debian:1" in builds.words[0]


def test_the_phase_says_which_step_is_built(builds: Builds) -> None:
    phase = Phase("x")
    build(phase)
    assert builds.words
    assert phase.detail == "packages 2/5 RUN pip install"


def test_build_steps_get_the_certificates_that_the_setting_names(builds: Builds, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificates")
    build(SLIPWAY_CA_BUNDLE=str(tmp_path / "ca.pem"))
    assert builds.secrets["ca"] == "certificates"


def test_certificates_that_are_not_there_are_refused_before_anything_is_built(builds: Builds) -> None:
    with pytest.raises(UsageError, match=r"SLIPWAY_CA_BUNDLE names /nowhere/ca\.pem"):
        build(SLIPWAY_CA_BUNDLE="/nowhere/ca.pem")
    assert builds.words == []


def test_build_steps_get_the_package_index_but_no_path_of_the_host(builds: Builds) -> None:
    build(PIP_INDEX_URL="https://index.example/simple", PIP_DEFAULT_TIMEOUT="180", PIP_FIND_LINKS="/opt", PIP_CERT="/x.pem")
    assert "index-url = https://index.example/simple" in builds.secrets["pip"]
    assert "timeout = 180" in builds.secrets["pip"]
    assert "/opt" not in builds.secrets["pip"]
    assert "/x.pem" not in builds.secrets["pip"]


def test_a_file_of_pip_settings_counts_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://file.example\ntrusted-host = file.example\n")
    text = images.pip_settings({"HOME": "/nowhere", "PIP_CONFIG_FILE": str(file), "PIP_INDEX_URL": "https://env.example"})
    assert "index-url = https://env.example" in text
    assert "trusted-host = file.example" in text


def test_without_pip_settings_there_is_no_such_secret(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "pip_settings", lambda _: "")
    build()
    assert "pip" not in builds.secrets


def test_the_file_with_the_package_index_is_gone_after_a_failed_build(builds: Builds) -> None:
    builds.fails = True
    with pytest.raises(CommandFailed):
        build(PIP_INDEX_URL="https://user:password@index.example")
    [secret] = [word for word in builds.words[0] if word.startswith("--secret=id=pip")]
    assert not Path(secret.partition("src=")[2]).exists()
    assert not any("password" in word for word in builds.words[0])


def test_proxies_are_passed_on(builds: Builds) -> None:
    build(https_proxy="http://proxy:3128", UNRELATED="x")
    assert "--build-arg=https_proxy=http://proxy:3128" in builds.words[0]
    assert not any("UNRELATED" in word for word in builds.words[0])


def test_a_context_is_put_together_and_gone_afterwards(tmp_path: Path) -> None:
    readonly = tmp_path / "module"
    (readonly / "files").mkdir(parents=True)
    (readonly / "files" / "a").write_text("a")
    (readonly / "files" / "a").chmod(0o444)
    (readonly / "files").chmod(0o555)
    (tmp_path / "run").write_text("x")
    (tmp_path / "run").chmod(0o755)
    where = Settings(tmp_path, tmp_path / "home", "test")
    with images.staged(where, {"kind": readonly, "bin/run": tmp_path / "run"}) as context:
        assert (context / "kind" / "files" / "a").read_text() == "a"
        assert (context / "bin" / "run").stat().st_mode & 0o111
        assert (context / "kind" / "files" / "a").stat().st_ino != (readonly / "files" / "a").stat().st_ino
    assert not context.exists()
    (readonly / "files").chmod(0o755)


def test_what_the_registry_has_is_not_pushed_again(builds: Builds) -> None:
    engine = FakeEngine()
    builds.held["localhost:5001/slipway/x:1"] = DIGEST
    assert images.publish(engine, BESIDE, "slipway/x:1") == "localhost:5001/slipway/x:1"
    assert engine.events == []


def test_a_pushed_image_leaves_no_second_name_in_the_engine(builds: Builds) -> None:
    del builds
    engine = FakeEngine()
    images.publish(engine, BESIDE, "slipway/x:1")
    full = "localhost:5001/slipway/x:1"
    assert engine.events == [f"tag slipway/x:1 {full}", f"push {full}", f"untag {full}"]


def test_a_service_is_known_by_the_digest_that_the_registry_gave(builds: Builds, tmp_path: Path) -> None:
    built = service(services(tmp_path))
    assert built.reference == f"localhost:5001/catalog@{DIGEST}"
    assert "--build-arg=SERVICE=catalog" in builds.words[0]
    assert "--build-arg=BASE=slipway/python:1" in builds.words[0]
    assert "--build-arg=SLIPWAY_COMMIT=c0ffee" in builds.words[0]


def test_a_service_that_the_registry_has_is_not_built_again(builds: Builds, tmp_path: Path) -> None:
    where = services(tmp_path)
    service(where)
    [tag] = [builds.words[0][at + 1] for at, word in enumerate(builds.words[0]) if word == "--tag"]
    builds.held[tag] = DIGEST
    service(where)
    assert len(builds.words) == 1
    (where.root / "services" / "cart" / "main.py").write_text("another service's code is no input")
    service(where)
    assert len(builds.words) == 1


def test_other_code_another_commit_or_another_base_is_another_build(builds: Builds, tmp_path: Path) -> None:
    where = services(tmp_path)
    service(where)
    service(where, commit="abcdef")
    service(where, base="slipway/python:2")
    (where.root / "services" / "catalog" / "main.py").write_text("other")
    service(where)
    assert len({words[words.index("--tag") + 1] for words in builds.words}) == 4
