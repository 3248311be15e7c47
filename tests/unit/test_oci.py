from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import urllib3

from slipway import oci


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
