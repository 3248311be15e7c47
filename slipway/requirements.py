"""Locks of Python requirements: every `requirements.in` of the checkout has one, with the hash of every file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from slipway import shell
from slipway.settings import ROOT

_BY_HAND = "./invoke lock"
_PYTHON = "3.11"


def lock(*, upgrade: bool = False) -> Sequence[Path]:
    """The locks, made anew from what they lock; pins stay as they are unless they must change, or `upgrade` is asked for."""
    services = sorted(path.with_name("requirements.in") for path in ROOT.glob("services/*/main.py"))
    # The services' tests are installed beside each service, so both locks must agree.
    beside = [word for source in services for word in ("--constraints", source.with_suffix(".txt").relative_to(ROOT))]
    tests = ROOT / "services" / "test-requirements.in"
    made: list[Path] = []
    for source in (*sorted(ROOT.glob("requirements*.in")), *services, tests):
        target = source.with_suffix(".txt")
        # Neither indexes nor folders: where packages come from is the business of the machine that installs them.
        argv: list[str | Path] = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--generate-hashes", "--universal"]
        argv += ["--python-version", _PYTHON, "--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", _BY_HAND]
        argv += [*(["--upgrade"] if upgrade else []), *(beside if source == tests else [])]
        argv += [source.relative_to(ROOT), "--output-file", target.relative_to(ROOT)]
        shell.run(argv, cwd=ROOT)
        made.append(target)
    return made
