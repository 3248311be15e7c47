"""The Git server's chart: it runs the files it is given."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from slipway.helm import ChartError
from tests.charts.rendering import Object, container, only, pod_annotations, render, render_shape


def server(**changes: Any) -> list[Object]:
    return render_shape("git-server", "default", **changes)


def volume(objects: list[Object], name: str) -> Object:
    (found,) = [item for item in only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"] if item["name"] == name]
    return found


def mount(objects: list[Object], name: str) -> Object:
    (found,) = [item for item in container(objects)["volumeMounts"] if item["name"] == name]
    return found


def test_it_starts_what_the_files_bring() -> None:
    assert container(server())["command"] == ["/etc/git-server/start"]
    assert container(render_shape("git-server", "custom"))["command"] == ["python3", "/etc/git-server/serve.py"]


def test_its_files_arrive_unchanged_and_can_be_executed() -> None:
    content = {"start": "#!/bin/sh\n# {{ not a template }}\nexec true\n", "rules.json": '{"a": [1, "ü"]}'}
    objects = render("git-server", {"image": "x", "files": content})
    assert only(objects, "ConfigMap")["data"] == content
    assert volume(objects, "files")["configMap"] == {"name": "git", "defaultMode": 0o555}
    assert mount(objects, "files") == {"name": "files", "mountPath": "/etc/git-server", "readOnly": True}


def test_a_changed_hook_replaces_the_pod() -> None:
    key = "slipway.dev/config-sha256"
    assert pod_annotations(server())[key] != pod_annotations(server(files={"start": "changed"}))[key]


def test_code_arrives_beside_them_and_replaces_the_pod_too() -> None:
    code = base64.b64encode(b"code").decode()
    objects = server(binaryFiles={"code.zip": code})
    assert only(objects, "ConfigMap")["binaryData"] == {"code.zip": code}
    key = "slipway.dev/config-sha256"
    assert pod_annotations(server())[key] != pod_annotations(objects)[key]
    assert "binaryData" not in only(server(), "ConfigMap")


def test_a_program_comes_from_another_image_before_the_server_starts() -> None:
    spec = only(render_shape("git-server", "custom"), "Deployment")["spec"]["template"]["spec"]
    [first] = spec["initContainers"]
    assert first["image"] == "localhost:5001/slipway/tools:1-0a1b2c3d"
    assert first["command"] == ["cp", "/usr/bin/tool", "/opt/tools/"]
    assert first["securityContext"] == container(server())["securityContext"]
    assert first["volumeMounts"] == [{"name": "tools", "mountPath": "/opt/tools"}]
    assert mount(server(), "tools") == {"name": "tools", "mountPath": "/opt/tools", "readOnly": True}
    assert volume(server(), "tools") == {"name": "tools", "emptyDir": {}}


def test_without_a_program_nothing_is_copied() -> None:
    assert "initContainers" not in only(server(), "Deployment")["spec"]["template"]["spec"]


def test_there_is_room_to_render_records() -> None:
    assert container(server())["resources"]["limits"]["memory"] == "1Gi"


def test_two_servers_never_write_to_one_repository() -> None:
    spec = only(server(), "Deployment")["spec"]
    assert spec["strategy"] == {"type": "Recreate"}
    assert spec["replicas"] == 1


def test_repositories_outlive_the_pod() -> None:
    objects = render_shape("git-server", "custom")
    claim = only(objects, "PersistentVolumeClaim")["spec"]
    assert claim["resources"]["requests"]["storage"] == "500Mi"
    assert claim["storageClassName"] == "fast"
    assert volume(objects, "data")["persistentVolumeClaim"] == {"claimName": "git"}
    assert mount(objects, "data")["mountPath"] == "/srv/git"


def test_passwords_come_from_a_secret_that_the_chart_only_names() -> None:
    assert volume(server(), "secret")["secret"] == {"secretName": "git-users", "defaultMode": 0o440}
    assert volume(render_shape("git-server", "custom"), "secret")["secret"]["secretName"] == "other-users"
    assert "Secret" not in {item["kind"] for item in server()}


def test_it_answers_on_port_80_wherever_it_listens() -> None:
    objects = render_shape("git-server", "custom")
    assert only(objects, "Service")["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    assert container(objects)["ports"] == [{"name": "http", "containerPort": 9000}]


def test_its_health_is_asked_for_where_the_values_say() -> None:
    found = container(render_shape("git-server", "custom"))
    assert {found[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} == {"/alive"}


def test_more_variables_can_be_given() -> None:
    assert container(render_shape("git-server", "custom"))["env"] == [{"name": "POLICY", "value": "/etc/git-server/policy.yaml"}]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"image": ""}, "image is not set: say which image the Git server runs"),
        ({"command": []}, "at '/command': minItems"),
        ({"files": {"hooks/pre-receive": ""}}, "at '/files'"),
        ({"files": {"start": 1}}, "at '/files/start': got number, want string"),
        ({"binaryFiles": {"a/b": ""}}, "at '/binaryFiles'"),
        ({"binaryFiles": {"code.zip": "not base64!"}}, "at '/binaryFiles/code.zip': 'not base64!' does not match pattern"),
        ({"tool": {"image": "x", "path": "helm"}}, "at '/tool/path': 'helm' does not match pattern '^/'"),
        ({"secret": ""}, "at '/secret': minLength"),
        ({"env": {"A-B": "x"}}, "at '/env'"),
        ({"env": {"A": 1}}, "at '/env/A': got number, want string"),
        ({"storage": {"size": "1"}}, "at '/storage/size': '1' does not match pattern"),
        ({"storage": {"className": ""}}, "at '/storage/className': minLength"),
        ({"storage": {"kind": "x"}}, "at '/storage': additional properties 'kind' not allowed"),
        ({"port": 80}, "at '/port': minimum"),
        ({"healthPath": "healthz"}, "at '/healthPath': 'healthz' does not match pattern '^/'"),
        ({"resources": []}, "at '/resources': got array, want object"),
    ],
)
def test_a_wrong_value_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ChartError) as error:
        server(**changes)
    assert complaint in str(error.value)
