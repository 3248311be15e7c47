"""What a user has after `./invoke up`: four environments that answer, a platform that is well, a status that says so."""

from __future__ import annotations

import shlex
from decimal import Decimal
from typing import Any

import pytest
import yaml
from kubernetes.utils.quantity import parse_quantity

from slipway import cluster, engine, images, oci
from tests.e2e import ledger
from tests.e2e.conftest import Instance, fetch

ENVIRONMENTS = ("dev", "qa", "stage", "prod")

# What a browser asks with.
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}

# Who comes beside what `up` leaves; and what they may ask for of two cores, with the pods that a roll-out has too many.
GUESTS = ("load", "local")
CORES, ROOM = Decimal(2), Decimal("0.36")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_service_answers_on_its_url_in_each_environment(instance: Instance, environment: str) -> None:
    urls, deployed = instance.json("urls", "--all"), _rows(instance, environment)
    records = ledger.look(instance).records
    for service in instance.settings.services:
        version = fetch(f"{urls[f'{service}.{environment}']}/version")
        assert version.status == 200, version.body
        told = (version.json["service"], version.json["environment"])
        assert told == (service, environment)
        # An image bears the version and the commit that it was built as; a record may have come to others with the same image.
        record = records[environment, service]
        built = oci.labels(f"{record.image}@{record.digest}") or {}
        assert version.json["digest"] == deployed[service]["digest"] == record.digest
        assert version.json["commit"] == built[images.REVISION_LABEL]
        assert version.json["version"] == built["org.opencontainers.image.version"]
        assert (deployed[service]["commit"], deployed[service]["version"]) == (record.source_commit, record.version)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_running_pods_have_the_digest_that_git_records(instance: Instance, environment: str) -> None:
    for name, row in _rows(instance, environment).items():
        pods = instance.kube.list("Pod", namespace=environment, labels=f"app.kubernetes.io/name={name}")
        running = {status["imageID"].rpartition("@")[2] for pod in pods for status in pod["status"]["containerStatuses"]}
        assert running == {row["digest"]}, name


def test_status_of_a_fresh_instance_is_healthy_and_says_so_by_its_exit_code(instance: Instance) -> None:
    seen = instance.json("status")
    assert seen["state"] == "healthy", seen["trouble"]
    delivered = {(row["environment"], row["service"]) for row in seen["services"]}
    # Other tests bring services to dev that the checkout does not have.
    assert {row for row in delivered if row[1] in instance.settings.delivered} == {
        (name, part) for name in ENVIRONMENTS for part in instance.settings.delivered
    }
    assert all((row["sync"], row["health"]) == ("Synced", "Healthy") for row in seen["services"])
    assert {part["namespace"] for part in seen["platform"]} >= {"argocd", "monitoring", "slipway-system", "kube-system"}
    table = instance.invoke("status")
    assert table.code == 0
    assert "storefront" in table.stdout
    assert "8 of 8 ready" in table.stdout


def test_two_cores_have_room_for_a_load_test_and_the_inner_loop_beside_everything(instance: Instance) -> None:
    asked: dict[str, Decimal] = {}
    for pod in instance.kube.list("Pod"):
        if pod["metadata"]["namespace"] not in GUESTS and pod["status"]["phase"] == "Running":
            for container in pod["spec"]["containers"]:
                requests = container.get("resources", {}).get("requests", {})
                name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}/{container['name']}"
                asked[name] = parse_quantity(requests.get("cpu", "0"))
    assert 0 < sum(asked.values()) <= CORES - ROOM, asked


def test_urls_are_the_front_door_of_each_environment_and_the_platform(instance: Instance) -> None:
    urls = instance.json("urls")
    assert [name for name in urls if "." in name] == [f"storefront.{environment}" for environment in ENVIRONMENTS]
    for name in ENVIRONMENTS:
        page = fetch(urls[f"storefront.{name}"], headers={"Accept": "text/html"})
        assert (page.status, page.headers["Content-Type"].partition(";")[0]) == (200, "text/html")


def test_every_address_that_is_printed_has_something_to_tell_a_browser(instance: Instance) -> None:
    told = {name: fetch(url, headers=BROWSER) for name, url in instance.json("urls", "--all").items()}
    assert len(told) > len(ENVIRONMENTS) * len(instance.settings.services)
    assert {name: (reply.status, reply.body[:200]) for name, reply in told.items() if reply.status >= 400} == {}


def test_a_part_that_was_built_without_its_page_says_so_to_browsers_alone(instance: Instance) -> None:
    node = cluster.find(instance.settings, engine.connect(instance.settings))
    assert node
    assert node.facts
    urls = instance.json("urls")
    for name in ("argocd", "prometheus"):
        said = "This is the API of" in fetch(urls[name], headers=BROWSER).body
        assert said == (node.facts.source == "build"), name
        assert "This is the API of" not in fetch(urls[name]).body
    pins = instance.settings.versions["versions"]
    assert fetch(f"{urls['argocd']}/api/version", headers=BROWSER).json["Version"].startswith(f"v{pins['argocd']}")
    assert fetch(f"{urls['argocd']}/api/v1/applications", headers=BROWSER).status == 401
    assert fetch(f"{urls['prometheus']}/api/v1/query?query=up", headers=BROWSER).json["status"] == "success"
    for repository in ("app", "gitops-nonprod", "gitops-prod"):
        assert f"git clone {urls['git']}/{repository}.git" in fetch(urls["git"], headers=BROWSER).body
        assert fetch(f"{urls['git']}/{repository}.git/info/refs?service=git-upload-pack", headers=BROWSER).status == 401


def test_status_names_what_is_wrong_and_up_repairs_it(instance: Instance) -> None:
    assert instance.kube.delete("Deployment", "gateway", namespace="slipway-system", api_version="apps/v1")
    instance.kube.patch("Deployment", "argocd-server", {"spec": {"replicas": 0}}, namespace="argocd", api_version="apps/v1")
    seen = instance.invoke("status", check=False)
    assert seen.code == 1
    instance.invoke("up")
    assert instance.json("status")["state"] == "healthy"
    assert fetch(instance.url("catalog", "dev") + "/healthz").status == 200


def test_every_platform_image_was_on_the_node_before_it_was_asked_for(instance: Instance) -> None:
    pulled = [
        event["message"]
        for event in instance.kube.list("Event")
        if event.get("reason") == "Pulled"
        and "Successfully pulled" in event.get("message", "")
        and "/slipway/" in event["message"]
        # A store's is named by its digest in the registry, which a node asks for the manifest; the layers it has.
        and "@sha256:" not in event["message"]
        # And whoever comes beside what `up` leaves brings an image along.
        and event["metadata"]["namespace"] not in GUESTS
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
    url = instance.url("catalog", "qa")
    fetch(f"{url}/products", headers={"X-Request-ID": "looked-for-in-the-log"})
    assert "looked-for-in-the-log" in instance.invoke("logs", "catalog", "--env", "qa").stdout
    assert "looked-for-in-the-log" not in instance.invoke("logs", "catalog", "--env", "dev").stdout


@pytest.mark.parametrize(
    ("words", "valid"),
    [
        (("logs", "catalogue"), "catalog"),
        (("logs", "catalog", "--env", "production"), "dev, local, prod, qa, stage"),
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
        if not pod["metadata"].get("deletionTimestamp"):  # one that somebody else has ended goes in its own time
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


def _rows(instance: Instance, environment: str) -> dict[str, dict[str, Any]]:
    return {row["service"]: row for row in instance.json("status", check=False)["services"] if row["environment"] == environment}
