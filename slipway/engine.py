"""The one door to the Docker engine: found where the user's own commands find it, started when the machine allows it."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import tarfile
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import docker
import docker.auth
import docker.errors
import docker.utils
import requests.exceptions
from docker.models.containers import Container
from docker.tls import TLSConfig

from slipway import dockerd, machine, names, shell, waiting
from slipway.address import Address, addresses
from slipway.errors import SlipwayError, ToolMissing
from slipway.login import Credentials
from slipway.machine import Machine
from slipway.progress import Phase, Progress
from slipway.settings import Settings

# An engine that answers at all answers this fast; a socket that nobody serves must not hold up `status`.
PING_TIMEOUT = 5
# Between two words of an engine that pulls, pushes or commits something big.
REQUEST_TIMEOUT = 600

# The status with which the engine keeps an image that a container runs.
_IN_USE = 409

# How the system says that an engine is there and does not let this user in.
_DENIED = "permission denied"

# Docker's client can build with BuildKit by itself up to this version; newer ones need the buildx plugin.
_LAST_OWN_BUILDKIT = 22


class EngineError(SlipwayError):
    """The engine refused a request, or does not answer."""


class Engine:
    """A running engine.

    Args:
        client: The library's client for it.
        address: Where it is.
    """

    def __init__(self, client: docker.DockerClient, address: Address) -> None:
        self.client, self.address = client, address

    @property
    def environment(self) -> Mapping[str, str]:
        """What other programs (docker, kind, tilt) need in their environment to use this engine."""
        return {**self.address.environment, "KIND_EXPERIMENTAL_PROVIDER": "docker"}

    def close(self) -> None:
        """Give back its connections; for an engine that was only looked for."""
        self.client.close()

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """What the engine says of itself and its machine, in Docker's words."""
        with asking("info"):
            return cast("Mapping[str, Any]", self.client.info())

    @cached_property
    def build_cli(self) -> tuple[Path, Mapping[str, str]]:
        """A docker client that can build with BuildKit, and what it needs in its environment.

        Raises:
            ToolMissing: No docker on the PATH can.
        """
        env = {**self.environment, "DOCKER_BUILDKIT": "1"}
        seen: list[str] = []
        for path in shell.which("docker"):
            version = shell.run([path, "version", "--format", "{{.Client.Version}}"], env=env, check=False, timeout=30)
            major = re.match(r"\d+", version.stdout)
            if version.code != 0 or not major:  # too old or too new for this engine
                seen.append(f"{path} does not get on with this engine")
                continue
            plugin = [path, "buildx", "version"]
            if int(major.group()) <= _LAST_OWN_BUILDKIT or shell.run(plugin, env=env, check=False, timeout=30).code == 0:
                return path, env
            seen.append(f"{path} {version.stdout.strip()} lacks the buildx plugin")
        raise ToolMissing(
            f"no docker client here can build with BuildKit ({'; '.join(seen) or 'there is none on the PATH'}). "
            "Install Docker's buildx plugin (package docker-buildx, or docker-buildx-plugin from Docker's own repository)."
        )

    def has_image(self, reference: str) -> bool:
        """Whether the engine holds this image."""
        return self.image_id(reference) is not None

    def image_id(self, reference: str) -> str | None:
        """The id of an image ("sha256:..."), or None when the engine does not hold it."""
        with asking(f"image {reference}"):
            try:
                return self.client.images.get(reference).id
            except docker.errors.ImageNotFound:
                return None

    def tag(self, source: str, target: str) -> None:
        """Give an image one more name.

        Raises:
            EngineError: There is no such image.
        """
        repository, _, tag = target.rpartition(":")
        with asking(f"tag {source} as {target}"):
            self.client.api.tag(source, repository, tag, force=True)

    def untag(self, reference: str) -> None:
        """Take a name away from an image; the image goes with its last name. One that is not there is fine."""
        with asking(f"remove {reference}"), contextlib.suppress(docker.errors.ImageNotFound):
            self.client.api.remove_image(reference)

    def remote_digest(self, reference: str) -> str:
        """The digest ("sha256:...") that a registry has for a reference now; nothing is pulled.

        Raises:
            EngineError: The registry refuses it, or is not there.
        """
        with asking(f"look up {reference}"):
            return str(self.client.images.get_registry_data(reference).id)

    def push(self, reference: str) -> str:
        """The digest ("sha256:...") under which the registry now holds an image.

        Raises:
            EngineError: The registry refuses it, or is not there.
        """
        with asking(f"push {reference}"):
            lines = cast("Any", self.client.api.push(reference, stream=True, decode=True))
            return self._follow(lines, f"push {reference}", re.compile(r"digest: (sha256:[0-9a-f]{64})"), None)

    def pull(self, reference: str, *, phase: Phase | None = None) -> str:
        """The digest ("sha256:...") of an image that the engine now holds, as its registry names it.

        Raises:
            EngineError: The registry refuses it, or is not there.
        """
        name, digest = (reference, None) if "@" in reference else reference.rsplit(":", 1)
        with asking(f"pull {reference}"):
            lines = cast("Any", self.client.api.pull(name, tag=digest, stream=True, decode=True))
            return self._follow(lines, f"pull {reference}", re.compile(r"Digest: (sha256:[0-9a-f]{64})"), phase)

    def _follow(self, lines: Any, what: str, digest: re.Pattern[str], phase: Phase | None) -> str:
        found, layers = "", dict[str, bool]()
        for line in lines:
            waiting.go_on()
            if "error" in line:
                raise EngineError(f"{what}: {line['error']}")
            status = str(line.get("status", ""))
            if match := digest.search(status):
                found = match.group(1)
            if named := (line.get("aux") or {}).get("Digest"):  # of what was pushed, when that is a part of an index
                found = str(named)
            if line.get("id") and status in ("Pulling fs layer", "Pull complete", "Already exists"):
                layers[line["id"]] = status != "Pulling fs layer"
                if phase:
                    phase.parts(sum(layers.values()), len(layers))
        if not found:
            raise EngineError(f"{what}: the engine ended without naming a digest. Run the command again.")
        return found

    def container(self, name: str) -> Container | None:
        """The container of that name, running or not, as it is now; None when there is none."""
        with asking(f"container {name}"):
            try:
                return self.client.containers.get(name)
            except docker.errors.NotFound:
                return None

    def start(self, container: Container) -> None:
        """See to it that a container runs which does not: one that is paused goes on, any other is started.

        Raises:
            EngineError: The engine cannot start it.
        """
        with asking(f"container {container.name}"):
            if container.status == "paused":
                container.unpause()
            else:
                container.start()

    def running_since(self, name: str) -> float | None:
        """When the container of that name was started, in seconds since 1970; None when it does not run."""
        found = self.container(name)
        if found is None or found.status != "running":
            return None
        # As in 2026-11-23T13:22:37.123456789Z: more digits than Python reads.
        return datetime.fromisoformat(f"{found.attrs['State']['StartedAt'][:19]}+00:00").timestamp()

    def every_container(self) -> Sequence[Container]:
        """Every container, whoever's it is, in whatever state."""
        with asking("containers"):
            return self.client.containers.list(all=True, ignore_removed=True)

    def labelled(self, label: str, value: str = "") -> Sequence[Container]:
        """The containers with that label, and that value of it if one is given, in whatever state."""
        with asking(f"containers with the label {label}"):
            wanted = f"{label}={value}" if value else label
            return self.client.containers.list(all=True, ignore_removed=True, filters={"label": wanted})

    def mapped(self) -> frozenset[int]:
        """The ports of the host that lead to containers, be they running or not: one that stands still wants its own again."""
        bindings = [container.attrs["HostConfig"].get("PortBindings") or {} for container in self.every_container()]
        told = [one.get("HostPort") for bound in bindings for some in bound.values() for one in some or ()]
        return frozenset(int(port) for port in told if port and port.isdecimal())

    def file(self, container: str, path: str) -> bytes | None:
        """The content of a file in a container, running or not; None when there is no such file or container."""
        with asking(f"{path} of container {container}"):
            try:
                chunks, _ = self.client.containers.get(container).get_archive(path)
            except docker.errors.NotFound:
                return None
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                found = archive.extractfile(next(iter(archive)))
                return found.read() if found else None

    def remove_ours(self, *, registry: str = "") -> int:
        """How many names of images were Slipway's; they are removed.

        Args:
            registry: What the names of images of our registry begin with; what has our label and such a name goes too. The label
                alone says little: whatever stands on an image of ours has it, and so has what was published elsewhere.
        """
        with asking("our images"):
            labelled = self.client.images.list(filters={"label": f"{names.OWNER_LABEL}={names.OWNER}"}) if registry else []
            tags = {tag for image in labelled for tag in image.tags if tag.startswith(f"{registry}/")}
            tags |= {tag for image in self.client.images.list() for tag in image.tags if ours(tag)}
            for tag in sorted(tags):
                try:
                    self.client.images.remove(tag, force=True)
                except docker.errors.APIError as error:
                    if error.status_code != _IN_USE:
                        raise
        return len(tags)

    def stop_if_ours(self, settings: Settings) -> bool:
        """Whether this was an engine that Slipway started and nobody else uses; it is stopped then.

        Raises:
            WaitTimeout: It does not end.
        """
        with asking("containers"):
            foreign = [one for one in self.client.containers.list() if one.labels.get(names.OWNER_LABEL) != names.OWNER]
        return not foreign and dockerd.stop(settings)


