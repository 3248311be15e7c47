"""`down`: remove an instance whatever state it is in, and nothing that is not ours."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slipway import agent, cluster, dockerd, engine, held, instance, nodestore, recipes, registry
from slipway.errors import SlipwayError, ToolMissing, UsageError
from slipway.progress import Progress
from slipway.settings import Settings, instances

if TYPE_CHECKING:
    from rich.console import Console

# Seconds: it ends its compilers first.
_COMPILER_TIMEOUT = 30.0

# All that Slipway writes into its state folder, which may be a disk of the user's with other things on it. The last is what a
# benchmark that was killed leaves.
_WRITTEN = ("cache", "engine", "evidence", "instances", "tools", "trust.json", "trust.lock", "trust.new", "slipway-cold-*")


@dataclass(frozen=True)
class Removed:
    """What `down` removed.

    Attributes:
        what: Each thing; empty when there was nothing.
        next: The command that makes the instance anew.
    """

    what: tuple[str, ...]
    next: str


def down(settings: Settings, *, purge: bool, progress: Progress) -> Removed:
    """What was removed of this instance. Twice is fine.

    Args:
        settings: The instance.
        purge: Remove the registry, the image cache and the tools too, when no other instance is left to use them.
        progress: Where the phases are shown.

    Raises:
        UsageError: Another instance still needs what `purge` would remove, or another command works on this one.
        ToolMissing: The engine that may run the instance is not the one that answers, if any does, and nothing was removed; or,
            after `purge`, none answers that may hold the registry and the images.
    """
    found = engine.find(settings)
    if purge:
        _require_alone(settings, found)
    if why := instance.unseen(settings, found):
        lost = ""
        if instance.made(settings) and not found:
            lost = f" When its engine is gone for good, remove {settings.folder} yourself."
        again = settings.command("down --purge" if purge else "down")
        raise ToolMissing(f"nothing was removed of instance {settings.instance!r}. {why} Then run `{again}` again.{lost}")
    left = found is None and settings.cache.is_dir()  # whatever is in an engine has left its traces there
    removed: list[str] = []
    with instance.locked(settings, "down"):
        with progress.phase("instance") as phase:
            removed += _remove(settings, found)
            phase.say(", ".join(removed) or f"there is no instance {settings.instance}")
        if purge:
            with progress.phase("registry and caches") as phase:
                purged = _purge(settings, found)
                phase.say(", ".join(purged) or "nothing to remove")
                removed += purged
    if purge and left:
        raise ToolMissing(
            f"all that was on this host is removed. No Docker engine answers, and in one there may be left the container and the "
            f"volume {registry.CONTAINER}, the network {registry.NETWORK} and Slipway's images. {instance.cure(settings)} Run "
            f"`{settings.command('down --purge')}` again then."
        )
    return Removed(tuple(removed), settings.command("up"))


def show(removed: Removed, console: Console) -> None:
    """Print it for a person."""
    if removed.what:
        console.print(f"Next: {removed.next}", markup=False)


def _require_alone(settings: Settings, found: engine.Engine | None) -> None:
    """Refuse to remove what other instances need: those of this state folder, and whatever else of ours the engine has."""
    here = [name for name in instances(settings) if name != settings.instance]
    elsewhere = [name for name in cluster.others(settings, found) if name not in here] if found else []
    if others := [*here, *(f"{name} (of another SLIPWAY_HOME)" for name in elsewhere)]:
        first = "" if here else ", with the SLIPWAY_HOME that it was made with"
        raise UsageError(
            f"registry and caches are still needed by {', '.join(others)}; nothing was removed. "
            f"Run `./invoke down --name {[*here, *elsewhere][0]}` first{first}, or leave --purge out."
        )


def _remove(settings: Settings, found: engine.Engine | None) -> list[str]:
    removed: list[str] = []
    # Tilt and the runner go first: they would only find everything gone.
    if instance.end_tilt(settings):
        removed.append("its Tilt")
    if found and agent.remove(settings, found):
        removed.append("its runner")
    if found and cluster.remove(settings, found):
        removed.append(f"cluster {settings.instance}")
    if settings.folder.is_dir():
        shutil.rmtree(settings.folder)
        removed.append("its state on this host")
    return removed


def _purge(settings: Settings, found: engine.Engine | None) -> list[str]:
    removed: list[str] = []
    # What `up --tilt` has begun would fill again what is removed here.
    if held.end(settings.compiling, "what compiles Tilt", patience=_COMPILER_TIMEOUT):
        removed.append("what compiled Tilt")
    _remove_stores(settings, found)  # while there is an image to do it with
    if found:
        beside = registry.find(found)
        if registry.remove(found):
            removed.append("registry")
        count = found.remove_ours(registry=beside.name if beside else "")
        if count:
            removed.append(f"{count} images")
        found.stop_if_ours(settings)
    if settings.home.is_dir():
        # While an engine that Slipway started still runs other people's containers, they need the shim that lies there.
        kept = dockerd.folder(settings) if dockerd.started(settings) else None
        for path in _written(settings):
            if path != kept:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        with contextlib.suppress(OSError):  # it holds what is not ours, or is a disk of its own
            settings.home.rmdir()
        removed.append(str(settings.home))
    return removed


def _written(settings: Settings) -> Sequence[Path]:
    """What there is of Slipway's own in the state folder."""
    return [path for name in _WRITTEN for path in settings.home.glob(name)]


def _remove_stores(settings: Settings, found: engine.Engine | None) -> None:
    """Remove what containerd unpacked for nodes, which belongs to root.

    Raises:
        CommandFailed: The engine cannot remove it either.
        SlipwayError: This user may not remove it, and there is no engine that could.
    """
    stores = settings.cache / "store"
    if settings.cache.is_symlink() or stores.is_symlink() or not stores.is_dir():  # a link goes alone, not what it leads to
        return
    if found:
        nodestore.remove(found, stores, node_image=recipes.plan(settings, found, "build").image("node"))
        return
    try:
        shutil.rmtree(stores)
    except PermissionError as error:
        raise SlipwayError(
            f"{stores} belongs to root, and no Docker engine runs that could remove it. Run this again once one does."
        ) from error
