"""An instance without a cluster, as the inner loop finds it: what dev runs, an engine, and a Tilt that says how it began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from slipway import access, engine, gateway, helm, instance, registry, shell
from slipway.dev import ground, running, told
from slipway.settings import ROOT, Settings
from slipway.waiting import Pending, Ready
from tests.unit.fake_cluster import FakeEngine, FakeKube, FakeNode, workload
from tests.unit.fakes import Screen

SERVICES = ("cart", "catalog", "orders", "storefront")
STORES = ("postgresql", "valkey")
DIGEST = f"sha256:{'d' * 64}"


def template(chart: Path, *, values: Mapping[str, Any], release: str, namespace: str, **_: Any) -> list[dict[str, Any]]:
    """What Helm would make: the workload, its account, and a Job where there are migrations."""
    first = {"argocd.argoproj.io/sync-wave": "-1"}

    def item(kind: str, name: str = release, **annotations: str) -> dict[str, Any]:
        return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "annotations": annotations}}

    store = chart.name != "microservice"
    image = f"{values['image']['repository']}@{values['image']['digest']}"
    made = [item("StatefulSet" if store else "Deployment") | {"image": image}, item("Service"), item("ConfigMap")]
    made += [] if store else [item("ServiceAccount", **first)]
    made += [item("Job", f"{release}-migrate-12345678", **first)] if values.get("migrations") else []
    return made


class World:
    """An instance that runs, with what dev runs in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.settings = Settings(ROOT, home, "test")
        self.settings.folder.mkdir(parents=True)
        for name in ("kubeconfig", "kubeconfig-developer"):
            (self.settings.folder / name).touch()
        self.engine = FakeEngine(test=FakeNode(port=8081))
        self.kube = FakeKube(
            *(workload(name, "dev") for name in SERVICES),
            *(workload(name, "dev", kind="StatefulSet") for name in STORES),
        )
        self.held = True
        self.started: dict[str, Any] = {}
        self.code = 3  # Tilt's exit code
        self.asked: list[str] = []
        # What the gateway answers, and what from then on.
        self.answers: list[Ready[None] | Pending] = [Ready(None)]
        monkeypatch.setattr(engine, "find", lambda _: self.engine)
        monkeypatch.setattr(self.engine, "has_image", lambda _: self.held)
        monkeypatch.setattr(access, "Kube", lambda *_: self.kube)
        monkeypatch.setattr(ground, "Kube", lambda *_: self.kube)
        monkeypatch.setattr(registry, "find", lambda _: registry.Registry(5001, "slipway-registry", "running", "image"))
        monkeypatch.setattr(helm, "template", template)
        monkeypatch.setattr(access.Access, "helm", Path("helm"))
        monkeypatch.setattr(running, "_program", lambda *_: Path("/tools/tilt"))
        monkeypatch.setattr(shell, "interactive", self._tilt)
        monkeypatch.setattr(gateway, "answers", self._answers)

    def _tilt(self, argv: Sequence[Any], **options: Any) -> int:
        self.started = {"argv": [str(word) for word in argv], **options, "during": instance.find_tilt(self.settings)}
        options["started"](4711)
        there = instance.find_tilt(self.settings)
        self.started["started"] = there.pids if there else None
        if options["hopeless"]:
            options["hopeless"]()
        return self.code

    def _answers(self, port: int, host: str, path: str) -> Ready[None] | Pending:
        self.asked.append(f"http://{host}:{port}{path}")
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def facts(self, *services: str) -> dict[str, Any]:
        return told.facts(self.settings, services)

    def run(self, *services: str, **options: Any) -> int:
        self.screen = Screen()
        return running.run(self.settings, services, progress=self.screen.progress, **options)
