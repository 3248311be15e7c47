"""Names that users and other programs rely on."""

from __future__ import annotations

from slipway import names


def test_a_service_has_a_host_name_per_environment_and_a_part_of_the_platform_has_one() -> None:
    assert names.url("catalog", port=8080, environment="dev") == "http://catalog.dev.localhost:8080"
    assert names.url("argocd", port=8081) == "http://argocd.localhost:8081"


def test_a_repository_has_one_address_inside_the_cluster() -> None:
    assert names.repository("gitops-prod") == "http://git.slipway-system.svc.cluster.local/gitops-prod.git"
