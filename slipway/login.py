"""HTTP to registries: in the clear on this machine, else by TLS, and with credentials where somebody signed in.

A registry that wants to know who asks answers 401 and says how: by name and password (Basic), or by a token that another
server gives for name and password (Bearer). What it gave is kept for each repository, and asked for anew when it expires.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3

from slipway import ports

REQUEST_TIMEOUT = 10.0

# Docker Hub's API has another name than its images.
_API_HOSTS = {"docker.io": "registry-1.docker.io"}

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_REPOSITORY = re.compile(r"/v2/(.+)/(?:manifests|blobs|tags|referrers)/")
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 3

_CLIENT = "slipway"

_OPTIONS: Mapping[str, Any] = {"retries": False, "timeout": REQUEST_TIMEOUT, "maxsize": 8}


@dataclass(frozen=True)
class Credentials:
    """Who asks: a user with a password, or the token that a single sign-on gave."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The header of a user with a password; "" without one."""
        return f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()}" if self.user else ""


Look = Callable[[], Credentials | None]


class Door:
    """A way to registries. Retrying is the business of whoever waits."""

    def __init__(self) -> None:
        self._open = urllib3.PoolManager(**_OPTIONS)
        self._guests: dict[str, _Guest] = {}
        self._secure = set[str]()

    def sign_in(self, host: str, look: Look, *, secure: bool = False, certificates: Sequence[Path] = ()) -> None:
        """Answer a registry, from now on, when it asks who is there.

        Args:
            host: The registry, as image references name it.
            look: Looks up the credentials; asked once the registry wants some. None means that there are none.
            secure: Speak TLS although it is on this machine.
            certificates: Files with certificates to trust beside those of the system.

        Raises:
            OSError: A file of certificates cannot be read, or holds none.
        """
        if secure:
            self._secure.add(host)
        url = self.base(host)
        self._guests[urlsplit(url).netloc] = _Guest(_pool(url, certificates), look)

    def base(self, host: str) -> str:
        """Where a registry's API is."""
        # Like Docker: plain HTTP on this machine, else HTTPS. "localhost" may mean ::1 first, where nothing is published.
        place = re.sub(r"^localhost(?=:|$)", ports.LOOPBACK, _API_HOSTS.get(host, host))
        return f"{'http' if place.startswith('127.') and host not in self._secure else 'https'}://{place}/v2"

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> urllib3.BaseHTTPResponse:
        """What a registry answers.

        Raises:
            urllib3.exceptions.HTTPError: It does not.
        """
        found = self._ask(method, url, body, headers or {}, timeout)
        for _ in range(_MOST_REDIRECTS):
            if method not in ("GET", "HEAD") or found.status not in _REDIRECTS or "Location" not in found.headers:
                break
            url = urljoin(url, found.headers["Location"])  # content may lie elsewhere, where no credentials go
            found = self._ask(method, url, body, headers or {}, timeout)
        return found

    def _ask(
        self, method: str, url: str, body: bytes | IO[bytes] | None, headers: Mapping[str, str], timeout: float
    ) -> urllib3.BaseHTTPResponse:
        guest = self._guests.get(urlsplit(url).netloc)
        if guest is None:
            return self._open.request(method, url, body=body, headers=dict(headers), timeout=timeout)
        start = None if body is None or isinstance(body, bytes) else body.tell()
        found = guest.send(method, url, body=body, headers=headers, timeout=timeout)
        if found.status == 401 and guest.introduce(url, found.headers.get("WWW-Authenticate") or ""):
            if start is not None and body is not None and not isinstance(body, bytes):
                body.seek(start)
            found = guest.send(method, url, body=body, headers=headers, timeout=timeout)
        return found


class _Guest:
    """Somebody who signed in to one registry."""

    def __init__(self, pool: urllib3.PoolManager, look: Look) -> None:
        self._pool, self._look = pool, look
        self._granted: dict[str, str] = {}

    def send(self, method: str, url: str, *, headers: Mapping[str, str], **rest: Any) -> urllib3.BaseHTTPResponse:
        granted = self._granted.get(_repository(url))
        shown = {"Authorization": granted} if granted else {}
        return self._pool.request(method, url, headers={**headers, **shown}, **rest)

    def introduce(self, url: str, challenge: str) -> bool:
        """Whether there is an answer to how a registry asked who is there; it is shown from now on."""
        who = self._look() or Credentials()
        kind, _, rest = challenge.partition(" ")
        granted = self._token(url, dict(_PARAMETER.findall(rest)), who) if kind.lower() == "bearer" else who.basic
        if granted:
            self._granted[_repository(url)] = granted
        return bool(granted)

    def _token(self, url: str, asked: Mapping[str, str], who: Credentials) -> str:
        realm = urlsplit(asked.get("realm", ""))
        if realm.scheme != "https" and urlsplit(url).scheme == "https":
            return ""  # no password leaves in the clear because somebody says so
        fields = [("service", asked.get("service", "")), *(("scope", one) for one in asked.get("scope", "").split())]
        if who.token:
            form = {"grant_type": "refresh_token", "client_id": _CLIENT, "refresh_token": who.token, **dict(fields)}
            form["scope"] = asked.get("scope", "")
            found = self._pool.request("POST", realm.geturl(), fields=form, encode_multipart=False)
        else:
            query = "&".join(
                part for part in (realm.query, urlencode([(name, value) for name, value in fields if value])) if part
            )
            headers = {"Authorization": who.basic} if who.basic else {}
            found = self._pool.request("GET", realm._replace(query=query).geturl(), headers=headers)
        if found.status != 200:
            return ""
        said = json.loads(found.data)
        return f"Bearer {said.get('token') or said['access_token']}"


def _repository(url: str) -> str:
    found = _REPOSITORY.search(urlsplit(url).path)
    return found[1] if found else ""


def _pool(url: str, certificates: Sequence[Path]) -> urllib3.PoolManager:
    trusted = ssl.create_default_context()
    for file in certificates:
        trusted.load_verify_locations(file)
    options: dict[str, Any] = {**_OPTIONS, "ssl_context": trusted}
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if parts.scheme == "https" and proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


__all__ = ["REQUEST_TIMEOUT", "Credentials", "Door", "Look"]