def ours(tag: str) -> bool:
    """Whether an image's name is one that Slipway gives, or Tilt in its stead; here or for a registry of this machine."""
    # Tilt puts another sign in the place of each slash.
    return re.fullmatch(rf"(localhost:\d+/)?({names.OWNER}/|{names.LIVE_IMAGES}[/_]).*", tag) is not None


def find(settings: Settings) -> Engine | None:
    """The running engine, or None when none answers. Starts nothing.

    Args:
        settings: Where Slipway keeps what it knows of an engine it started.
    """
    del settings  # an engine is found by asking, never by what a file remembers
    for place in addresses():
        with contextlib.suppress(EngineError):
            return _open(place)
    return None


def connect(settings: Settings, *, progress: Progress | None = None) -> Engine:
    """A running engine: the one that runs, else the machine's own, installed and started where that is allowed.

    Raises:
        ToolMissing: None answers and none can be started here; the message says what to do or install.
        SlipwayError: It was started, and ended or did not answer in time; the message holds the last lines of its log.
    """
    if found := find(settings):
        return found
    facts = machine.look()
    if cure := refusal(facts):
        raise ToolMissing(f"no Docker engine can be used. {cure}")
    with (progress or Progress()).phase("engine") as phase:
        phase.say("no Docker engine runs; starting one")
        dockerd.start(settings, facts, answers=lambda: _answers(settings), say=phase.say)
        started = find(settings)
        if started is None:
            raise EngineError("the Docker engine answered once and does no more. Run the command again.")
        version = started.info["ServerVersion"]
        phase.say(f"Docker {version} started" if dockerd.started(settings) else f"Docker {version}")
    return started


