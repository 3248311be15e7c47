"""An instance without a cluster: real repositories with the Git server's own hooks, and a stand-in for Argo CD and Kubernetes.

The stand-in runs what Git records, at once: applications, Deployments with their ReplicaSets, pods. It can be told that an
image does not start, that Argo CD is away, that a migration fails.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import pytest

from slipway import admission, credentials, git, gitops, pushlog
from slipway.access import Access
from slipway.admission import lists
from slipway.gitops import Entry, Record
from slipway.instance import Facts
from slipway.kube import Kube
from slipway.progress import Phase
from slipway.promotion import deploying
from slipway.recipes import Plan
from slipway.registry import Registry
from slipway.settings import Settings, load
from tests.delivery import receiving
from tests.delivery.receiving import NONPROD, PROD, Site, digest
from tests.unit import fakes

# A chart in a few lines: one Deployment, unless the service is retired, and what it is told.
HELM = f"""#!{sys.executable} -IS
import json, sys
service, chart, environment, kubernetes = sys.argv[2], sys.argv[3], sys.argv[5], sys.argv[7]
values = json.load(sys.stdin)
meta = {{"name": service, "namespace": environment}}
image = values["image"]["repository"] + "@" + values["image"]["digest"]
container = {{"name": service, "image": image, "told": values.get("config")}}
labels = {{"app.kubernetes.io/name": service}}
template = {{"metadata": {{"labels": labels}}, "spec": {{"containers": [container]}}}}
notes = {{"version": values["version"], "commit": values["commit"]}}
spec = {{"replicas": 1, "selector": {{"matchLabels": labels}}, "template": template}}
if not chart.endswith("/retired"):
    print(json.dumps({{"kind": "Deployment", "metadata": {{**meta, "annotations": notes}}, "spec": spec}}))
print("---")
if "migrations" in values:
    print(json.dumps({{"kind": "Job", "metadata": {{**meta, "name": service + "-migrate-" + values["migrations"]}}}}))
    print("---")
