"""What an observer sees of a delivery at one moment: Git, the registry and the pods, side by side; kept as evidence."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from slipway import agent, applications, engine, names, oci, registry
from slipway.kube import NOT_YET, Object
from slipway.records import Record
from slipway.settings import ROOT
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e import delivering
from tests.e2e.conftest import Instance

FOLDER = ROOT / "build" / "reports"

REFRESH_TIMEOUT = 60.0

# Objects whose content somebody wrote; what a controller says of them is left out of the comparison.
_WRITTEN = (
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
)

# Where the registry keeps what it was sent, and of a repository every manifest that it holds, tagged or not.
_REPOSITORIES, _REVISIONS = "/var/lib/registry/docker/registry/v2/repositories", "_manifests/revisions/sha256"


@dataclass(frozen=True)
class Row:
    """One service in one environment: the same digest in Git, in the registry and in every pod, or not.

    Attributes:
        in_registry: The digest that the registry holds under the recorded one; empty when it holds none.
        in_pods: The digests that its ready pods run.
    """

    environment: str
    service: str
    version: str
    commit: str
    release: str
    lock: str
    in_git: str
    in_registry: str
    in_pods: tuple[str, ...]


@dataclass(frozen=True)
class Sight:
    """Everything at one moment.

    Attributes:
        records: By environment and service.
        manifests: What follows from them, as it lies in Git.
        written: The generation (or what stands in for it) of every object of the environments, by its name.
        pods: The pods' uids, by environment and service.
        commits: The newest commit of each GitOps repository.
        tags: Every tag of every service's images, with its digest.
        held: Every manifest that the registry holds of each service, tagged or not.
    """

    records: Mapping[tuple[str, str], Record]
    manifests: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
    written: Mapping[str, Any]
    pods: Mapping[tuple[str, str], frozenset[str]]
    images: Mapping[tuple[str, str], frozenset[str]]
    commits: Mapping[str, str]
    tags: Mapping[str, str]
    held: Mapping[str, frozenset[str]]

    def of(self, environment: str) -> Mapping[str, Record]:
        """The records of one environment, by service."""
        return {service: record for (name, service), record in self.records.items() if name == environment}

    def moved(self, later: Sight, environments: Collection[str]) -> set[tuple[str, str]]:
        """The services of these environments whose pods were replaced until then."""
        return {key for key in self.pods if key[0] in environments and self.pods[key] != later.pods.get(key)}

    def changed(self, later: Sight, environments: Collection[str]) -> set[str]:
        """The objects of these environments that somebody wrote since, or that are new or gone."""
        mine = {name: seen for name, seen in self.written.items() if name.split("/")[0] in environments}
        theirs = {name: seen for name, seen in later.written.items() if name.split("/")[0] in environments}
        return {name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)}


def service_of(name: str) -> str:
    """The service whose object that is, by its name in a sight: a ConfigMap's ends with what its content goes by."""
    return re.sub(r"-config-[0-9a-f]{8}$", "", name.split("/")[2])