def refusal(facts: Machine) -> str:
    """An empty text when an engine could be started here (none answers now), else why not and what to do."""
    place = addresses()[0]
    try:
        _open(place).close()
        return ""
    except EngineError as error:
        why = str(error)
    if place.chosen and not place.usual:
        start = "Start it, or choose another (unset DOCKER_HOST, `docker context use default`)."
        return f"{why[0].upper()}{why[1:]}; it is the one that {place.chosen} names. {start}"
    if _DENIED in why:
        return (
            f"The engine at {place.url} refuses this user ({_DENIED}). "
            'Join its group: `sudo usermod -aG docker "$USER"`, then log in again.'
        )
    return dockerd.possible(facts)


def barred() -> str:
    """Why this user may not ask an engine that is there, and what to do; "" when one answers or none is there."""
    why = refusal(machine.look())
    return why if _DENIED in why else ""


def _answers(settings: Settings) -> bool:
    """Whether an engine answers now. It is asked many times while one starts: nothing may stay open after it."""
    found = find(settings)
    if found is not None:
        found.close()
    return found is not None


def _open(place: Address) -> Engine:
    if not place.url:
        raise EngineError(f"{place.chosen} names no engine")
    _knock(place)
    with asking(f"the engine at {place.url}"):
        tls = place.tls and TLSConfig(
            client_cert=(str(place.tls / "cert.pem"), str(place.tls / "key.pem")),
            ca_cert=str(place.tls / "ca.pem"),
            verify=True,
        )
        client = docker.DockerClient(
            base_url=place.url,
            version="auto",
            timeout=PING_TIMEOUT,
            tls=tls or False,
            use_ssh_client=place.url.startswith("ssh://"),
        )
    client.api.timeout = REQUEST_TIMEOUT
    return Engine(client, place)


