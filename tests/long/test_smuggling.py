"""A chart that somebody edited on a branch: what it may bring into dev, and what Argo CD's project and the cluster refuse."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.kube import NOT_YET
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e import delivering, developing, ledger, train
from tests.e2e.conftest import Instance
from tests.e2e.developing import Workspace
from tests.long.lent import own_or_lent

NAME = "long-smuggling"

RIGHTS = "rbac.authorization.k8s.io"
CHART = "charts/microservice/templates"
META = {"name": "mine", "namespace": "dev"}

# A whole delivery that is waited for in vain, and what was there before once more.
RUN_TIMEOUT = 900.0


@pytest.fixture(scope="module")
def instance(request: pytest.FixtureRequest) -> Generator[Instance]:
    """An instance of these tests, or the one that they are lent."""
    with own_or_lent(request, NAME) as made:
        yield made


def more(item: Mapping[str, Any]) -> Callable[[Path], None]:
    """A chart with an object more, for catalog in dev."""

    def edit(chart: Path) -> None:
        (chart / "mine.yaml").write_text('{{- if eq .Values.service "catalog" }}\n' + yaml.safe_dump(dict(item)) + "{{- end }}\n")

    return edit


def privileged(chart: Path) -> None:
    """A chart whose containers may do everything."""
    helpers = chart / "_helpers.tpl"
    text = helpers.read_text()
    edited = re.sub(r"allowPrivilegeEscalation: false\n", "allowPrivilegeEscalation: true\n  privileged: true\n", text, count=1)
    assert edited != text
    helpers.write_text(edited)


SMUGGLED: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "rights": (
        more(
            {
                "apiVersion": f"{RIGHTS}/v1",
                "kind": "RoleBinding",
                "metadata": META,
                "roleRef": {"apiGroup": RIGHTS, "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "name": "catalog", "namespace": "dev"}],
            }
        ),
        f"{RIGHTS}/v1 RoleBinding",
    ),
    "a pod of its own": (
        more(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": META,
                "spec": {"containers": [{"name": "main", "image": "mine", "securityContext": {"privileged": True}}]},
            }
        ),
        "v1 Pod",
    ),
}


@pytest.mark.parametrize("what", [*SMUGGLED, "privileges"])
def test_what_an_edited_chart_smuggles_in_does_not_run_and_dev_is_what_it_was(
    instance: Instance, tmp_path: Path, what: str
) -> None:
    before = ledger.look(instance)
    branch, work = f"feature/{secrets.token_hex(3)}", Workspace.clone(instance, tmp_path / "work")
    work.touch("catalog")
    edit, made = SMUGGLED.get(what, (privileged, ""))
    edit(work.folder / CHART)
    work.commit()
    commit = work.push(branch, options=["deploy=dev"])
    run = developing.wait_run(instance, commit, branch=branch, timeout=RUN_TIMEOUT)
    try:
        assert run.state == "failed", f"{what} went through: {run.said}"
        if made:
            version, kind = made.split()
            assert instance.kube.get(kind, "mine", namespace="dev", api_version=version) is None
        for pod in instance.kube.list("Pod", namespace="dev"):
            for container in pod["spec"]["containers"]:
                assert not (container.get("securityContext") or {}).get("privileged"), pod["metadata"]["name"]
        wait_for("dev to be what it was", lambda: _same(instance, before), timeout=train.FOLLOWED, tolerate=NOT_YET)
    finally:
        if delivering.entry(instance, "dev", "catalog").record.source_commit == commit:
            delivering.restore(instance, "dev", before.commits["gitops-nonprod"])


def _same(instance: Instance, before: ledger.Sight) -> Ready[None] | Pending:
    now = ledger.look(instance)
    if now.of("dev") != before.of("dev"):
        return Pending("its records are others")
    other = [service for service in instance.settings.services if now.images["dev", service] != before.images["dev", service]]
    return Pending(f"{', '.join(other)} run something else") if other else Ready(None)
