"""The source `pull`: upstream's own images, each held to a digest.

A pin with a digest is held to that. One without is trusted the first time it is pulled; what it was then is recorded in
the state folder (trust.json), and anything else under the same reference is refused later.

SLIPWAY_MIRROR=host[:port][/prefix] names a registry to ask instead of upstream's. It has each image under its full
upstream name: docker.io/kindest/node:v1.36.1 is asked for as <mirror>/docker.io/kindest/node:v1.36.1. A digest holds
whoever serves the image, and credentials are those that `docker login` stored.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from slipway import cache, machine
from slipway.engine import Engine
from slipway.errors import PinMismatch, SlipwayError, UsageError
from slipway.machine import Machine
from slipway.progress import Phase
from slipway.settings import Settings

MIRROR = "SLIPWAY_MIRROR"

# A registry within reach answers in a fraction of this; where everything is dropped silently, `auto` costs this much.
PROBE_TIMEOUT = 4.0

# Docker Hub's API has another name than its images.
_API_HOSTS = {"docker.io": "registry-1.docker.io"}

# A host without a dot or a port would be taken for a user of Docker Hub.
_MIRROR = re.compile(
    r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+(?=:)|\[[0-9A-Fa-f:]+\])(?::(\d{1,5}))?(?:/[a-z0-9._-]+)*"
)
_LAST_PORT = 65535

_lock = threading.Lock()


@dataclass(frozen=True)
class Choice:
    """Where images come from, and why, in one sentence."""

    source: str
    why: str


@dataclass(frozen=True)
class Pin:
    """An image as cluster/versions.toml names it.

    Attributes:
        name: Host, path and tag, as upstream publishes it.
        digest: "sha256:...", or "" when nobody here could know it.
    """

    name: str
    digest: str

    @property
    def host(self) -> str:
        """The upstream registry."""
        return self.name.partition("/")[0]

    def asked(self, mirror: str) -> str:
        """The reference under which it is asked for."""
        return f"{mirror}/{self.name}" if mirror else self.name


@dataclass(frozen=True)
class Trusted:
    """What an image without a pinned digest was when it was pulled first."""

    digest: str
    when: str
    place: str


@dataclass(frozen=True)
class Pulled:
    """An image that was pulled.

    Attributes:
        digest: What its registry calls it ("sha256:...").
        trust: "pinned", "recorded" (as at an earlier pull) or "first use".
    """

    digest: str
    trust: str


def choose(
    source: str,
    settings: Settings,
    *,
    facts: Machine | None = None,
    environ: Mapping[str, str] = os.environ,
    answers: Callable[[str], str] | None = None,
) -> Choice:
    """The source to take: the one that was asked for, or for "auto" the better one that is possible here.

    Args:
        source: "auto", "pull" or "build".
        settings: Where the pins are.
        facts: The machine, when it is known already.
        environ: Where SLIPWAY_MIRROR is looked up.
        answers: Asks a registry's host once and says why it cannot be used, or ""; another, for tests.

    Raises:
        UsageError: SLIPWAY_MIRROR names no registry.
    """
    if source != "auto":
        return Choice(source, "as asked for")
    facts = facts or machine.look()
    if facts.system == "linux" and facts.cgroup == 1 and not settings.own_pins:
        return Choice("build", "the upstream node image does not start on control groups version 1")
    mirror = _mirror(environ)
    host = mirror.partition("/")[0] or pin(settings, "node").host
    refused = (answers or probe)(host)
    if refused:
        return Choice("build", f"{host} does not answer ({refused})")
    return Choice("pull", f"{host} answers" + (f" (the mirror that {MIRROR} names)" if mirror else ""))


def probe(host: str) -> str:
    """Why a registry cannot be used, asked once; "" when it can."""
    scheme = "http" if host.startswith(("localhost", "127.")) else "https"
    try:
        with urllib.request.urlopen(f"{scheme}://{_API_HOSTS.get(host, host)}/v2/", timeout=PROBE_TIMEOUT):  # noqa: S310 - the scheme is ours
            return ""
    except urllib.error.HTTPError as error:
        with error:
            # "Who are you?" is an answer: docker fetches a token for images that everybody may read.
            return "" if error.code == 401 else f"it says {error.code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error))


def pin(settings: Settings, name: str) -> Pin:
    """The upstream image of that name.

    Raises:
        SlipwayError: There is none; it can only be built.
    """
    found = settings.versions["pull"].get(name)
    if found is None:
        raise SlipwayError(f"upstream publishes no image {name}; it is built. Run `./invoke up --source=build`.")
    reference, _, digest = str(found).partition("@")
    return Pin(reference, digest)


def image(
    settings: Settings,
    engine: Engine,
    name: str,
    *,
    target: str,
    phase: Phase,
    environ: Mapping[str, str] = os.environ,
) -> Pulled:
    """Pull an upstream image into the engine, under Slipway's own name for it.

    Args:
        settings: Where the pins are, and what was trusted before.
        engine: What pulls.
        name: The image, as cluster/versions.toml names it.
        target: The reference it gets.
        phase: Told what happens.
        environ: Where SLIPWAY_MIRROR is looked up.

    Raises:
        PinMismatch: It is not what it was pinned to, or not what it was at the first pull. Nothing of it is kept.
        EngineError: It cannot be pulled.
        UsageError: SLIPWAY_MIRROR names no registry.
        WaitTimeout: Another run pulls it, and does not come to an end.
    """
    wanted = pin(settings, name)
    asked = wanted.asked(_mirror(environ))
    lock = "image-" + re.sub(r"[^a-z0-9.]+", "-", wanted.name.rpartition(":")[0])
    # Two at once would share the name under which it is pulled, and the first one done would take that away.
    with cache.locked(settings.cache, lock, phase=phase):
        return _pulled(settings, engine, wanted, asked, target=target, phase=phase)


def _pulled(settings: Settings, engine: Engine, wanted: Pin, asked: str, *, target: str, phase: Phase) -> Pulled:
    phase.say(f"pulling {asked}")
    # The tag is asked for its digest, and the digest is what is pulled: nothing can change in between.
    digest = wanted.digest or engine.remote_digest(asked)
    known = trusted(settings).get(wanted.name)
    if not wanted.digest and known and known.digest != digest:
        raise PinMismatch(
            f"{wanted.name} has changed: {asked} is now {digest}, and was {known.digest} when it was first pulled "
            f"(from {known.place}, {known.when}). If upstream announced a rebuild, accept it by removing its entry from "
            f"{_file(settings)}; else report it upstream and use --source=build."
        )
    if (wanted.digest or known) and engine.has_image(target):
        phase.skip("another run has pulled it")
        return Pulled(digest, "pinned" if wanted.digest else "recorded")
    exact = f"{asked.rpartition(':')[0]}@{digest}"
    had = engine.has_image(exact)
    got = digest if had else engine.pull(exact, phase=phase)
    if got != digest:
        engine.untag(exact)
        raise PinMismatch(f"{asked} was to be {digest}, but is {got}. Check the mirror, or use --source=build.")
    engine.tag(exact, target)
    if not had:
        engine.untag(exact)  # the image stays, under our name alone
    if wanted.digest:
        phase.say(f"{wanted.name}, as pinned")
        return Pulled(digest, "pinned")
    if known:
        phase.say(f"{wanted.name}, as at its first pull")
        return Pulled(digest, "recorded")
    _record(settings, wanted.name, Trusted(digest, datetime.now(UTC).isoformat(timespec="seconds"), asked))
    phase.say(f"{wanted.name}: trusted at its first pull, recorded as {digest[:19]}")
    return Pulled(digest, "first use")


def trusted(settings: Settings) -> Mapping[str, Trusted]:
    """What was trusted at its first pull, by upstream reference.

    Raises:
        SlipwayError: The record is damaged.
    """
    file = _file(settings)
    try:
        return {name: Trusted(**entry) for name, entry in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        # Starting afresh would trust anything once more, silently.
        raise SlipwayError(
            f"{file} cannot be read ({error}). It says which images were trusted; mend it, or remove it to trust anew."
        ) from error


def _mirror(environ: Mapping[str, str]) -> str:
    """The registry to ask instead of upstream's; "" for none."""
    named = environ.get(MIRROR, "").rstrip("/")
    found = _MIRROR.fullmatch(named)
    if named and (not found or int(found[1] or 0) > _LAST_PORT):
        raise UsageError(
            f"{MIRROR} is {named.rpartition('@')[2]!r}, which names no registry: write HOST[:PORT][/PREFIX], as in "
            "mirror.example.com:5000/cache, without https:// in front; or unset it, and upstream's registries are asked."
        )
    return named


def _record(settings: Settings, name: str, entry: Trusted) -> None:
    with _locked(settings):
        entries = {**trusted(settings), name: entry}
        fresh = _file(settings).with_suffix(".new")
        fresh.write_text(json.dumps({key: asdict(value) for key, value in sorted(entries.items())}, indent=2) + "\n")
        fresh.replace(_file(settings))


@contextmanager
def _locked(settings: Settings) -> Generator[None]:
    settings.home.mkdir(parents=True, exist_ok=True)
    # Images are pulled side by side, and two instances may be made at once.
    with _lock, (settings.home / "trust.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _file(settings: Settings) -> Path:
    return settings.home / "trust.json"
