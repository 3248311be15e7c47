"""What the Git server judges pushes with, rules left out; and Slipway without a guard of its own.

As a plugin of pytest it lets tests run so: `SLIPWAY_WITHOUT=linear python -m pytest -p tests.unguarded tests/delivery`.
"""

from __future__ import annotations

import importlib
import io
import os
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from slipway import gitserver

WITHOUT = "SLIPWAY_WITHOUT"

_PACKAGE, _DROPPING = "slipway/receive/__init__.py", "slipway/receive/dropping.py"

# Guards that are functions here: the module, the name in it, and what stands there instead.
OWN: Mapping[str, tuple[str, str, Callable[..., Any] | SimpleNamespace]] = {
    "versions-of-runs": ("slipway.pipeline.making", "oci", SimpleNamespace(digest=lambda _: None, alias=lambda *_: None)),
    "versions-of-publishing": ("slipway.publishing", "_require_free", lambda *_: None),
    "tags-at-promotion": ("slipway.releases", "check_alias", lambda _: None),
    "tags-at-the-finish": ("slipway.releases.state", "check_alias", lambda _: None),
    "no-network": ("slipway.testing.sandbox", "network_of", lambda _: {"network_mode": "bridge"}),
}


def code(rules: Collection[str], whole: bytes) -> bytes:
    """The code of the hooks without these rules, made of the whole of it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(packed, "w") as archive:
        for name in source.namelist():
            text = source.read(name).decode()
            if name == _PACKAGE:
                text += f"\nfrom slipway.receive import dropping\n\ndropping.drop({sorted(rules)!r})\n"
            archive.writestr(name, text)
        archive.writestr(_DROPPING, Path(__file__).with_name("dropping.py").read_bytes())
    return packed.getvalue()


def pytest_configure() -> None:
    """Leave out what the environment names: guards of Slipway itself, and rules, in whatever packs the hooks' code."""
    named = os.environ.get(WITHOUT, "").split()
    for guard in named:
        if guard in OWN:
            module, name, instead = OWN[guard]
            setattr(importlib.import_module(module), name, instead)
    if rules := [rule for rule in named if rule not in OWN]:
        packed = code(rules, gitserver.code())
        gitserver.code = lambda: packed
