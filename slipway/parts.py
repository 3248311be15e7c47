"""What service images are put together from: layers, and what is known of them.

The registry remembers both, in a repository of its own, under a tag for what they were made from. So a layer is taken
out of the engine once, and an image whose inputs are known is put together without building anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slipway import archive, cache, names, oci, sbom
from slipway.archive import Layer
from slipway.engine import Engine, asking
from slipway.errors import SlipwayError
from slipway.oci import Descriptor
from slipway.progress import Phase
from slipway.sbom import Materials

REPOSITORY = f"{names.OWNER}/layers"

_FACTS = "application/vnd.slipway.part.v1+json"

# What of an image's configuration is the recipe's; the rest is the builder's.
_TOLD = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "StopSignal", "User", "Volumes", "WorkingDir")


@dataclass(frozen=True)
class Part:
    """Layers that the registry has, the lowest first, with what is known of them as plain data."""

    layers: tuple[Descriptor, ...]
    facts: Mapping[str, Any]


def recall(host: str, tag: str) -> Part | None:
    """What the registry remembers under a tag; None when that is nothing.

    Raises:
        RegistryError: The registry does not answer.
    """
    known = oci.manifest(f"{host}/{REPOSITORY}:{tag}")
    facts = oci.blob(host, REPOSITORY, known["config"]["digest"]) if known else None
    if not known or facts is None:
        return None
    layers = tuple(Descriptor(one["mediaType"], one["digest"], one["size"]) for one in known["layers"])
    return Part(layers, json.loads(facts))


def remember(host: str, tag: str, part: Part) -> Part:
    """Let the registry remember a part, whose layers it has.

    Raises:
        RegistryError: The registry does not answer, or does not take it.
    """
    facts = oci.put_json(host, REPOSITORY, part.facts, _FACTS)
    document = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "artifactType": _FACTS,
        "config": asdict(facts),
        "layers": [asdict(layer) for layer in part.layers],
    }
    oci.put_manifest(f"{host}/{REPOSITORY}:{tag}", document)
    return part


def assemble(engine: Engine, host: str, image: str, *, base: str, epoch: int, locks: Path, phase: Phase) -> Part:
    """The parts of a service's image that the engine has built, in the registry: the base as it is, each folder on top anew.

    Args:
        engine: What built it.
        host: The registry.
        image: The engine's name of the image.
        base: The engine's name of the image it stands on.
        epoch: The moment to which every file is set, in seconds since 1970.
        locks: The folder with the locks between runs.
        phase: Told what happens.

    Raises:
        SlipwayError: Its last stage does more than to copy folders onto its base.
        EngineError: The engine does not hand it out.
        RegistryError: The registry does not answer, or does not take it.
    """
    with asking(f"image {image}"):
        about, below = (engine.client.api.inspect_image(name) for name in (image, base))
        told = [[str(entry["CreatedBy"]) for entry in engine.client.api.history(name)] for name in (image, base)]
    ids: list[str] = about["RootFS"]["Layers"]
    lower: list[str] = below["RootFS"]["Layers"]
    own = told[0][: len(told[0]) - len(told[1])][::-1]
    if ids[: len(lower)] != lower:
        raise SlipwayError(f"{image} does not stand on {base}: its recipe must end with a stage FROM ${{BASE}}.")
    copied = _copied(image, own, ids[len(lower) :])
    with _container(engine, image) as container:
        with cache.locked(locks, f"part-{lower[-1][7:23]}", phase=phase):
            parts = [_base(engine, host, base, ident=below["Id"], ids=lower, container=container)]
        for path, diff_id in copied:
            phase.say(f"layer {path}")
            parts.append(_folder(engine, host, container, path, diff_id=diff_id, epoch=epoch))
    materials = sbom.load(parts[0].facts)
    python = {name: version for part in parts[1:] for name, version in part.facts["python"].items()}
    interpreter = "".join(part.facts["interpreter"] for part in parts[1:])
    facts = {
        "architecture": about["Architecture"],
        "os": about["Os"],
        "config": {name: about["Config"][name] for name in _TOLD if about["Config"].get(name)},
        "history": [f"FROM {base}"] * len(lower) + [f"COPY {path}" for path, _ in copied],
        "materials": Materials(materials.distro, materials.debian, python, interpreter).document,
    }
    return Part(tuple(layer for part in parts for layer in part.layers), facts)


def publish(reference: str, part: Part, labels: Mapping[str, str], environment: Mapping[str, str], *, created: str) -> Descriptor:
    """The descriptor of an image that a registry now has under a reference: a part's layers and configuration, and a few words.

    Args:
        reference: Its name, with a tag; in the registry that has the part.
        part: As `assemble` made it.
        labels: What the image says of itself.
        environment: What the programs in it are told in addition.
        created: When it says that it was made.

    Raises:
        RegistryError: The registry does not answer, or does not take it.
    """
    place = oci.split(reference)
    told = dict(line.partition("=")[::2] for line in part.facts["config"].get("Env", ()))
    variables = [f"{name}={value}" for name, value in {**told, **environment}.items()]
    config = {
        "architecture": part.facts["architecture"],
        "os": part.facts["os"],
        "created": created,
        "config": {**part.facts["config"], "Env": variables, "Labels": dict(labels)},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in part.layers]},
        "history": [{"created": created, "created_by": line} for line in part.facts["history"]],
    }
    for layer in part.layers:
        oci.mount(place.host, place.repository, layer.digest, source=REPOSITORY)
    document = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "config": asdict(oci.put_json(place.host, place.repository, config, oci.CONFIG)),
        "layers": [asdict(layer) for layer in part.layers],
    }
    return oci.put_manifest(reference, document)


def attach(repository: str, image: Descriptor, content: bytes, media_type: str, *, created: str) -> None:
    """Keep a document with an image: found by the image's digest (`oci.referrers`).

    Args:
        repository: Where the image lies.
        image: The image.
        content: The document.
        media_type: What it is.
        created: When it says that it was made.

    Raises:
        RegistryError: The registry does not answer, or does not take it.
    """
    place = oci.split(repository)
    described = oci.describe(content, media_type)
    oci.put_blob(place.host, place.repository, content, described)
    document = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "artifactType": media_type,
        "config": asdict(oci.put_json(place.host, place.repository, {}, oci.EMPTY)),
        "layers": [asdict(described)],
        "subject": asdict(image),
        "annotations": {"org.opencontainers.image.created": created},
    }
    oci.put_manifest(f"{repository}@{oci.manifest_digest(document)}", document)


def _copied(image: str, history: Sequence[str], ids: Sequence[str]) -> Sequence[tuple[str, str]]:
    """The folders that a stage copied, with the engine's diff id of each."""
    words = [line.partition(" #")[0].split() for line in history]
    made = [line for line in words if line[0] in ("COPY", "WORKDIR")]  # not every builder makes a layer for a WORKDIR
    made = made if len(made) == len(ids) else [line for line in made if line[0] == "COPY"]
    places = [line[-1].rstrip("/") for line in made]
    if len(made) != len(ids) or not all(places) or len({*places}) < len([line for line in made if line[0] == "COPY"]):
        raise SlipwayError(f"the last stage of {image} may only COPY whole folders, each to a place of its own: {history}")
    return [(place, ids[at]) for at, place in enumerate(places) if made[at][0] == "COPY"]


