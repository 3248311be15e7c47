"""The images of the services, as the registry has them: reproducible, bare, and with a bill of materials."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from slipway import engine as engines
from slipway import images, oci, recipes
from slipway.engine import Engine
from slipway.images import Built
from slipway.progress import Phase
from slipway.registry import Registry
from slipway.settings import ROOT, load
from tests.e2e.conftest import Instance
from tests.e2e.mirror import mirror, registry_image

SERVICES = load().services
COMMIT = "c0ffee" + "0" * 34

# What builds, installs or interprets; nothing of it has a place where a service runs.
FORBIDDEN = re.compile(
    r"apt(-.*)?|dpkg(-.*)?|pip[0-9.]*|uv|gcc(-.*)?|cc|c\+\+|g\+\+(-.*)?|cpp(-.*)?|make|ld(\.(bfd|gold|lld))?|as|perl.*|(ba|da|z)?sh|busybox|curl|wget"
)


@dataclass(frozen=True)
class Workshop:
    """What the tests build with: a registry of their own that knows nothing, and the images below the services."""

    engine: Engine
    registry: Registry
    base: str
    build_base: str

    def build(self, service: str, context: Path, *, commit: str = COMMIT, cached: bool = True) -> Built:
        """A service's image, built as `up` builds it."""
        return images.build_service(
            load(),
            self.engine,
            self.registry,
            service=service,
            context=context,
            base=self.base,
            build_base=self.build_base,
            version="1.2.3",
            commit=commit,
            phase=Phase(service),
            cached=cached,
        )


@dataclass(frozen=True)
class Entry:
    """A file as an image has it."""

    kind: bytes
    mode: int
    owner: tuple[int, int]
    link: str
    content: str


def bases(engine: Engine) -> tuple[str, str]:
    """The images below the services, by pull or by build; a test that finds none fails, and says what makes them."""
    for source in ("build", "pull"):
        plan = recipes.plan(load(), engine, source)
        names = plan.image("python"), plan.image("python-build")
        if all(map(engine.has_image, names)):
            return names
    pytest.fail("the engine holds no image `python`; `./invoke up` makes it", pytrace=False)


@contextmanager
def workshop() -> Generator[Workshop]:
    """A registry of its own, with nothing in it."""
    engine = engines.connect(load())
    with mirror(engine) as running:
        port = int(running.host.partition(":")[2])
        yield Workshop(engine, Registry(port, "", "running", registry_image(engine)), *bases(engine))


@pytest.fixture(scope="module")
def shop() -> Generator[Workshop]:
    with workshop() as made:
        yield made


