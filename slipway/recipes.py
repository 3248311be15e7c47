"""The plan: what must be made or fetched before a cluster can start and be filled, as steps that each do only what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from slipway import cache, debian, gobuild, images, nodestore, pull, registry, tools
from slipway.catalogue import ON_DEMAND, Catalogue, Image
from slipway.engine import Engine
from slipway.errors import SlipwayError, ToolMissing, unknown
from slipway.progress import Phase
from slipway.registry import Registry
from slipway.settings import Settings
from slipway.steps import Step

# Several at a time would only slow each other down, or ask the same mirror for the same lists.
_COMPILER, _DOWNLOAD, _DEBIAN = "compiler", "download", "debian"

# kind's own node image has it, under upstream's name.
_IN_STOCK_NODE = ("local-path",)

HOST_TOOLS = ("kind", "kubectl", "helm")


class Plan:
    """Every image and tool of an instance, by name; known before anything is made.

    Args:
        settings: Where recipes, pins and cache are.
        engine: What gets the images.
        source: "build" or "pull".
    """

    def __init__(self, settings: Settings, engine: Engine, source: str) -> None:
        self.settings, self.engine, self.source = settings, engine, source
        self.catalogue = Catalogue(settings)
        self._store: Path | None = None
        self._registry: Registry | None = None

    @cached_property
    def steps(self) -> Sequence[Step]:
        """The steps: "image NAME", "tool NAME", "registry", "node store", and those they need."""
        wanted = [self.catalogue.image(name) for name in self._names]
        beside = Step("registry", self._ensure_registry, ("image registry",))
        if self.source == "pull":
            return [
                beside,
                *(self._image_step(image) for image in wanted),
                *(Step(f"tool {name}", partial(self._fetch_tool, name)) for name in HOST_TOOLS),
                Step("node store", lambda phase: phase.skip("upstream's node brings its own images")),
            ]
        inner = tuple(f"image {name}" for name in ("node", *self.catalogue.control_plane_images))
        every = tuple(f"image {image.name}" for image in wanted)
        return [
            beside,
            *self._program_steps({group for image in wanted for group in image.programs}),
            *(self._debian_step(name) for name in self.catalogue.rootfs),
            *(self._image_step(image) for image in wanted),
            *(self._tool_step(name) for name in HOST_TOOLS),
            Step("node store", self._use_store, every if self._all_there else inner),
            Step("whole node store", self._fill_store, (*every, "node store", "registry")),
        ]

    def image(self, name: str) -> str:
        """The engine's name of an image.

        Raises:
            UsageError: There is no such image.
        """
        image = self.catalogue.image(name)
        if self.source == "build":
            return image.reference
        version = "kubernetes-pull" if name == "node" else ""
        return images.reference(name, self.settings.versions["versions"].get(version, image.version), self._pull_key(image))

    def tool(self, name: str) -> Path:
        """Where a tool for the host is, once its step is done.

        Raises:
            UsageError: There is no such tool.
        """
        if self.source == "build":
            return self.catalogue.tool(name)
        if name not in HOST_TOOLS:
            raise unknown("tool", name, HOST_TOOLS)
        return self._own.get(name) or self._downloaded(name)

    @property
    def registry(self) -> Registry:
        """The registry beside the clusters, once its step is done."""
        if self._registry is None:
            raise RuntimeError("the step `registry` is not done")
        return self._registry

    @property
    def mounts(self) -> Sequence[tuple[Path, str]]:
        """What a new node is to see of the host, and where; known once the step "node store" is done."""
        return [(self._store, nodestore.MOUNTED)] if self._store else []

    def provide(self, name: str) -> str:
        """The name under which this instance's node can run an image: it has it, or finds it in the registry from now on.

        Raises:
            EngineError: The registry does not take it.
        """
        local = self.image(name)
        if self._node_has_all:
            return images.canonical(self.registry, local)
        return images.publish(self.engine, self.registry, local)

    def make(self, name: str, found: Registry, phase: Phase) -> str:
        """The name under which the cluster can run an image that `up` does not make; made now when it is not there.

        Raises:
            CommandFailed: It cannot be built, or what it stands on.
            EngineError: The registry does not take it.
        """
        image = self.catalogue.image(name)
        if not self.engine.has_image(self.image(name)):
            if image.base and not self.engine.has_image(self.image(image.base)):
                raise ToolMissing(f"the image {image.base} is not there. `{self.settings.command('up')}` makes it.")
            self._build_image(image, phase)
        return images.publish(self.engine, found, self.image(name))

    @property
    def pinned(self) -> Mapping[str, str]:
        """The engine's name of every image, by image."""
        return {name: self.image(name) for name in self._names}

    def contents(self, found: Registry) -> Mapping[str, str]:
        """All that a node can be given from the start: the engine's name of each image, by the cluster's name for it."""
        named = {images.canonical(found, self.image(name)): self.image(name) for name in self.catalogue.platform}
        return {**self.catalogue.control_plane, **named}

    @property
    def _names(self) -> Sequence[str]:
        if self.source == "build":
            return [name for name in self.catalogue.images if name not in ON_DEMAND]
        # Upstream publishes no Git server, no runner and no Python without what installs packages: they are made from what
        # it publishes.
        bases = [base for name in ("git-server", "python", "runner") for base in self.catalogue.bases(name)]
        needed = ["node", "registry", *bases, *self.catalogue.platform, "runner"]
        return [name for name in dict.fromkeys(needed) if name not in _IN_STOCK_NODE]

    def _pulled(self, name: str) -> bool:
        return self.source == "pull" and name in self.settings.versions["pull"]

    def _pull_key(self, image: Image) -> str:
        if self._pulled(image.name):
            return cache.key(values={"pull": self.settings.versions["pull"][image.name]})
        if image.programs or not image.base:
            raise SlipwayError(f"no upstream image {image.name} is pinned: add it to [pull] in cluster/versions.toml")
        return cache.key(files=[image.folder, *image.files.values()], upstream=[self._pull_key(self.catalogue.image(image.base))])

    def _whole(self, found: Registry) -> cache.Artefact:
        return nodestore.artefact(self.settings, self.engine, self.contents(found))

    @cached_property
    def _all_there(self) -> bool:
        found = registry.find(self.engine)
        return found is not None and all(self.engine.has_image(local) for local in self.contents(found).values())

    @cached_property
    def _node_has_all(self) -> bool:
        mounted = nodestore.mounted(self.engine, self.settings.node) if self.source == "build" else None
        return mounted is not None and mounted == self._whole(self.registry).folder

    @cached_property
    def _own(self) -> Mapping[str, Path]:
        found = {name: tools.find_on_path(name, tools.version(self.settings, name)) for name in HOST_TOOLS}
        return {name: path for name, path in found.items() if path}

    def _downloaded(self, name: str) -> Path:
        return self.settings.home / "tools" / f"{name}-{tools.version(self.settings, name)}"

    def _program_steps(self, groups: set[str]) -> Sequence[Step]:
        steps: list[Step] = []
        before: tuple[str, ...] = ()
        for name, recipe in self.catalogue.programs.items():
            if name in groups:
                fetch, build = partial(gobuild.fetch, self.settings, recipe), partial(gobuild.build, self.settings, recipe)
                steps.append(Step(f"modules {name}", fetch, lane=_DOWNLOAD))
                steps.append(Step(f"programs {name}", _only(build), (f"modules {name}", *before), lane=_COMPILER))
                before = (f"programs {name}",)  # in the order of the recipes: what the cluster needs to start comes first
        return steps

    def _debian_step(self, name: str) -> Step:
        make = partial(debian.build, self.settings, self.catalogue.rootfs[name])
        return Step(f"debian {name}", _only(make), lane=_DEBIAN)

    def _tool_step(self, name: str) -> Step:
        return Step(f"tool {name}", lambda phase: phase.skip("built"), (f"programs {self.catalogue.tools[name]}",))

    def _image_step(self, image: Image) -> Step:
        name = f"image {image.name}"
        if self._pulled(image.name):
            return Step(name, partial(self._pull_image, image.name))
        needs = [f"image {image.base}"] if image.base else []
        needs += [f"debian {image.rootfs}"] if image.rootfs else []
        needs += [f"programs {group}" for group in image.programs]
        return Step(name, partial(self._build_image, image), tuple(needs))

    def _build_image(self, image: Image, phase: Phase) -> None:
        tag = self.image(image.name)
        if self.engine.has_image(tag):
            phase.skip("cached")
            return
        arguments = {**image.arguments, **({"BASE": self.image(image.base)} if image.base else {})}
        with images.staged(self.settings, self.catalogue.parts(image)) as context:
            images.build(
                self.engine,
                tag=tag,
                dockerfile=context / "Dockerfile",
                context=context,
                phase=phase,
                key=image.key,
                target=image.stage,
                arguments=arguments,
            )
        phase.say(tag)

    def _pull_image(self, name: str, phase: Phase) -> None:
        if self.engine.has_image(self.image(name)):
            phase.skip("cached")
        else:
            pull.image(self.settings, self.engine, name, target=self.image(name), phase=phase)

    def _fetch_tool(self, name: str, phase: Phase) -> None:
        if self.tool(name).is_file():
            phase.skip(str(self.tool(name)))
        else:
            tools.download(self.settings, name, target=self._downloaded(name), phase=phase)

    def _use_store(self, phase: Phase) -> None:
        """Choose the store that a new node gets: everything when all of it is there, else what it needs to start."""
        found = registry.find(self.engine)
        contents = self.contents(found) if found and self._all_there else self.catalogue.control_plane
        self._store = self._ensure_store(contents, phase)

    def _fill_store(self, phase: Phase) -> None:
        """Make the store that holds everything, for the next node."""
        self._ensure_store(self.contents(self.registry), phase)

    def _ensure_registry(self, phase: Phase) -> None:
        self._registry = registry.ensure(self.settings, self.engine, self.image("registry"), phase=phase)
        phase.say(self._registry.name)

    def _ensure_store(self, contents: Mapping[str, str], phase: Phase) -> Path:
        return nodestore.ensure(self.settings, self.engine, contents=contents, node_image=self.image("node"), phase=phase)


def plan(settings: Settings, engine: Engine, source: str) -> Plan:
    """What an instance needs from a source.

    Args:
        settings: Where recipes, pins and cache are.
        engine: What gets the images.
        source: "build" or "pull".
    """
    return Plan(settings, engine, source)


def build_tool(settings: Settings, name: str, *, phase: Phase) -> Path:
    """A tool for the host, compiled when it is not in the cache.

    Args:
        settings: Where recipes, pins and cache are.
        name: kind, kubectl, helm, ctr, promtool or actionlint.
        phase: Told how far it is.

    Raises:
        UsageError: There is no such tool.
        CommandFailed: Go failed.
    """
    catalogue = Catalogue(settings)
    path = catalogue.tool(name)
    gobuild.build(settings, catalogue.programs[catalogue.tools[name]], phase)
    return path


def _only(make: Callable[[Phase], object]) -> Callable[[Phase], None]:
    def do(phase: Phase) -> None:
        make(phase)

    return do
