"""`down`: remove an instance whatever state it is in, and nothing that is not ours."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway import agent, cluster, dockerd, engine, held, instance, registry
from slipway.errors import UsageError
from slipway.progress import Progress
from slipway.settings import Settings, instances

if TYPE_CHECKING:
    from rich.console import Console

# Seconds: it ends its compilers first.
_COMPILER_TIMEOUT = 30.0


@dataclass(frozen=True)
class Removed:
    """What `down` removed; empty when there was nothing."""

    what: tuple[str, ...]


def down(settings: Settings, *, purge: bool, progress: Progress) -> Removed:
    """What was removed of this instance. Twice is fine.

    Args:
        settings: The instance.
        purge: Remove the registry, the image cache and the tools too, when no other instance is left to use them.
        progress: Where the phases are shown.

    Raises:
        UsageError: Another instance still needs what `purge` would remove, or another command works on this one.
    """
    others = [name for name in instances(settings) if name != settings.instance]
    if purge and others:
        raise UsageError(
            f"registry and caches are still needed by {', '.join(others)}; nothing was removed. "
            f"Run `./invoke down --name {others[0]}` first, or leave --purge out."
        )
    found = engine.find(settings)
    if found is None and settings.folder.is_dir():
        progress.note("no Docker engine runs. If the instance has a cluster in it, run this again once it does.")
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
    return Removed(tuple(removed))


def show(removed: Removed, console: Console) -> None:
    """Print it for a person."""
    if removed.what:
        console.print("Next: ./invoke up")


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
    if found:
        if registry.remove(found):
            removed.append("registry")
        count = found.remove_ours()
        if count:
            removed.append(f"{count} images")
        found.stop_if_ours(settings)
    if settings.home.is_dir():
        # While an engine that Slipway started still runs other people's containers, they need the shim that lies there.
        kept = dockerd.folder(settings) if dockerd.started(settings) else None
        for path in settings.home.iterdir():
            if path != kept:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not kept:
            settings.home.rmdir()
        removed.append(str(settings.home))
    return removed
