"""What a source build makes, as cluster/images/recipes.yaml says: every part with its key, before anything is made."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import yaml

from slipway import cache, debian, gobuild, images, machine
from slipway.cache import Artefact
from slipway.debian import Rootfs
from slipway.errors import unknown
from slipway.gobuild import Recipe
from slipway.settings import Settings

# The same as the safe loader, ten times as fast; not every build of the library has it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# Images that `up` does not make: whatever needs one makes it then.
ON_DEMAND = ("load",)

# What the page of Tilt is compiled with (slipway/dev/web.py).
TILT_PAGE_ENVIRONMENT = {
    # Upstream's own settings would write a sum anew that differs.
    "YARN_CHECKSUM_BEHAVIOR": "throw",
    # Nothing of a package runs before it is compiled in.
    "YARN_ENABLE_SCRIPTS": "false",
    "YARN_ENABLE_TELEMETRY": "false",
    # A changed word in yarn.lock is an error, and a warning of the compiler is none: neither depends on where this runs.
    "YARN_ENABLE_IMMUTABLE_INSTALLS": "true",
    "CI": "false",
    # Nobody debugs the page, and its style is checked upstream.
    "GENERATE_SOURCEMAP": "false",
    "DISABLE_ESLINT_PLUGIN": "true",
}

# What that page loads from somebody else's server, which is told of each use then: two fonts. Others of the machine do.
TILT_PAGE_WITHOUT = r'<link[^>]*\bhref="https?://[^>]*>'


@dataclass(frozen=True)
class Image:
    """One image, as it is built.

    Attributes:
        name: What it is called.
        version: Of what it holds.
        key: Its content key.
        folder: Where its Dockerfile lies.
        stage: The stage of its Dockerfile; "" for the last.
        base: The image it is built on; "" when it stands on none.
        rootfs: The Debian file system it is made from; "" when it is not.
        programs: The Go programs it copies, by the group they are compiled in.
        arguments: Values of its Dockerfile's ARGs.
        files: Files of the checkout that it copies, by their names there.
    """

    name: str
    version: str
    key: str
    folder: Path
    stage: str
    base: str
    rootfs: str
    programs: Mapping[str, Sequence[str]]
    arguments: Mapping[str, str]
    files: Mapping[str, Path]

    @property
    def reference(self) -> str:
        """The engine's name of it."""
        return images.reference(self.name, self.version, self.key)


