"""Image references, and what a registry's own HTTP API says about them and takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin

import urllib3

from slipway.errors import SlipwayError
from slipway.login import Door, Look

# A registry sums up what it was sent before it answers.
UPLOAD_TIMEOUT = 120.0

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"

# Every kind of manifest that docker, containerd and Helm push: a registry answers with what it has only when asked for it.
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)

_door = Door()
_http = _door


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


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of a blob: its kind, digest ("sha256:...") and size in bytes."""

    mediaType: str
    digest: str
    size: int


def sign_in(host: str, look: Look, *, secure: bool = False, certificates: Sequence[Path] = ()) -> None:
    """Answer a registry, from now on, when it asks who is there.

    Args:
        host: The registry, as image references name it.
        look: Looks up the credentials; asked once the registry wants some. None means that there are none.
        secure: Speak TLS although it is on this machine.
        certificates: Files with certificates to trust beside those of the system.

    Raises:
        OSError: A file of certificates cannot be read, or holds none.
    """
    _door.sign_in(host, look, secure=secure, certificates=certificates)


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


def labels(reference: str) -> Mapping[str, str] | None:
    """The labels of an image, as its configuration in a registry has them; None when the registry does not hold it.

    Raises:
        RegistryError: The registry does not answer, or refuses.
    """
    place, found = split(reference), manifest(reference)
    held = blob(place.host, place.repository, found["config"]["digest"]) if found and "config" in found else None
    return None if held is None else (json.loads(held).get("config") or {}).get("Labels") or {}


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


def blob(host: str, repository: str, digest: str) -> bytes | None:
    """The content of a blob; None when the repository does not have it.

    Raises:
        RegistryError: The registry does not answer, or refuses.
    """
    found = _answer("GET", f"{_base(host)}/{repository}/blobs/{digest}", f"{host}/{repository}@{digest}")
    return found.data if found else None


def has_blob(host: str, repository: str, digest: str) -> bool:
    """Whether a repository has a blob.

    Raises:
        RegistryError: The registry does not answer, or refuses.
    """
    return _answer("HEAD", f"{_base(host)}/{repository}/blobs/{digest}", f"{host}/{repository}@{digest}") is not None


def put_blob(host: str, repository: str, content: bytes | IO[bytes], described: Descriptor) -> None:
    """See to it that a repository has a blob; sent only when it does not.

    Raises:
        RegistryError: The registry does not answer, or does not take it.
    """
    if not has_blob(host, repository, described.digest):
        place = _begin(host, repository, {})
        size = {"Content-Length": str(described.size), "Content-Type": "application/octet-stream"}
        fields = f"{'&' if '?' in place else '?'}digest={described.digest}"
        _send("PUT", f"{place}{fields}", f"{host}/{repository}@{described.digest}", content, size)


def put_json(host: str, repository: str, document: Any, media_type: str) -> Descriptor:
    """The descriptor of a blob that a repository now has: a document as JSON, the same bytes for the same document.

    Raises:
        RegistryError: The registry does not answer, or does not take it.
    """
    data = encode(document)
    described = describe(data, media_type)
    put_blob(host, repository, data, described)
    return described


def mount(host: str, repository: str, digest: str, *, source: str) -> None:
    """Let a repository have a blob that another repository of the registry has; nothing is sent.

    Raises:
        RegistryError: The registry does not answer, or the other repository does not have it.
    """
    if _begin(host, repository, {"mount": digest, "from": source}):
        raise RegistryError(f"{host}/{source} no longer has {digest}. Run the command again.")


def put_manifest(reference: str, document: Mapping[str, Any]) -> Descriptor:
    """The descriptor of a manifest that a registry now has under a reference: a tag, or the manifest's own digest.

    What refers to another manifest (`subject`) is found from there, also where the registry itself does not keep track.

    Raises:
        RegistryError: The registry does not answer, or does not take it.
    """
    return _put(reference, encode(document))


def copy(source: str, reference: str) -> None:
    """See to it that a registry has, under a reference, what another one has: the same image, byte for byte.

    Args:
        source: The image, by digest.
        reference: Its name there: with a tag, or with the digest.

    Raises:
        RegistryError: A registry does not answer, does not have the image, or does not take it.
    """
    there, place = split(source), split(reference)
    found = _request("GET", source)
    document: Mapping[str, Any] = json.loads(found.data) if found else {}
    if found is None or "manifests" in document:
        raise RegistryError(f"{source} is no image that {there.host} has now. Run the command again.")
    for one in (*document["layers"], document["config"]):
        described = Descriptor(one["mediaType"], one["digest"], one["size"])
        if not has_blob(place.host, place.repository, described.digest):
            content = blob(there.host, there.repository, described.digest)
            if content is None:
                raise RegistryError(f"{there.host}/{there.repository} no longer has {described.digest}. Run the command again.")
            put_blob(place.host, place.repository, content, described)
    _put(reference, found.data)


