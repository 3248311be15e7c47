"""The platform's own charts: what Helm is told, and the copy of every sample that a third party may get."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from slipway import helm, platform
from slipway.errors import UsageError
from slipway.settings import load

URL, USER, PASSWORD, TOKEN = (f"SLIPWAY_REMOTE_WRITE_{name}" for name in ("URL", "USER", "PASSWORD_FILE", "TOKEN_FILE"))
THERE = "https://metrics.example.com/write"


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    return str(file)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def template(chart: Path, **options: Any) -> list[dict[str, Any]]:
        seen[chart.name] = options
        return [{"kind": "Deployment", "metadata": {"name": chart.name, "namespace": options["namespace"]}}]

    monkeypatch.setattr(helm, "template", template)
    return seen


def monitoring(remote: platform.RemoteWrite | None) -> list[Any]:
    images = {name: f"localhost:5001/slipway/{name}:1" for name in ("prometheus", "alertmanager", "kube-state-metrics")}
    return list(platform.monitoring(load("test"), images=images, port=8083, remote=remote, helm_program=Path("helm")))


def gateway(rendered: dict[str, Any], source: str) -> dict[str, Any]:
    repositories = ("app", "records")
    platform.gateway(load("test"), image="i", source=source, repositories=repositories, helm_program=Path("helm"))
    return rendered["gateway"]["values"]


def test_no_setting_is_no_copy() -> None:
    assert platform.remote_write({}) is None


def test_a_copy_may_need_nothing_a_password_or_a_token(secret: str) -> None:
    assert platform.remote_write({URL: THERE}) == platform.RemoteWrite(THERE, "none", {})
    basic = platform.remote_write({URL: THERE, USER: "me", PASSWORD: secret})
    assert basic == platform.RemoteWrite(THERE, "basic", {"username": "me", "password": "hunter2"})
    bearer = platform.remote_write({URL: THERE, TOKEN: secret})
    assert bearer == platform.RemoteWrite(THERE, "bearer", {"token": "hunter2"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([URL, TOKEN, USER], "both set"),
        ([URL, PASSWORD], f"{USER} is not"),
        ([URL, TOKEN, PASSWORD], f"{USER} is not"),
        ([TOKEN], f"{URL} is not"),
        ([USER, PASSWORD], f"{URL} is not"),
        ([URL, USER], f"{PASSWORD} names no file"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(secret: str, given: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        platform.remote_write({name: THERE if name == URL else secret for name in given})


def test_a_secret_that_cannot_be_read_is_said_with_the_setting_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"{TOKEN} names /nowhere, which cannot be read: No such file"):
        platform.remote_write({URL: THERE, TOKEN: "/nowhere"})
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not text"):
        platform.remote_write({URL: THERE, TOKEN: str(binary)})


def test_monitoring_without_a_copy_has_no_secret(rendered: dict[str, Any]) -> None:
    assert [item["kind"] for item in monitoring(None)] == ["Namespace", "Deployment"]
    values = rendered["monitoring"]["values"]
    assert "remoteWrite" not in values
    assert values["urls"]["prometheus"] == "http://prometheus.localhost:8083"
    assert values["externalLabels"] == {"cluster": "test"}


def test_the_secret_of_a_copy_is_in_a_secret_and_nowhere_else(rendered: dict[str, Any]) -> None:
    objects = monitoring(platform.RemoteWrite(THERE, "bearer", {"token": "hunter2"}))
    (secret,) = [item for item in objects if item["kind"] == "Secret"]
    assert secret["metadata"]["namespace"] == "monitoring"
    assert base64.b64decode(secret["data"]["token"]) == b"hunter2"
    values = rendered["monitoring"]["values"]
    assert values["remoteWrite"] == {"url": THERE, "auth": "bearer", "secret": "remote-write"}
    assert "hunter2" not in str(values)


def test_a_copy_that_needs_no_secret_has_none(rendered: dict[str, Any]) -> None:
    objects = monitoring(platform.RemoteWrite(THERE, "none", {}))
    assert not [item for item in objects if item["kind"] == "Secret"]
    assert rendered["monitoring"]["values"]["remoteWrite"]["secret"] == ""


def test_the_gateway_takes_the_port_that_is_mapped_and_knows_every_environment(rendered: dict[str, Any]) -> None:
    values = gateway(rendered, "pull")
    assert values["nodePort"] == 30080
    assert values["environments"] == ["dev", "qa", "stage", "prod", "local"]
    assert values["repositories"] == ["app", "records"]


def test_the_gateway_knows_which_parts_have_no_pages_because_they_were_built(rendered: dict[str, Any]) -> None:
    pins = load().versions["versions"]
    assert gateway(rendered, "build")["withoutPages"] == {"argocd": pins["argocd"], "prometheus": pins["prometheus"]}
    assert gateway(rendered, "pull")["withoutPages"] == {"argocd": "", "prometheus": ""}


def test_storage_has_a_namespace_of_its_own_and_helm_renders_for_the_pinned_kubernetes(rendered: dict[str, Any]) -> None:
    first, *_ = platform.storage(load("test"), image="i", helper="h", helm_program=Path("helm"))
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "local-path-storage")
    assert first["metadata"]["labels"] == {"slipway.dev/owner": "slipway"}
    assert rendered["local-path"]["kubernetes"] == load().versions["versions"]["kubernetes"]


@pytest.mark.parametrize("url", ["https://me:hunter2@metrics.example.com/write", "metrics.example.com", "ftp://x/y", "https://"])
def test_an_address_that_holds_a_password_or_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError, match=f"{URL} must be an http or https address") as refused:
        platform.remote_write({URL: url})
    assert "hunter2" not in str(refused.value)
