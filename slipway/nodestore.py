"""The images that a node finds unpacked beside it: one folder on the host, mounted read-only into every node that needs it.

A node that pulls or copies its images spends longer on them than on everything else. Here containerd unpacks them
once, in a container of the node image itself, and a new node only links to the result (cluster/node/kind/bin/seed-store).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from slipway import cache, shell
from slipway.cache import Artefact
from slipway.engine import Engine
from slipway.errors import SlipwayError
from slipway.progress import Phase
from slipway.settings import Settings

# Where a node looks for it.
MOUNTED = "/kind/store"

# Seconds.
SAVE_TIMEOUT = 600.0
FILL_TIMEOUT = 600.0

_SCRIPT = Path("node", "fill-store")
_REQUIRED = "io.containerd.metadata.v1.bolt/meta.db"


def artefact(settings: Settings, engine: Engine, contents: Mapping[str, str]) -> Artefact:
    """Where the store with these images is, or will be.

    Args:
        settings: Where the cache is.
        engine: What has the images; one it lacks counts by its name.
        contents: The engine's name of each image, by the name the cluster knows it by.
    """
    ids = {name: engine.image_id(local) or local for name, local in contents.items()}
    return Artefact(settings.cache, "store", cache.key(files=[settings.cluster / _SCRIPT], values={"images": ids}))


def ensure(settings: Settings, engine: Engine, *, contents: Mapping[str, str], node_image: str, phase: Phase) -> Path:
    """The folder of a store with these images, filled when it is not there.

    Args:
        settings: Where the cache is.
        engine: What has the images.
        contents: The engine's name of each image, by the name the cluster knows it by.
        node_image: The node image whose containerd fills it.
        phase: Told what happens.

    Raises:
        CommandFailed: The engine lacks an image, or containerd cannot unpack one.
    """
    target = artefact(settings, engine, contents)

    def make(folder: Path) -> None:
        _fill(settings.cluster / _SCRIPT, folder, contents, node_image=node_image, engine=engine, phase=phase)

    def clear(unfinished: Path) -> None:
        remove(engine, unfinished, node_image=node_image)

    if not target.ensure(make, phase=phase, clear=clear):
        phase.skip("cached")
    return target.use()


def _fill(script: Path, folder: Path, contents: Mapping[str, str], *, node_image: str, engine: Engine, phase: Phase) -> None:
    program, env = engine.build_cli
    held = sorted(set(contents.values()))
    with tempfile.TemporaryDirectory(prefix=".given-", dir=folder.parent) as made:
        given = Path(made)
        phase.say(f"saving {len(held)} images")
        shell.run([program, "save", "--output", given / "images.tar", *held], env=env, timeout=SAVE_TIMEOUT)
        (given / "names").write_text("".join(f"{local} {name}\n" for name, local in sorted(contents.items())))
        phase.say(f"unpacking {len(held)} images")
        volumes = [f"{folder}:/store", f"{given}:/in:ro", f"{script}:/fill-store:ro"]
        options = ["--rm", "--privileged", "--network=none", "--entrypoint=/bin/sh", *(f"--volume={one}" for one in volumes)]
        shell.run([program, "run", *options, node_image, "/fill-store"], env=env, timeout=FILL_TIMEOUT)
    if not (folder / _REQUIRED).is_file():
        raise SlipwayError(
            f"{folder} stayed empty: the engine does not see this machine's files there. "
            "Set SLIPWAY_HOME to a folder that it shares, then run the command again."
        )
    phase.say(f"{len(contents)} images, {cache.size(folder) >> 20} MiB")


def remove(engine: Engine, folder: Path, *, node_image: str) -> None:
    """Remove a store, or what an interrupted run left of one.

    Raises:
        CommandFailed: What it holds belongs to root, and the engine cannot remove it either.
    """
    try:
        shutil.rmtree(folder)
    except PermissionError:  # this user is not root, but containerd was
        program, env = engine.build_cli
        inner = ["--entrypoint=rm", f"--volume={folder.parent}:/stores", node_image, "-rf", f"/stores/{folder.name}"]
        shell.run([program, "run", "--rm", "--network=none", *inner], env=env)


def mounted(engine: Engine, node: str) -> Path | None:
    """The store that a node was made with; None when it has none, or there is no such node."""
    container = engine.container(node)
    if container is None:
        return None
    for mount in container.attrs["Mounts"]:
        if mount["Destination"] == MOUNTED:
            return Path(mount["Source"])
    return None