def _knock(place: Address) -> None:
    """See to it that something accepts on an engine's socket, before the library tries.

    The library leaves a socket that it cannot connect to whoever collects the garbage; ours is closed.

    Raises:
        EngineError: Nothing does; the message ends in the system's own words, in small letters.
    """
    scheme, _, path = place.url.partition("://")
    if scheme != "unix":
        return
    with socket.socket(socket.AF_UNIX) as knocking:
        knocking.settimeout(PING_TIMEOUT)
        try:
            knocking.connect(f"/{path.lstrip('/')}")
        except OSError as error:
            raise EngineError(f"the engine at {place.url}: {(error.strerror or str(error)).lower()}") from error


def credentials(host: str) -> Credentials | None:
    """What `docker login` stored for a registry, here or with a credential helper; None when it stored nothing.

    Raises:
        EngineError: The credential helper fails.
    """
    with asking(f"the credentials that docker keeps for {host}"):
        found = docker.auth.load_config().resolve_authconfig(host)
    # What a file holds and what a helper says is spelled differently.
    told = {name.lower(): str(value) for name, value in (found or {}).items() if value}
    who = Credentials(told.get("username", ""), told.get("password", ""), told.get("identitytoken", ""))
    return who if who.user or who.token else None


def context_files(folder: Path) -> Sequence[str]:
    """The files of a build context that its .dockerignore lets through, as paths within it, sorted."""
    rules = folder / ".dockerignore"
    patterns = rules.read_text().splitlines() if rules.is_file() else []
    told = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    paths: set[str] = docker.utils.exclude_paths(str(folder), told)
    return sorted(name for path in paths if (folder / path).is_file() for name in [Path(path).as_posix()])


@contextlib.contextmanager
def asking(what: str) -> Generator[None]:
    """Turn what the library raises inside this block into an EngineError that names `what` was asked for."""
    try:
        yield
    except docker.errors.APIError as error:
        raise EngineError(f"{what}: the engine says: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise EngineError(f"{what}: {_innermost(error)}") from error


def _innermost(error: BaseException) -> str:
    # What matters ("permission denied", "no such file") stands at the end of what three libraries wrapped around it.
    found = re.findall(r"(?:Permission denied|No such file or directory|Connection refused|timed out)", str(error))
    return str(found[-1]).lower() if found else str(error).splitlines()[0]


__all__ = [
    "Container",
    "Engine",
    "EngineError",
    "asking",
    "barred",
    "connect",
    "context_files",
    "credentials",
    "find",
    "ours",
    "refusal",
]
