"""What a commit brings to the build of its own image, and whether the build may see what this machine knows.

A build installs packages with this machine's pip settings, whose index may want a token. So nothing that a commit brings
may run while they can be read: neither a recipe of its own, nor the program by which a package builds itself.
"""

from __future__ import annotations

import re
from pathlib import Path

from slipway.errors import UsageError
from slipway.settings import ROOT

RECIPE = Path("services") / "Dockerfile"

WITHHELD = (
    f"{RECIPE} is not the one of the installed Slipway, so its build saw neither this machine's pip settings nor a proxy that "
    "wants a password. Let it do without; or commit it, and have its checkout installed: ./invoke up."
)

# A recipe may name a program of its own to be read by, which the builder then runs.
_FRONTEND = re.compile(r"^\s*(#|//)\s*syntax\s*=", re.IGNORECASE | re.MULTILINE)

# A lock as `./invoke lock` writes it, line by line. Comments could say how to read the rest; an option after a name is one too.
_COMMENT = r"#(?!.*coding[:=]).*"
_HASHES = r"(?:\s+--hash=sha256:[0-9a-f]+)"
_PACKAGE = r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9._, -]+\])?==[A-Za-z0-9.!+_-]+(?:\s*;(?:(?!\s-)[^#\\])*)?"
_LINE = re.compile(rf"\s*(?:{_COMMENT})?|(?:{_PACKAGE}{_HASHES}*|{_HASHES}+)\s*\\?")


def ours(recipe: Path) -> bool:
    """Whether a recipe of services is the installed Slipway's own, byte for byte.

    Raises:
        UsageError: It is not, and wants to be read by a program of its own.
    """
    own, text = ROOT / RECIPE, recipe.read_bytes()
    if own.is_file() and own.read_bytes() == text:
        return True
    told = text.decode(errors="replace")
    if _FRONTEND.search(told) or told.lstrip().startswith("{"):
        raise UsageError(
            f"{RECIPE} names the syntax that it is written in, which would be a program in the builder. Leave it out."
        )
    return False


def require_plain(lock: str, name: str) -> None:
    """Return when a lock of Python requirements names packages by version and hash, and nothing else.

    Args:
        lock: The lock.
        name: What the file is called.

    Raises:
        UsageError: It has options, addresses or files, by which a package could be built, which runs it.
    """
    for number, line in enumerate(lock.splitlines(), 1):
        if not line.isascii() or not _LINE.fullmatch(line):
            said = f"{line.strip()[:60]!r} is no package with version and hashes"
            raise UsageError(f"{name}, line {number}: {said}. `./invoke lock` writes locks.")
