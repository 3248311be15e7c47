from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import images, oci, parts, registry, shell
from slipway.engine import Engine
from slipway.errors import CommandFailed, SlipwayError, UsageError
from slipway.progress import Phase
from slipway.registry import Registry
from slipway.settings import ROOT, Settings
from tests.unit.fake_registry import FakeRegistry

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

    def container(self, name: str) -> Any:
        del name
        return None

    def file(self, container: str, path: str) -> bytes | None:
        del container
        status = b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.41-12\n"
        return {"/var/lib/dpkg/status": status, "/usr/lib/os-release": b"ID=debian\nVERSION_ID=13\n"}[path]


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

    def run(
        self, argv: list[Any], *, env: dict[str, str], on_line: Callable[[str], None], hint: str = "", **_: Any
    ) -> shell.Result:
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
            raise CommandFailed(words, 1, "no", hint=hint)
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


BASE_LAYER = b"the base"
VENV, APP = "/venv", "/app"


class Api:
    """An engine's images: a base of one layer, and on it what the last stage of the recipe copied."""

    def __init__(self) -> None:
        self.folders = {VENV: tar({"venv/pyvenv.cfg": b"version = 3.13.5\n"}), APP: tar({"app/main.py": b"1"})}
        self.history_ = ["USER 10001:10001", "WORKDIR /app", "COPY /out/app /app # buildkit", "COPY /out/venv /venv # buildkit"]
        self.taken: list[str] = []
        self.containers = 0

    def inspect_image(self, name: str) -> Any:
        upper = [] if "python" in name else [digest(self.folders[VENV]), digest(self.folders[APP]), digest(b"")]
        config = {
            "User": "10001:10001",
            "Env": ["PATH=/venv/bin", "SLIPWAY_VERSION=unknown"],
            "Hostname": "builder",
            "Image": "x",
        }
        layers = [digest(BASE_LAYER), *upper]
        return {
            "Id": digest(name.encode()),
            "RootFS": {"Layers": layers},
            "Config": config,
            "Architecture": "amd64",
            "Os": "linux",
        }

    def history(self, name: str) -> Any:
        below = ["CMD [python3]", "COPY /out/ /"]
        return [{"CreatedBy": line} for line in (below if "python" in name else [*self.history_, *below])]

    def create_container(self, *_: Any, **__: Any) -> Any:
        self.containers += 1
        return {"Id": "c1"}

    def remove_container(self, *_: Any, **__: Any) -> None:
        self.containers -= 1

    def get_archive(self, _: str, path: str) -> Any:
        self.taken.append(path)
        return [self.folders[path]], {}

    def get_image(self, name: str) -> Any:
        self.taken.append(name)
        manifest = json.dumps([{"Layers": ["1/layer.tar"]}]).encode()
        return [tar({"1/layer.tar": BASE_LAYER, "manifest.json": manifest})]


