"""What each role may do in the cluster, as data."""

from __future__ import annotations

import base64
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from slipway import roles
from slipway.kube import Away, Kube
from slipway.settings import Settings, load

ALL = ("dev", "qa", "stage", "prod")


def bindings(environments: tuple[str, ...] = ALL) -> dict[tuple[str, str], set[str]]:
    """What each role is granted, by role and namespace ("" for everywhere)."""
    found: dict[tuple[str, str], set[str]] = {}
    for item in roles.manifests(load(), environments):
        if item["kind"].endswith("Binding"):
            key = item["subjects"][0]["name"], item["metadata"].get("namespace", "")
            found.setdefault(key, set()).add(item["roleRef"]["name"])
    return found


def test_everybody_may_look_and_only_the_developer_may_do_more_and_never_from_stage_on() -> None:
    look = {"view", "slipway-observer"}
    assert bindings() == {
        ("developer", ""): look,
        ("lead", ""): look,
        ("pipeline", ""): look,
        ("developer", "local"): {"edit"},
        ("developer", "dev"): {"slipway-debugger"},
        ("developer", "qa"): {"slipway-debugger"},
        ("pipeline", "slipway-admission"): {"slipway-approver"},
    }


def test_no_role_of_ours_can_read_secrets_or_change_anything_but_look_into_pods() -> None:
    for item in roles.manifests(load(), ALL):
        for rule in item.get("rules", []):
            assert "secrets" not in rule["resources"]
            assert "*" not in rule["resources"] + rule["verbs"]
            inside = rule["resources"] == ["pods/exec", "pods/portforward"]
            lists = item["metadata"]["name"] == "slipway-approver"
            assert set(rule["verbs"]) <= {"get", "list", "watch"} or inside or lists


def test_the_pipeline_changes_the_lists_of_approved_images_and_nothing_else_and_removes_none() -> None:
    [approver] = [item for item in roles.manifests(load(), ALL) if item["metadata"]["name"] == "slipway-approver"]
    assert {resource for rule in approver["rules"] for resource in rule["resources"]} == {"configmaps"}
    assert not {"delete", "deletecollection", "*"} & {verb for rule in approver["rules"] for verb in rule["verbs"]}
    changing = [rule for rule in approver["rules"] if set(rule["verbs"]) & {"update", "patch"}]
    assert [rule["resourceNames"] for rule in changing] == [["approved-stage", "approved-prod"]]


def test_where_nothing_is_approved_nobody_may_approve() -> None:
    assert ("pipeline", "slipway-admission") not in bindings(("dev",))


def test_the_namespace_the_developer_works_in_gives_nobody_the_node() -> None:
    spaces = {item["metadata"]["name"]: item for item in roles.manifests(load(), ALL) if item["kind"] == "Namespace"}
    assert spaces["local"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"


def test_every_environment_has_a_namespace_that_says_what_it_is() -> None:
    spaces = {
        item["metadata"]["name"]: item["metadata"]["labels"]
        for item in roles.manifests(load(), ALL)
        if item["kind"] == "Namespace"
    }
    assert set(spaces) == {*ALL, "local", "slipway-admission", "slipway-system"}
    assert spaces["stage"]["slipway.dev/environment"] == "stage"
    assert spaces["stage"]["slipway.dev/tier"] == "prod"
    assert "slipway.dev/environment" not in spaces["local"]


def test_an_environment_that_the_instance_lacks_gets_nothing() -> None:
    assert ("developer", "qa") not in bindings(("dev",))


class Cluster:
    """A cluster that has made a token for every role."""

    def get(self, kind: str, name: str, *, namespace: str) -> Mapping[str, Any]:
        assert (kind, namespace) == ("Secret", "slipway-system")
        return {"data": {"token": base64.b64encode(f"the token in {name}".encode()).decode()}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = replace(load(), home=tmp_path)
    made.folder.mkdir(parents=True)
    cluster = {"name": "kind-slipway", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": "eA=="}}
    admin = {"clusters": [cluster], "users": [{"name": "admin", "user": {"client-key-data": "the admin's key"}}]}
    made.kubeconfig.write_text(yaml.safe_dump(admin))
    return made


def test_each_role_has_a_private_kubeconfig_without_the_admins_key(settings: Settings) -> None:
    roles.write_kubeconfigs(settings, cast(Kube, Cluster()))
    for role in settings.roles:
        file = roles.kubeconfig(settings, role)
        told = yaml.safe_load(file.read_text())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert told["users"] == [{"name": role, "user": {"token": f"the token in {role}-token"}}]
        assert told["current-context"] == f"{settings.context}-{role}"
        assert told["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
        assert "the admin's key" not in file.read_text()


def test_an_api_server_that_is_away_for_a_moment_is_asked_again_for_a_token(settings: Settings) -> None:
    class Restarting(Cluster):
        away = True

        def get(self, kind: str, name: str, *, namespace: str) -> Mapping[str, Any]:
            if self.away:
                self.away = False
                raise Away("it restarts")
            return super().get(kind, name, namespace=namespace)

    roles.write_kubeconfigs(settings, cast(Kube, Restarting()))
    assert all(roles.kubeconfig(settings, role).is_file() for role in settings.roles)


def test_a_kubeconfig_that_is_right_is_not_written_again(settings: Settings) -> None:
    roles.write_kubeconfigs(settings, cast(Kube, Cluster()))
    file = roles.kubeconfig(settings, "lead")
    before = file.stat().st_ino
    roles.write_kubeconfigs(settings, cast(Kube, Cluster()))
    assert file.stat().st_ino == before


def test_no_environment_takes_a_pod_with_privileges() -> None:
    namespaces = {item["metadata"]["name"]: item for item in roles.manifests(load(), ALL) if item["kind"] == "Namespace"}
    for name in ALL:
        assert namespaces[name]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
