"""What a user has after `./invoke up`: four environments that answer, a platform that is well, a status that says so."""

from __future__ import annotations

import shlex

import pytest
import yaml

from tests.e2e.conftest import Instance, fetch

ENVIRONMENTS = ("dev", "qa", "stage", "prod")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_catalog_answers_on_the_printed_url_of_each_environment(instance: Instance, environment: str) -> None:
    url = instance.json("urls")[f"catalog.{environment}"]
    version = fetch(f"{url}/version")
    assert version.status == 200, version.body
    assert version.json["environment"] == environment
    deployed = next(row for row in instance.json("status")["services"] if row["environment"] == environment)
    assert version.json["digest"] == deployed["digest"]
    assert version.json["commit"] == deployed["commit"]
    assert version.json["version"] == deployed["version"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_running_pods_have_the_digest_that_git_records(instance: Instance, environment: str) -> None:
    [row] = [row for row in instance.json("status")["services"] if row["environment"] == environment]
    pods = instance.kube.list("Pod", namespace=environment, labels="app.kubernetes.io/name=catalog")
    running = {status["imageID"].rpartition("@")[2] for pod in pods for status in pod["status"]["containerStatuses"]}
    assert running == {row["digest"]}


def test_status_of_a_fresh_instance_is_healthy_and_says_so_by_its_exit_code(instance: Instance) -> None:
    seen = instance.json("status")
    assert seen["state"] == "healthy", seen["trouble"]
    assert [row["environment"] for row in seen["services"]] == list(ENVIRONMENTS)
    assert all((row["sync"], row["health"]) == ("Synced", "Healthy") for row in seen["services"])
    assert {part["namespace"] for part in seen["platform"]} >= {"argocd", "monitoring", "slipway-system", "kube-system"}
    table = instance.invoke("status")
    assert table.code == 0
    assert "catalog" in table.stdout


def test_status_names_what_is_wrong_and_up_repairs_it(instance: Instance) -> None:
    assert instance.kube.delete("Deployment", "gateway", namespace="slipway-system", api_version="apps/v1")
    instance.kube.patch("Deployment", "argocd-server", {"spec": {"replicas": 0}}, namespace="argocd", api_version="apps/v1")
    seen = instance.invoke("status", check=False)
    assert seen.code == 1
    instance.invoke("up")
    assert instance.json("status")["state"] == "healthy"
    assert fetch(instance.json("urls")["catalog.dev"] + "/healthz").status == 200


def test_every_platform_image_was_on_the_node_before_it_was_asked_for(instance: Instance) -> None:
    pulled = [
        event["message"]
        for event in instance.kube.list("Event")
        if event.get("reason") == "Pulled"
        and "Successfully pulled" in event.get("message", "")
        and "/slipway/" in event["message"]
    ]
    assert pulled == []


def test_up_again_changes_nothing(instance: Instance) -> None:
    before = _generations(instance)
    summary = instance.invoke("up")
    assert _generations(instance) == before
    assert "healthy" in summary.stderr.lower() or "ready" in summary.stderr.lower()


def test_env_prints_what_a_shell_can_evaluate(instance: Instance) -> None:
    lines = instance.invoke("env").stdout.splitlines()
    exported = dict(shlex.split(line)[1].split("=", 1) for line in lines if line.startswith("export "))
    assert exported["KUBECONFIG"] == str(instance.settings.kubeconfig)
    assert instance.settings.kubeconfig.stat().st_mode & 0o077 == 0
    assert yaml.safe_load(instance.settings.kubeconfig.read_text())["current-context"] == "kind-e2e"


def test_logs_show_the_service_in_the_environment_asked_for(instance: Instance) -> None:
    url = instance.json("urls")["catalog.qa"]
    fetch(f"{url}/products", headers={"X-Request-ID": "looked-for-in-the-log"})
    assert "looked-for-in-the-log" in instance.invoke("logs", "catalog", "--env", "qa").stdout
    assert "looked-for-in-the-log" not in instance.invoke("logs", "catalog", "--env", "dev").stdout


@pytest.mark.parametrize(
    ("words", "valid"),
    [
        (("logs", "catalogue"), "catalog"),
        (("logs", "catalog", "--env", "production"), "dev, prod, qa, stage"),
        (("up", "--profile", "huge"), "full, minimal"),
        (("up", "--source", "download"), "auto, build, pull"),
    ],
)
def test_a_wrong_name_gets_the_list_of_valid_ones(instance: Instance, words: tuple[str, ...], valid: str) -> None:
    result = instance.invoke(*words, check=False)
    assert result.code == 2
    assert valid in result.stderr


def _generations(instance: Instance) -> dict[str, int]:
    found = {}
    for kind in ("Deployment", "StatefulSet"):
        for item in instance.kube.list(kind, api_version="apps/v1"):
            meta = item["metadata"]
            found[f"{kind} {meta['namespace']}/{meta['name']} {meta['uid']}"] = meta["generation"]
    for pod in instance.kube.list("Pod"):
        found[f"Pod {pod['metadata']['uid']}"] = 0
    return found


def test_tools_find_the_registry_by_the_convention_they_share(instance: Instance) -> None:
    found = instance.kube.get("ConfigMap", "local-registry-hosting", namespace="kube-public")
    assert found
    hosting = yaml.safe_load(found["data"]["localRegistryHosting.v1"])
    images = [
        container["image"]
        for item in instance.kube.list("Deployment", namespace="dev", api_version="apps/v1")
        for container in item["spec"]["template"]["spec"]["containers"]
    ]
    assert images
    assert all(image.startswith(f"{hosting['host']}/") and "@sha256:" in image for image in images)


def test_there_is_one_default_storage_class(instance: Instance) -> None:
    classes = instance.kube.list("StorageClass", api_version="storage.k8s.io/v1")
    marked = "storageclass.kubernetes.io/is-default-class"
    assert [item["metadata"]["name"] for item in classes if item["metadata"]["annotations"].get(marked) == "true"] == ["standard"]


def test_an_unknown_host_name_is_told_what_there_is(instance: Instance) -> None:
    port = instance.json("urls")["argocd"].rpartition(":")[2]
    answer = fetch(f"http://nothing.localhost:{port}/")
    assert answer.status == 404
    assert "<service>.<environment>.localhost" in answer.body
