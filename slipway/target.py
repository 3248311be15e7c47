"""A registry of the user's own: where it is, and how it gets to know who asks.

SLIPWAY_REGISTRY names it: [https://]HOST[:PORT][/PREFIX]. Credentials are those that `docker login` stored, by a credential
helper too; certificates are those of the system, of SLIPWAY_CA_BUNDLE, and those that Docker keeps for the registry.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway import engine, images, oci
from slipway.errors import UsageError

REGISTRY = "SLIPWAY_REGISTRY"
PREFIX = "SLIPWAY_REGISTRY_PREFIX"

# Where Docker looks for the certificates of a registry.
_CERTIFICATES = Path("/etc/docker/certs.d")

_ADDRESS = re.compile(r"(?:(https)://)?([A-Za-z0-9.-]+(?::\d+)?)((?:/[a-z0-9._-]+)*)/?")
_LOCAL = re.compile(r"(localhost|127\.[\d.]+)(:\d+)?")


@dataclass(frozen=True)
class Target:
    """A registry of the user's own.

    Attributes:
        host: As image references name it.
        prefix: What stands before a service's name there; "" or with a slash in front.
        secure: Whether it speaks TLS although it is on this machine.
    """

    host: str
    prefix: str
    secure: bool

    def repository(self, service: str) -> str:
        """Where the images of a service lie."""
        return f"{self.host}{self.prefix}/{service}"


def find(given: str, *, environ: Mapping[str, str] = os.environ) -> Target:
    """The registry that is meant.

    Args:
        given: As the user names it; "" takes SLIPWAY_REGISTRY, and SLIPWAY_REGISTRY_PREFIX behind it.
        environ: Where they are looked up.

    Raises:
        UsageError: None is named, or what is named is no registry.
    """
    own = [environ.get(name, "").strip("/") for name in (REGISTRY, PREFIX)]
    named = given or "/".join(filter(None, own))
    if not given and not own[0]:
        raise UsageError(f"no registry is named. Give --registry HOST[:PORT][/PREFIX], or set {REGISTRY}.")
    found = _ADDRESS.fullmatch(named)
    if not found or not re.search(r"[.:]|^localhost$", found[2]):
        raise UsageError(
            f"{named.rpartition('@')[2]!r} names no registry: write [https://]HOST[:PORT][/PREFIX], as in "
            "registry.example.com/shop or docker.io/user. A registry on another machine speaks TLS."
        )
    scheme, host, path = found.groups()
    return Target(host, path, scheme == "https" and bool(_LOCAL.fullmatch(host)))


def sign_in(place: Target, *, environ: Mapping[str, str] = os.environ) -> None:
    """Let a registry know who asks, when it wants to: with what `docker login` stored.

    Raises:
        UsageError: A file of certificates cannot be read.
    """
    own = [Path(chosen)] if (chosen := environ.get(images.CA_BUNDLE)) else []
    trusted = [*own, *sorted((_CERTIFICATES / place.host).glob("*.crt"))]
    try:
        oci.sign_in(place.host, lambda: engine.credentials(place.host), secure=place.secure, certificates=trusted)
    except OSError as error:
        raise UsageError(f"the certificates {', '.join(map(str, trusted))} cannot be read: {error}.") from error
