"""Prometheus sees the cluster, Argo CD and the services; its alerts reach Alertmanager; a copy can go to a third party."""

from __future__ import annotations

import urllib.parse
from collections.abc import Generator
from typing import Any

import pytest

from slipway import names
from slipway.applications import API_VERSION
from slipway.kube import NOT_YET, rollout
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e.conftest import Instance, fetch

# A scrape and an evaluation of the rules, with room for a busy machine.
SCRAPE_TIMEOUT = 120.0

RECEIVER = "third-party"

# An application that cannot be applied; and how often that is tried meanwhile: the later times are 15 seconds apart.
REFUSED = "refused"
RETRIES = 6


def query(instance: Instance, expression: str, *, at: str = "") -> list[dict[str, Any]]:
    answer = fetch(f"{at or instance.json('urls')['prometheus']}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    assert answer.status == 200, answer.body
    return answer.json["data"]["result"]


@pytest.mark.parametrize(
    "expression",
    [
        'up{job=~".*argocd.*"} == 1',
        'kube_deployment_status_replicas_available{namespace="prod",deployment="catalog"} > 0',
        'container_memory_working_set_bytes{namespace="dev"} > 0',
        "apiserver_request_total",
        'argocd_app_info{sync_status="Synced"}',
        'http_requests_total{environment="dev",service="catalog"}',
        'http_requests_total{environment="prod",service="catalog"}',
    ],
)
def test_prometheus_has_samples_of(instance: Instance, expression: str) -> None:
    for environment in ("dev", "prod"):
        fetch(instance.url("catalog", environment) + "/products")

    def seen() -> Ready[None] | Pending:
        return Ready(None) if query(instance, expression) else Pending("no sample")

    wait_for(f"samples of {expression}", seen, timeout=SCRAPE_TIMEOUT)


def test_every_target_that_prometheus_knows_is_up(instance: Instance) -> None:
    prometheus = instance.json("urls")["prometheus"]

    def all_up() -> Ready[None] | Pending:
        # Not the metric `up`: for five minutes after a restart it also tells of targets that were there before.
        found = fetch(f"{prometheus}/api/v1/targets?state=active").json["data"]["activeTargets"]
        down = [
            f"{target['scrapeUrl']}: {target['lastError'] or target['health']}" for target in found if target["health"] != "up"
        ]
        return Ready(None) if found and not down else Pending(f"down: {down}")

    wait_for("every target to be up", all_up, timeout=SCRAPE_TIMEOUT)


def test_the_rules_are_loaded_and_none_of_them_fails(instance: Instance) -> None:
    groups = fetch(instance.json("urls")["prometheus"] + "/api/v1/rules").json["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["type"] for rule in rules} == {"alerting", "recording"}
    assert [rule["name"] for rule in rules if rule.get("lastError")] == []


def test_prometheus_sends_its_alerts_to_alertmanager(instance: Instance) -> None:
    active = fetch(instance.json("urls")["prometheus"] + "/api/v1/alertmanagers").json["data"]["activeAlertmanagers"]
    assert active
    assert fetch(instance.json("urls")["alertmanager"] + "/api/v2/status").json["cluster"]


@pytest.fixture
def refused(instance: Instance) -> Generator[str]:
    """An application set up like every other, whose syncs fail before they change anything: all that it has is another one's."""
    real = instance.kube.get("Application", "catalog-dev", namespace=names.ARGOCD, api_version=API_VERSION)
    assert real
    meta = {"name": REFUSED, "namespace": names.ARGOCD}
    instance.kube.apply([{"apiVersion": API_VERSION, "kind": "Application", "metadata": meta, "spec": real["spec"]}])
    yield REFUSED
    instance.kube.delete("Application", REFUSED, namespace=names.ARGOCD, api_version=API_VERSION)


@pytest.mark.long
def test_a_sync_that_is_tried_again_and_again_is_on_its_way_to_an_alert(instance: Instance, refused: str) -> None:
    prometheus = instance.json("urls")["prometheus"]

    def alert() -> Ready[dict[str, Any]] | Pending:
        told = fetch(f"{prometheus}/api/v1/alerts").json["data"]["alerts"]
        own = [
            one for one in told if (one["labels"]["alertname"], one["labels"].get("name")) == ("ApplicationSyncFailed", refused)
        ]
        return Ready(own[0]) if own else Pending("no such alert")

    def retried() -> Ready[None] | Pending:
        found = instance.kube.get("Application", refused, namespace=names.ARGOCD, api_version=API_VERSION) or {}
        state = found.get("status", {}).get("operationState", {})
        told = f"{state.get('phase')} after {state.get('retryCount', 0)} retries: {state.get('message')}"
        return Ready(None) if state.get("retryCount", 0) >= RETRIES else Pending(told)

    first = wait_for("the alert to be pending", alert, timeout=SCRAPE_TIMEOUT)
    assert query(instance, f'argocd_app_info{{name="{refused}",operation="sync"}}')
    wait_for(f"{RETRIES} retries", retried, timeout=SCRAPE_TIMEOUT)
    # Had there been a moment between two tries at which it was not true, the three minutes would have begun anew.
    assert wait_for("the alert", alert, timeout=SCRAPE_TIMEOUT)["activeAt"] == first["activeAt"]


def test_a_third_party_receives_a_copy_of_every_sample(instance: Instance) -> None:
    own = instance.kube.get("StatefulSet", "prometheus", namespace=names.MONITORING, api_version="apps/v1")
    own = own or instance.kube.get("Deployment", "prometheus", namespace=names.MONITORING, api_version="apps/v1")
    assert own
    image = next(one["image"] for one in own["spec"]["template"]["spec"]["containers"] if "prometheus" in one["name"])
    instance.kube.apply(_receiver(image))
    try:
        wait_for(
            "the receiver",
            lambda: rollout(instance.kube.get("Deployment", RECEIVER, namespace=names.LOCAL, api_version="apps/v1")),
            timeout=SCRAPE_TIMEOUT,
            tolerate=NOT_YET,
        )
        url = f"http://{RECEIVER}.{names.LOCAL}.svc.cluster.local/api/v1/write"
        port = urllib.parse.urlsplit(instance.json("urls")["prometheus"]).port or 0
        at = names.url(RECEIVER, port=port, environment=names.LOCAL)
        instance.invoke("up", env={"SLIPWAY_REMOTE_WRITE_URL": url})

        def received() -> Ready[None] | Pending:
            return Ready(None) if query(instance, 'up{cluster="e2e"}', at=at) else Pending("it has none yet")

        wait_for("samples at the receiver", received, timeout=SCRAPE_TIMEOUT, tolerate=NOT_YET)
    finally:
        instance.invoke("up")  # while there is still somebody to take the last samples
        for item in _receiver(image):
            instance.kube.delete(item["kind"], RECEIVER, namespace=names.LOCAL, api_version=item["apiVersion"])


def _receiver(image: str) -> list[dict[str, Any]]:
    labels = {"app": RECEIVER}
    container = {
        "name": "prometheus",
        "image": image,
        "command": ["prometheus"],
        "args": ["--config.file=/etc/receiver/prometheus.yml", "--storage.tsdb.path=/data", "--web.enable-remote-write-receiver"],
        "ports": [{"containerPort": 9090}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/receiver"}, {"name": "data", "mountPath": "/data"}],
    }
    volumes = [{"name": "config", "configMap": {"name": RECEIVER}}, {"name": "data", "emptyDir": {}}]
    meta = {"name": RECEIVER, "namespace": names.LOCAL}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"prometheus.yml": "{}"}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": volumes}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 9090}]},
        },
    ]
