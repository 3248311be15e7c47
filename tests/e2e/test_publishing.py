"""Images for a registry of the user's own: one that wants a password and speaks TLS, as any but ours does."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from slipway import engine as engines
from slipway import images, names, oci, ports, publishing, sbom, shell, target
from slipway.engine import Engine
from slipway.errors import UsageError
from slipway.progress import Progress
from slipway.settings import ROOT, Settings, load
from slipway.waiting import Failed, Pending, Ready, wait_for
from tests.e2e.mirror import registry_image, tar

USER, PASSWORD = "publisher", "not a secret"
# Of that user and that password, as `htpasswd -B` writes it.
HTPASSWD = "publisher:$2b$05$abcdefghijklmnopqrstuuiitcSTbmWtinjxTMhPy6Z4ocreVFuRu\n"

CANDIDATE, NEXT = "7.1.0-rc.1", "7.1.0-rc.2"
CONFIG = {
    "version": "0.1",
    "storage": {"filesystem": {"rootdirectory": "/registry"}},
    "http": {"addr": ":5000", "tls": {"certificate": "/tls.crt", "key": "/tls.key"}},
    "auth": {"htpasswd": {"realm": "slipway", "path": "/htpasswd"}},
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engines.connect(load())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine that no system trusts; its key lies beside it."""
    folder = tmp_path_factory.mktemp("tls")
    name = ["-subj", "/CN=slipway test", "-addext", f"subjectAltName=IP:{ports.LOOPBACK}"]
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", folder / "tls.key", "-out", folder / "tls.crt"]
    shell.run(["openssl", "req", "-x509", "-days", "2", *new, *name, *files], hint="Install openssl.")
    return folder / "tls.crt"


@pytest.fixture(scope="module")
def host(engine: Engine, certificate: Path) -> Iterator[str]:
    """A registry that lets in one user, by TLS; by its name in image references."""
    port = ports.free_port(5200)
    container = engine.client.containers.create(
        registry_image(engine),
        name=f"slipway-test-publish-{secrets.token_hex(3)}",
        entrypoint=["registry"],
        command=["serve", "/registry.yml"],
        environment={"OTEL_TRACES_EXPORTER": "none"},
        labels={names.OWNER_LABEL: names.OWNER},
        ports={"5000/tcp": (ports.LOOPBACK, port)},
    )
    files = {
        "registry.yml": yaml.safe_dump(CONFIG).encode(),
        "htpasswd": HTPASSWD.encode(),
        "tls.crt": certificate.read_bytes(),
        "tls.key": certificate.with_suffix(".key").read_bytes(),
    }
    container.put_archive("/", tar(files))
    container.start()

    def up() -> Ready[None] | Pending | Failed:
        container.reload()
        if container.status == "exited":
            return Failed(container.logs().decode())
        try:
            oci.digest(f"{ports.LOOPBACK}:{port}/nothing:1")
        except oci.RegistryError as error:
            return Ready(None) if "401" in str(error) else Pending(str(error))
        return Failed("it lets anybody in")

    name = f"{ports.LOOPBACK}:{port}"
    oci.sign_in(name, lambda: None, secure=True, certificates=[certificate])
    try:
        wait_for("the registry", up, timeout=30)
        yield name
    finally:
        container.remove(force=True, v=True)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A checkout whose last commit stays the last one while these tests run."""
    at = tmp_path_factory.mktemp("checkout")
    shell.run(["git", "clone", "--quiet", ROOT, at])
    return replace(load(), root=at)


@pytest.fixture
def environ(host: str, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """What a user has set who ran `docker login` before."""
    entry = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: entry}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return {target.REGISTRY: f"https://{host}", target.PREFIX: "team/shop", images.CA_BUNDLE: str(certificate)}


def publish(settings: Settings, version: str, environ: Mapping[str, str]) -> publishing.Published:
    return publishing.publish(settings, publishing.Asked(version=version), progress=Progress(), environ=environ)


def test_what_is_published_is_promoted_by_a_tag_and_no_version_is_used_twice(
    settings: Settings, host: str, environ: Mapping[str, str]
) -> None:
    first = publish(settings, CANDIDATE, environ)
    assert [one.reference for one in first.images] == [f"{host}/team/shop/{name}:{CANDIDATE}" for name in settings.services]
    assert all(one.new for one in first.images)
    for one in first.images:
        repository = one.reference.rpartition(":")[0]
        assert oci.digest(one.reference) == one.digest
        assert json.loads(images.bill(f"{repository}@{one.digest}"))["bomFormat"] == "CycloneDX"
        assert oci.referrers(f"{repository}@{one.digest}", sbom.MEDIA_TYPE)
    # Again is not new, and not another image.
    again = publish(settings, CANDIDATE, environ)
    assert [(one.digest, one.new) for one in again.images] == [(one.digest, False) for one in first.images]

    second = publish(settings, NEXT, environ)
    made = publishing.promote(settings, "v7.1.0", registry="", progress=Progress(), environ=environ)
    assert made.origin == NEXT and made.version == "7.1.0"
    assert [(one.reference, one.digest) for one in made.images] == [
        (one.reference.replace(NEXT, "7.1.0"), one.digest) for one in second.images
    ]
    # Promoting once more is a no-op; another candidate cannot become what prod has.
    assert not any(
        one.new for one in publishing.promote(settings, NEXT, registry="", progress=Progress(), environ=environ).images
    )
    with pytest.raises(UsageError, match=r"7\.1\.0 is another image already"):
        publishing.promote(settings, CANDIDATE, registry="", progress=Progress(), environ=environ)
    with pytest.raises(UsageError, match=r"7\.1\.0 is another image already"):
        publish(settings, "7.1.0", environ)


def test_nobody_who_did_not_log_in_gets_anything(
    environ: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(empty))
    with pytest.raises(oci.RegistryError, match=r"401.*docker login 127\.0\.0\.1"):
        publishing.promote(load(), CANDIDATE, registry="", progress=Progress(), environ=environ)


def test_a_registry_with_a_certificate_that_nobody_vouches_for_gets_no_password(environ: Mapping[str, str]) -> None:
    trusting = {name: value for name, value in environ.items() if name != images.CA_BUNDLE}
    with pytest.raises(oci.RegistryError, match="certificate"):
        publishing.promote(load(), CANDIDATE, registry="", progress=Progress(), environ=trusting)
