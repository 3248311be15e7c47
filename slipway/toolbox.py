"""The host's tools outside of `up`: the user's own, a downloaded or a built one, whichever there is."""

from __future__ import annotations

from pathlib import Path

from slipway import machine, recipes, shell, tools
from slipway.catalogue import Catalogue
from slipway.errors import ToolMissing
from slipway.progress import Phase
from slipway.settings import Settings


def find(settings: Settings, name: str) -> Path | None:
    """Where a tool of the pinned version is, or None. Makes none.

    Args:
        settings: Where pins and cache are.
        name: kind, kubectl, helm, ctr, promtool or actionlint.
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
        raise ToolMissing(f"there is no {name} of the pinned version. `{settings.command('up')}` makes one.")
    return found


def actionlint(settings: Settings, *, phase: Phase) -> Path:
    """Where the program is that reads workflows, of the pinned version: built, the user's own, or compiled now.

    Raises:
        ToolMissing: There is none, and no Go to compile it with; the message says what to install.
        CommandFailed: It does not compile.
    """
    wanted = str(settings.versions["versions"]["actionlint"])
    there = find(settings, "actionlint") or tools.find_on_path("actionlint", wanted)
    if there:
        return there
    if machine.look().system != "linux" or not shell.which("go"):  # what a source build compiles runs on Linux alone
        raise ToolMissing(
            f"there is no actionlint {wanted}, and it cannot be compiled here. Install it so that it is on the PATH "
            "(https://github.com/rhysd/actionlint/releases), or, on Linux, install Go (https://go.dev/dl) to have it compiled."
        )
    phase.say(f"compiling actionlint {wanted}")
    return recipes.build_tool(settings, "actionlint", phase=phase)