def checkout(source: Path, folder: Path, *, when: int) -> Path:
    """The services in a folder of their own, their files as old as another checkout might make them."""
    made = folder / "services"
    shutil.copytree(source, made, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", "*.pyc"))
    for path in made.rglob("*"):
        os.utime(path, (when, when))
    return made


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(ROOT / "services", tmp_path_factory.mktemp("one"), when=1_000_000_000)


@pytest.fixture(scope="module", params=SERVICES)
def built(request: pytest.FixtureRequest, shop: Workshop, context: Path) -> Built:
    """Every service in turn, built without anything that the builder remembers."""
    return shop.build(request.param, context, cached=False)


def files(shop: Workshop, image: str) -> Mapping[str, Entry]:
    """Every file of an image by path; what the engine itself puts into a container is left out."""
    api = shop.engine.client.api
    container = api.create_container(image, command=["-"])["Id"]
    try:
        with tempfile.TemporaryFile() as saved:
            saved.writelines(api.export(container))
            saved.seek(0)
            with tarfile.open(fileobj=saved) as archive:
                return {member.name.rstrip("/"): entry(archive, member) for member in archive if not ENGINES.match(member.name)}
    finally:
        api.remove_container(container)


ENGINES = re.compile(r"(dev|proc|sys)(/|$)|\.dockerenv$|etc/(hostname|hosts|resolv\.conf|mtab)$")


def entry(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    content = archive.extractfile(member) if member.isreg() or member.islnk() else None
    digest = hashlib.file_digest(content, "sha256").hexdigest() if content else ""  # type: ignore[arg-type]
    kind = tarfile.REGTYPE if member.islnk() else member.type
    link = member.linkname if member.issym() else ""
    return Entry(kind, member.mode, (member.uid, member.gid), link, digest)


def name(built: Built) -> str:
    """The service."""
    return built.repository.rpartition("/")[2]


def layers(built: Built) -> list[str]:
    """The digest of every layer, the lowest first."""
    manifest = oci.manifest(built.reference)
    assert manifest
    return [layer["digest"] for layer in manifest["layers"]]


def configuration(built: Built) -> Any:
    """The configuration of an image, as the registry has it."""
    manifest, place = oci.manifest(built.reference), oci.split(built.reference)
    assert manifest
    return json.loads(oci.blob(place.host, place.repository, manifest["config"]["digest"]) or b"")


@contextmanager
def pulled(shop: Workshop, built: Built) -> Generator[str]:
    """The engine's name of an image, fetched from the registry as a node does it."""
    shop.engine.pull(built.reference)
    try:
        yield built.reference
    finally:
        shop.engine.untag(built.reference)


@pytest.fixture(scope="module")
def inside(built: Built, shop: Workshop) -> Mapping[str, Entry]:
    """Every file of the image, as a node gets it."""
    with pulled(shop, built) as image:
        return files(shop, image)


def test_the_same_commit_built_twice_from_nothing_has_the_same_digest_and_the_same_bill(
    built: Built, tmp_path: Path, context: Path
) -> None:
    elsewhere = checkout(context, tmp_path, when=1_500_000_000)
    with workshop() as other:
        again = other.build(name(built), elsewhere, cached=False)
        assert (again.digest, again.key) == (built.digest, built.key)
        assert images.bill(again.reference) == images.bill(built.reference)


def test_nothing_in_it_builds_installs_or_interprets_shell(inside: Mapping[str, Entry]) -> None:
    named = [path for path in inside if FORBIDDEN.fullmatch(PurePosixPath(path).name)]
    assert [path for path in named if inside[path].kind != tarfile.DIRTYPE] == []
    assert not [path for path in inside if re.search(r"/(pip|ensurepip|setuptools)/|\.whl$", path)]
    assert "usr/bin/python3" in inside or "usr/local/bin/python3" in inside


def test_it_runs_as_nobody_in_particular_and_no_file_gives_rights_or_takes_writes(
    built: Built, inside: Mapping[str, Entry]
) -> None:
    assert configuration(built)["config"]["User"] == "10001:10001"
    solid = {path: file for path, file in inside.items() if file.kind != tarfile.SYMTYPE}
    assert [path for path, file in solid.items() if file.mode & 0o6000] == []
    assert [path for path, file in solid.items() if file.mode & 0o022] == ["tmp"]
    assert {file.owner for file in inside.values()} == {(0, 0)}


def test_python_finds_all_of_its_own_library_in_it(built: Built, shop: Workshop) -> None:
    script = (
        "import bz2, ctypes, curses, decimal, hashlib, lzma, readline, socket, sqlite3, ssl, uuid, zlib, zoneinfo, mimetypes\n"
        "ctypes.CDLL('libstdc++.so.6')\n"
        "assert len(ssl.create_default_context().get_ca_certs()) > 50\n"
        "assert zoneinfo.ZoneInfo('Europe/Berlin') and socket.getservbyname('https') == 443\n"
        "assert mimetypes.guess_type('a.json')[0] == 'application/json'\n"
    )
    options = {"entrypoint": ["/venv/bin/python", "-c", script], "network_mode": "none", "read_only": True, "remove": True}
    with pulled(shop, built) as image:
        shop.engine.client.containers.run(image, **options)  # type: ignore[call-overload]


def test_it_stands_on_the_layers_that_nodes_have_unpacked(built: Built, shop: Workshop) -> None:
    base: list[str] = shop.engine.client.api.inspect_image(shop.base)["RootFS"]["Layers"]
    assert configuration(built)["rootfs"]["diff_ids"][: len(base)] == base
    # A layer that is not compressed has one name for both purposes, whoever made it.
    assert configuration(built)["rootfs"]["diff_ids"] == layers(built)


def test_it_holds_what_its_recipe_says_and_nothing_else(
    built: Built, shop: Workshop, context: Path, inside: Mapping[str, Entry]
) -> None:
    service = name(built)
    tag = f"slipway/service-{service}:test"
    arguments = {"BASE": shop.base, "BUILD_BASE": shop.build_base, "SERVICE": service}
    images.build(
        shop.engine, tag=tag, dockerfile=context / "Dockerfile", context=context, phase=Phase(service), arguments=arguments
    )
    try:
        assert inside == files(shop, tag)
        said, kept = shop.engine.client.api.inspect_image(tag)["Config"], configuration(built)["config"]
        for key in ("Entrypoint", "User", "WorkingDir", "ExposedPorts"):
            assert kept[key] == said[key]
        assert set(said["Env"]) <= set(kept["Env"])
    finally:
        shop.engine.untag(tag)


def test_another_commit_of_the_same_files_is_built_by_nobody(
    built: Built, shop: Workshop, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "build", lambda *_, **__: pytest.fail("something was built"))
    other = shop.build(name(built), context, commit="d" * 40)
    assert other.digest != built.digest
    assert layers(other) == layers(built)


def test_a_changed_line_makes_one_new_layer(built: Built, shop: Workshop, context: Path, tmp_path: Path) -> None:
    service = name(built)
    edited = checkout(context, tmp_path, when=1_000_000_000)
    with (edited / service / "main.py").open("a") as file:
        file.write("\n# changed\n")
    changed = shop.build(service, edited)
    assert layers(changed)[:-1] == layers(built)[:-1]
    assert layers(changed)[-1] != layers(built)[-1]


def test_its_bill_names_every_package_and_is_valid(built: Built, shop: Workshop, context: Path) -> None:
    text = images.bill(built.reference)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    service = name(built)
    named = {one["name"]: one for one in bill["components"]}
    lock = (context / service / "requirements.txt").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)==\S+ \\$", lock, re.MULTILINE))  # what has a condition may be left out
    assert locked and locked <= set(named)
    assert {"libc6", "libssl3t64"} <= set(named)
    assert bill["metadata"]["component"]["purl"] == f"pkg:oci/{service}@{built.digest}"
    assert named[service]["pedigree"]["commits"] == [{"uid": COMMIT}]


def test_services_built_at_the_same_time_do_not_get_in_each_others_way(shop: Workshop, context: Path) -> None:
    with workshop() as other, ThreadPoolExecutor(len(SERVICES)) as pool:
        side_by_side = list(pool.map(lambda service: other.build(service, context).digest, SERVICES))
    assert side_by_side == [shop.build(service, context).digest for service in SERVICES]


def test_the_bill_of_what_runs_is_told_by_a_command(instance: Instance) -> None:
    running = next(
        row
        for row in instance.json("status", check=False)["services"]
        if (row["environment"], row["service"]) == ("dev", "catalog")
    )
    bill = json.loads(instance.invoke("images.sbom", "catalog", "--env", "dev").stdout)
    assert bill["metadata"]["component"]["purl"].endswith(running["digest"])