class Catalogue:
    """Every Debian file system, group of Go programs and image of a source build.

    Args:
        settings: Where the recipes and the versions are.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        versions = dict(settings.versions["versions"])
        versions["kubernetes-major"], versions["kubernetes-minor"] = versions["kubernetes"].split(".")[:2]
        text = (settings.cluster / "images" / "recipes.yaml").read_text()
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a safe one
        self._data = cast("dict[str, Any]", _filled(content, versions))
        self._images: dict[str, Image] = {}

    @cached_property
    def rootfs(self) -> Mapping[str, Rootfs]:
        """The Debian file systems, by name."""
        return {name: Rootfs(**data) for name, data in self._data["debian"].items()}

    @cached_property
    def programs(self) -> Mapping[str, Recipe]:
        """The groups of Go programs, by name, in the order in which they are to be compiled."""
        return {
            name: Recipe(
                name=name,
                folder=self.settings.cluster / "go" / data["module"],
                programs=data["programs"],
                tags=data.get("tags", ()),
                variables=data.get("variables"),
                links=data.get("links"),
                cgo=data.get("cgo", False),
            )
            for name, data in self._data["go"].items()
        }

    @property
    def tools(self) -> Mapping[str, str]:
        """The group that each tool for the host is compiled in, by the tool's name."""
        return self._data["tools"]

    def tool(self, name: str) -> Path:
        """Where a tool is once its group is compiled.

        Raises:
            UsageError: There is no such tool.
        """
        if name not in self.tools:
            raise unknown("tool", name, self.tools)
        return gobuild.artefact(self.settings, self.programs[self.tools[name]]).folder / name

    @property
    def tilt_page(self) -> Artefact:
        """Where the page of Tilt is, or will be: a folder with its index.html and what that names."""
        files = [self.settings.cluster / "go" / "tilt", self.settings.cluster / "tilt" / "requirements.txt"]
        values = {**TILT_PAGE_ENVIRONMENT, "machine": machine.look().architecture}
        return Artefact(self.settings.cache, "tilt-web", cache.key(files=files, values=values))

    def tilt(self, *, whole: bool) -> Artefact:
        """Where Tilt is, or will be: with its page, or with the plain one that takes its place where that cannot be had."""
        page = self.tilt_page.key if whole else cache.key(files=[self.settings.cluster / "tilt" / "index.html"])
        compiled = gobuild.artefact(self.settings, self.programs["tilt"]).key
        return Artefact(self.settings.cache, "tilt", cache.key(values={"without": TILT_PAGE_WITHOUT}, upstream=[compiled, page]))

    @property
    def load_python(self) -> Artefact:
        """Where the Python environment is, or will be, of a load generator on the host."""
        lock = self.settings.root / "loadtests" / "requirements.txt"
        return Artefact(
            self.settings.cache, "load-python", cache.key(files=[lock], values={"python": sys.version, "place": os.name})
        )

    @cached_property
    def images(self) -> Mapping[str, Image]:
        """Every image, by name."""
        return {name: self.image(name) for name in self._data["images"]}

    @property
    def control_plane_images(self) -> Sequence[str]:
        """The names of the images that kubeadm asks for."""
        return sorted(set(self._data["control-plane"].values()))

    @property
    def control_plane(self) -> Mapping[str, str]:
        """The engine's name of each image that kubeadm asks for, by the name it asks for."""
        return {asked: self.image(name).reference for asked, name in self._data["control-plane"].items()}

    @property
    def platform(self) -> Sequence[str]:
        """The names of the images that run in pods by their own name: not the node, and not the control plane's."""
        inner = {"node", "registry", "git", "python-build", "runner", *ON_DEMAND, *self.control_plane_images}
        return [name for name in self._data["images"] if name not in inner]

    def bases(self, name: str) -> Sequence[str]:
        """The images that an image stands on, the lowest first."""
        base = self.image(name).base
        return [*self.bases(base), base] if base else []

    def image(self, name: str) -> Image:
        """The image of that name.

        Raises:
            UsageError: There is none.
        """
        if name not in self._data["images"]:
            raise unknown("image", name, self._data["images"])
        if name not in self._images:
            self._images[name] = self._make(name, self._data["images"][name])
        return self._images[name]

    def _make(self, name: str, data: Mapping[str, Any]) -> Image:
        folder = self.settings.cluster / ("node" if name == "node" else f"images/{data.get('recipe') or name}")
        # Several images may share a recipe; each is a stage of it then.
        stage = name if data.get("recipe") else ""
        groups, base, rootfs = data.get("go", {}), data.get("from", ""), data.get("debian", "")
        upstream = [gobuild.artefact(self.settings, self.programs[group]).key for group in groups]
        upstream += [self.image(base).key] if base else []
        upstream += [debian.artefact(self.settings, self.rootfs[rootfs]).key] if rootfs else []
        arguments = data.get("arguments", {})
        files = {file: self.settings.root / file for file in data.get("files", ())}
        # What is copied out of a group, and by which stage, is in the recipe; the machine decides what Debian's packages are.
        values = {"name": name, "arguments": arguments, "programs": groups, "machine": machine.look().architecture}
        key = cache.key(files=[folder, *files.values()], values=values, upstream=upstream)
        return Image(name, data["version"], key, folder, stage, base, rootfs, groups, arguments, files)

    def parts(self, image: Image) -> Mapping[str, Path]:
        """What the recipe of an image copies, by the name it has in the build context.

        Raises:
            CommandFailed: kind's module cannot be had.
        """
        parts = {**{path.name: path for path in image.folder.iterdir()}, **image.files}
        if image.name == "node":
            # kind's files and ours go to the same places in the node: each in a folder of its own until then.
            module = gobuild.module_folder(self.programs["node"].folder, "sigs.k8s.io/kind")
            parts = {"Dockerfile": image.folder / "Dockerfile", "node": image.folder, "kind": module / "images/base/files"}
        if image.rootfs:
            parts[debian.FILE] = debian.artefact(self.settings, self.rootfs[image.rootfs]).folder / debian.FILE
        for group, programs in image.programs.items():
            folder = gobuild.artefact(self.settings, self.programs[group]).folder
            parts |= {program: folder / program for program in programs}
        return parts


def _filled(content: object, versions: Mapping[str, str]) -> object:
    if isinstance(content, str):
        return content.format_map(versions)
    if isinstance(content, list):
        return [_filled(item, versions) for item in cast("list[object]", content)]
    if isinstance(content, dict):
        items = cast("dict[str, object]", content).items()
        return {str(_filled(name, versions)): _filled(item, versions) for name, item in items}
    return content
