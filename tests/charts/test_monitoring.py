"""Prometheus, Alertmanager and kube-state-metrics: what they look at, whom they tell, what they may do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway import shell
from slipway.helm import ChartError
from tests.charts.rendering import CHARTS, SHAPES, Object, container, kinds, only, pod_annotations, render, render_shape
from tests.programs import program

shapes = pytest.mark.parametrize("shape", [shape for chart, shape in SHAPES if chart == "monitoring"])


def monitoring(**changes: Any) -> list[Object]:
    return render_shape("monitoring", "default", **changes)


def config(objects: list[Object]) -> dict[str, Any]:
    return yaml.safe_load(only(objects, "ConfigMap", "prometheus")["data"]["prometheus.yaml"])


def jobs(objects: list[Object]) -> dict[str, dict[str, Any]]:
    return {job["job_name"]: job for job in config(objects)["scrape_configs"]}


def receivers(objects: list[Object]) -> list[dict[str, Any]]:
    return yaml.safe_load(only(objects, "ConfigMap", "alertmanager")["data"]["alertmanager.yaml"])["receivers"]


def mounts(objects: list[Object], workload: str) -> dict[str, str]:
    return {mount["name"]: mount["mountPath"] for mount in container(objects, workload)["volumeMounts"]}


# Prometheus


@shapes
def test_prometheus_takes_its_configuration(shape: str, tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yaml"
    file.write_text(only(render_shape("monitoring", shape), "ConfigMap", "prometheus")["data"]["prometheus.yaml"])
    shell.run([program("promtool"), "check", "config", "--syntax-only", file])


def test_every_file_of_rules_is_mounted_where_prometheus_looks() -> None:
    objects = monitoring()
    assert set(only(objects, "ConfigMap", "prometheus-rules")["data"]) == {
        path.name for path in CHARTS.glob("monitoring/rules/*")
    }
    assert config(objects)["rule_files"] == [f"{mounts(objects, 'prometheus')['rules']}/*.yaml"]


def test_the_rules_arrive_unchanged() -> None:
    for name, text in only(monitoring(), "ConfigMap", "prometheus-rules")["data"].items():
        assert yaml.safe_load(text) == yaml.safe_load((CHARTS / "monitoring" / "rules" / name).read_text())


def test_it_looks_at_the_cluster_the_delivery_the_services_and_itself() -> None:
    assert set(jobs(monitoring())) == {
        "services", "kube-state-metrics", "cadvisor", "kubelet", "apiserver", "argocd", "prometheus", "alertmanager",
    }  # fmt: skip


def test_pods_are_found_by_the_annotations_that_the_generic_chart_sets() -> None:
    annotations = pod_annotations(render_shape("microservice", "least"))
    rules = yaml.safe_dump(jobs(monitoring())["services"]["relabel_configs"])
    asked = re.findall(r"__meta_kubernetes_pod_annotation_(prometheus_io_\w+)", rules)
    assert set(asked) == {re.sub(r"\W", "_", name) for name in annotations if name.startswith("prometheus.io/")}


def test_pods_get_their_environment_and_service_from_the_labels_that_the_generic_chart_sets() -> None:
    labels = only(render_shape("microservice", "least"), "Deployment")["spec"]["template"]["metadata"]["labels"]
    known = {f"__meta_kubernetes_pod_label_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}" for name in labels}
    rules = jobs(monitoring())["services"]["relabel_configs"]
    targets = {rule.get("target_label"): rule["source_labels"][0] for rule in rules}
    assert targets["environment"] in known
    assert targets["service"] in known


def test_a_service_s_own_word_on_its_environment_is_dropped_for_the_target_s() -> None:
    (rule,) = jobs(monitoring())["services"]["metric_relabel_configs"]
    assert rule["action"] == "labeldrop"
    assert re.fullmatch(rule["regex"], "exported_environment")
    assert re.fullmatch(rule["regex"], "exported_service")
    assert not re.fullmatch(rule["regex"], "environment")


def test_every_metric_that_a_rule_asks_kube_state_metrics_for_is_let_through() -> None:
    args = " ".join(container(monitoring(), "kube-state-metrics")["args"])
    (allowed,) = re.findall(r"--metric-allowlist=(\S+)", args)
    rules = "".join(path.read_text() for path in CHARTS.glob("monitoring/rules/*.yaml"))
    asked = set(re.findall(r"\bkube_[a-z_]+", rules))
    assert asked <= set(allowed.split(","))


def test_kube_state_metrics_watches_only_what_it_may_and_what_it_tells_of() -> None:
    objects = monitoring()
    args = container(objects, "kube-state-metrics")["args"]
    (resources,) = [arg.removeprefix("--resources=").split(",") for arg in args if arg.startswith("--resources=")]
    (metrics,) = [arg.removeprefix("--metric-allowlist=").split(",") for arg in args if arg.startswith("--metric-allowlist=")]
    (role,) = [
        item for item in objects if item["kind"] == "ClusterRole" and item["metadata"]["name"].endswith("kube-state-metrics")
    ]
    assert {name for rule in role["rules"] for name in rule["resources"]} == set(resources)
    assert {f"{name.split('_')[1]}s" for name in metrics} == set(resources)


def test_a_store_and_a_migration_count_as_the_service_of_their_name() -> None:
    store = only(render_shape("postgresql", "default"), "StatefulSet")["metadata"]["name"]
    migration = only(render_shape("microservice", "migrating"), "Job")["metadata"]["name"]
    rules = [
        rule for rule in jobs(monitoring())["kube-state-metrics"]["metric_relabel_configs"] if rule["target_label"] == "service"
    ]
    found: list[str] = []
    for series in ({"statefulset": store}, {"job_name": migration}, {"job_name": "load-1"}):
        for rule in rules:
            value = rule.get("separator", ";").join(series.get(label, "") for label in rule["source_labels"])
            if match := re.fullmatch(rule["regex"], value):
                found.append(match[1])
    assert found == ["postgresql", "orders"]


@pytest.mark.parametrize("prefix", ["argocd", "alertmanager", "prometheus"])
def test_every_metric_that_a_rule_asks_a_part_of_the_platform_for_is_kept(prefix: str) -> None:
    (keep,) = [rule["regex"] for rule in jobs(monitoring())[prefix]["metric_relabel_configs"] if rule["action"] == "keep"]
    expressions = [
        rule["expr"]
        for path in CHARTS.glob("monitoring/rules/*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    asked = set(re.findall(rf"\b{prefix}_[a-z_]+", " ".join(expressions)))
    assert asked
    assert [name for name in asked if not re.fullmatch(keep, name)] == []


def test_containers_metrics_are_cut_down_to_what_is_used() -> None:
    (rule,) = [rule for rule in jobs(monitoring())["cadvisor"]["metric_relabel_configs"] if rule.get("action") == "keep"]
    assert re.fullmatch(rule["regex"], "container_memory_working_set_bytes")
    assert not re.fullmatch(rule["regex"], "container_fs_reads_total")


@pytest.mark.parametrize("metric", ["container_cpu_cfs_periods_total", "container_cpu_cfs_throttled_periods_total"])
def test_what_tells_that_a_limit_made_a_container_wait_is_kept(metric: str) -> None:
    (rule,) = [rule for rule in jobs(monitoring())["cadvisor"]["metric_relabel_configs"] if rule.get("action") == "keep"]
    assert re.fullmatch(rule["regex"], metric)


@pytest.mark.parametrize(("seconds", "patience"), [(5, "5s"), (30, "10s")])
def test_services_are_looked_at_as_often_as_it_says_and_never_longer_than_until_the_next_look(
    seconds: int, patience: str
) -> None:
    job = jobs(monitoring(servicesInterval=seconds))["services"]
    assert (job["scrape_interval"], job["scrape_timeout"]) == (f"{seconds}s", patience)


def test_metrics_of_an_environment_s_namespace_carry_its_name() -> None:
    for job in ("kube-state-metrics", "cadvisor"):
        (rule,) = [
            rule for rule in jobs(monitoring())[job]["metric_relabel_configs"] if rule.get("target_label") == "environment"
        ]
        assert re.fullmatch(rule["regex"], "prod")
        assert not re.fullmatch(rule["regex"], "argocd")
        assert not re.fullmatch(rule["regex"], "production")


def test_alerts_go_to_alertmanager_under_the_name_and_port_of_its_service() -> None:
    objects = monitoring()
    (target,) = config(objects)["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert target == f"alertmanager:{only(objects, 'Service', 'alertmanager')['spec']['ports'][0]['port']}"


@pytest.mark.parametrize(("name", "port"), [("prometheus", 9090), ("alertmanager", 9093), ("kube-state-metrics", 8080)])
def test_each_part_has_the_name_and_port_that_others_know(name: str, port: int) -> None:
    service = only(monitoring(), "Service", name)
    assert service["metadata"]["namespace"] == "monitoring"
    assert service["spec"]["ports"][0]["port"] == port


def test_a_changed_configuration_replaces_the_pod() -> None:
    key = "slipway.dev/config-sha256"
    assert pod_annotations(monitoring(), "prometheus")[key] != pod_annotations(monitoring(interval=30), "prometheus")[key]


def test_history_outlives_the_pod_and_is_kept_for_a_while() -> None:
    objects = monitoring(storage={"size": "5Gi", "className": "fast", "retention": "2w"})
    assert only(objects, "PersistentVolumeClaim")["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert "--storage.tsdb.retention.time=2w" in container(objects, "prometheus")["args"]


def test_without_a_size_history_lives_as_long_as_the_pod() -> None:
    objects = monitoring(storage={"size": ""})
    assert "PersistentVolumeClaim" not in kinds(objects)
    volumes = only(objects, "Deployment", "prometheus")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "data", "emptyDir": {}} in volumes


def test_two_prometheus_never_write_to_one_database() -> None:
    assert only(monitoring(), "Deployment", "prometheus")["spec"]["strategy"] == {"type": "Recreate"}


def test_links_in_alerts_begin_with_the_addresses_that_people_use() -> None:
    objects = render_shape("monitoring", "remote-bearer")
    assert "--web.external-url=http://prometheus.localhost:8081" in container(objects, "prometheus")["args"]
    assert "--web.external-url=http://alertmanager.localhost:8081" in container(objects, "alertmanager")["args"]


# Writing to a third party


def test_nothing_leaves_the_cluster_unless_asked_for() -> None:
    assert "remote_write" not in config(monitoring())
    assert "remote" not in mounts(monitoring(), "prometheus")
    assert "--web.enable-remote-write-receiver" not in container(monitoring(), "prometheus")["args"]


def test_a_third_party_gets_everything_with_a_password_from_a_secret() -> None:
    objects = render_shape("monitoring", "remote-basic")
    (written,) = config(objects)["remote_write"]
    folder = mounts(objects, "prometheus")["remote"]
    assert written["url"] == "https://metrics.example/api/v1/write"
    assert written["basic_auth"] == {"username_file": f"{folder}/username", "password_file": f"{folder}/password"}
    assert written["tls_config"] == {"ca_file": f"{folder}/ca.crt"}
    assert "write_relabel_configs" not in written


def test_a_third_party_gets_a_choice_with_a_token_from_a_secret() -> None:
    objects = render_shape("monitoring", "remote-bearer")
    (written,) = config(objects)["remote_write"]
    assert written["authorization"] == {"credentials_file": f"{mounts(objects, 'prometheus')['remote']}/token"}
    assert written["write_relabel_configs"] == [{"source_labels": ["__name__"], "regex": "http_.*|up", "action": "keep"}]


def test_a_third_party_that_wants_no_password_gets_none() -> None:
    objects = monitoring(remoteWrite={"url": "http://receiver:9090/api/v1/write"})
    (written,) = config(objects)["remote_write"]
    assert set(written) == {"url", "queue_config"}
    assert "remote" not in mounts(objects, "prometheus")


def test_no_password_is_ever_in_the_configuration() -> None:
    for shape in ("remote-basic", "remote-bearer"):
        text = only(render_shape("monitoring", shape), "ConfigMap", "prometheus")["data"]["prometheus.yaml"]
        assert not re.search(r"^\s*(password|credentials|bearer_token):", text, re.MULTILINE)


def test_it_can_take_what_others_write() -> None:
    assert "--web.enable-remote-write-receiver" in container(render_shape("monitoring", "remote-basic"), "prometheus")["args"]


def test_what_leaves_says_which_cluster_it_comes_from() -> None:
    assert config(monitoring(externalLabels={"cluster": "second"}))["global"]["external_labels"] == {"cluster": "second"}


# Alertmanager


def test_alerts_stay_in_alertmanager_unless_there_is_a_receiver() -> None:
    assert receivers(monitoring()) == [{"name": "people"}]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"namespace": "local", "environment": "local"}, False),
        ({"namespace": "local"}, False),
        ({"environment": "local"}, False),
        ({"namespace": "local-path-storage"}, True),
        ({"namespace": "prod", "environment": "prod"}, True),
        ({}, True),
    ],
)
def test_what_is_broken_in_local_calls_nobody(labels: dict[str, str], told: bool) -> None:
    (rule,) = config(monitoring())["alerting"]["alert_relabel_configs"]
    value = ";".join(labels.get(name, "") for name in rule["source_labels"])
    assert rule["action"] == "drop"
    assert (re.fullmatch(rule["regex"], value) is None) == told


def test_who_is_told_that_a_service_is_down_is_told_why_all_the_same() -> None:
    text = only(monitoring(), "ConfigMap", "alertmanager")["data"]["alertmanager.yaml"]
    (rule,) = yaml.safe_load(text)["inhibit_rules"]
    (names,) = re.findall(r'alertname =~ "(.+)"', rule["target_matchers"][0])
    files = [yaml.safe_load(path.read_text()) for path in CHARTS.glob("monitoring/rules/*")]
    alerts = {rule.get("alert") for file in files for group in file["groups"] for rule in group["rules"]}
    assert set(names.split("|")) <= alerts
    assert "MigrationFailed" not in names
    # Each of them has these labels, by which it is the same service.
    assert rule["equal"] == ["environment", "service"]


def test_alerts_go_to_a_webhook() -> None:
    (receiver,) = receivers(render_shape("monitoring", "remote-basic"))
    assert receiver["webhook_configs"] == [{"url": "http://receiver.example/alerts"}]


def test_the_address_of_a_webhook_can_be_a_secret() -> None:
    objects = render_shape("monitoring", "remote-bearer")
    (receiver,) = receivers(objects)
    assert receiver["webhook_configs"] == [{"url_file": f"{mounts(objects, 'alertmanager')['webhook']}/url"}]


@shapes
def test_the_route_leads_to_a_receiver_that_exists(shape: str) -> None:
    text = only(render_shape("monitoring", shape), "ConfigMap", "alertmanager")["data"]["alertmanager.yaml"]
    content = yaml.safe_load(text)
    assert content["route"]["receiver"] in {receiver["name"] for receiver in content["receivers"]}


# What they may do


def test_nobody_may_change_anything_or_read_a_secret() -> None:
    rules = [rule for item in monitoring() if item["kind"] == "ClusterRole" for rule in item["rules"]]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
    resources = {resource for rule in rules for resource in rule.get("resources", [])}
    assert resources == {"nodes", "nodes/metrics", "pods", "deployments", "statefulsets", "jobs"}


def test_kube_state_metrics_watches_just_what_it_may_and_must() -> None:
    (watched,) = re.findall(r"--resources=(\S+)", " ".join(container(monitoring(), "kube-state-metrics")["args"]))
    role = only(monitoring(), "ClusterRole", "slipway-monitoring-kube-state-metrics")
    assert set(watched.split(",")) == {resource for rule in role["rules"] for resource in rule["resources"]}


def test_alertmanager_speaks_to_nobody_s_api() -> None:
    spec = only(monitoring(), "Deployment", "alertmanager")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False


def test_every_binding_leads_from_an_account_of_the_chart_to_a_role_of_the_chart() -> None:
    objects = monitoring()
    made = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for binding in (item for item in objects if item["kind"] == "ClusterRoleBinding"):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in made
        for subject in binding["subjects"]:
            assert (subject["kind"], subject["name"]) in made
            assert subject["namespace"] == "monitoring"


# Values that cannot be right


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"images": {"prometheus": ""}}, "images.prometheus is not set: say which image it runs"),
        ({"images": {"kubeStateMetrics": ""}}, "images.kubeStateMetrics is not set"),
        ({"images": {"grafana": "x"}}, "at '/images': additional properties 'grafana' not allowed"),
        (
            {"remoteWrite": {"secret": "x"}},
            "remoteWrite.url is not set, but other parts of remoteWrite are: nothing would be sent",
        ),
        ({"remoteWrite": {"keep": "up"}}, "remoteWrite.url is not set"),
        ({"remoteWrite": {"url": "http://x", "auth": "basic"}}, "remoteWrite.secret is not set: name the Secret"),
        ({"remoteWrite": {"url": "http://x", "ca": True}}, "remoteWrite.secret is not set: name the Secret"),
        ({"remoteWrite": {"url": "metrics.example"}}, "at '/remoteWrite/url': 'metrics.example' does not match pattern"),
        ({"remoteWrite": {"auth": "digest"}}, "at '/remoteWrite/auth': value must be one of 'none', 'basic', 'bearer'"),
        ({"remoteWrite": {"password": "x"}}, "at '/remoteWrite': additional properties 'password' not allowed"),
        ({"webhook": {"url": "http://x", "secret": "y"}}, "webhook.url and webhook.secret are both set: give the address once"),
        ({"webhook": {"url": "x"}}, "at '/webhook/url': 'x' does not match pattern"),
        ({"interval": 0}, "at '/interval': minimum"),
        ({"interval": 300}, "at '/interval': maximum"),
        ({"servicesInterval": 0}, "at '/servicesInterval': minimum"),
        ({"servicesInterval": 61}, "at '/servicesInterval': maximum"),
        ({"environments": ["dev)|(.*"]}, "at '/environments/0'"),
        ({"externalLabels": {"a-b": "x"}}, "at '/externalLabels'"),
        ({"externalLabels": {"a": 1}}, "at '/externalLabels/a': got number, want string"),
        ({"storage": {"size": "2"}}, "at '/storage/size': '2' does not match pattern"),
        ({"storage": {"retention": "forever"}}, "at '/storage/retention': 'forever' does not match pattern"),
        ({"remoteWriteReceiver": "yes"}, "at '/remoteWriteReceiver': got string, want boolean"),
        ({"urls": {"prometheus": "prometheus"}}, "at '/urls/prometheus': 'prometheus' does not match pattern"),
        ({"resources": {"grafana": {}}}, "at '/resources': additional properties 'grafana' not allowed"),
    ],
)
def test_a_wrong_value_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ChartError) as error:
        monitoring(**changes)
    assert complaint in str(error.value)


def test_the_defaults_alone_say_what_is_missing() -> None:
    with pytest.raises(ChartError, match=r"images\.\w+ is not set"):
        render("monitoring", {})
