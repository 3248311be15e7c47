"""A record: what one environment runs of one service, with the values and the manifests that follow from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from slipway import helm, policy, versions
from slipway.errors import UsageError

CHART = "microservice"

# What a service is rendered with that is gone: its environment keeps the record, and nothing that runs.
RETIRED = "retired"

_RENDERERS = 4

# Values that say what runs where; the rest is the configuration, which the record names by its hash.
_IDENTITY = ("service", "environment", "tier", "image", "version", "commit")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class Record:
    """What one environment runs of one service.

    Attributes:
        image: Where the image lies, without tag or digest.
        digest: Which image it is.
        chart: The chart's name.
        chart_version: The chart's version.
        source_commit: The commit of the application that all this comes from.
        config: The hash of everything the service is told and how it is run, apart from which version it is.
        release: The release it belongs to; empty for none.
        branch: The branch of the application by which it came here.
        inputs: The key of everything the artifact is made of ("sha256:..."); empty for a store.
        lock: The lock of the release, whole; empty where there is none.
    """

    environment: str
    service: str
    version: str
    image: str
    digest: str
    source_commit: str
    chart: str = CHART
    chart_version: str = ""
    config: str = ""
    release: str = ""
    branch: str = ""
    inputs: str = ""
    lock: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Environment and service."""
        return self.environment, self.service

    @property
    def retired(self) -> bool:
        """Whether it says that the service runs no more."""
        return self.chart == RETIRED

    @property
    def withdrawn(self) -> bool:
        """Whether it says so because the service had never run there before what brought it was taken back."""
        return self.retired and bool(self.inputs)


@dataclass(frozen=True)
class Entry:
    """A record with the values it is rendered with, and the manifests that came out."""

    record: Record
    values: Mapping[str, Any]
    manifests: Sequence[Mapping[str, Any]]

    @property
    def folder(self) -> str:
        """Where it lies in its repository."""
        return f"envs/{self.record.environment}/{self.record.service}"

    @property
    def files(self) -> dict[str, bytes]:
        """The three files by path; the same bytes for the same entry, always."""
        return {
            f"{self.folder}/record.yaml": dump([asdict(self.record)]),
            f"{self.folder}/values.yaml": dump([self.values]),
            f"{self.folder}/manifests.yaml": dump(self.manifests),
        }


@dataclass(frozen=True)
class Source:
    """Charts and services as one commit of the application has them, in a folder of their own."""

    folder: Path
    commit: str

    def chart(self, name: str = CHART) -> Path:
        """A chart's folder."""
        return self.folder / "charts" / name

    def values(self, service: str, environment: str) -> dict[str, Any]:
        """What the service's own files say for an environment: how it is run, and as `config` what it is told.

        Raises:
            UsageError: The service has no such file, or it is not a mapping.
        """
        own = self._read(service, f"helm/{environment}-values.yaml")
        return {**own, "config": self._read(service, f"envs/{environment}.yaml")}

    def _read(self, service: str, name: str) -> dict[str, Any]:
        file = self.folder / "services" / service / name
        if not file.is_file():
            raise UsageError(f"services/{service}/{name} is not in commit {self.commit[:9]}. Add it, if only empty, and commit.")
        loaded = yaml.load(file.read_text(), Loader=_Loader)  # noqa: S506 the loader is a safe one
        if not isinstance(loaded, dict | None):
            raise UsageError(f"services/{service}/{name} is not a mapping of names to values. Correct it and commit.")
        return loaded or {}


def order(
    wanted: Record, running: Record | None, contains: Callable[[str, str], bool], *, last: bool, home: bool = False
) -> policy.Order:
    """How what is to run stands to what runs: "new", "newer", "same", "older" or "unrelated".

    Time does not matter, and neither does who finished first: history does. Two releases are told apart by their versions,
    but only where a release needs approval does a lower one never follow: before that, one release is tried after another.

    Args:
        wanted: What is to run.
        running: What runs of the same service in the same environment; None when nothing does.
        contains: Whether a commit of the application (the first one) is another one or comes after it.
        last: Whether the environment takes releases by approval only, as the last one does.
        home: Whether it is the turn of its branch after the other one: going back to it is no step back, even when that
            other one had more.
    """
    if running is None:
        return "new"
    mine, theirs = versions.parse(wanted.release), versions.parse(running.release)
    if mine and theirs and mine != theirs:
        return "newer" if mine > theirs else "older" if last else "unrelated"
    if wanted.source_commit == running.source_commit:
        return "same"
    if contains(wanted.source_commit, running.source_commit):
        return "newer"
    if not contains(running.source_commit, wanted.source_commit):
        return "unrelated"
    return "unrelated" if home and wanted.branch != running.branch else "older"


