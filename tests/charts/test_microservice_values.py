"""What the generic chart answers to values that cannot be right: a sentence that names the value."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.helm import ChartError
from tests.charts.rendering import merged, only, render, render_shape, shape_values

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"service": ""}, "service is not set: every service needs a name and an environment"),
        ({"environment": ""}, "environment is not set"),
        ({"service": "My_Shop"}, 'service is "My_Shop", but it becomes a host name: use lower-case letters'),
        ({"service": "shop-"}, 'service is "shop-", but it becomes a host name'),
        ({"service": "9lives"}, 'service is "9lives", but it becomes a host name'),
        ({"environment": "Prod"}, 'environment is "Prod", but it becomes a host name'),
        ({"image": {"repository": ""}}, "image.repository is not set: say where the image of catalog lies"),
        ({"image": {"repository": "shop/catalog:1.2"}}, 'image.repository is "shop/catalog:1.2", but it must not carry a tag'),
        ({"image": {"repository": f"shop/catalog@{DIGEST}"}}, "must not carry a tag or a digest: put the digest in image.digest"),
        ({"image": {"digest": ""}}, "image.digest is not set: catalog runs by digest only"),
        ({"image": {"digest": "latest"}}, 'image.digest is "latest", but a digest is "sha256:" and 64 hexadecimal digits'),
        ({"image": {"digest": DIGEST[:-1]}}, 'but a digest is "sha256:" and 64'),
        ({"image": {"digest": DIGEST.upper()}}, 'but a digest is "sha256:" and 64'),
        ({"env": {"SLIPWAY_DIGEST": "x"}}, "env.SLIPWAY_DIGEST cannot be set"),
        ({"env": {"MY-VAR": "x"}}, 'env has "MY-VAR", which cannot be a variable\'s name'),
        (
            {"service": "a" * 47, "migrations": {"command": ["migrate"]}},
            f'service is "{"a" * 47}", which is too long for a service with migrations',
        ),
        (
            {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}},
            "autoscaling.minReplicas is 5 and autoscaling.maxReplicas 4: the least cannot be more than the most",
        ),
        (
            {"drain": {"timeout": 15}},
            "config.drain_seconds is 5 and config.finish_seconds 10, together not below drain.timeout, which is 15",
        ),
        ({"config": {"drain_seconds": 9.5, "finish_seconds": 11}}, "config.drain_seconds is 9.5 and config.finish_seconds 11"),
        ({"config": {"finish_seconds": 15}}, "not below drain.timeout, which is 20"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_with_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ChartError) as error:
        render_shape("microservice", "least", **changes)
    assert sentence in str(error.value)


def test_a_service_may_take_almost_as_long_as_its_pod_is_given() -> None:
    render_shape("microservice", "least", config={"drain_seconds": 0.5, "finish_seconds": 1}, drain={"timeout": 2})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"imagge": {}}, "additional properties 'imagge' not allowed"),
        ({"service": 7}, "at '/service': got number, want string"),
        ({"service": "x" * 64}, "at '/service': maxLength: got 64, want 63"),
        ({"environment": ["dev"]}, "at '/environment': got array, want string"),
        ({"tier": "production"}, "at '/tier': value must be one of 'nonprod', 'prod'"),
        ({"image": {"tag": "1.2"}}, "at '/image': additional properties 'tag' not allowed"),
        ({"image": {"digest": 5}}, "at '/image/digest': got number, want string"),
        ({"version": 1.1}, "at '/version': got number, want string"),
        ({"commit": 123456}, "at '/commit': got number, want string"),
        ({"config": "log_level: info"}, "at '/config': got string, want object"),
        ({"replicas": -1}, "at '/replicas': minimum: got -1, want 0"),
        ({"replicas": "2"}, "at '/replicas': got string, want integer"),
        ({"replicas": 101}, "at '/replicas': maximum: got 101, want 100"),
        ({"surge": 0}, "at '/surge': minimum: got 0, want 1"),
        ({"surge": "0%"}, "at '/surge': '0%' does not match pattern"),
        ({"surge": "101%"}, "at '/surge': '101%' does not match pattern"),
        ({"surge": True}, "at '/surge': got boolean, want integer or string"),
        ({"port": 80}, "at '/port': minimum: got 80, want 1,024"),
        ({"port": 70000}, "at '/port': maximum: got 70,000, want 65,535"),
        ({"env": {"A": 1}}, "at '/env/A': got number, want string"),
        ({"env": {"A": True}}, "at '/env/A': got boolean, want string"),
        ({"secrets": "database"}, "at '/secrets': got string, want array"),
        ({"secrets": [""]}, "at '/secrets/0': minLength: got 0, want 1"),
        ({"secrets": ["a", "a"]}, "at '/secrets': items at 0 and 1 are equal"),
        ({"resources": {"request": {}}}, "at '/resources': additional properties 'request' not allowed"),
        ({"resources": {"limits": {"gpu": 1}}}, "at '/resources/limits': additional properties 'gpu' not allowed"),
        ({"resources": {"limits": {"memory": "lots"}}}, "at '/resources/limits/memory': 'lots' does not match pattern"),
        ({"probes": {"ready": {}}}, "at '/probes': additional properties 'ready' not allowed"),
        ({"probes": {"readiness": {"path": "readyz"}}}, "at '/probes/readiness/path': 'readyz' does not match pattern '^/'"),
        ({"probes": {"liveness": {"periodSeconds": 0}}}, "at '/probes/liveness/periodSeconds': minimum: got 0, want 1"),
        ({"probes": {"startup": {"initialDelaySeconds": 5}}}, "additional properties 'initialDelaySeconds' not allowed"),
        ({"drain": {"seconds": -1}}, "at '/drain/seconds': minimum: got -1, want 0"),
        ({"drain": {"timeout": 0}}, "at '/drain/timeout': minimum: got 0, want 1"),
        ({"drain": {"enabled": False}}, "at '/drain': additional properties 'enabled' not allowed"),
        ({"migrations": {"command": "migrate.py"}}, "at '/migrations/command': got string, want array"),
        ({"migrations": {"command": ["migrate", ""]}}, "at '/migrations/command/1': minLength: got 0, want 1"),
        ({"migrations": {"deadlineSeconds": 0}}, "at '/migrations/deadlineSeconds': minimum: got 0, want 10"),
        ({"migrations": {"retries": -1}}, "at '/migrations/retries': minimum: got -1, want 0"),
        ({"migrations": {"resources": None}}, "at '/migrations': missing property 'resources'"),
        ({"migrations": {"hook": "PreSync"}}, "at '/migrations': additional properties 'hook' not allowed"),
        ({"metrics": {"enabled": "yes"}}, "at '/metrics/enabled': got string, want boolean"),
        ({"metrics": {"path": "metrics"}}, "at '/metrics/path': 'metrics' does not match pattern '^/'"),
        ({"autoscaling": {"minReplicas": 0}}, "at '/autoscaling/minReplicas': minimum: got 0, want 1"),
        ({"autoscaling": {"cpuUtilization": 0}}, "at '/autoscaling/cpuUtilization': minimum: got 0, want 1"),
        ({"autoscaling": {"maxReplicas": 0}}, "at '/autoscaling/maxReplicas': minimum: got 0, want 1"),
        ({"networkPolicy": {"ingress": {}}}, "at '/networkPolicy/ingress': got object, want array"),
        ({"networkPolicy": {"egress": ["all"]}}, "at '/networkPolicy/egress/0': got string, want object"),
        ({"networkPolicy": {"enabled": None}}, "at '/networkPolicy': missing property 'enabled'"),
        ({"probes": {"liveness": None}}, "at '/probes': missing property 'liveness'"),
        ({"resources": None}, "at '': missing property 'resources'"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused_by_the_schema(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ChartError) as error:
        render_shape("microservice", "least", **changes)
    assert complaint in str(error.value)


def test_the_longest_name_that_a_service_with_migrations_may_have_fits_into_its_jobs_name() -> None:
    objects = render_shape("microservice", "migrating", service="a" * 46)
    assert len(only(objects, "Job")["metadata"]["name"]) == 63


def test_the_defaults_alone_say_what_is_missing() -> None:
    with pytest.raises(ChartError, match="service is not set"):
        render("microservice", {})


def test_a_registry_with_a_port_is_no_tag() -> None:
    assert render_shape("microservice", "least", image={"repository": "localhost:5001/shop/catalog"})


def test_values_of_several_files_are_merged_as_helm_does() -> None:
    base = shape_values("microservice", "least")
    assert merged(base, {"image": {"digest": DIGEST}})["image"]["repository"] == base["image"]["repository"]
