"""What Slipway keeps on this machine: images, tools and artefacts, which of them are needed, and what nothing needs any more."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from slipway import cache, debian, engine, gobuild, images, names, nodestore, recipes, registry
from slipway.catalogue import Catalogue
from slipway.engine import Engine, EngineError
from slipway.settings import Settings

# What only a run that was killed or failed leaves; one that still runs is younger.
_TEMPORARY = (".context-*", ".given-*", ".*.part", "yarn")
_TEMPORARY_SECONDS = 24 * 3600

# The folders of the cache that hold an artefact by key each, and what its kind is called.
_KINDS = {"go": "programs", "tilt": "programs", "tilt-web": "page", "load-python": "python", "debian": "debian", "store": "store"}

_UNITS = ("B", "KiB", "MiB", "GiB")


@dataclass(frozen=True)
class Kept:
    """One thing that is kept.

    Attributes:
        name: What it is.
        kind: "image", "tool", "programs", "page", "python", "debian" or "store".
        source: "build" or "pull".
        place: The engine's name of an image, or a folder.
        bytes: Its size; an image's with the layers that it shares with others.
        key: Its content key.
        age: Seconds since an image was made, or since an artefact was used.
        state: "in use" by a container, "pinned" by this checkout, or "unused".
    """

    name: str
    kind: str
    source: str
    place: str
    bytes: int
    key: str
    age: int
    state: str


@dataclass(frozen=True)
class Pruned:
    """What was removed."""

    removed: tuple[str, ...]
    bytes: int


def look(settings: Settings, *, now: float | None = None) -> Sequence[Kept]:
    """Everything there is; without an engine, what lies in the state folder.

    Args:
        settings: Where the pins and the state folder are.
        now: Seconds since 1970, for tests.
    """
    moment = time.time() if now is None else now
    found = engine.find(settings)
    rows = list(_artefacts(settings, found, moment))
    if found:
        rows += _images(settings, found, moment)
    return sorted(rows, key=lambda row: (row.kind, row.name, row.place))


def prune(settings: Settings) -> Pruned:
    """Remove every image and artefact that no pin of this checkout names and no container uses.

    Raises:
        CommandFailed: A folder cannot be removed.
    """
    found = engine.find(settings)
    removed: list[str] = []
    size = 0
    for row in look(settings):
        if row.state != "unused":
            continue
        if row.kind == "image" and found:
            try:
                found.untag(row.place)
            except EngineError:  # another image stands on it, or a container was made from it meanwhile
                continue
        elif row.kind == "store" and found:
            nodestore.remove(found, Path(row.place), node_image=recipes.plan(settings, found, "build").image("node"))
        else:
            _remove(Path(row.place))
        removed.append(row.place)
        size += row.bytes
    return Pruned((*removed, *_clear_temporary(settings)), size)


def _images(settings: Settings, found: Engine, now: float) -> Iterable[Kept]:
    pins = {source: recipes.plan(settings, found, source).pinned for source in ("build", "pull")}
    pinned = {reference: source for source, named in pins.items() for reference in named.values()}
    with engine.asking("images and containers"):
        used = {container.attrs["Image"] for container in found.every_container()}
        listed: list[Any] = found.client.images.list()
        held = [(image.id, image.attrs, dict(image.labels or {}), image.tags) for image in listed]
    for ident, attrs, labels, tags in held:
        ours = [tag for tag in tags if engine.ours(tag)]
        if labels.get(names.OWNER_LABEL) == names.OWNER and not tags:
            ours = [ident]  # a newer image has taken its name
        for tag in ours:
            local = tag.partition("/")[2] if tag.startswith("localhost:") else tag
            state = "in use" if ident in used else "pinned" if local in pinned else "unused"
            yield Kept(
                name=local.removeprefix(f"{names.OWNER}/").partition(":")[0] if tag != ident else "(replaced)",
                kind="image",
                source=pinned.get(local) or labels.get(images.SOURCE_LABEL, "pull"),
                place=tag,
                bytes=int(attrs["Size"]),
                key=labels.get(images.KEY_LABEL) or tag.rpartition("-")[2],
                age=int(now - datetime.fromisoformat(attrs["Created"][:19] + "+00:00").timestamp()),
                state=state,
            )


def _artefacts(settings: Settings, found: Engine | None, now: float) -> Iterable[Kept]:
    catalogue = Catalogue(settings)
    wanted = {("go", gobuild.artefact(settings, recipe).key): name for name, recipe in catalogue.programs.items()}
    wanted |= {("debian", debian.artefact(settings, rootfs).key): name for name, rootfs in catalogue.rootfs.items()}
    wanted |= _tilt(catalogue) | {("load-python", catalogue.load_python.key): "load generator on the host"}
    used: set[Path] = set()
    if found:
        used, stores = _stores(settings, found, catalogue)
        wanted |= stores
    for folder, kind in _KINDS.items():
        for place in sorted((settings.cache / folder).glob("[!.]*")):
            name = wanted.get((folder, place.name), "")
            # Without an engine nobody knows which stores its nodes use.
            state = "in use" if place in used or (kind == "store" and not found) else "pinned" if name else "unused"
            age = int(now - place.stat().st_mtime)
            yield Kept(name or "(old)", kind, "build", str(place), cache.size(place), place.name, age, state)
    for place in sorted((settings.home / "tools").glob("[!.]*")):
        name, _, version = place.name.rpartition("-")
        state = "pinned" if version == settings.versions["versions"].get({"kubectl": "kubernetes"}.get(name, name)) else "unused"
        size = place.stat().st_size if place.is_file() else cache.size(place)
        yield Kept(name, "tool", "pull", str(place), size, version, int(now - place.stat().st_mtime), state)


def _tilt(catalogue: Catalogue) -> dict[tuple[str, str], str]:
    """What `dev` runs, by its place in the cache; the plain page is for as long as there is no other."""
    page, whole, plain = catalogue.tilt_page, catalogue.tilt(whole=True), catalogue.tilt(whole=False)
    named = {page: "tilt's page", whole: "tilt"} | ({} if whole.made else {plain: "tilt with a plain page"})
    return {(made.kind, made.key): name for made, name in named.items()}


def _stores(settings: Settings, found: Engine, catalogue: Catalogue) -> tuple[set[Path], dict[tuple[str, str], str]]:
    mounts = [mount for container in found.every_container() for mount in container.attrs["Mounts"]]
    used = {Path(mount["Source"]) for mount in mounts if mount["Destination"] == nodestore.MOUNTED}
    wanted = {("store", nodestore.artefact(settings, found, catalogue.control_plane).key): "control plane"}
    if beside := registry.find(found):
        whole = recipes.plan(settings, found, "build").contents(beside)
        wanted["store", nodestore.artefact(settings, found, whole).key] = "everything"
    return used, wanted


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()


def _clear_temporary(settings: Settings) -> Iterable[str]:
    for pattern in _TEMPORARY:
        for place in [*settings.cache.glob(pattern), *settings.cache.glob(f"*/{pattern}")]:
            if time.time() - place.stat().st_mtime > _TEMPORARY_SECONDS:
                with contextlib.suppress(OSError):
                    shutil.rmtree(place)
                    yield str(place)


def show(rows: Sequence[Kept], console: Console) -> None:
    """Print it for a person."""
    table = Table("NAME", "KIND", "SOURCE", "KEY", "SIZE", "AGE", "STATE", "WHERE", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.name, row.kind, row.source, row.key[:8], _size(row.bytes), _age(row.age), row.state, row.place)
    console.print(table)
    unused = [row for row in rows if row.state == "unused"]
    if unused:
        console.print(f"\n{len(unused)} are unused. Next: ./invoke images.prune")


def show_pruned(pruned: Pruned, console: Console) -> None:
    """Print it for a person."""
    for place in pruned.removed:
        console.print(f"removed {place}", markup=False)
    console.print(f"{_size(pruned.bytes)} freed, or less where layers are shared." if pruned.removed else "Nothing is unused.")


def _size(number: float) -> str:
    for unit in _UNITS[:-1]:
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} {_UNITS[-1]}"


def _age(seconds: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"
