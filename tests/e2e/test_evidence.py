"""What is kept when something fails: enough to find the cause without the cluster, and no secret."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from slipway import bundle, credentials, names
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e.conftest import Instance

NAME = "doomed"


@pytest.fixture
def doomed(instance: Instance) -> Generator[str]:
    """A pod that says why it dies, and dies."""
    running = instance.kube.list("Deployment", namespace="dev", api_version="apps/v1")
    container = {
        "name": "main",
        "image": running[0]["spec"]["template"]["spec"]["containers"][0]["image"],
        "command": ["python", "-c", "raise SystemExit('the tide is out')"],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "namespace": names.LOCAL},
        "spec": {"containers": [container]},
    }
    instance.kube.apply([pod])
    yield NAME
    instance.kube.delete("Pod", NAME, namespace=names.LOCAL)


def test_the_evidence_names_the_cause_and_holds_its_log(instance: Instance, doomed: str, tmp_path: Path) -> None:
    def trouble() -> Ready[str] | Pending:
        pod = instance.kube.get("Pod", doomed, namespace=names.LOCAL)
        found = bundle.pod_trouble(pod) if pod else None
        return Ready(found) if found and "exit code 1" in found else Pending(found or "no trouble yet")

    wait_for("the pod to fail", trouble, timeout=120)
    causes = bundle.collect(tmp_path / "evidence", instance.kube, waited_for="the pod to be ready")
    assert any(doomed in cause and "exit code 1" in cause for cause in causes)
    logs = "".join(file.read_text() for file in (tmp_path / "evidence" / "logs").glob(f"*{doomed}*"))
    assert "the tide is out" in logs
    assert (tmp_path / "evidence" / "waited-for.txt").read_text().strip() == "the pod to be ready"


def test_no_secret_is_in_the_evidence(instance: Instance, tmp_path: Path) -> None:
    bundle.collect(tmp_path / "evidence", instance.kube, waited_for="nothing")
    known = credentials.keep(instance.settings)
    secrets: set[Any] = {*known.passwords.values(), known.webhook, known.cache, known.session}
    for file in (tmp_path / "evidence").rglob("*"):
        if file.is_file():
            text = file.read_text(errors="replace")
            assert not [secret for secret in secrets if secret in text], file.name
