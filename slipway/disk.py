"""What an instance takes on disk, each byte counted once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slipway import cache, engine, nodestore, recipes, registry
from slipway.engine import Engine
from slipway.names import OWNER, OWNER_LABEL
from slipway.settings import Settings
from slipway.usage import Size, largest

_GO_CACHES = {"GOCACHE": ".cache/go-build", "GOMODCACHE": "go/pkg/mod"}


def weigh(settings: Settings, found: Engine, source: str) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
    """What the instance adds to the machine; and apart from it what building keeps, and what no pin names any more.

    Args:
        settings: The instance.
        found: The engine.
        source: Where its images come from.
    """
    with engine.asking("what is on disk"):
        said: Any = found.client.df()
    pinned = set(recipes.plan(settings, found, source).pinned.values())
    needed = _layers(found, pinned)
    ours = {image["Id"] for image in said["Images"] or () if (image["Labels"] or {}).get(OWNER_LABEL) == OWNER}
    every = _layers(found, ours) | needed
    store = nodestore.mounted(found, settings.node)
    disk = [Size("images of this checkout in the engine", sum(needed.values()))]
    disk += [Size("node store", cache.size(store))] if store and store.is_dir() else []
    disk += list(_container_disk(settings, said))
    tools = settings.home / "tools"
    disk += [Size("tools", cache.size(tools))] if tools.is_dir() else []
    apart = [Size("older images in the engine (images.prune)", sum(every.values()) - sum(needed.values()))]
    apart += [Size("artefacts kept for the next build", cache.size(settings.cache) - (cache.size(store) if store else 0))]
    apart += [Size("BuildKit's cache", sum(int(item["Size"]) for item in said.get("BuildCache") or () if not item.get("Shared")))]
    for variable, usual in _GO_CACHES.items():
        folder = Path(os.environ.get(variable) or Path.home() / usual)
        apart += [Size(f"Go's {variable}", cache.size(folder))] if folder.is_dir() else []
    return largest(disk), largest(apart)


def _container_disk(settings: Settings, said: Any) -> Iterable[Size]:
    volumes = {volume["Name"]: max(0, int(volume["UsageData"]["Size"])) for volume in said["Volumes"] or ()}
    for container in said["Containers"] or ():
        (name, *_) = (given.lstrip("/") for given in container["Names"])
        if name in (settings.node, registry.CONTAINER):
            yield Size(f"written by {name}", int(container.get("SizeRw") or 0))
            for mount in container["Mounts"]:
                if mount.get("Name") in volumes:
                    yield Size(f"volume of {name} ({mount['Destination']})", volumes[mount["Name"]])


def _layers(found: Engine, images: Iterable[str]) -> dict[tuple[object, ...], int]:
    """Bytes of each layer of these images; layers that several stand on are there once."""
    layers: dict[tuple[object, ...], int] = {}
    for name in images:
        if not found.has_image(name):
            continue
        with engine.asking(f"the layers of {name}"):
            history: Any = found.client.images.get(name).history()
        chain: tuple[object, ...] = ()
        for step in reversed(history):
            # The engine does not name a step's layer. The same steps, made at the same moments, are the same layers.
            chain = (hash(chain), step["Created"], step["CreatedBy"], step["Size"])
            layers[chain] = int(step["Size"])
    return layers