def _base(engine: Engine, host: str, base: str, *, ident: str, ids: Sequence[str], container: str) -> Part:
    tag = f"base-{archive.FORMAT}-{ident.partition(':')[2][:32]}"
    if known := recall(host, tag):
        return known
    layers: list[Descriptor] = []
    with asking(f"save {base}"):
        archive.unpack(engine.client.api.get_image(base), ids, lambda layer: layers.append(_put(host, layer)))
    status, release = (engine.file(container, path) for path in ("/var/lib/dpkg/status", "/usr/lib/os-release"))
    if status is None or release is None:
        raise SlipwayError(f"{base} does not say which Debian packages it holds.")
    return remember(host, tag, Part(tuple(layers), sbom.debian(status.decode(), release.decode()).document))


def _folder(engine: Engine, host: str, container: str, path: str, *, diff_id: str, epoch: int) -> Part:
    tag = f"copy-{archive.FORMAT}-{epoch}-{diff_id.partition(':')[2][:32]}"
    if known := recall(host, tag):
        return known
    with asking(f"{path} of {container}"):
        chunks, _ = engine.client.api.get_archive(container, path)
        with archive.canonical(chunks, at=path, epoch=epoch) as layer:
            return remember(host, tag, Part((_put(host, layer),), {"python": layer.packages, "interpreter": layer.interpreter}))


def _put(host: str, layer: Layer) -> Descriptor:
    made = Descriptor(archive.MEDIA_TYPE, layer.digest, layer.size)
    oci.put_blob(host, REPOSITORY, layer.file, made)
    return made


@contextmanager
def _container(engine: Engine, image: str) -> Generator[str]:
    """A container that never runs: it shows the image's files."""
    name = re.sub(r"[/:]", "-", image)
    with asking(f"container {name}"):
        if left := engine.container(name):  # by a run that was killed
            left.remove(force=True)
        engine.client.api.create_container(image, command=["-"], name=name, labels={names.OWNER_LABEL: names.OWNER})
    try:
        yield name
    finally:
        with asking(f"container {name}"):
            engine.client.api.remove_container(name, force=True, v=True)
