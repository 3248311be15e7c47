"""Locks of Python requirements: whatever is installed anywhere is named with its version and the hash of every file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from slipway import shell
from slipway.progress import plain
from slipway.settings import Settings

FOR_TESTS = "requirements-dev.txt"

# Seconds.
INSTALL_TIMEOUT = 1200.0

_BY_HAND = "./invoke lock"

# The oldest Python that any of them is installed for.
_PYTHON = "3.11"


def lock(settings: Settings, *, upgrade: bool = False) -> Sequence[str]:
    """The locks, made anew from what they lock; a pin stays as it is unless it must change.

    Args:
        settings: Where the checkout is.
        upgrade: Take the newest version of everything instead.

    Raises:
        CommandFailed: The requirements cannot be met, or the package index does not answer.
    """
    install_for_tests(settings.root)
    services = [f"services/{name}/requirements" for name in settings.services]
    # The shared package's lock is the one that a new service begins with.
    alone = (
        "requirements",
        "requirements-dev",
        "loadtests/requirements",
        "cluster/tilt/requirements",
        "services/chassis/requirements",
        *services,
    )
    made = [_lock(settings, name, upgrade=upgrade) for name in alone]
    # One environment holds a service and what its tests need.
    made.append(_lock(settings, "services/test-requirements", constraints=[f"{name}.txt" for name in services], upgrade=upgrade))
    return made


def install_for_tests(root: Path) -> None:
    """Install what tests and checks need beside what Slipway needs, unless that is done.

    Raises:
        CommandFailed: Something could not be installed.
    """
    stamp = root / ".venv" / FOR_TESTS
    if stamp.is_file() and stamp.read_bytes() == (root / FOR_TESTS).read_bytes():
        return
    plain("Installing what the tests need")
    shell.run([sys.executable, "-I", root / "bootstrap.py", FOR_TESTS], timeout=INSTALL_TIMEOUT)


def _lock(settings: Settings, name: str, *, constraints: Sequence[str] = (), upgrade: bool) -> str:
    # Neither indexes nor folders: where packages come from is the business of the machine that installs them.
    argv = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--generate-hashes", "--universal"]
    # Images install nothing that would have to be built first, and building would ask for packages that no lock names.
    argv += ["--only-binary", ":all:"]
    argv += ["--python-version", _PYTHON, "--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", _BY_HAND]
    # Comments would name every constraint: a service that comes or goes would change a lock that is not its own.
    argv += ["--no-annotate"] if constraints else []
    argv += [word for constraint in constraints for word in ("--constraints", constraint)]
    argv += [*(["--upgrade"] if upgrade else []), f"{name}.in", "--output-file", f"{name}.txt"]
    shell.run(argv, cwd=settings.root)
    return f"{name}.txt"