def alias(reference: str, tag: str) -> bool:
    """Whether a tag is new that names what a reference names now: the same manifest, byte for byte.

    Args:
        reference: An image, by digest.
        tag: Another name for it in its own repository.

    Raises:
        RegistryError: The registry does not have the image, or the tag names something else; nothing has changed.
    """
    place = split(reference)
    found = _request("GET", reference)
    if found is None:
        raise RegistryError(f"{reference}: the registry no longer has it.")
    tagged = f"{place.host}/{place.repository}:{tag}"
    named = digest(tagged)
    if named and named != place.pin:
        raise RegistryError(f"{tagged} names {named} already, and a tag never moves: {place.pin} cannot be called so.")
    if not named:
        media_type = json.loads(found.data).get("mediaType") or found.headers["Content-Type"]
        _send("PUT", split(tagged).url, tagged, found.data, {"Content-Type": media_type})
    return not named


def manifest_digest(document: Mapping[str, Any]) -> str:
    """The digest that a manifest has, wherever it is put."""
    return describe(encode(document), MANIFEST).digest


def describe(content: bytes, media_type: str) -> Descriptor:
    """The descriptor of some content."""
    return Descriptor(media_type, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))


def remove(reference: str) -> None:
    """Remove a manifest, which is named by digest, and its tags; one that is not there is fine.

    Raises:
        RegistryError: The registry does not answer, or refuses.
    """
    _answer("DELETE", split(reference).url, reference)


def referrers(reference: str, artifact_type: str) -> Sequence[str]:
    """The digests of the manifests of a kind that refer to an image, which is named by digest.

    Raises:
        RegistryError: The registry does not answer, or refuses.
    """
    place = split(reference)
    found = _answer("GET", f"{_base(place.host)}/{place.repository}/referrers/{place.pin}", reference)
    index = json.loads(found.data) if found else manifest(f"{place.host}/{place.repository}:{_referrers_tag(place.pin)}")
    listed: list[Mapping[str, Any]] = (index or {}).get("manifests", [])
    return [str(one["digest"]) for one in listed if one.get("artifactType") == artifact_type]


def encode(document: Any) -> bytes:
    """A document as JSON, the same bytes for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _put(reference: str, data: bytes) -> Descriptor:
    document: Mapping[str, Any] = json.loads(data)
    made, place = describe(data, str(document["mediaType"])), split(reference)
    answer = _send("PUT", place.url, reference, data, {"Content-Type": made.mediaType})
    if "subject" in document and not answer.headers.get("OCI-Subject"):
        _refer(place, document["subject"]["digest"], {**asdict(made), "artifactType": document["artifactType"]})
    return made


def _refer(place: Reference, subject: str, entry: Mapping[str, Any]) -> None:
    # The specification's way for registries without the referrers API: an index under a tag made of the digest.
    tagged = f"{place.host}/{place.repository}:{_referrers_tag(subject)}"
    known: list[Mapping[str, Any]] = (manifest(tagged) or {}).get("manifests", [])
    if entry not in known:
        put_manifest(tagged, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*known, entry]})


def _referrers_tag(digest: str) -> str:
    return digest.replace(":", "-")


def _begin(host: str, repository: str, fields: Mapping[str, str]) -> str:
    """Where to send a blob to; empty when the registry has taken it from another repository."""
    url = f"{_base(host)}/{repository}/blobs/uploads/"
    asked = url + ("?" + "&".join(f"{name}={value}" for name, value in fields.items()) if fields else "")
    answer = _send("POST", asked, f"{host}/{repository}", b"", {"Content-Length": "0"})
    return "" if answer.status == 201 else urljoin(url, answer.headers["Location"])


def _send(method: str, url: str, what: str, body: bytes | IO[bytes], headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    try:
        answer = _http.request(method, url, body=body, headers=dict(headers), timeout=UPLOAD_TIMEOUT)
    except urllib3.exceptions.HTTPError as error:
        raise _silent(what, url, error) from error
    if answer.status not in (201, 202):
        raise _refused(method, url, what, answer)
    return answer


def _base(host: str) -> str:
    return _door.base(host)


def _request(method: str, reference: str) -> urllib3.BaseHTTPResponse | None:
    return _answer(method, split(reference).url, reference)


def _answer(method: str, url: str, what: str) -> urllib3.BaseHTTPResponse | None:
    try:
        found = _http.request(method, url, headers={"Accept": _MANIFESTS})
    except urllib3.exceptions.HTTPError as error:
        raise _silent(what, url, error) from error
    if found.status == 404:
        return None
    if found.status not in (200, 202):
        raise _refused(method, url, what, found)
    return found


def _silent(what: str, url: str, error: Exception) -> RegistryError:
    cure = (
        "`./invoke up` starts it."
        if url.startswith("http:")
        else "Is its name right, is it within reach, is its certificate known?"
    )
    return RegistryError(f"{what}: the registry does not answer: {error}. {cure}")


def _refused(method: str, url: str, what: str, answer: urllib3.BaseHTTPResponse) -> RegistryError:
    cure = {
        401: f" It does not know who asks: run `docker login {what.partition('/')[0]}` first.",
        403: " The user that is logged in may not do this.",
        404: " Its repository may have to be made there first.",
    }.get(answer.status, "")
    said = f": {answer.data[:200]!r}" if answer.data else ""
    return RegistryError(f"{what}: the registry answers {answer.status} to {method} {url.partition('?')[0]}{said}.{cure}")
