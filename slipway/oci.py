"""Image references, and what a registry's own HTTP API says about them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import urllib3

from slipway import ports
from slipway.errors import SlipwayError

REQUEST_TIMEOUT = 10.0

# Every kind of manifest that docker, containerd and Helm push: a registry answers with what it has only when asked for it.
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)

# Retrying is the business of whoever waits.
_http = urllib3.PoolManager(retries=False, timeout=REQUEST_TIMEOUT)


class RegistryError(SlipwayError):
    """A registry does not answer, or refused a request."""


@dataclass(frozen=True)
class Reference:
    """An image reference in its parts; `pin` is its tag or digest."""

    host: str
    repository: str
    pin: str

    @property
    def url(self) -> str:
        """Where the registry's API has what the reference names."""
        return f"{_base(self.host)}/{self.repository}/manifests/{self.pin}"


def split(reference: str) -> Reference:
    """The parts of a full image reference; without a tag or digest, `latest` is meant."""
    name, at, digest = reference.partition("@")
    host, _, path = name.partition("/")
    repository, colon, tag = path.partition(":")
    return Reference(host, repository, digest if at else tag if colon else "latest")


def digest(reference: str) -> str | None:
    """The digest ("sha256:...") of what a registry holds under a reference; None when it holds nothing there.

    Raises:
        RegistryError: The registry does not answer, or refuses.
    """
    found = _request("HEAD", reference)
    return found.headers.get("Docker-Content-Digest") if found else None


def manifest(reference: str) -> Mapping[str, Any] | None:
    """The manifest that a registry holds under a reference; None when it holds nothing there.

    Raises:
        RegistryError: The registry does not answer, or refuses.
    """
    found = _request("GET", reference)
    return json.loads(found.data) if found else None


def tags(host: str, repository: str) -> Sequence[str]:
    """The tags of a repository, sorted; empty when there is no such repository.

    Raises:
        RegistryError: The registry does not answer, or refuses.
    """
    found = _answer("GET", f"{_base(host)}/{repository}/tags/list", f"the tags of {host}/{repository}")
    return sorted(json.loads(found.data).get("tags") or []) if found else []


def answers(host: str) -> bool:
    """Whether a registry is there and lets anybody read, asked once."""
    try:
        return _http.request("GET", f"{_base(host)}/").status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _base(host: str) -> str:
    # Like Docker: plain HTTP on this machine, else HTTPS. "localhost" may mean ::1 first, where nothing is published.
    host = re.sub(r"^localhost(?=:|$)", ports.LOOPBACK, host)
    return f"{'http' if host.startswith('127.') else 'https'}://{host}/v2"


def _request(method: str, reference: str) -> urllib3.BaseHTTPResponse | None:
    return _answer(method, split(reference).url, reference)


def _answer(method: str, url: str, what: str) -> urllib3.BaseHTTPResponse | None:
    try:
        found = _http.request(method, url, headers={"Accept": _MANIFESTS})
    except urllib3.exceptions.HTTPError as error:
        raise RegistryError(f"{what}: the registry does not answer: {error}. `./invoke up` starts it.") from error
    if found.status == 404:
        return None
    if found.status != 200:
        raise RegistryError(f"{what}: the registry answers {found.status} to {method} {url}")
    return found
