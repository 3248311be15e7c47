"""Go programs, compiled from modules that a recipe pins: its go.mod says which, its go.sum that they are the same bytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slipway import cache, machine, shell
from slipway.cache import Artefact
from slipway.errors import ToolMissing
from slipway.machine import Machine
from slipway.progress import Phase
from slipway.settings import Settings

# Seconds: the largest group takes 9 minutes on two cores.
BUILD_TIMEOUT = 7200.0
FETCH_TIMEOUT = 1800.0

# A changed flag compiles everything again, so all programs share these. No debug information: nobody debugs these
# binaries, and writing it costs a sixth of the time.
_FLAGS = ("-trimpath", "-gcflags=all=-dwarf=false", "-buildvcs=false")

# What a user's own Go settings must not change, because the key does not hold it.
# An empty GOFLAGS would let in what `go env -w` has stored.
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOOS": "linux"}

_VERSION = re.compile(r"v\d+")

# The name of the folder that all of them lie in.
_KIND = "go"


@dataclass(frozen=True)
class Recipe:
    """Programs that are compiled together, from one module.

    Attributes:
        name: What the group is called.
        folder: Where its go.mod and go.sum lie.
        programs: The package of each program, by the program's name.
        tags: Build tags.
        variables: Values the linker sets, by variable.
        links: Further names of a program, for those that do what they are called.
        cgo: Whether a part of them is written in C, so that a C compiler is needed.
    """

    name: str
    folder: Path
    programs: Mapping[str, str]
    tags: Sequence[str] = ()
    variables: Mapping[str, str] | None = None
    links: Mapping[str, str] | None = None
    cgo: bool = False


def artefact(settings: Settings, recipe: Recipe) -> Artefact:
    """Where the programs of a recipe are, or will be: a folder with each under its own name."""
    values = {
        "programs": dict(recipe.programs),
        "tags": list(recipe.tags),
        "variables": dict(recipe.variables or {}),
        "links": dict(recipe.links or {}),
        "flags": _FLAGS,
        "machine": machine.look().architecture,
        **({"cgo": True} if recipe.cgo else {}),
    }
    return Artefact(settings.cache, _KIND, cache.key(files=[recipe.folder], values=values))


def any_made(settings: Settings) -> bool:
    """Whether the programs of any recipe were compiled, and are in the cache."""
    return any((settings.cache / _KIND).glob("[!.]*"))


def fetch(settings: Settings, recipe: Recipe, phase: Phase) -> None:
    """Download the modules that the programs of a recipe need, while something else compiles.

    Raises:
        ToolMissing: There is no Go.
        CommandFailed: A module cannot be had, or is not what go.sum says.
    """
    if artefact(settings, recipe).made:
        phase.skip("cached")
        return
    packages = _packages(recipe, phase)
    phase.say(f"{len(packages)} packages")


def build(settings: Settings, recipe: Recipe, phase: Phase) -> Path:
    """The folder with the programs of a recipe, compiled when it is not in the cache.

    Raises:
        ToolMissing: There is no Go.
        CommandFailed: Go failed; what it had compiled is kept by Go's own cache.
    """
    target = artefact(settings, recipe)
    if not target.ensure(lambda folder: compile_into(folder, recipe, phase), phase=phase):
        phase.skip("cached")
    return target.use()


def module_folder(recipe_folder: Path, module: str) -> Path:
    """The folder of a module, in the version that a recipe pins, in Go's module cache.

    Raises:
        ToolMissing: There is no Go.
        CommandFailed: The module cannot be had, or is not what go.sum says.
    """
    found = _go(["mod", "download", "-json", module], folder=recipe_folder, timeout=FETCH_TIMEOUT)
    return Path(json.loads(found.stdout)["Dir"])


def with_module(recipe: Recipe, module: str, place: Path) -> Recipe:
    """The recipe with a folder of the user's instead of one of its modules, for which go.sum does not vouch then.

    Args:
        recipe: Stays as it is; its copy's go.mod and go.sum are beside `place`.
        module: The module.
        place: The folder that holds it.

    Raises:
        CommandFailed: Go does not take it.
    """
    folder = place.parent
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(recipe.folder / name, folder / name)
    _go(["mod", "edit", f"-replace={module}=./{place.name}"], folder=folder, timeout=FETCH_TIMEOUT)
    return replace(recipe, folder=folder)


def compile_into(folder: Path, recipe: Recipe, phase: Phase) -> None:
    """Compile the programs of a recipe into a folder, whatever the cache has.

    Raises:
        ToolMissing: There is no Go.
        CommandFailed: Go failed; what it had compiled is kept by Go's own cache.
    """
    stale = set(_packages(recipe, phase))
    done: set[str] = set()
    lock = threading.Lock()

    def follow(line: str) -> None:
        if line in stale:
            with lock:
                done.add(line)
                phase.parts(len(done), len(stale))
                phase.say(line)

    phase.parts(0, len(stale))
    link = ["-s", "-w", *(f"-X {name}={value}" for name, value in sorted((recipe.variables or {}).items()))]
    output = folder if len(recipe.programs) > 1 else folder / _produced(next(iter(recipe.programs.values())))
    _go(
        ["build", "-v", *_shared(recipe), "-ldflags", " ".join(link), "-o", str(output), *recipe.programs.values()],
        folder=recipe.folder,
        timeout=BUILD_TIMEOUT,
        on_line=follow,
        cgo=recipe.cgo,
    )
    for name, package in recipe.programs.items():
        made = folder / _produced(package)
        if made.name != name:
            made.rename(folder / name)
    for name, program in (recipe.links or {}).items():
        (folder / name).symlink_to(program)
    phase.say(", ".join(recipe.programs))


def _packages(recipe: Recipe, phase: Phase) -> Sequence[str]:
    """The packages that the programs need and Go has not compiled yet; listing them downloads their modules."""
    listed = _go(
        ["list", "-deps", *_shared(recipe), "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", *recipe.programs.values()],
        folder=recipe.folder,
        timeout=FETCH_TIMEOUT,
        on_line=lambda line: phase.say(line.removeprefix("go: ")),
        cgo=recipe.cgo,
    )
    return [line for line in listed.stdout.splitlines() if line]


def _shared(recipe: Recipe) -> Sequence[str]:
    return [*_FLAGS, "-tags", ",".join(recipe.tags)]


def _produced(package: str) -> str:
    """What Go calls the program of a package: the last part of its path that is no major version."""
    return next(part for part in reversed(package.split("/")) if not _VERSION.fullmatch(part))


def _go(
    words: Sequence[str], *, folder: Path, timeout: float, on_line: Callable[[str], None] | None = None, cgo: bool = False
) -> shell.Result:
    try:
        env = {**_collection(machine.look()), **_ENVIRONMENT, **({"CGO_ENABLED": "1"} if cgo else {})}
        return shell.run(["go", *words], cwd=folder, env=env, timeout=timeout, on_line=on_line)
    except ToolMissing:
        wanted = re.search(r"^go (\S+)", (folder / "go.mod").read_text(), re.MULTILINE)
        raise ToolMissing(
            f"Go is not installed, and building from source needs it. Install Go {wanted[1] if wanted else ''} or newer "
            "(https://go.dev/dl), so that `go version` works; or use --source=pull where image registries are within reach."
        ) from None


def _collection(facts: Machine) -> Mapping[str, str]:
    """Let the compiler collect its garbage seldom, which saves a sixth of its time, as far as the memory allows."""
    chosen = {"GOGC": "400", "GOMEMLIMIT": str(facts.memory // (2 * facts.cores))}
    return {} if set(chosen) & set(os.environ) or not facts.memory else chosen
