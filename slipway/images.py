"""Images, built by BuildKit through the engine's own client, named by what went into them, pushed where they are needed."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slipway import cache, names, registry, shell
from slipway.debian import EPOCH
from slipway.engine import Engine
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

KEY_LABEL = "slipway.dev/key"
SOURCE_LABEL = "slipway.dev/source"

# A step of the build as BuildKit's plain output names it: "#7 [stage 2/5] RUN ...".
_STEP = re.compile(r"#\d+ \[(?!internal)([^]]+)\] (.*)")


@dataclass(frozen=True)
class Built:
    """A service's image in the registry.

    Attributes:
        repository: Where it lies, without tag or digest.
        digest: Which it is ("sha256:...").
    """

    repository: str
    digest: str

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
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Build an image under a name.

    Build steps find the certificates that this machine trusts as the secret `ca`, and its pip configuration as
    the secret `pip`; neither is in the image. Proxies are passed on.

    Args:
        engine: What builds, and has the image then.
        tag: The name.
        dockerfile: The recipe; it may lie outside the context.
        context: The folder that the recipe copies from.
        phase: Told each step of the build.
        key: The content key, kept as a label.
        target: The stage to build; the last one by default.
        arguments: Values of the recipe's ARGs.
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
    passed = {name: environ[name] for name in (*_PROXIES, *map(str.upper, _PROXIES)) if environ.get(name)}
    given = {**passed, "SOURCE_DATE_EPOCH": str(EPOCH), **(arguments or {})}
    words += [f"--build-arg={name}={value}" for name, value in sorted(given.items())]

    def follow(line: str) -> None:
        if step := _STEP.match(line):
            phase.say(f"{step[1]} {step[2]}"[:120])

    with _secrets(environ) as secrets:
        words += [f"--secret=id={name},src={file}" for name, file in secrets.items()]
        # Newer clients would add a document on the build, with the time of day in it, to every image.
        shell.run([*words, context], env={**env, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}, timeout=BUILD_TIMEOUT, on_line=follow)


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
) -> Built:
    """A service's image in the registry, built when the registry has none of the same inputs.

    Args:
        settings: Which services there are.
        engine: What builds.
        found: The registry that gets it.
        service: Its name.
        context: The folder of all services, with their recipe.
        base: The image it runs on.
        build_base: The image with the build tools.
        version: What it will say of itself.
        commit: The source commit, likewise.
        phase: Told each step of the build.

    Raises:
        CommandFailed: The build failed.
        EngineError: The registry does not take it.
    """
    others = {context / name for name in settings.services} - {context / service}
    files = sorted(path for path in context.iterdir() if path not in others)
    values = {"service": service, "version": version, "commit": commit, "base": base, "build base": build_base}
    key = cache.key(files=files, values=values)
    repository = f"{found.name}/{service}"
    tag = f"{repository}:{version}-{key[:_KEY_IN_TAG]}"
    digest = registry.digest(tag)
    if digest is None:
        arguments = {"BASE": base, "BUILD_BASE": build_base, "SERVICE": service}
        arguments |= {"SLIPWAY_VERSION": version, "SLIPWAY_COMMIT": commit}
        build(engine, tag=tag, dockerfile=context / "Dockerfile", context=context, phase=phase, key=key, arguments=arguments)
        digest = engine.push(tag)
        engine.untag(tag)
    return Built(repository, digest)


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
def _secrets(environ: Mapping[str, str]) -> Generator[dict[str, Path]]:
    found: dict[str, Path] = {}
    if bundle := ca_bundle(environ):
        found["ca"] = bundle
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:  # readable by this user alone
        if text := pip_settings(environ):
            found["pip"] = Path(folder) / "pip.conf"
            found["pip"].write_text(text)
        yield found
