"""Images, built by BuildKit through the engine's own client, named by what went into them, pushed where they are needed."""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from slipway import archive, cache, foreign, names, oci, parts, registry, sbom, shell, versions
from slipway.debian import EPOCH
from slipway.engine import Engine, context_files
from slipway.errors import UsageError
from slipway.progress import Phase
from slipway.registry import Registry
from slipway.settings import Settings

CA_BUNDLE = "SLIPWAY_CA_BUNDLE"

# Seconds; packages are downloaded meanwhile.
BUILD_TIMEOUT = 1800.0

# Where Debian, Red Hat, Alpine and macOS keep the certificates that the machine trusts.
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")

_PROXIES = ("http_proxy", "https_proxy", "no_proxy")

# What a build in a container needs of the host's pip configuration; the rest names paths of the host.
_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "timeout", "retries")

_KEY_IN_TAG = 8
_COMMIT_IN_TAG = 9
_BUILD_TAG = re.compile(rf"-[0-9a-f]{{{_COMMIT_IN_TAG}}}-[0-9a-f]{{{_KEY_IN_TAG}}}$")

# What all services share, beside them.
SHARED = "chassis"

_CREATED = datetime.fromtimestamp(EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

KEY_LABEL = "slipway.dev/key"
SOURCE_LABEL = "slipway.dev/source"
REVISION_LABEL = "org.opencontainers.image.revision"

# A step of the build as BuildKit's plain output names it: "#7 [stage 2/5] RUN ...".
_STEP = re.compile(r"#\d+ \[(?!internal)([^]]+)\] (.*)")


@dataclass(frozen=True)
class Built:
    """A service's image in the registry.

    Attributes:
        repository: Where it lies, without tag or digest.
        digest: Which it is ("sha256:...").
        key: The key of what it was made of.
    """

    repository: str
    digest: str
    key: str

    @property
    def reference(self) -> str:
        """The name under which the cluster runs it."""
        return f"{self.repository}@{self.digest}"


def reference(name: str, version: str, key: str) -> str:
    """The engine's name of a platform image: known before it is made, and another one when its inputs change."""
    return f"{names.OWNER}/{name}:{version}-{key[:_KEY_IN_TAG]}"


def build(
    engine: Engine,
    *,
    tag: str,
    dockerfile: Path,
    context: Path,
    phase: Phase,
    key: str = "",
    target: str = "",
    arguments: Mapping[str, str] | None = None,
    cached: bool = True,
    trusted: bool = True,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Build an image under a name.

    Build steps find the certificates that this machine trusts as the secret `ca`, and its pip configuration as
    the secret `pip`; neither is in the image. Proxies are passed on. The steps of a recipe that is not trusted get nothing that
    may hold a password, and share no cache with others.

    Args:
        engine: What builds, and has the image then.
        tag: The name.
        dockerfile: The recipe; it may lie outside the context.
        context: The folder that the recipe copies from.
        phase: Told each step of the build.
        key: The content key, kept as a label.
        target: The stage to build; the last one by default.
        arguments: Values of the recipe's ARGs.
        cached: Whether the builder may use what it remembers.
        trusted: Whether the recipe is Slipway's own.
        environ: Where the settings are looked up.

    Raises:
        ToolMissing: No docker client here can build with BuildKit.
        CommandFailed: The build failed.
    """
    program, env = engine.build_cli
    words: list[str | Path] = [program, "build", "--progress=plain", "--file", dockerfile, "--tag", tag]
    words += [f"--label={names.OWNER_LABEL}={names.OWNER}", f"--label={SOURCE_LABEL}=build"]
    words += [f"--label={KEY_LABEL}={key}"] if key else []
    words += [f"--target={target}"] if target else []
    words += [] if cached else ["--no-cache"]
    passed = proxies(environ)
    told = {"SOURCE_DATE_EPOCH": str(EPOCH), **(arguments or {})}
    if not trusted:
        passed = {name: proxy for name, proxy in passed.items() if "@" not in proxy}
        told["BUILDKIT_CACHE_MOUNT_NS"] = hashlib.sha256(dockerfile.read_bytes()).hexdigest()
    # Docker takes the value from its environment: what stands in a command line is read by everybody, and by evidence.
    words += [f"--build-arg={name}" for name in sorted(passed)]
    words += [f"--build-arg={name}={value}" for name, value in sorted(told.items())]

    def follow(line: str) -> None:
        if step := _STEP.match(line):
            phase.say(f"{step[1]} {step[2]}"[:120])

    with _secrets(environ, trusted=trusted) as secrets:
        words += [f"--secret=id={name},src={file}" for name, file in secrets.items()]
        # Newer clients would add a document on the build, with the time of day in it, to every image.
        given = {**env, **passed, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        hint = "" if trusted else foreign.WITHHELD
        shell.run([*words, context], env=given, timeout=BUILD_TIMEOUT, on_line=follow, hint=hint)


@contextmanager
def staged(settings: Settings, parts: Mapping[str, Path]) -> Generator[Path]:
    """A build context made of files and folders that lie elsewhere; gone after the block.

    Args:
        settings: Where the cache is.
        parts: What is to be in it, by the name it gets; large files are linked, not copied.
    """
    settings.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".context-", dir=settings.cache) as made:
        folder = Path(made)
        for name, source in parts.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, copy_function=_link_or_copy)
                for place in (target, *(path for path in target.rglob("*") if path.is_dir())):
                    place.chmod(0o755)  # folders of Go's module cache are read-only, and could not be removed
            else:
                _link_or_copy(source, target)
        yield folder


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    if Path(source).stat().st_size > 1 << 20:
        try:
            os.link(source, target)
            return
        except OSError:  # another file system
            pass
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def canonical(found: Registry, local: str) -> str:
    """The name of a platform image on the host and in the nodes alike."""
    return f"{found.name}/{local}"


def service_repository(settings: Settings, found: Registry, service: str) -> str:
    """Where the images of an instance's service lie: instances share the registry, and each counts its versions by itself."""
    return f"{found.name}/services/{settings.instance}/{service}"


def begin_versions(built: Built, version: str) -> None:
    """Let a new instance's version name its first image; those of the instance that had the name before are gone.

    Raises:
        RegistryError: The registry does not answer.
    """
    place, image = oci.split(built.reference), oci.manifest(built.reference)
    named = {tag: oci.digest(f"{built.repository}:{tag}") for tag in oci.tags(place.host, place.repository)}
    told = {tag: digest for tag, digest in named.items() if digest and versions.parse(tag) and not _BUILD_TAG.search(tag)}
    stale = {tag: digest for tag, digest in told.items() if (tag, digest) != (version, built.digest)}
    for digest in sorted(set(stale.values())):
        oci.remove(f"{built.repository}@{digest}")
    if image and built.digest in stale.values():  # a registry forgets a tag only together with its image
        for tag in (tag for tag, digest in named.items() if digest == built.digest and tag not in stale):
            oci.put_manifest(f"{built.repository}:{tag}", image)
    oci.alias(built.reference, version)


def publish(engine: Engine, found: Registry, local: str) -> str:
    """The name under which the registry, and with it every node, has a platform image; pushed when it is not there.

    Raises:
        EngineError: The engine lacks the image, or the registry does not take it.
    """
    full = canonical(found, local)
    if registry.digest(full) is None:
        engine.tag(local, full)
        engine.push(full)
        engine.untag(full)
    return full


def key(context: Path, service: str, *, base: str, build_base: str) -> str:
    """The content key of a service's image: it changes when anything that the image is made of does.

    That is the service's folder without what .dockerignore leaves out, what all services share, their recipe, and the
    images below; neither version nor commit.

    Args:
        context: The folder of all services, with their recipe.
        service: The service's name.
        base: The engine's name of the image it runs on.
        build_base: The engine's name of the image with the build tools.
    """
    inside = [name for name in context_files(context) if name.partition("/")[0] in (service, SHARED)]
    files = {name: _content(context / name) for name in (*inside, "Dockerfile")}
    values = {"service": service, "base": base, "build base": build_base, "files": files, "format": archive.FORMAT}
    return cache.key(values=values)


def build_service(
    settings: Settings,
    engine: Engine,
    found: Registry,
    *,
    service: str,
    context: Path,
    base: str,
    build_base: str,
    version: str,
    commit: str,
    phase: Phase,
    cached: bool = True,
) -> Built:
    """A service's image in the registry, with its bill of materials beside it; built when its inputs are new.

    Its digest follows from its inputs, version and commit alone. Several threads may build at a time. A recipe that is not the
    installed Slipway's is built without what this machine knows.

    Args:
        settings: Where the locks between runs are.
        engine: What builds.
        found: The registry that gets it.
        service: Its name.
        context: The folder of all services, with their recipe.
        base: The image it runs on.
        build_base: The image with the build tools.
        version: What it will say of itself.
        commit: The source commit, likewise.
        phase: Told each step of the build.
        cached: Whether the builder may use what it remembers.

    Raises:
        UsageError: The recipe or the lock holds what no commit may bring.
        CommandFailed: The build failed.
        EngineError: The engine does not hand the image out.
        RegistryError: The registry does not take it.
    """
    inputs = key(context, service, base=base, build_base=build_base)
    repository = service_repository(settings, found, service)
    tag = f"{repository}:{version}-{commit[:_COMMIT_IN_TAG]}-{inputs[:_KEY_IN_TAG]}"
    digest = registry.digest(tag)
    # A run that was ended may have left the image without its bill.
    if digest and oci.referrers(f"{repository}@{digest}", sbom.MEDIA_TYPE):
        return Built(repository, digest, inputs)
    with cache.locked(settings.cache, f"service-{service}-{inputs}", phase=phase):
        part = parts.recall(found.name, f"{service}-{inputs}")
        if part is None:
            local = f"{names.OWNER}/service-{service}:{inputs}"
            arguments = {"BASE": base, "BUILD_BASE": build_base, "SERVICE": service}
            recipe, lock = context / "Dockerfile", context / service / "requirements.txt"
            foreign.require_plain(lock.read_text(), f"services/{service}/{lock.name}")
            build(
                engine,
                tag=local,
                dockerfile=recipe,
                context=context,
                phase=phase,
                arguments=arguments,
                cached=cached,
                trusted=foreign.ours(recipe),
            )
            try:
                part = parts.assemble(engine, found.name, local, base=base, epoch=EPOCH, locks=settings.cache, phase=phase)
            finally:
                engine.untag(local)
            parts.remember(found.name, f"{service}-{inputs}", part)
    labels = {
        "org.opencontainers.image.title": service,
        "org.opencontainers.image.version": version,
        REVISION_LABEL: commit,
        "org.opencontainers.image.created": _CREATED,
        "org.opencontainers.image.base.name": base,
        names.OWNER_LABEL: names.OWNER,
        KEY_LABEL: inputs,
    }
    image = parts.publish(tag, part, labels, {"SLIPWAY_VERSION": version, "SLIPWAY_COMMIT": commit}, created=_CREATED)
    lock = sbom.hashes((context / service / "requirements.txt").read_text())
    materials = sbom.load(part.facts["materials"])
    bill = sbom.bill(materials, service=service, version=version, commit=commit, digest=image.digest, lock=lock, epoch=EPOCH)
    parts.attach(repository, image, bill.encode(), sbom.MEDIA_TYPE, created=_CREATED)
    return Built(repository, image.digest, inputs)


def revision(reference: str) -> str | None:
    """The commit that a service's image says it was built from; "" when it says none, None when the registry does not hold it.

    Raises:
        RegistryError: The registry does not answer, or refuses.
    """
    found = oci.labels(reference)
    return None if found is None else found.get(REVISION_LABEL, "")


def bill(reference: str) -> str:
    """The bill of materials (CycloneDX, as JSON) that was kept with an image, which is named by digest.

    Raises:
        UsageError: The image has none.
        RegistryError: The registry does not answer.
    """
    place = oci.split(reference)
    for digest in oci.referrers(reference, sbom.MEDIA_TYPE):
        found = oci.manifest(f"{place.host}/{place.repository}@{digest}")
        data = oci.blob(place.host, place.repository, found["layers"][0]["digest"]) if found else None
        if data is not None:
            return data.decode()
    raise UsageError(f"{reference} has no bill of materials: it was built before images had one. The next build makes one.")


def _content(file: Path) -> tuple[bool, str]:
    with file.open("rb") as source:
        return os.access(file, os.X_OK), hashlib.file_digest(source, "sha256").hexdigest()


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies that an environment names, and what goes past them, as they are spelt there."""
    return {name: environ[name] for name in (*_PROXIES, *map(str.upper, _PROXIES)) if environ.get(name)}


def ca_bundle(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The certificates that build steps trust: the setting's, else this machine's, else none.

    Raises:
        UsageError: The setting names a file that is not there.
    """
    if chosen := environ.get(CA_BUNDLE):
        if not Path(chosen).is_file():
            raise UsageError(f"{CA_BUNDLE} names {chosen}, which is not there.")
        return Path(chosen)
    return next((Path(path) for path in _BUNDLES if Path(path).is_file()), None)


def pip_settings(environ: Mapping[str, str] = os.environ) -> str:
    """The host's pip configuration as far as it holds in a container, as the text of a pip.conf; "" when there is none."""
    home = Path(environ.get("HOME", "/root"))
    files = [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", home / ".config" / "pip" / "pip.conf"]
    if chosen := environ.get("PIP_CONFIG_FILE"):
        files.append(Path(chosen))
    parser = configparser.RawConfigParser()
    parser.read(files)
    found = {name: parser.get("global", name) for name in _PIP_OPTIONS if parser.has_option("global", name)}
    for name in _PIP_OPTIONS:
        # pip takes a setting's long option as its variable: --timeout is also --default-timeout.
        spelled = (name, "default-timeout") if name == "timeout" else (name,)
        for word in spelled:
            if value := environ.get(f"PIP_{word.upper().replace('-', '_')}"):
                found[name] = value
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in found.items()), ""]) if found else ""


@contextmanager
def _secrets(environ: Mapping[str, str], *, trusted: bool) -> Generator[dict[str, Path]]:
    found: dict[str, Path] = {}
    if bundle := ca_bundle(environ):
        found["ca"] = bundle
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:  # readable by this user alone
        if trusted and (text := pip_settings(environ)):
            found["pip"] = Path(folder) / "pip.conf"
            found["pip"].write_text(text)
        yield found
