"""A registry in memory that speaks the part of the registry API that Slipway uses."""

from __future__ import annotations

import hashlib
import json
import re
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from slipway import oci

HOST = "localhost:5001"


class FakeRegistry:
    """Holds blobs and manifests by repository, and remembers what was sent.

    Like ours it does not keep track of what refers to what, unless `tracks` says so.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.sent: list[str] = []
        self.tracks = False
        monkeypatch.setattr(oci, "_http", self)

    def request(self, method: str, url: str, *, body: Any = None, headers: Any = None, **_: Any) -> Any:
        parts = urlsplit(url)
        found = re.fullmatch(r"/v2/(.+)/(blobs|manifests|referrers|tags)/(.*)", parts.path)
        assert found, url
        repository, kind, name = found.groups()
        fields = {key: value[0] for key, value in parse_qs(parts.query).items()}
        if kind == "referrers":
            return self._referrers(repository, name) if self.tracks else answer(404)
        if kind == "tags":
            listed = [tag for place, tag in self.manifests if place == repository and ":" not in tag]
            return answer(200, json.dumps({"tags": listed}).encode()) if listed else answer(404)
        if kind == "manifests":
            return self._manifest(method, repository, name, body, headers)
        return self._blob(method, repository, name, body, fields)

    def _manifest(self, method: str, repository: str, name: str, body: Any, headers: Any) -> Any:
        if method == "PUT":
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            document = json.loads(body)
            needed = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
            if not all((repository, one["digest"]) in self.blobs for one in needed) or (":" in name and name != digest):
                return answer(400, b"MANIFEST_BLOB_UNKNOWN")
            self.manifests[repository, name] = self.manifests[repository, digest] = headers["Content-Type"], body
            subject = document.get("subject", {}).get("digest", "")
            return answer(201, **({"OCI-Subject": subject} if self.tracks and subject else {}))
        kept = self.manifests.get((repository, name))
        if kept is None:
            return answer(404)
        if method == "DELETE":
            self.manifests = {key: one for key, one in self.manifests.items() if key[0] != repository or one[1] != kept[1]}
            return answer(202)
        digest = f"sha256:{hashlib.sha256(kept[1]).hexdigest()}"
        return answer(200, kept[1], **{"Docker-Content-Digest": digest})

    def _referrers(self, repository: str, subject: str) -> Any:
        documents = {name: json.loads(body) for (place, name), (_, body) in self.manifests.items() if place == repository}
        listed = [
            {"digest": name, "artifactType": document["artifactType"]}
            for name, document in documents.items()
            if document.get("subject", {}).get("digest") == subject
        ]
        return answer(200, json.dumps({"manifests": listed}).encode())

    def _blob(self, method: str, repository: str, name: str, body: Any, fields: dict[str, str]) -> Any:
        if method == "POST":
            there = self.blobs.get((fields.get("from", ""), fields.get("mount", "")))
            if there is not None:
                self.blobs[repository, fields["mount"]] = there
                return answer(201)
            return answer(202, Location=f"/v2/{repository}/blobs/uploads/1?_state=x")
        if method == "PUT":
            data = body if isinstance(body, bytes) else body.read()
            if fields["digest"] != f"sha256:{hashlib.sha256(data).hexdigest()}":
                return answer(400, b"DIGEST_INVALID")
            self.blobs[repository, fields["digest"]] = data
            self.sent.append(fields["digest"])
            return answer(201)
        data = self.blobs.get((repository, name))
        return answer(404) if data is None else answer(200, data)


def answer(status: int, data: bytes = b"", **headers: str) -> Any:
    """What a registry answers."""
    return SimpleNamespace(status=status, data=data, headers=headers)
