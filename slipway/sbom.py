"""Bills of materials (CycloneDX 1.6): what an image holds, as one document that is the same whenever it is the same image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.parser import HeaderParser
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

MEDIA_TYPE = "application/vnd.cyclonedx+json"


@dataclass(frozen=True)
class Debian:
    """A Debian package; `source` is the source package it was built from, when that has another name."""

    name: str
    version: str
    architecture: str
    source: str


@dataclass(frozen=True)
class Materials:
    """What an image holds.

    Attributes:
        distro: The Debian ("debian-13").
        debian: Its packages.
        python: The Python packages, version by name.
        interpreter: The version of Python itself.
    """

    distro: str
    debian: Sequence[Debian]
    python: Mapping[str, str]
    interpreter: str

    @property
    def document(self) -> dict[str, Any]:
        """The same as plain data; `load` reads it."""
        return {
            "distro": self.distro,
            "debian": [asdict(one) for one in self.debian],
            "python": dict(self.python),
            "interpreter": self.interpreter,
        }


def load(document: Mapping[str, Any]) -> Materials:
    """The materials that a document tells of."""
    packages = tuple(Debian(**one) for one in document["debian"])
    return Materials(document["distro"], packages, document["python"], document["interpreter"])


def debian(status: str, release: str) -> Materials:
    """What a Debian's own files say that it holds.

    Args:
        status: The text of /var/lib/dpkg/status.
        release: The text of /usr/lib/os-release.
    """
    told = dict(re.findall(r'^(\w+)="?([^"\n]*)', release, re.MULTILINE))
    packages = [HeaderParser().parsestr(stanza) for stanza in status.strip().split("\n\n") if stanza]
    found = [
        Debian(one["Package"], one["Version"], one["Architecture"], str(one["Source"] or "").partition(" ")[0])
        for one in packages
        if str(one["Status"]).endswith(" installed")
    ]
    return Materials(f"{told['ID']}-{told['VERSION_ID']}", tuple(sorted(found, key=lambda one: one.name)), {}, "")


def hashes(lock: str) -> Mapping[str, Sequence[str]]:
    """The SHA-256 of every file that a lock (requirements.txt) allows for a package, by the package's normalised name."""
    pinned = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*])?==((?:.*\\\n)*.*)", lock, re.MULTILINE)
    return {_normal(name): sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", text)) for name, text in pinned}


def bill(
    materials: Materials,
    *,
    service: str,
    version: str,
    commit: str,
    digest: str,
    lock: Mapping[str, Sequence[str]],
    epoch: int,
) -> str:
    """The bill of one service's image, as JSON.

    Args:
        materials: What the image holds beside the service.
        service: The service's name.
        version: The service's version.
        commit: The commit it was built from.
        digest: The image's ("sha256:...").
        lock: The hashes of what may be installed of each Python package.
        epoch: The moment that the image says it was made, in seconds since 1970.
    """
    from cyclonedx import model as core
    from cyclonedx.model import bom, component
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from packageurl import PackageURL

    # The library's decorators hide the types of what they decorate.
    Bom, BomMetaData, Property = cast("tuple[Any, Any, Any]", (bom.Bom, bom.BomMetaData, core.Property))
    Component, Commit, Pedigree = cast("tuple[Any, Any, Any]", (component.Component, component.Commit, component.Pedigree))
    ComponentType = component.ComponentType

    def library(url: PackageURL, properties: Sequence[Any] = ()) -> Any:
        return Component(
            type=ComponentType.LIBRARY,
            name=url.name,
            version=url.version,
            purl=url,
            bom_ref=url.to_string(),
            properties=properties,
        )

    def packaged(one: Debian) -> Any:
        qualifiers = {"arch": one.architecture, "distro": materials.distro} | ({"upstream": one.source} if one.source else {})
        return library(PackageURL("deb", "debian", one.name, one.version, qualifiers=qualifiers))

    def installed(name: str, number: str) -> Any:
        # pip was held to one of these; which one it took depends on the machine.
        allowed = [Property(name="slipway:locked-sha256", value=value) for value in lock.get(_normal(name), ())]
        return library(PackageURL("pypi", None, _normal(name), number), allowed)

    image = Component(
        type=ComponentType.CONTAINER,
        name=service,
        version=version,
        purl=PackageURL("oci", None, service, digest),
        bom_ref=f"image:{service}",
    )
    own = Component(
        type=ComponentType.APPLICATION,
        name=service,
        version=version,
        bom_ref=f"service:{service}",
        pedigree=Pedigree(commits=[Commit(uid=commit)]),
    )
    python = [installed(name, number) for name, number in materials.python.items()]
    system = [packaged(one) for one in materials.debian]
    if not any(one.name.startswith("python3") for one in materials.debian):  # then it is upstream's own
        system.append(library(PackageURL("generic", None, "python", materials.interpreter)))
    made = Bom(
        # Equal images have equal bills: nothing here is drawn by lot or read from a clock.
        serial_number=uuid5(NAMESPACE_URL, f"{service}@{digest}"),
        metadata=BomMetaData(component=image, timestamp=datetime.fromtimestamp(epoch, UTC)),
        components=[own, *python, *system],
    )
    made.register_dependency(image, [own, *system])
    made.register_dependency(own, python)
    return make_outputter(made, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