def tar(files: dict[str, bytes], *, mtime: int = 0, uid: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid = len(content), mtime, uid
            made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Shop:
    """Two services, an engine that builds them and a registry that gets them."""

    def __init__(self, folder: Path, held: FakeRegistry) -> None:
        self.registry, self.api, self.engine = held, Api(), FakeEngine()
        self.engine.client = SimpleNamespace(api=self.api)  # type: ignore[assignment]
        self.context = folder / "services"
        for service in ("cart", "catalog", "chassis"):
            (self.context / service / "test").mkdir(parents=True)
            (self.context / service / "main.py").write_text(service)
            (self.context / service / "requirements.txt").write_text("")
        (self.context / "Dockerfile").write_text("FROM ${BASE}")
        (self.context / ".dockerignore").write_text("# a comment\n**/test\n**/*.md\n")
        self.settings = Settings(folder, folder / "home", "test")

    def build(self, *, commit: str = "c0ffee", base: str = "slipway/python:1", version: str = "0.1.0") -> images.Built:
        return images.build_service(
            self.settings,
            self.engine,
            BESIDE,
            service="catalog",
            context=self.context,
            base=base,
            build_base="slipway/python-build:1",
            version=version,
            commit=commit,
            phase=Phase("x"),
        )

    def key(self, **changes: str) -> str:
        return images.key(self.context, "catalog", **{"base": "a", "build_base": "b", **changes})

    def config(self, built: images.Built) -> Any:
        manifest = oci.manifest(built.reference)
        assert manifest
        return json.loads(oci.blob(BESIDE.name, "services/test/catalog", manifest["config"]["digest"]) or b"")


@pytest.fixture
def shop(builds: Builds, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shop:
    held = FakeRegistry(monkeypatch)
    monkeypatch.setattr(registry, "digest", oci.digest)
    del builds
    return Shop(tmp_path, held)


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
    assert "--build-arg=https_proxy" in builds.words[0]
    assert builds.env["https_proxy"] == "http://proxy:3128"
    assert not any("UNRELATED" in word for word in builds.words[0])


def test_the_password_of_a_proxy_does_not_stand_in_the_command_line(builds: Builds) -> None:
    build(HTTPS_PROXY="http://me:S3cret@proxy:3128")
    assert "--build-arg=HTTPS_PROXY" in builds.words[0]
    assert builds.env["HTTPS_PROXY"] == "http://me:S3cret@proxy:3128"
    assert "S3cret" not in " ".join(builds.words[0])


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


def test_a_service_is_known_by_the_digest_that_follows_from_what_it_is(shop: Shop, builds: Builds) -> None:
    built = shop.build()
    assert built.reference == f"localhost:5001/services/test/catalog@{built.digest}"
    assert oci.digest(f"localhost:5001/services/test/catalog:0.1.0-c0ffee-{built.key[:8]}") == built.digest
    assert "--build-arg=SERVICE=catalog" in builds.words[0]
    assert "--build-arg=BASE=slipway/python:1" in builds.words[0]


def test_an_image_says_the_commit_that_it_was_built_from(shop: Shop) -> None:
    first, second = shop.build(), shop.build(commit="beef")
    assert (images.revision(first.reference), images.revision(second.reference)) == ("c0ffee", "beef")
    assert first.digest != second.digest
    assert images.revision(f"{first.repository}@sha256:{'0' * 64}") is None


def test_a_recipe_of_its_own_is_built_without_what_this_machine_knows(
    shop: Shop, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:token@index.example/simple")
    monkeypatch.setenv("https_proxy", "http://user:token@proxy:3128")
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    own = shop.context / "Dockerfile"
    own.write_text("FROM ${BASE}\nRUN --mount=type=secret,id=pip cat /run/secrets/pip")
    shop.build()
    assert "pip" not in builds.secrets
    assert "token" not in " ".join(builds.words[0])
    assert "--build-arg=http_proxy" in builds.words[0]
    assert builds.env["http_proxy"] == "http://proxy:3128"
    assert not any("https_proxy" in word for word in builds.words[0])
    cache = f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={hashlib.sha256(own.read_bytes()).hexdigest()}"
    assert cache in builds.words[0], "what it leaves in a cache is read by no other build"
    own.write_bytes((ROOT / "services" / "Dockerfile").read_bytes())
    shop.build()
    assert "token" in builds.secrets["pip"]
    assert cache.partition("=")[2].partition("=")[0] not in " ".join(builds.words[1])


def test_a_recipe_of_its_own_that_fails_is_told_what_it_did_not_get(shop: Shop, builds: Builds) -> None:
    builds.fails = True
    with pytest.raises(CommandFailed, match=r"services/Dockerfile is not the one of the installed Slipway.*\./invoke up"):
        shop.build()


def test_a_lock_by_which_a_package_could_build_itself_is_built_with_no_recipe(shop: Shop, builds: Builds) -> None:
    (shop.context / "catalog" / "requirements.txt").write_text("--no-binary :all:\n")
    with pytest.raises(UsageError, match=r"services/catalog/requirements\.txt, line 1"):
        shop.build()
    assert builds.words == []


def test_the_digest_owes_nothing_to_the_builder_the_registry_or_the_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shop.build()
    second_registry = FakeRegistry(monkeypatch)
    shop.api.folders[APP] = tar({"app/main.py": b"1"}, mtime=5, uid=1000)
    assert shop.build().digest == first.digest
    assert second_registry.sent
    config = shop.config(first)
    assert config["created"] == "2026-01-01T00:00:00Z"
    assert {entry["created"] for entry in config["history"]} == {"2026-01-01T00:00:00Z"}
    assert not {"Hostname", "Image"} & set(config["config"])


def test_an_image_says_its_version_its_commit_and_what_it_was_made_of(shop: Shop) -> None:
    built = shop.build()
    config = shop.config(built)["config"]
    assert config["Env"] == ["PATH=/venv/bin", "SLIPWAY_VERSION=0.1.0", "SLIPWAY_COMMIT=c0ffee"]
    assert config["User"] == "10001:10001"
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert labels["org.opencontainers.image.revision"] == "c0ffee"
    assert labels["slipway.dev/key"] == built.key


def test_the_base_keeps_its_layers_and_each_folder_is_one_more(shop: Shop) -> None:
    manifest = oci.manifest(shop.build().reference)
    assert manifest
    layers = [layer["digest"] for layer in manifest["layers"]]
    assert layers[0] == digest(BASE_LAYER)
    assert len(layers) == 3  # a WORKDIR adds nothing
    assert shop.api.containers == 0


def test_a_service_that_the_registry_has_is_not_built_again(shop: Shop, builds: Builds) -> None:
    shop.build()
    shop.build()
    assert len(builds.words) == 1


def test_another_commit_or_version_of_the_same_files_is_another_image_of_the_same_layers(shop: Shop, builds: Builds) -> None:
    all_ = [shop.build(), shop.build(commit="abcdef"), shop.build(version="0.2.0")]
    assert len(builds.words) == 1
    assert len({built.digest for built in all_}) == 3
    layers = [(oci.manifest(built.reference) or {})["layers"] for built in all_]
    assert layers[0] == layers[1] == layers[2]


def test_a_changed_line_takes_one_layer_out_of_the_engine_and_sends_no_other(shop: Shop) -> None:
    shop.build()
    assert shop.api.taken == ["slipway/python:1", VENV, APP]
    shop.api.taken.clear()
    shop.registry.sent.clear()
    (shop.context / "catalog" / "main.py").write_text("changed")
    shop.api.folders[APP] = tar({"app/main.py": b"changed"})
    shop.build()
    assert shop.api.taken == [APP]
    assert digest(BASE_LAYER) not in shop.registry.sent


def test_the_engine_keeps_no_name_of_a_services_image(shop: Shop) -> None:
    shop.build()
    [event] = shop.engine.events
    assert event.startswith("untag slipway/service-catalog:")


@pytest.mark.parametrize("line", ["RUN chmod 777 /app", "COPY /out/ /", "COPY --from=x /more /app # buildkit"])
def test_a_recipe_whose_last_stage_does_more_than_copy_folders_is_refused(shop: Shop, line: str) -> None:
    shop.api.history_[1] = line
    with pytest.raises(SlipwayError, match="may only COPY whole folders"):
        shop.build()
    assert shop.api.containers == 0


def test_an_image_on_another_base_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    look = shop.api.inspect_image
    other: Any = {"RootFS": {"Layers": ["sha256:other"]}, "Id": "sha256:2", "Config": {}}
    monkeypatch.setattr(shop.api, "inspect_image", lambda name: other if "python" in name else look(name))
    with pytest.raises(SlipwayError, match="does not stand on slipway/python:1"):
        shop.build()


def test_a_bill_of_materials_is_kept_with_each_image(shop: Shop) -> None:
    built = shop.build()
    bill = json.loads(images.bill(built.reference))
    assert {one["name"] for one in bill["components"]} >= {"catalog", "libc6"}
    assert ("services/test/catalog", f"sha256-{built.digest[7:]}") in shop.registry.manifests
    with pytest.raises(UsageError, match="has no bill of materials"):
        images.bill(f"localhost:5001/catalog@{DIGEST}")


def test_an_image_that_an_ended_run_left_without_its_bill_gets_it_by_the_next(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as ended:
        ended.setattr(parts, "attach", interrupt)
        with pytest.raises(KeyboardInterrupt):
            shop.build()
    assert images.bill(shop.build().reference)


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_key_changes_with_what_the_image_is_made_of(shop: Shop) -> None:
    keys = [shop.key(), shop.key(base="other"), shop.key(build_base="other")]
    for name in ("catalog/main.py", "catalog/requirements.txt", "chassis/main.py", "Dockerfile"):
        (shop.context / name).write_text(f"changed {name}")
        keys.append(shop.key())
    (shop.context / "catalog" / "main.py").rename(shop.context / "chassis" / "other.py")
    keys.append(shop.key())
    assert len(set(keys)) == len(keys)


def test_what_the_image_does_not_hold_does_not_change_the_key(shop: Shop) -> None:
    before = shop.key()
    (shop.context / "catalog" / "README.md").write_text("more")
    (shop.context / "catalog" / "test" / "test_it.py").write_text("more")
    (shop.context / "cart" / "main.py").write_text("another service's code is no input")
    (shop.context / "requirements-of-nobody.txt").write_text("x")
    assert shop.key() == before


def test_a_build_from_nothing_uses_nothing_that_the_builder_remembers(builds: Builds) -> None:
    build()
    images.build(FakeEngine(), tag="x", dockerfile=Path("/x"), context=Path("/x"), phase=Phase("x"), cached=False)
    assert ["--no-cache" in words for words in builds.words] == [False, True]


def test_a_new_instance_counts_its_versions_from_the_start_whatever_one_of_its_name_left(shop: Shop) -> None:
    left = shop.build(commit="b" * 40, version="0.2.0")
    oci.alias(left.reference, "0.1.0")
    oci.alias(left.reference, "0.2.0")
    built = shop.build(commit="c" * 40)
    images.begin_versions(built, "0.1.0")
    assert oci.digest(f"{built.repository}:0.1.0") == built.digest
    assert oci.digest(f"{built.repository}:0.2.0") is None
    images.begin_versions(built, "0.1.0")
    assert oci.digest(built.reference) == built.digest
    assert images.bill(built.reference)


def test_an_image_that_an_instance_of_the_same_name_had_too_loses_the_names_that_it_got_there(shop: Shop) -> None:
    built = shop.build(commit="c" * 40)
    images.begin_versions(built, "0.1.0")
    oci.alias(built.reference, "0.2.0")
    images.begin_versions(built, "0.1.0")
    tags = [tag for place, tag in shop.registry.manifests if place == "services/test/catalog" and ":" not in tag]
    assert sorted(tags) == ["0.1.0", f"0.1.0-{'c' * 9}-{built.key[:8]}", f"sha256-{built.digest[7:]}"]
    assert oci.digest(f"{built.repository}:0.1.0") == built.digest
