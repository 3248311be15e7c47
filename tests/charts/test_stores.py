"""What both stores are: one pod with a volume that outlives everything."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from slipway import settings
from slipway.helm import ChartError
from tests.charts.rendering import Object, kinds, merged, only, pods, render, render_shape, shape_values

SETTINGS = settings.load()
STORES = ["postgresql", "valkey"]
DIGEST = "sha256:" + "ab" * 32
KEPT = {"argocd.argoproj.io/sync-options": "Prune=false,Delete=false"}

each = pytest.mark.parametrize("chart", STORES)


def store(chart: str, **changes: Any) -> list[Object]:
    return render_shape(chart, "default", **changes)


def spec(chart: str, **changes: Any) -> Object:
    return only(store(chart, **changes), "StatefulSet")["spec"]


def container(chart: str, **changes: Any) -> Object:
    (found,) = spec(chart, **changes)["template"]["spec"]["containers"]
    return found


@each
def test_the_pipelines_values_are_enough(chart: str) -> None:
    # Exactly these: a store has no files of its own, as services have.
    identity = {
        "service": chart,
        "environment": "dev",
        "tier": "nonprod",
        "image": {"repository": "localhost:5001/store", "digest": DIGEST},
        "version": "1",
        "commit": "0" * 40,
    }
    assert kinds(render(chart, identity)) == {"StatefulSet", "Service", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy"}


@each
def test_argo_cd_takes_nothing_of_it_away(chart: str) -> None:
    objects = store(chart)
    (claim,) = only(objects, "StatefulSet")["spec"]["volumeClaimTemplates"]
    for item in [*objects, claim]:
        assert KEPT.items() <= item["metadata"]["annotations"].items(), item["kind"]


@each
def test_every_object_has_the_stores_name_and_lies_in_its_environment(chart: str) -> None:
    objects = render_shape(chart, "everything")
    name = {"postgresql": "ledger", "valkey": "sessions"}[chart]
    assert {(item["metadata"]["name"], item["metadata"]["namespace"]) for item in objects} == {(name, "prod")}


@each
def test_one_pod_owns_the_data_and_its_volume_stays(chart: str) -> None:
    found = spec(chart)
    assert found["replicas"] == 1
    assert found["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert found["serviceName"] == only(store(chart), "Service")["metadata"]["name"] == chart


@each
def test_a_setting_that_kept_the_pod_from_becoming_ready_can_be_corrected(chart: str) -> None:
    # With the other policy Kubernetes waits for the broken pod first, and somebody would have to delete it.
    assert spec(chart)["podManagementPolicy"] == "Parallel"


@each
def test_the_volumes_claim_is_the_same_for_every_version(chart: str) -> None:
    # Kubernetes refuses every change of it: neither a version nor the chart's own may be in it.
    before, after = store(chart), store(chart, version="9", commit="f" * 40, image={"digest": DIGEST})
    claims = [only(objects, "StatefulSet")["spec"]["volumeClaimTemplates"] for objects in (before, after)]
    assert claims[0] == claims[1]
    assert "helm.sh/chart" not in str(claims[0])
    assert "storageClassName" not in claims[0][0]["spec"]  # the cluster's default


@each
def test_the_volume_can_be_larger_and_elsewhere(chart: str) -> None:
    (claim,) = spec(chart, storage={"className": "fast", "size": "5Gi"})["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"] == {"requests": {"storage": "5Gi"}}


@each
def test_a_new_version_number_for_the_same_image_replaces_no_pod(chart: str) -> None:
    before, after = store(chart), store(chart, version="9", commit="f" * 40)
    assert only(before, "StatefulSet")["spec"] == only(after, "StatefulSet")["spec"]
    annotations = only(after, "StatefulSet")["metadata"]["annotations"]
    assert (annotations["slipway.dev/version"], annotations["slipway.dev/commit"]) == ("9", "f" * 40)


@each
def test_pods_carry_the_labels_that_metrics_and_policies_go_by(chart: str) -> None:
    labels = spec(chart)["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == chart
    assert labels["app.kubernetes.io/component"] == "store"
    assert labels["slipway.dev/environment"] == "dev"
    assert labels["slipway.dev/tier"] == "nonprod"


@each
def test_it_runs_as_the_images_user_who_may_read_the_passwords_and_write_the_volume(chart: str) -> None:
    pod = spec(chart)["template"]["spec"]
    security = pod["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (999, 999, 999)
    (secret,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert secret["defaultMode"] == 0o440
    assert secret["secretName"] == chart


@each
def test_no_password_is_in_the_environment_or_in_an_argument(chart: str) -> None:
    pod = spec(chart)["template"]["spec"]
    for one in [*pod.get("initContainers", []), *pod["containers"]]:
        assert "envFrom" not in one
        assert [variable["name"] for variable in one.get("env", [])] in ([], ["PGDATA"])
        assert "assword" not in str([*one["command"], *one.get("args", [])])


@each
def test_a_program_is_run_only_until_the_start_is_done_and_a_connection_is_enough_afterwards(chart: str) -> None:
    found = container(chart)
    assert found["startupProbe"]["periodSeconds"] == 1
    assert "exec" in found["startupProbe"]
    for name in ("livenessProbe", "readinessProbe"):
        assert found[name]["tcpSocket"] == {"port": found["ports"][0]["name"]}


@each
def test_a_kubelet_that_has_just_started_does_not_keep_a_store_waiting(chart: str) -> None:
    # It begins each probe at a random moment of the first period.
    assert container(chart)["readinessProbe"]["periodSeconds"] <= 10


@each
def test_one_slow_answer_does_not_take_the_only_pod_out_of_its_service(chart: str) -> None:
    found = container(chart)
    assert found["readinessProbe"]["failureThreshold"] > 1
    assert found["livenessProbe"]["failureThreshold"] * found["livenessProbe"]["periodSeconds"] >= 120


@each
def test_a_long_replay_of_its_log_is_no_reason_to_restart_it(chart: str) -> None:
    probe = container(chart)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 300


@each
def test_its_clients_in_its_own_environment_alone_reach_it_and_it_reaches_nobody(chart: str) -> None:
    policy = only(store(chart), "NetworkPolicy")["spec"]
    (port,) = container(chart)["ports"]
    clients = {"podSelector": {"matchLabels": {f"slipway.dev/uses-{chart}": "true"}}}
    assert policy["ingress"] == [{"ports": [{"port": port["name"]}], "from": [clients]}]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy
    assert "NetworkPolicy" not in kinds(store(chart, networkPolicy={"enabled": False}))


@pytest.mark.parametrize("environment", SETTINGS.environments)
@pytest.mark.parametrize("service", SETTINGS.services)
def test_whoever_is_a_client_of_a_store_carries_its_label_and_nobody_else(service: str, environment: str) -> None:
    own = yaml.safe_load((SETTINGS.root / "services" / service / "helm" / f"{environment}-values.yaml").read_text())
    objects = render("microservice", merged(shape_values("microservice", "least"), {**own, "service": service}))
    wanted = {f"slipway.dev/uses-{name}" for name, known in SETTINGS.stores.items() if service in known.clients}
    for workload, template in pods(objects):
        labels = template["metadata"]["labels"].items()
        assert {name for name, value in labels if "uses-" in name and value == "true"} == wanted, workload["kind"]


@each
def test_a_node_with_a_store_can_be_drained(chart: str) -> None:
    assert only(store(chart), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@each
def test_services_reach_it_under_its_name_at_the_port_everybody_knows(chart: str) -> None:
    service = only(store(chart), "Service")["spec"]
    (port,) = service["ports"]
    assert port["port"] == {"postgresql": 5432, "valkey": 6379}[chart]
    assert service["type"] == "ClusterIP"
    assert "clusterIP" not in service  # an address of its own: it outlives the pod


@each
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"service": ""}, "service is not set: every store needs a name and an environment"),
        ({"environment": ""}, "environment is not set"),
        ({"service": "My_Store"}, 'service is "My_Store", but it becomes a host name'),
        ({"image": {"repository": ""}}, "image.repository is not set: say where the image of"),
        ({"image": {"repository": "shop/store:17"}}, 'image.repository is "shop/store:17", but it must not carry a tag'),
        ({"image": {"digest": ""}}, "image.digest is not set"),
        ({"image": {"digest": "latest"}}, 'image.digest is "latest", but a digest is "sha256:" and 64 hexadecimal digits'),
        ({"service": "a" * 53}, "at '/service': maxLength: got 53, want 52"),
        ({"tier": "production"}, "at '/tier': value must be one of 'nonprod', 'prod'"),
        ({"version": 17}, "at '/version': got number, want string"),
        ({"replicas": 2}, "additional properties 'replicas' not allowed"),
        ({"secret": ""}, "at '/secret': minLength: got 0, want 1"),
        ({"storage": {"size": "1"}}, "at '/storage/size': '1' does not match pattern"),
        ({"storage": None}, "missing property 'storage'"),
        ({"resources": {"limits": {"memory": "lots"}}}, "at '/resources/limits/memory': 'lots' does not match pattern"),
        ({"networkPolicy": {"enabled": "yes"}}, "at '/networkPolicy/enabled': got string, want boolean"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused(chart: str, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ChartError) as error:
        store(chart, **changes)
    assert sentence in str(error.value)
