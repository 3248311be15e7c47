"""The records in a push: read without trust, and made again from the commit of the application that they name."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from slipway import records, versions
from slipway.errors import SlipwayError
from slipway.locks import Locked
from slipway.policy import Refusal
from slipway.receive.bare import Bare, blob
from slipway.records import Entry, Record, Source

_COMMIT = re.compile(r"[0-9a-f]{40}")
_WORD = re.compile(r"[a-z][a-z0-9-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

# Helm runs at a time: each takes some 80 MiB.
_RENDERERS = 4

FILES = ("record", "values", "manifests")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_DERIVED = "what ./invoke makes of a commit: the record, the values and the manifests that follow from it, byte for byte"


class Unreadable(SlipwayError):
    """A record is not one; the message says in what."""


@dataclass(frozen=True)
class Kitchen:
    """What records are made with.

    Attributes:
        app: The application's repository.
        helm: Helm.
        kubernetes: The version that manifests are for.
        tiers: The tier of each environment.
        images: Where the image of a service lies, as a pattern with {port} and {service}.
    """

    app: Bare
    helm: Path
    kubernetes: str
    tiers: Mapping[str, str]
    images: str


def parse(path: str, content: bytes) -> Record:
    """The record that a file at a path holds.

    Raises:
        Unreadable: It holds none, or that of another place.
    """
    names = {field.name for field in fields(Record)}
    try:
        loaded = yaml.load(content.decode(), Loader=_Loader)  # noqa: S506 the loader is a safe one
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise Unreadable(f"{path} is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(loaded, dict) or not set(loaded) <= names or not all(isinstance(value, str) for value in loaded.values()):
        raise Unreadable(f"{path} has to say {', '.join(sorted(names))} as text, and nothing else")
    try:
        record = Record(**loaded)
    except TypeError as error:
        raise Unreadable(f"{path}: {error}") from None
    if path != file(record.environment, record.service):
        raise Unreadable(f"{path} speaks of {record.service} in {record.environment}")
    for name, pattern in {"source_commit": _COMMIT, "chart": _WORD, "service": _WORD, "digest": _DIGEST}.items():
        if not pattern.fullmatch(getattr(record, name)):
            raise Unreadable(f"{path}: {getattr(record, name)!r} is no {name}")
    if (record.retired or record.chart == records.CHART) and not versions.parse(record.version):  # a store's is its maker's
        raise Unreadable(f"{path}: {record.version!r} is no version")
    return record


def folder(environment: str, service: str) -> str:
    """Where the three files of a record lie."""
    return f"envs/{environment}/{service}"


def file(environment: str, service: str) -> str:
    """Where a record itself lies."""
    return f"{folder(environment, service)}/record.yaml"


def strangers(kitchen: Kitchen, wanted: Iterable[Record | Locked]) -> Iterable[Refusal]:
    """Which services would run an image from elsewhere than where this instance keeps theirs; stores bring their own."""
    for one in wanted:
        place = re.escape(kitchen.images).replace(re.escape("{port}"), "[0-9]+").replace(re.escape("{service}"), one.service)
        if one.chart == records.CHART and not re.fullmatch(place, one.image):
            allowed = kitchen.images.replace("{port}", "PORT").replace("{service}", one.service)
            yield Refusal("image", f"the image of {one.service} lies in {one.image}", f"{allowed}, by digest")


def departures(kitchen: Kitchen, wanted: Iterable[Record], blobs: Mapping[str, str]) -> list[Refusal]:
    """Which files of these records are not what follows from the commits that they name.

    Args:
        kitchen: What they are made with.
        wanted: The records.
        blobs: The files of the push.
    """
    found: list[Refusal] = []
    by_commit: dict[str, list[Record]] = {}
    for record in wanted:
        by_commit.setdefault(record.source_commit, []).append(record)
    for commit, group in by_commit.items():
        if not kitchen.app.resolve(commit):
            named = ", ".join(f"{record.environment}/{record.service}" for record in group)
            found.append(
                Refusal("derived", f"{named}: app.git has no commit {commit[:9]}", "a commit that was pushed to app.git")
            )
            continue
        with _source(kitchen, commit, group) as source:
            jobs = [partial(_made, kitchen, source, record) for record in group]
            for record, made in zip(group, _side_by_side(jobs), strict=True):
                found += [made] if isinstance(made, Refusal) else _compare(record, made, blobs)
    return found


@contextmanager
def _source(kitchen: Kitchen, commit: str, group: Sequence[Record]) -> Generator[Source]:
    charts = sorted({f"charts/{record.chart}" for record in group})
    services = sorted({f"services/{record.service}/{part}" for record in group for part in ("helm", "envs")})
    with tempfile.TemporaryDirectory(prefix="slipway-source-") as place:
        kitchen.app.export(commit, [*charts, *services], Path(place, "source"))
        yield Source(Path(place, "source"), commit)


def _side_by_side(jobs: Sequence[partial[Entry | Refusal]]) -> list[Entry | Refusal]:
    with ThreadPoolExecutor(_RENDERERS) as pool:
        return list(pool.map(lambda job: job(), jobs))


def _made(kitchen: Kitchen, source: Source, record: Record) -> Entry | Refusal:
    try:
        return records.render(
            replace(record, chart_version="", config=""),
            source.values(record.service, record.environment) if record.chart == records.CHART else {},
            tier=kitchen.tiers[record.environment],
            chart=source.chart(record.chart),
            helm_program=kitchen.helm,
            kubernetes=kitchen.kubernetes,
        )
    except (SlipwayError, OSError) as error:
        where = f"{record.environment}/{record.service}"
        return Refusal("derived", f"{where} cannot be made of commit {record.source_commit[:9]}: {error}", _DERIVED)


def _compare(record: Record, made: Entry, blobs: Mapping[str, str]) -> list[Refusal]:
    found: list[Refusal] = []
    for path, content in made.files.items():
        if blobs.get(path) != blob(content):
            wrong = f"{path} is not what follows from commit {record.source_commit[:9]}"
            if path.endswith("/record.yaml"):
                told, true = asdict(record), asdict(made.record)
                named = [f"{name} would be {true[name]!r}" for name in true if true[name] != told[name]]
                wrong += f" ({'; '.join(named)})" if named else ""
            found.append(Refusal("derived", wrong, _DERIVED))
    return found
