"""Tilt, of the pinned version: one that is there, or one compiled from its Go module with its page in it.

Its module holds the sources of the page, not the page, and without one Tilt does not start. Where the page cannot be
compiled, a plain one that says why takes its place.
Upstream's archives are not downloaded: their sums could not be verified when the version was pinned.
"""

from __future__ import annotations

import contextlib
import html
import os
import re
import shutil
import string
import sys
from pathlib import Path

from slipway import gobuild, held, machine, shell, tools
from slipway.cache import Artefact
from slipway.catalogue import TILT_PAGE_WITHOUT, Catalogue
from slipway.dev import web
from slipway.errors import SlipwayError, ToolMissing
from slipway.gobuild import Recipe
from slipway.progress import Phase
from slipway.settings import Settings
from slipway.survey import PLAIN_PAGE

NAME = "tilt"
_MODULE = "github.com/tilt-dev/tilt"

# The lowest priority that there is.
_NICE = ("nice", "-n", "19")


def find(settings: Settings) -> Path | None:
    """Where Tilt of the pinned version is, or None. Makes none; one with its page is taken first."""
    plain = _artefact(settings, whole=False)
    return _with_page(settings) or (plain.use() / NAME if plain.made else None)


def get(settings: Settings, *, phase: Phase) -> Path:
    """Where Tilt of the pinned version is, compiled when there is none.

    Raises:
        ToolMissing: It cannot be compiled here; the message says what to install.
        CommandFailed: It does not compile.
    """
    found = find(settings) or build(settings, phase=phase)
    phase.say(f"{version(settings)}{f', with a plain page: {why}' if (why := plain_because(found)) else ''}")
    return found


def build(settings: Settings, *, phase: Phase) -> Path:
    """Tilt with its page, or with a plain one where that cannot be had, compiled when it is not in the cache.

    Raises:
        ToolMissing: It cannot be compiled here; the message says what to install.
        CommandFailed: It does not compile.
    """
    if _artefact(settings, whole=True).made:
        phase.skip("cached")
        return _artefact(settings, whole=True).use() / NAME
    require(settings)
    recipe = _recipe(settings)
    phase.say(f"fetching Tilt {version(settings)}")
    module = gobuild.module_folder(recipe.folder, _MODULE)
    try:
        web.build(settings, module, phase)
        why = ""
    except SlipwayError as error:
        why = str(error)
    made = _artefact(settings, whole=not why)
    made.ensure(lambda folder: _make(settings, folder, module, why, phase), phase=phase)
    return made.use() / NAME


def plain_because(program: Path) -> str:
    """Why a Tilt has the plain page, in a line; "" when it has its own."""
    file = program.with_name(PLAIN_PAGE)
    return file.read_text().strip().splitlines()[-1] if file.is_file() else ""


def start(settings: Settings) -> Path | None:
    """Compile Tilt in the background, at the lowest priority; the log of it, or None when there is nothing to do.

    Whoever asks for Tilt meanwhile waits for it. `down --purge` ends it.

    Raises:
        ToolMissing: It cannot be compiled here; the message says what to install.
    """
    if _with_page(settings):
        return None
    require(settings)
    log = settings.cache / "tilt.log"
    words = [sys.executable, "-m", "slipway.dev"]
    with contextlib.suppress(held.Taken), held.take(settings.compiling) as hold:  # else it is under way
        told = [*_NICE, *words] if shell.which(_NICE[0]) else words
        hold.share(shell.start(told, log_file=log, cwd=settings.root, keep=[hold.descriptor]))
    return log


def version(settings: Settings) -> str:
    """The pinned version, without a leading v."""
    return str(settings.versions["versions"][NAME])


def _with_page(settings: Settings) -> Path | None:
    made = _artefact(settings, whole=True)
    return made.use() / NAME if made.made else tools.find_on_path(NAME, version(settings))


def _recipe(settings: Settings) -> Recipe:
    return Catalogue(settings).programs[NAME]


def _artefact(settings: Settings, *, whole: bool) -> Artefact:
    return Catalogue(settings).tilt(whole=whole)


def _plain(settings: Settings) -> Path:
    return settings.cluster / "tilt" / "index.html"


def _make(settings: Settings, folder: Path, module: Path, why: str, phase: Phase) -> None:
    work = folder / "work"
    work.mkdir()
    source = work / "source"
    # Beneath Go's module cache nothing may be added or laid over: the page goes into a copy.
    web.copy(module, source)
    assets = source / "pkg" / "assets" / "build"
    if not why:
        shutil.copytree(web.artefact(settings).use(), assets, dirs_exist_ok=True)
        index = assets / "index.html"
        index.write_text(re.sub(TILT_PAGE_WITHOUT, "", index.read_text()))
    else:
        assets.mkdir(exist_ok=True)
        text = string.Template(_plain(settings).read_text()).substitute(why=html.escape(why))
        (assets / "index.html").write_text(text)
        (folder / PLAIN_PAGE).write_text(f"{why}\n")
    phase.say(f"compiling Tilt {version(settings)}")
    gobuild.compile_into(folder, gobuild.with_module(_recipe(settings), _MODULE, source), phase)
    shutil.rmtree(work)


def require(settings: Settings) -> None:
    """Return when Tilt is there with its page, or can be compiled here.

    Raises:
        ToolMissing: It cannot; the message says what to install.
    """
    if _with_page(settings):
        return
    compiler = os.environ.get("CC", "gcc").split()[0]
    own = f"or install Tilt {version(settings)} itself, so that it is on the PATH (https://docs.tilt.dev/install)."
    if machine.look().system != "linux":  # what a source build compiles runs on Linux alone
        raise ToolMissing(
            f"there is no Tilt {version(settings)} on the PATH, and it is compiled on Linux alone. Install it (https://docs.tilt.dev/install)."
        )
    if not shell.which("go"):
        raise ToolMissing(f"there is no Tilt, and no Go to compile it with. Install Go (https://go.dev/dl), {own}")
    if not shell.which(compiler):
        raise ToolMissing(
            f"there is no Tilt, and no C compiler ({compiler}), which a part of it needs. "
            f"Install one (Debian: `sudo apt-get install gcc libc6-dev`), {own}"
        )
