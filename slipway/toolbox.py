"""The host's tools outside of `up`: the user's own, a downloaded or a built one, whichever there is. Makes none."""

from __future__ import annotations

from pathlib import Path

from slipway import recipes, tools
from slipway.catalogue import Catalogue
from slipway.errors import ToolMissing
from slipway.settings import Settings


def find(settings: Settings, name: str) -> Path | None:
    """Where a tool of the pinned version is, or None.

    Args:
        settings: Where pins and cache are.
        name: kind, kubectl, helm, ctr or promtool.
    """
    built = Catalogue(settings).tool(name)
    if name not in recipes.HOST_TOOLS:
        return built if built.is_file() else None
    wanted = tools.version(settings, name)
    downloaded = settings.home / "tools" / f"{name}-{wanted}"
    there = next((path for path in (built, downloaded) if path.is_file()), None)
    return there or tools.find_on_path(name, wanted)


def get(settings: Settings, name: str) -> Path:
    """Where a tool is that `up` has left.

    Raises:
        ToolMissing: There is none.
    """
    found = find(settings, name)
    if found is None:
        raise ToolMissing(f"there is no {name} of the pinned version. `./invoke up` makes one.")
    return found
