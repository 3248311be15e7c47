"""What each role may do in the cluster with the kubeconfig it was given."""

from __future__ import annotations

import pytest

from slipway import roles
from slipway.kube import Kube
from tests.e2e.conftest import Instance

# (role, verb, resource, namespace, allowed)
EXPECTED = [
    ("developer", "get", "pods", "prod", True),
    ("developer", "get", "secrets", "dev", False),
    ("developer", "create", "deployments.apps", "local", True),
    ("developer", "delete", "deployments.apps", "dev", False),
    ("developer", "create", "pods/exec", "dev", True),
    ("developer", "create", "pods/exec", "prod", False),
    ("developer", "patch", "applications.argoproj.io", "argocd", False),
    *(
        ("developer", verb, resource, environment, False)
        for environment in ("dev", "qa", "stage", "prod")
        for resource in ("deployments.apps", "configmaps", "services")
        for verb in ("create", "patch")
    ),
    ("lead", "get", "pods/log", "prod", True),
    ("lead", "delete", "pods", "prod", False),
    ("lead", "create", "deployments.apps", "stage", False),
    ("pipeline", "get", "deployments.apps", "prod", True),
    ("pipeline", "patch", "deployments.apps", "prod", False),
    ("pipeline", "patch", "applications.argoproj.io", "argocd", False),
]


@pytest.mark.parametrize(("role", "verb", "resource", "namespace", "allowed"), EXPECTED)
def test_role(instance: Instance, role: str, verb: str, resource: str, namespace: str, allowed: bool) -> None:
    config = roles.kubeconfig(instance.settings, role)
    assert config.stat().st_mode & 0o077 == 0
    kind, _, group = resource.partition("/")[0].partition(".")
    asked = {"verb": verb, "resource": kind, "group": group, "namespace": namespace, "subresource": resource.partition("/")[2]}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "metadata": {"name": ""},
        "spec": {"resourceAttributes": asked},
    }
    answer = Kube(config, f"{instance.settings.context}-{role}").create(review)
    assert answer
    assert answer["status"].get("allowed", False) is allowed, answer["status"]