def look(instance: Instance) -> Sight:
    """What there is now."""
    settings = instance.settings
    records: dict[tuple[str, str], Record] = {}
    manifests: dict[tuple[str, str], Sequence[Mapping[str, Any]]] = {}
    commits: dict[str, str] = {}
    for repository in dict.fromkeys(env.repository for env in settings.environments.values()):
        commits[repository], entries = delivering.read(instance, repository)
        records |= {key: entry.record for key, entry in entries.items()}
        manifests |= {key: entry.manifests for key, entry in entries.items()}
    pods: dict[tuple[str, str], set[str]] = {key: set() for key in records}
    images: dict[tuple[str, str], set[str]] = {key: set() for key in records}
    written: dict[str, Any] = {}
    for environment in settings.environments:
        for pod in instance.kube.list("Pod", namespace=environment):
            key = environment, (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/name", "")
            if key in pods and not pod["metadata"].get("deletionTimestamp"):
                pods[key].add(pod["metadata"]["uid"])
                images[key] |= {status["imageID"].rpartition("@")[2] for status in pod["status"].get("containerStatuses") or []}
        for version, kind in _WRITTEN:
            for item in instance.kube.list(kind, namespace=environment, api_version=version):
                written[f"{environment}/{kind}/{item['metadata']['name']}"] = _content(item)
    return Sight(
        records,
        manifests,
        written,
        {key: frozenset(found) for key, found in pods.items()},
        {key: frozenset(found) for key, found in images.items()},
        commits,
        tags(instance, records),
        {service: held(instance, records["prod", service]) for service in settings.services},
    )


def _content(item: Object) -> Any:
    """What is another when somebody writes an object otherwise: its generation, else what it is to be, else its version."""
    meta, told = item["metadata"], item.get("spec")
    return meta.get("generation") or (json.dumps(told, sort_keys=True) if told else meta["resourceVersion"])


def held(instance: Instance, record: Record) -> frozenset[str]:
    """The digests of all manifests that the registry holds in the repository of a record's image, as they lie in its storage."""
    place = f"{_REPOSITORIES}/{oci.split(record.image).repository}/{_REVISIONS}"
    found = engine.connect(instance.settings).container(registry.CONTAINER)
    assert found
    chunks, _ = found.get_archive(place)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        parts = [PurePosixPath(one.name).parts for one in archive]
    digests = frozenset(f"sha256:{part[1]}" for part in parts if len(part) > 1)
    assert record.digest in digests, f"{place} is not where the registry keeps its manifests"
    return digests


def tags(instance: Instance, records: Mapping[tuple[str, str], Record]) -> Mapping[str, str]:
    """The digest behind every tag of every service, by "service:tag"."""
    seen: dict[str, str] = {}
    for service in instance.settings.services:
        image = records["prod", service].image
        place = oci.split(image)
        for tag in oci.tags(place.host, place.repository):
            digest = oci.digest(f"{image}:{tag}")
            assert digest
            seen[f"{service}:{tag}"] = digest
    return seen


def rows(instance: Instance, sight: Sight) -> list[Row]:
    """The ledger of one moment: what Git says beside what the registry holds and what the pods run."""
    return [
        Row(
            environment,
            service,
            record.version,
            record.source_commit,
            record.release,
            record.lock,
            record.digest,
            record.digest if oci.manifest(f"{record.image}@{record.digest}") else "",
            tuple(sorted(sight.images[environment, service])),
        )
        for (environment, service), record in sorted(sight.records.items())
        if service in instance.settings.services
    ]


def keep(name: str, steps: Mapping[str, Sequence[Row]]) -> Path:
    """Where the ledger of each step is kept for whoever reads the reports."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"ledger-{name}.json"
    told = {step: [asdict(row) for row in found] for step, found in steps.items()}
    file.write_text(json.dumps(told, indent=1) + "\n")
    return file


def refresh(instance: Instance, environments: Collection[str]) -> None:
    """Return when Argo CD has looked again at everything of these environments, from Git itself and not from its memory."""

    def mine() -> list[applications.Application]:
        return [app for app in applications.applications(instance.kube) if app.environment in environments]

    change = {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard"}}}
    where: dict[str, Any] = {"namespace": names.ARGOCD, "api_version": applications.API_VERSION}
    for app in mine():
        instance.kube.patch("Application", app.name, change, **where)

    def looked() -> Ready[None] | Pending:
        waiting = [app.name for app in mine() if app.requested or app.operation == "Running"]
        return Pending(f"{', '.join(waiting)} are not done") if waiting else Ready(None)

    wait_for(f"Argo CD to look at {', '.join(environments)} again", looked, timeout=REFRESH_TIMEOUT, tolerate=NOT_YET)


def call(instance: Instance, service: str, tag: str, digest: str) -> None:
    """Let a tag of a service name an image that the registry holds, as whoever reaches the registry may."""
    image = delivering.entry(instance, "prod", service).record.image
    document = oci.manifest(f"{image}@{digest}")
    assert document
    oci.put_manifest(f"{image}:{tag}", document)


@dataclass(frozen=True)
class Moved:
    """A tag that names another digest now."""

    tag: str
    reference: str
    was: Mapping[str, Any]

    def restore(self) -> None:
        """Let it name again what it did."""
        oci.put_manifest(self.reference, self.was)


def move_tag(instance: Instance, service: str, commit: str) -> Moved:
    """Let the version that a commit's image got name another image of the service, as whoever can write to the registry may."""
    sight = look(instance)
    image = sight.records["prod", service].image
    seen = {name.partition(":")[2]: digest for name, digest in sight.tags.items() if name.startswith(f"{service}:")}
    digest = next(digest for tag, digest in seen.items() if f"-{commit[:9]}-" in tag)
    version = next(tag for tag, other in seen.items() if other == digest and f"-{commit[:9]}-" not in tag)
    reference = f"{image}:{version}"
    was, other = oci.manifest(reference), next(other for other in seen.values() if other != digest)
    wrong = oci.manifest(f"{image}@{other}")
    assert was and wrong
    oci.put_manifest(reference, wrong)
    return Moved(version, reference, was)


def runner(instance: Instance) -> engine.Container:
    """The runner's container."""
    found = engine.connect(instance.settings).container(agent.container(instance.settings))
    assert found
    return found


def pods_of(instance: Instance, environment: str, service: str) -> list[Object]:
    """The pods of a service that are not on their way out."""
    found = instance.kube.list("Pod", namespace=environment, labels=f"app.kubernetes.io/name={service}")
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