text = open(chart + "/templates/all.yaml").read()
print(json.dumps({{"kind": "ConfigMap", "metadata": meta, "data": {{"kubernetes": kubernetes, "text": text}}}}))
"""


class Cluster(Kube):
    """Runs what Git records, as far as it is told to."""

    def __init__(self, settings: Settings, site: Site) -> None:
        super().__init__(Path("/nowhere"), "kind-fake")
        self.settings, self.site = settings, site
        self.away = False
        # Argo CD looks at each commit that concerns an application; or at every one, as when somebody makes it look.
        self.looks_at_all = False
        self.broken: dict[str, str] = {}
        # Digests whose pods were all available once, whatever became of them.
        self.complete: set[str] = set()
        self.failed_jobs: set[str] = set()
        self.denied: dict[str, str] = {}
        self.looks: list[Callable[[], None]] = []
        self._heads: dict[str, str] = {}
        self._known: dict[str, dict[tuple[str, str], tuple[Entry, str]]] = {}

    def _there(self) -> dict[tuple[str, str], tuple[Entry, str]]:
        found: dict[tuple[str, str], tuple[Entry, str]] = {}
        for repository in (NONPROD, PROD):
            bare = self.site.bare(repository)
            head = "" if self.away else git.resolve(bare, "refs/heads/main") or ""
            if head and self._heads.get(repository) != head:
                self._heads[repository] = head
                _, entries = gitops.read(git.Remote(str(bare)))
                self._known[repository] = {
                    key: (entry, git.log(bare, head, paths=[f"envs/{key[0]}/{key[1]}"], limit=1)[0].sha)
                    for key, entry in entries.items()
                }
            found |= self._known.get(repository, {})
        return found

    def list(
        self, kind: str, *, namespace: str | None = None, labels: str = "", api_version: str = "v1"
    ) -> Sequence[dict[str, Any]]:
        if kind == "Application" and self.looks:
            self.looks.pop(0)()
        made: list[dict[str, Any]] = []
        for (environment, service), (entry, commit) in self._there().items():
            if kind == "Application":
                revision = self._heads[self.settings.environment(environment).repository] if self.looks_at_all else commit
                made.append(self._application(environment, service, entry, commit, revision))
            elif environment == namespace:
                made += self._objects(kind, entry)
        return [{"kind": kind, **item} for item in made]

    def _application(self, environment: str, service: str, entry: Entry, commit: str, revision: str) -> dict[str, Any]:
        well = entry.record.retired or entry.record.digest not in self.broken
        denied = self.denied.get(entry.record.digest, "")
        state = {"phase": "Succeeded", "syncResult": {"revision": commit}}
        if denied:
            state |= {"phase": "Running", "retryCount": 1, "message": denied}
        return {
            "metadata": {
                "name": f"{service}-{environment}",
                "labels": {"slipway.dev/environment": environment, "slipway.dev/service": service},
            },
            "status": {
                "sync": {"status": "OutOfSync" if denied else "Synced", "revision": revision},
                "health": {"status": "Healthy" if well else "Progressing"},
                "operationState": state,
            },
        }

    def _objects(self, kind: str, entry: Entry) -> Sequence[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for item in entry.manifests:
            meta = {**item["metadata"], "uid": f"uid-{item['metadata']['name']}", "generation": 1}
            if item["kind"] == "Job" == kind:
                failed = {
                    "conditions": [{"type": "Failed", "status": "True", "message": "Job has reached its limit"}],
                    "failed": 1,
                }
                made.append({**item, "metadata": meta, "status": failed if meta["name"] in self.failed_jobs else {}})
            if item["kind"] == "Deployment":
                made += self._grown(kind, item, meta, entry)
        return made

    def _grown(self, kind: str, item: Mapping[str, Any], meta: Mapping[str, Any], entry: Entry) -> Sequence[dict[str, Any]]:
        well = entry.record.digest not in self.broken
        mark = hashlib.sha256(json.dumps(item["spec"]["template"], sort_keys=True).encode()).hexdigest()[:8]
        labels = {**item["spec"]["template"]["metadata"]["labels"], "pod-template-hash": mark}
        if kind == "Deployment":
            counts = {name: int(well) for name in ("updatedReplicas", "readyReplicas", "availableReplicas")}
            done = well or entry.record.digest in self.complete
            told = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"}
            status = {"observedGeneration": 1, "replicas": 1, **counts, "conditions": [told]}
            return [{**item, "metadata": dict(meta), "status": status}]
        own = {"name": f"{meta['name']}-{mark}", "namespace": meta["namespace"], "labels": labels}
        if kind == "ReplicaSet":
            owner = {"uid": meta["uid"]}
            return [{"metadata": {**own, "ownerReferences": [owner], "annotations": {"deployment.kubernetes.io/revision": "1"}}}]
        if kind == "Pod":
            state = {"running": {}} if well else {"waiting": {"reason": self.broken[entry.record.digest], "message": "it ended"}}
            (container,) = item["spec"]["template"]["spec"]["containers"]
            status = {"name": container["name"], "imageID": container["image"], "ready": well, "state": state, "restartCount": 2}
            return [{"metadata": own, "status": {"phase": "Running", "containerStatuses": [status]}}]
        return []


@dataclass(frozen=True)
class Reach(Access):
    """Access to it."""

    site: Site = field(default=cast("Site", None))
    cluster: Cluster = field(default=cast("Cluster", None))

    def remote(self, repository: str) -> git.Remote:
        return git.Remote(str(self.site.bare(repository)), self.user)

    @property
    def kube(self) -> Kube:  # type: ignore[override]
        return self.cluster

    @property
    def helm(self) -> Path:  # type: ignore[override]
        return self.site.helm

    @property
    def registry(self) -> Registry:  # type: ignore[override]
        return Registry(5001, "slipway-registry", "running", "")

    @cached_property
    def _plan(self) -> Plan:
        return cast("Plan", _Plan())


class _Plan:
    def image(self, name: str) -> str:
        return f"slipway/{name}:1"


class World:
    """Everything together."""

    def __init__(self, site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, hooks: bool) -> None:
        self.site, self.settings = site, settings
        self.cluster = Cluster(settings, site)
        self.admitted: list[tuple[str, tuple[str, ...], str]] = []
        self.lists: dict[str, set[str]] = {"stage": set(), "prod": set()}
        self.clock, self.phase = fakes.FakeClock(), Phase("deploy")
        monkeypatch.setattr(pushlog, "push_log", self._pushes)
        for place in (admission, lists):
            monkeypatch.setattr(place, "approve", self._approve)
        monkeypatch.setattr(lists, "revoke", self._revoke)
        monkeypatch.setattr(deploying, "untraced", lambda *_: ())  # there is no registry, and no image
        for repository in (NONPROD, PROD) if hooks else ():
            words = ["git", "-C", site.bare(repository), "config", "core.hooksPath", site.folder / "hooks"]
            subprocess.run(words, check=True)
        for name, value in {"CODE": "slipway.zip", "RULES": "rules.json", "HOOKS": "hooks.json"}.items():
            monkeypatch.setenv(f"SLIPWAY_{name}", str(site.folder / "hooks" / value))
        monkeypatch.setenv("REMOTE_USER", "pipeline")

    def _pushes(self, _: object) -> list[pushlog.Pushed]:
        return list(pushlog.parse((self.site.bare(receiving.APP) / "slipway" / "pushes.jsonl").read_text()))

    def _approve(self, _: Kube, environment: str, references: Sequence[str], **__: object) -> frozenset[str]:
        self.admitted.append((environment, tuple(references), self.head(environment)))
        new = frozenset(references) - self.lists[environment]
        self.lists[environment] |= new
        return new

    def _revoke(self, _: Kube, environment: str, references: Sequence[str], **__: object) -> None:
        self.lists[environment] -= set(references)

    @property
    def access(self) -> Reach:
        secrets = credentials.keep(self.settings)
        facts = Facts("full", "build")
        return Reach(self.settings, "pipeline", 8080, secrets, facts, cast("Any", None), self.site, self.cluster)

    def bare(self, environment: str) -> Path:
        return self.site.bare(self.settings.environment(environment).repository)

    def head(self, environment: str) -> str:
        return git.resolve(self.bare(environment), "refs/heads/main") or ""

    def commits(self, environment: str) -> Sequence[git.Commit]:
        """The commits of an environment's repository, the newest first."""
        return git.log(self.bare(environment), "refs/heads/main")

    def entry(self, environment: str, service: str) -> Entry:
        return gitops.read(git.Remote(str(self.bare(environment))))[1][environment, service]

    def record(self, environment: str, service: str) -> Record:
        return self.entry(environment, service).record

    def put(self, branch: str, commit: str) -> None:
        """Let a branch of the application have a commit, past every rule."""
        git.push(self.site.tree, git.Remote(str(self.site.bare(receiving.APP))), {f"refs/heads/{branch}": commit})

    def made(self, service: str, commit: str, version: str = "0.2.0-dev.1", **more: Any) -> Record:
        """What the pipeline made of a commit."""
        told = {"image": f"localhost:5001/{service}", "digest": digest(f"{service}{commit[:7]}"), "inputs": digest("new"), **more}
        return Record(environment="", service=service, version=version, source_commit=commit, **told)


def start(folder: Path) -> Site:
    """What every world begins with; it is copied."""
    return receiving.make(folder, helm_script=HELM)


def world(begun: Site, folder: Path, monkeypatch: pytest.MonkeyPatch, *, hooks: bool = False) -> World:
    """A world of its own; with the Git server's hooks for records where they are asked for, since they take their time."""
    site = begun.copy(folder / "site")
    return World(site, replace(load(), home=begun.keys.parent / "home"), monkeypatch, hooks=hooks)
