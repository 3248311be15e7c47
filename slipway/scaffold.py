"""A new service: one folder, laid out like the others, that passes every check from the start."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from slipway import names
from slipway.errors import UsageError
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

# The chart takes names of 63 letters; the rest is room for what is appended to them, such as "-migrate-0123abcd".
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")

# A package in a lock.
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)

SHARED = "chassis"

# A file of the template that is made once for each environment has this word in its name.
_EACH = "ENVIRONMENT"


@dataclass(frozen=True)
class Made:
    """A service that was made.

    Attributes:
        service: Its name.
        folder: Where it lies, within the checkout.
        files: What is in the folder, in order.
        next: Commands to go on with, each with what it does.
        remove: The command that removes it again.
    """

    service: str
    folder: str
    files: tuple[str, ...]
    next: Mapping[str, str]
    remove: str


def new_service(settings: Settings, name: str) -> Made:
    """Make services/NAME from the template; nothing is left of one that could not be finished.

    Args:
        settings: Where the checkout is, and which environments and stores it has.
        name: The service's name.

    Raises:
        UsageError: It cannot be a service's name, or is taken; the message says why.
    """
    check(settings, name)
    target = settings.root / "services" / name
    # Beside services/, where nobody takes half a folder for a service, and in the same file system.
    beside = settings.root / "build"
    beside.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-service-", dir=beside) as made:
        folder = Path(made) / name
        for path, content in sorted(_files(settings, name)):
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        files = tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
        try:
            folder.rename(target)
        except OSError as error:  # somebody else was faster
            raise UsageError(f"services/{name} cannot be made: {error.strerror}. Choose another name.") from None
    return Made(
        name,
        f"services/{name}",
        files,
        {
            f"./invoke test.services --only {name}": "it passes every check of a service already",
            f"git switch -c feature/{name}": "a branch of its own",
            f"git add services/{name} && git commit -m 'Add {name}'": "delivery begins with a commit",
            "./invoke push --to dev": "the pipeline brings it to dev of an instance that runs",
            "./invoke up": "a new instance runs it in every environment",
        },
        f"rm -r services/{name}",
    )


def check(settings: Settings, name: str) -> None:
    """Return when a new service can have this name.

    Raises:
        UsageError: It cannot; the message says why.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a service's name: it becomes a host name. Use 1 to 40 lower-case letters, digits and dashes, "
            "beginning with a letter and not ending with a dash."
        )
    if why := _taken(settings, name):
        raise UsageError(f"{name!r} cannot be a new service's name: {why}. Choose another name.")


def show(made: Made, console: Console) -> None:
    """Print it for a person, with what to do next."""
    console.print(f"{made.folder} is made: {len(made.files)} files. Begin with its main.py.\n", markup=False)
    width = max(map(len, made.next))
    for command, what in made.next.items():
        console.print(f"  {command:<{width}}   # {what}", markup=False)
    console.print(f"\nTo be rid of it again: {made.remove}", markup=False)
    console.print(
        "Once committed, that is a change to commit and push: the pipeline retires the service wherever it comes.", markup=False
    )


def _taken(settings: Settings, name: str) -> str:
    services = settings.root / "services"
    known = {
        **dict.fromkeys(_ignored(settings.root / ".gitignore"), "Git ignores folders of that name"),
        **dict.fromkeys(_ignored(services / ".dockerignore"), "images leave out folders of that name"),
        **dict.fromkeys(settings.stores, "every environment has a store of that name"),
        names.OWNER: "Slipway's own images lie under it in the registry",
        SHARED: "that folder holds what the services share",
        **dict.fromkeys(settings.services, "there is such a service already"),
    }
    if why := known.get(name, ""):
        return why
    if name in map(names.migration, settings.services) or names.migration(name) in settings.services:
        return "the pods of a service's migrations are called that"
    if any(path for path in (services / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        return f"services/{name} is there already, though it has no main.py"
    # Its folder lies on the import path of every service, and the linters would take a module for the folder.
    if name.isidentifier() and (any(services.glob(f"*/{name}.py")) or name in _locked(services) or _is_module(name)):
        return "Python has a module of that name"
    return ""


def _ignored(file: Path) -> set[str]:
    return {line.strip().removeprefix("**/").strip("/") for line in file.read_text().splitlines()}


def _locked(services: Path) -> set[str]:
    """The packages of every service and of the tests, by the names that they usually have as modules too."""
    return {found[1].lower() for file in services.rglob("*requirements.txt") for found in _PINNED.finditer(file.read_text())}


def _is_module(name: str) -> bool:
    found = None if name in sys.stdlib_module_names else importlib.util.find_spec(name)
    return name in sys.stdlib_module_names or (found is not None and found.origin is not None)  # a mere folder has no origin


def _files(settings: Settings, name: str) -> Iterator[tuple[str, str]]:
    """Path and content of each file of the new folder."""
    template = settings.cluster / "new-service"
    # Nothing here is HTML: what is filled in is a name that was checked, in Python, YAML and Markdown.
    jinja = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    told: dict[str, Any] = {"name": name, "environments": list(settings.environments)}
    for file in sorted(path for path in template.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        path, page = file.relative_to(template).as_posix(), jinja.from_string(file.read_text())
        if _EACH not in path:
            yield path, page.render(told)
            continue
        for environment in settings.environments.values():
            yield path.replace(_EACH, environment.name), page.render(told, environment=environment.name, tier=environment.tier)
    # A new service needs what the shared package needs. Its lock is that one, as `./invoke lock` would write it for this folder.
    lock = (settings.root / "services" / SHARED / "requirements.txt").read_text()
    own = f"services/{SHARED}/requirements.in"
    yield "requirements.txt", lock.replace(f"-r {own}", f"-r services/{name}/../{SHARED}/requirements.in")
