"""The programs that tests run, wherever they come from on this machine."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from slipway import gobuild, shell, tools
from slipway.catalogue import Catalogue
from slipway.progress import Progress
from slipway.settings import Settings, load


@cache
def program(name: str) -> Path:
    """Where helm or promtool is, in the version of the pins. A test without its program fails; it is never skipped.

    It is what SLIPWAY_<NAME> names; else what a source build made; else the user's own; else it is compiled now.
    """
    settings = load()
    variable = f"SLIPWAY_{name.upper()}"
    if named := os.environ.get(variable):
        if not os.access(named, os.X_OK):
            pytest.fail(f"{variable} is {named}, which is no program.", pytrace=False)
        return Path(named)
    catalogue = Catalogue(settings)
    if catalogue.tool(name).is_file():
        return catalogue.tool(name)
    if found := _own(settings, name):
        return found
    if shell.which("go"):
        with Progress().phase(f"compile {name}") as phase:
            return gobuild.build(settings, catalogue.programs[catalogue.tools[name]], phase) / name
    pytest.fail(f"There is no {name}. Put it on the PATH, name it in {variable}, or install Go to have it built.", pytrace=False)


def _own(settings: Settings, name: str) -> Path | None:
    if name == "helm":
        downloaded = settings.home / "tools" / f"helm-{tools.version(settings, 'helm')}"
        return downloaded if downloaded.is_file() else tools.find_on_path("helm", tools.version(settings, "helm"))
    wanted = settings.versions["versions"]["prometheus"]
    for found in shell.which(name):
        said = shell.run([found, "--version"], check=False)
        if f"version {wanted} " in said.stdout + said.stderr:
            return found
    return None
