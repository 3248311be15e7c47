"""Where a load comes from: what its generator asks there, and what somebody has to know of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.access import Access
from slipway.errors import UsageError
from slipway.load import origin
from slipway.load.model import Asked
from slipway.settings import ROOT, Settings

SETTINGS = Settings(ROOT, Path("/nowhere"), "test")
SERVICES = SETTINGS.services
KUBE: Any = object()


def access(networks: dict[str, Any] | None = None) -> Access:
    """An instance whose node is in these networks."""
    node = SimpleNamespace(attrs={"NetworkSettings": {"Networks": networks or {}}})
    engine: Any = SimpleNamespace(container=lambda name: node if name == SETTINGS.node else None)
    anything: Any = None
    return Access(SETTINGS, "pipeline", 8080, anything, anything, engine)


def test_inside_the_cluster_each_service_has_an_address_of_its_own() -> None:
    found = origin.find(access(), Asked(), KUBE)
    assert found.addresses["catalog"] == "http://catalog.stage.svc.cluster.local"
    assert (found.hosts, found.note) == ({}, "")
    assert found.kube


def test_a_generator_on_the_host_goes_through_the_one_port_by_the_services_names() -> None:
    found = origin.find(access(), Asked(local=True), KUBE)
    assert found.addresses == dict.fromkeys(SERVICES, "http://127.0.0.1:8080")
    assert found.hosts["catalog"] == "catalog.stage.localhost"
    assert found.kube is None
    assert "no proof" in found.note


def test_another_cluster_sends_to_the_node_s_gateway_in_the_network_that_both_share(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Settings] = []

    def opening(settings: Settings) -> Access:
        opened.append(settings)
        return replace(access(), settings=settings)

    monkeypatch.setattr(origin.access, "open", opening)
    seen: dict[str, Any] = {"bridge": {"IPAddress": "172.17.0.9"}, "kind": {"IPAddress": "172.18.0.3"}}
    found = origin.find(access(seen), Asked(sender="other", environment="qa"), KUBE)
    assert found.addresses == dict.fromkeys(SERVICES, "http://172.18.0.3:30080")
    assert found.hosts["catalog"] == "catalog.qa.localhost"
    assert [settings.instance for settings in opened] == ["other"]
    assert found.kube
    assert "in the cluster of other" in found.note
    assert "the gateway of test" in found.note


@pytest.mark.parametrize("networks", [{}, {"bridge": {"IPAddress": "172.17.0.9"}}, {"kind": {"IPAddress": ""}}])
def test_a_node_that_no_other_one_reaches_is_told(monkeypatch: pytest.MonkeyPatch, networks: dict[str, Any]) -> None:
    monkeypatch.setattr(origin.access, "open", lambda settings: replace(access(), settings=settings))
    with pytest.raises(origin.Environmental, match="no address in the network 'kind'") as refused:
        origin.find(access(networks), Asked(sender="other"), KUBE)
    assert refused.value.exit_code == 3


def test_an_instance_that_does_not_run_sends_nothing_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Settings) -> Access:
        raise UsageError("there is no instance. `./invoke up` makes it.")

    monkeypatch.setattr(origin.access, "open", away)
    with pytest.raises(origin.Environmental, match=r"`\./invoke up --name secnd` sees to it"):
        origin.find(access(), Asked(sender="secnd"), KUBE)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked(local=True, sender="other"), "leave one of them out"),
        (Asked(sender="test"), "sends by itself: leave out --from-instance"),
        (Asked(sender="other", during="rollout"), "none of them reaches a pod: leave out"),
        (Asked(local=True, during="promotion"), "none of them reaches a pod: leave out"),
    ],
)
def test_a_load_that_would_not_show_what_is_asked_is_refused(asked: Asked, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        origin.find(access(), asked, KUBE)