def grows(wanted: Record, running: Record | None, contains: Callable[[str, str], bool]) -> bool:
    """Whether a version may follow the one that runs: a version is one image, and within a branch's line it only goes up.

    What was taken as it was built for another branch bears that one's name, and compares with its own only.

    Args:
        wanted: What is to run.
        running: What runs of the same service in the same environment; None when nothing does.
        contains: Whether a commit of the application (the first one) is another one or comes after it.
    """
    mine = versions.parse(wanted.version)
    if mine is None or running is None:
        return mine is not None
    if wanted.version == running.version:
        return wanted.digest == running.digest
    theirs = versions.parse(running.version)
    if theirs is None or wanted.branch != running.branch or mine.pre[:-1] != theirs.pre[:-1]:
        return True
    return mine > theirs or not contains(wanted.source_commit, running.source_commit)


def withdrawal(record: Record) -> Record:
    """What ends a service that is taken back and was new; unlike any other end it says what the artifact was made of."""
    return replace(record, chart=RETIRED, chart_version="", config="", release="", lock="")


def dump(documents: Iterable[Mapping[str, Any]]) -> bytes:
    """YAML whose bytes depend on the content alone."""
    text: str = yaml.dump_all(
        list(documents), Dumper=_Dumper, sort_keys=True, default_flow_style=False, width=1000, allow_unicode=True
    )
    return text.encode()


def render(record: Record, values: Mapping[str, Any], *, tier: str, chart: Path, helm_program: Path, kubernetes: str) -> Entry:
    """The entry of a record: its full values and its manifests.

    Args:
        record: What shall run; the chart's version and the configuration's hash are filled in.
        values: How it is run and what it is told, as Source.values gives them.
        tier: The environment's.
        chart: The chart's folder.
        helm_program: Helm.
        kubernetes: The version the manifests are for.

    Raises:
        ChartError: The chart refuses the values.
    """
    told = {name: value for name, value in values.items() if name not in _IDENTITY}
    full = {
        **told,
        "service": record.service,
        "environment": record.environment,
        "tier": tier,
        "image": {"repository": record.image, "digest": record.digest},
        "version": record.version,
        "commit": record.source_commit,
    }
    about = yaml.load((chart / "Chart.yaml").read_text(), Loader=_Loader)  # noqa: S506 the loader is a safe one
    config = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    objects = helm.template(
        chart,
        helm=helm_program,
        release=record.service,
        namespace=record.environment,
        values=full,
        kubernetes=kubernetes,
    )
    ordered = sorted(objects, key=lambda item: (item["kind"], item["metadata"]["name"]))
    filled = replace(record, chart=about["name"], chart_version=about["version"], config=f"sha256:{config}")
    return Entry(filled, full, ordered)


def render_all(jobs: Sequence[Callable[[], Entry]]) -> list[Entry]:
    """The entries of several records, rendered side by side."""
    with ThreadPoolExecutor(_RENDERERS) as pool:
        return list(pool.map(lambda job: job(), jobs))


def entries(folder: Path) -> dict[tuple[str, str], Entry]:
    """Every entry in a working tree of a GitOps repository, by environment and service."""
    found = (_entry(file.parent) for file in sorted(folder.glob("envs/*/*/record.yaml")))
    return {entry.record.key: entry for entry in found}


def parse(text: str) -> Record:
    """The record that a file of one holds; what only a newer Slipway knows of is left out."""
    names = {field.name for field in fields(Record)}
    loaded = yaml.load(text, Loader=_Loader)  # noqa: S506 the loader is a safe one
    return Record(**{name: value for name, value in loaded.items() if name in names})


def _entry(folder: Path) -> Entry:
    return Entry(
        parse((folder / "record.yaml").read_text()), _documents(folder / "values.yaml")[0], _documents(folder / "manifests.yaml")
    )


def _documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.load_all(file.read_text(), Loader=_Loader))
