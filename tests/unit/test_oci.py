from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3

from slipway import oci
from tests.unit.fake_registry import HOST, FakeRegistry


class Http:
    """Answers each request from a table of URLs, and remembers what was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers, self.asked = answers, list[tuple[str, str]]()

    def request(self, method: str, url: str, **_: Any) -> Any:
        self.asked.append((method, url))
        found = self.answers.get(url, SimpleNamespace(status=404))
        if isinstance(found, Exception):
            raise found
        return found


def http(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> Http:
    fake = Http({url.replace("URL", "http://127.0.0.1:5001/v2"): answer for url, answer in answers.items()})
    monkeypatch.setattr(oci, "_http", fake)
    return fake


def answer(status: int = 200, data: str = "", **headers: str) -> Any:
    return SimpleNamespace(status=status, data=data, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("localhost:5001/catalog:1.2", ("localhost:5001", "catalog", "1.2")),
        ("localhost:5001/slipway/argocd@sha256:ab", ("localhost:5001", "slipway/argocd", "sha256:ab")),
        ("localhost:5001/catalog:1.2@sha256:ab", ("localhost:5001", "catalog", "sha256:ab")),
        ("quay.io/argoproj/argocd", ("quay.io", "argoproj/argocd", "latest")),
    ],
)
def test_a_reference_is_taken_apart(reference: str, parts: tuple[str, str, str]) -> None:
    found = oci.split(reference)
    assert (found.host, found.repository, found.pin) == parts


def test_this_machine_is_asked_in_plain_http_and_others_are_not() -> None:
    assert oci.split("localhost:5001/a:1").url == "http://127.0.0.1:5001/v2/a/manifests/1"
    assert oci.split("quay.io/a:1").url == "https://quay.io/v2/a/manifests/1"
    assert oci.split("localhost.example/a:1").url == "https://localhost.example/v2/a/manifests/1"


def test_a_digest_is_looked_up_by_head(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = http(monkeypatch, **{"URL/catalog/manifests/1": answer(Docker_Content_Digest="sha256:ab")})
    assert oci.digest("localhost:5001/catalog:1") == "sha256:ab"
    assert fake.asked == [("HEAD", "http://127.0.0.1:5001/v2/catalog/manifests/1")]


def test_what_a_registry_does_not_have_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    http(monkeypatch)
    assert oci.digest("localhost:5001/catalog:1") is None
    assert oci.manifest("localhost:5001/catalog:1") is None
    assert oci.tags("localhost:5001", "catalog") == []


def test_tags_are_sorted_and_none_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    http(
        monkeypatch, **{"URL/a/tags/list": answer(data='{"tags": ["2", "1"]}'), "URL/b/tags/list": answer(data='{"tags": null}')}
    )
    assert oci.tags("localhost:5001", "a") == ["1", "2"]
    assert oci.tags("localhost:5001", "b") == []


def test_a_registry_that_refuses_or_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    http(monkeypatch, **{"URL/a/manifests/1": answer(500), "URL/b/manifests/1": urllib3.exceptions.HTTPError("refused")})
    with pytest.raises(oci.RegistryError, match="answers 500"):
        oci.digest("localhost:5001/a:1")
    with pytest.raises(oci.RegistryError, match=r"does not answer: refused.*`./invoke up`"):
        oci.digest("localhost:5001/b:1")


def test_a_registry_answers_only_with_200(monkeypatch: pytest.MonkeyPatch) -> None:
    http(monkeypatch, **{"URL/": answer(401)})
    assert not oci.answers("localhost:5001")
    http(monkeypatch, **{"URL/": answer()})
    assert oci.answers("localhost:5001")


def test_a_blob_is_sent_once_and_then_known(monkeypatch: pytest.MonkeyPatch) -> None:
    held = FakeRegistry(monkeypatch)
    described = oci.put_json(HOST, "catalog", {"b": 1, "a": 2}, oci.CONFIG)
    assert oci.put_json(HOST, "catalog", {"a": 2, "b": 1}, oci.CONFIG) == described
    assert held.sent == [described.digest]
    assert oci.blob(HOST, "catalog", described.digest) == b'{"a":2,"b":1}'
    assert oci.blob(HOST, "cart", described.digest) is None


def test_a_blob_of_another_repository_is_shared_and_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    held = FakeRegistry(monkeypatch)
    described = oci.put_json(HOST, "layers", {}, oci.CONFIG)
    oci.mount(HOST, "catalog", described.digest, source="layers")
    assert oci.has_blob(HOST, "catalog", described.digest)
    assert len(held.sent) == 1
    with pytest.raises(oci.RegistryError, match=r"layers no longer has sha256:12"):
        oci.mount(HOST, "catalog", "sha256:12", source="layers")


def test_what_a_registry_does_not_take_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeRegistry(monkeypatch)
    config = oci.describe(b"{}", oci.CONFIG)
    with pytest.raises(oci.RegistryError, match=r"catalog:1: the registry answers 400 .*MANIFEST_BLOB_UNKNOWN"):
        oci.put_manifest(f"{HOST}/catalog:1", {"mediaType": oci.MANIFEST, "config": {"digest": config.digest}})


def referring(held: FakeRegistry, subject: oci.Descriptor, kind: str, content: dict[str, str]) -> str:
    del held
    config = oci.put_json(HOST, "catalog", content, oci.EMPTY)
    document: dict[str, Any] = {
        "mediaType": oci.MANIFEST,
        "artifactType": kind,
        "config": {"digest": config.digest},
        "subject": {"digest": subject.digest},
    }
    return oci.put_manifest(f"{HOST}/catalog@{oci.manifest_digest(document)}", document).digest


def test_what_refers_to_an_image_is_found_by_its_digest_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    held = FakeRegistry(monkeypatch)
    config = oci.put_json(HOST, "catalog", {}, oci.CONFIG)
    image = oci.put_manifest(f"{HOST}/catalog:1", {"mediaType": oci.MANIFEST, "config": {"digest": config.digest}})
    assert oci.referrers(f"{HOST}/catalog@{image.digest}", "bill") == []
    first = referring(held, image, "bill", {"x": "1"})
    other = referring(held, image, "signature", {"x": "2"})
    assert referring(held, image, "bill", {"x": "1"}) == first
    assert oci.referrers(f"{HOST}/catalog@{image.digest}", "bill") == [first]
    assert oci.referrers(f"{HOST}/catalog@{image.digest}", "signature") == [other]


def test_a_registry_that_keeps_track_of_references_itself_gets_no_second_list(monkeypatch: pytest.MonkeyPatch) -> None:
    held = FakeRegistry(monkeypatch)
    held.tracks = True
    image = oci.describe(b"image", oci.MANIFEST)
    digest = referring(held, image, "bill", {})
    assert [name for _, name in held.manifests] == [digest]
    assert oci.referrers(f"{HOST}/catalog@{image.digest}", "bill") == [digest]


def held_image(held: FakeRegistry, content: bytes) -> oci.Descriptor:
    """An image in the registry whose manifest is not written the way ours are."""
    config = oci.put_json(HOST, "catalog", {"content": content.decode()}, oci.CONFIG)
    document = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": {"digest": config.digest}, "layers": []}
    data = json.dumps(document, indent=3).encode()
    described = oci.describe(data, oci.MANIFEST)
    held.manifests["catalog", described.digest] = oci.MANIFEST, data
    return described


def test_another_tag_names_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    held = FakeRegistry(monkeypatch)
    image = held_image(held, b"one")
    before = set(held.manifests)
    assert oci.alias(f"{HOST}/catalog@{image.digest}", "0.2.0") is True
    assert oci.alias(f"{HOST}/catalog@{image.digest}", "0.2.0") is False
    assert oci.digest(f"{HOST}/catalog:0.2.0") == image.digest
    assert set(held.manifests) - before == {("catalog", "0.2.0")}


def test_a_tag_never_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    held = FakeRegistry(monkeypatch)
    one, other = held_image(held, b"one"), held_image(held, b"other")
    oci.alias(f"{HOST}/catalog@{one.digest}", "0.2.0")
    with pytest.raises(oci.RegistryError, match=r"catalog:0.2.0 names .* already, and a tag never moves"):
        oci.alias(f"{HOST}/catalog@{other.digest}", "0.2.0")
    assert oci.digest(f"{HOST}/catalog:0.2.0") == one.digest


def test_what_is_gone_gets_no_other_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeRegistry(monkeypatch)
    with pytest.raises(oci.RegistryError, match="no longer has it"):
        oci.alias(f"{HOST}/catalog@sha256:{'a' * 64}", "0.2.0")
