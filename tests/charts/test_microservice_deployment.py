from __future__ import annotations

from typing import Any

import pytest

from tests.charts.rendering import Object, container, only, pod_annotations, render_shape

DIGEST = "sha256:" + "ab" * 32


def least(**changes: Any) -> list[Object]:
    return render_shape("microservice", "least", **changes)


def spec(objects: list[Object]) -> Object:
    return only(objects, "Deployment")["spec"]


def pod(objects: list[Object]) -> Object:
    return spec(objects)["template"]["spec"]


def variables(objects: list[Object]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container(objects)["env"]}


def test_it_runs_the_image_by_digest_and_by_nothing_else() -> None:
    objects = least(image={"repository": "localhost:5001/catalog", "digest": DIGEST})
    assert container(objects)["image"] == f"localhost:5001/catalog@{DIGEST}"


def test_one_pod_unless_told_otherwise() -> None:
    assert spec(least())["replicas"] == 1
    assert spec(least(replicas=3))["replicas"] == 3


def test_zero_pods_are_possible() -> None:
    assert spec(least(replicas=0))["replicas"] == 0


def test_the_autoscaler_alone_decides_on_the_number_of_pods() -> None:
    assert "replicas" not in spec(render_shape("microservice", "autoscaled"))


def test_a_rollout_never_has_fewer_pods_than_before_it() -> None:
    assert spec(least())["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}


@pytest.mark.parametrize("surge", [1, "25%"])
def test_a_node_without_room_for_twice_as_many_pods_gets_fewer_at_a_time(surge: int | str) -> None:
    assert spec(least(surge=surge))["strategy"]["rollingUpdate"] == {"maxSurge": surge, "maxUnavailable": 0}


def test_the_pods_of_a_rollout_on_their_way_out_do_not_count_when_pods_are_spread() -> None:
    (spread,) = pod(least())["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["matchLabelKeys"] == ["pod-template-hash"]
    assert spread["labelSelector"] == spec(least())["selector"]


def test_a_new_version_number_for_the_same_image_replaces_no_pod() -> None:
    before, after = least(version="1.2.0-rc.1", commit="a" * 40), least(version="1.2.0", commit="b" * 40)
    assert spec(before) == spec(after)
    assert only(after, "Deployment")["metadata"]["annotations"] == {
        "slipway.dev/version": "1.2.0",
        "slipway.dev/commit": "b" * 40,
    }


@pytest.mark.parametrize("word", ["1.10", "007", "true", "null", "1e5"])
def test_a_version_that_looks_like_something_else_stays_text(word: str) -> None:
    assert only(least(version=word), "Deployment")["metadata"]["annotations"]["slipway.dev/version"] == word


def test_a_service_may_have_a_name_that_yaml_takes_for_a_truth_value() -> None:
    objects = least(service="no", environment="on")
    assert {item["metadata"]["name"] for item in objects if item["kind"] != "ConfigMap"} == {"no"}
    assert variables(objects)["SLIPWAY_ENVIRONMENT"] == "on"


def test_a_new_image_replaces_the_pods() -> None:
    assert spec(least(image={"digest": DIGEST})) != spec(least())


def test_a_changed_configuration_replaces_the_pods() -> None:
    key = "slipway.dev/config-sha256"
    assert pod_annotations(least(config={"log_level": "debug"}))[key] != pod_annotations(least())[key]


def test_the_same_configuration_in_another_order_replaces_nothing() -> None:
    assert spec(least(config={"a": 1, "b": 2})) == spec(least(config={"b": 2, "a": 1}))


def test_the_service_learns_who_and_where_it_is() -> None:
    objects = render_shape("microservice", "everything", image={"digest": DIGEST})
    assert variables(objects) == {
        "SLIPWAY_SERVICE": "orders",
        "SLIPWAY_ENVIRONMENT": "prod",
        "SLIPWAY_TIER": "prod",
        "SLIPWAY_DIGEST": DIGEST,
        "SLIPWAY_PORT": "9000",
        "SLIPWAY_CONFIG": "/etc/slipway/config.yaml",
        "WORKERS": "2",
    }


def test_the_configuration_lies_where_the_service_is_told() -> None:
    objects = least()
    (mount,) = [mount for mount in container(objects)["volumeMounts"] if mount["name"] == "config"]
    assert variables(objects)["SLIPWAY_CONFIG"] == f"{mount['mountPath']}/config.yaml"
    assert mount["readOnly"] is True
    assert list(only(objects, "ConfigMap")["data"]) == ["config.yaml"]


def test_what_an_old_pod_was_told_is_there_until_no_pod_is_old() -> None:
    # It may start again while the new version does not come up: another configuration is another object, and prunes last.
    told = {level: least(config={"log_level": level}) for level in ("info", "debug")}
    found = {level: only(objects, "ConfigMap")["metadata"]["name"] for level, objects in told.items()}
    assert found["info"] != found["debug"]
    assert found["info"] == only(least(config={"log_level": "info"}, replicas=3), "ConfigMap")["metadata"]["name"]
    for level, objects in told.items():
        (volume,) = [one for one in pod(objects)["volumes"] if one["name"] == "config"]
        assert volume["configMap"]["name"] == found[level]


def test_secrets_come_by_reference_in_the_order_given() -> None:
    assert container(least(secrets=["database", "signing"]))["envFrom"] == [
        {"secretRef": {"name": "database"}},
        {"secretRef": {"name": "signing"}},
    ]
    assert "envFrom" not in container(least())


def test_a_pod_waits_for_its_proxies_before_it_is_told_to_end_and_has_time_after() -> None:
    objects = least(drain={"seconds": 4, "timeout": 30})
    assert container(objects)["lifecycle"] == {"preStop": {"sleep": {"seconds": 4}}}
    assert pod(objects)["terminationGracePeriodSeconds"] == 34


def test_draining_can_be_switched_off() -> None:
    objects = least(drain={"seconds": 0, "timeout": 17})
    assert "lifecycle" not in container(objects)
    assert pod(objects)["terminationGracePeriodSeconds"] == 17


def test_probes_ask_the_paths_that_every_service_has() -> None:
    found = container(least())
    assert found["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert found["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert found["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_a_fast_start_is_seen_within_a_second_and_a_slow_one_gets_a_minute() -> None:
    probe = container(least())["startupProbe"]
    assert probe["periodSeconds"] == 1
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_probes_take_other_times_and_paths() -> None:
    assert container(render_shape("microservice", "everything"))["readinessProbe"] == {
        "httpGet": {"path": "/serving", "port": "http"},
        "periodSeconds": 2,
        "timeoutSeconds": 2,
        "failureThreshold": 1,
    }


def test_one_probe_can_be_changed_without_saying_the_others_again() -> None:
    found = container(least(probes={"readiness": {"periodSeconds": 1}}))
    assert found["readinessProbe"]["periodSeconds"] == 1
    assert found["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert found["livenessProbe"]["periodSeconds"] == 10


def test_prometheus_is_told_where_to_look() -> None:
    annotations = pod_annotations(least(port=9000, metrics={"path": "/internal/metrics"}))
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == "9000"
    assert annotations["prometheus.io/path"] == "/internal/metrics"
    assert container(least(port=9000))["ports"] == [{"name": "http", "containerPort": 9000}]


def test_without_metrics_prometheus_is_told_nothing() -> None:
    assert not [name for name in pod_annotations(least(metrics={"enabled": False})) if name.startswith("prometheus.io/")]


def test_pods_carry_the_labels_that_metrics_and_policies_go_by() -> None:
    labels = spec(least())["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "catalog"
    assert labels["slipway.dev/environment"] == "dev"
    assert labels["slipway.dev/tier"] == "nonprod"


def test_pods_have_no_token_and_no_list_of_services() -> None:
    assert pod(least())["automountServiceAccountToken"] is False
    assert pod(least())["enableServiceLinks"] is False
    assert pod(least())["serviceAccountName"] == "catalog"


def test_only_tmp_can_be_written_and_only_a_little() -> None:
    objects = least()
    (mount,) = [mount for mount in container(objects)["volumeMounts"] if not mount.get("readOnly")]
    assert mount["mountPath"] == "/tmp"
    (volume,) = [volume for volume in pod(objects)["volumes"] if volume["name"] == mount["name"]]
    assert volume["emptyDir"] == {"sizeLimit": "32Mi"}


def test_resources_can_be_changed_one_by_one() -> None:
    resources = container(least(resources={"limits": {"memory": "512Mi"}}))["resources"]
    assert resources == {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
