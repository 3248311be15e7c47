"""`down`: remove an instance whatever state it is in, and nothing that is not ours."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from slipway import cluster, dockerd, engine, registry
from slipway.errors import UsageError
from slipway.progress import Progress
from slipway.settings import Settings, instances


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
        SlipwayError: Another instance still needs what `purge` would remove.
    """
    removed: list[str] = []
    found = engine.find(settings)
    with progress.phase("instance") as phase:
        if found and cluster.remove(settings, found):
            removed.append(f"cluster {settings.instance}")
        if settings.folder.is_dir():
            shutil.rmtree(settings.folder)
            removed.append(f"state of {settings.instance}")
        if not removed:
            phase.skip("there is none")
        elif not purge:
            phase.say("registry and image cache stay; --purge removes them too")
    if purge:
        with progress.phase("registry and caches") as phase:
            removed += _purge(settings, found)
            phase.say(", ".join(removed[1:]) or "nothing to remove")
    return Removed(tuple(removed))


def _purge(settings: Settings, found: engine.Engine | None) -> list[str]:
    others = instances(settings)
    if others:
        raise UsageError(
            f"registry and caches stay: {', '.join(others)} still need them. Run `./invoke down --name {others[0]}` first."
        )
    removed: list[str] = []
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
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not kept:
            settings.home.rmdir()
        removed.append(str(settings.home))
    return removed
