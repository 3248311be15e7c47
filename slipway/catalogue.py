"""What a source build makes, as cluster/images/recipes.yaml says: every part with its key, before anything is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import yaml

from slipway import cache, debian, gobuild, images, machine
from slipway.debian import Rootfs
from slipway.errors import unknown
from slipway.gobuild import Recipe
from slipway.settings import Settings

# The same as the safe loader, ten times as fast; not every build of the library has it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
        inner = {"node", "registry", "git", "python-build", *self.control_plane_images}
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
        # What is copied out of a group, and by which stage, is in the recipe; the machine decides what Debian's packages are.
        values = {"name": name, "arguments": arguments, "programs": groups, "machine": machine.look().architecture}
        key = cache.key(files=[folder], values=values, upstream=upstream)
        return Image(name, data["version"], key, folder, stage, base, rootfs, groups, arguments)

    def parts(self, image: Image) -> Mapping[str, Path]:
        """What the recipe of an image copies, by the name it has in the build context.

        Raises:
            CommandFailed: kind's module cannot be had.
        """
        parts = {path.name: path for path in image.folder.iterdir()}
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
