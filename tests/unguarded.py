"""What the Git server judges pushes with, rules left out; and Slipway without a guard of its own.

As a plugin of pytest it lets tests run so: `SLIPWAY_WITHOUT=linear python -m pytest -p tests.unguarded tests/delivery`.
"""

from __future__ import annotations

import importlib
import io
import os
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from slipway import gitserver

WITHOUT = "SLIPWAY_WITHOUT"

_PACKAGE, _DROPPING = "slipway/receive/__init__.py", "slipway/receive/dropping.py"


def _instead(module: str, name: str, instead: object) -> None:
    setattr(importlib.import_module(module), name, instead)


def _approval_last() -> None:
    """Let an environment admit images when the commit that runs them is there already."""
    deploying: Any = importlib.import_module("slipway.promotion.deploying")
    admit, publish = deploying.admit, deploying._publish
    waiting: list[partial[Any]] = []

    def later(*words: Any) -> Sequence[str]:
        waiting.append(partial(admit, *words))
        return ()

    def published(*words: Any, **named: Any) -> Any:
        made = publish(*words, **named)
        while waiting:
            waiting.pop()()
        return made

    deploying.admit, deploying._publish = later, published


def _approval_first() -> None:
    """Let an environment admit images before anybody has judged them."""
    deploying: Any = importlib.import_module("slipway.promotion.deploying")
    admit, judge = deploying.admit, deploying.judge

    def judged(access: Any, change: Any, wanted: Sequence[Any], there: Any) -> Any:
        admit(access, change.environment, [SimpleNamespace(record=record) for record in wanted])
        return judge(access, change, wanted, there)

    deploying.judge = judged


def _left_as_it_is(*words: Any, **_: Any) -> Exception:
    """Say that what ran before is back, and bring nothing back."""
    from slipway.promotion import PromotionFailed

    _, _, made, error = words
    return PromotionFailed(f"{error}\nThis brought back what ran before.", commit=made.commit)


# Guards that are functions here, and how each is taken away.
OWN: Mapping[str, Callable[[], None]] = {
    "versions-of-runs": partial(
        _instead, "slipway.pipeline.making", "oci", SimpleNamespace(digest=lambda _: None, alias=lambda *_: None)
    ),
    "versions-of-publishing": partial(_instead, "slipway.publishing", "_require_free", lambda *_: None),
    "tags-at-promotion": partial(_instead, "slipway.releases", "check_alias", lambda _: None),
    "tags-at-the-finish": partial(_instead, "slipway.releases.state", "check_alias", lambda _: None),
    "no-network": partial(_instead, "slipway.testing.sandbox", "network_of", lambda _: {"network_mode": "bridge"}),
    "approval-before-the-commit": _approval_last,
    "judgement-before-the-approval": _approval_first,
    "approval-is-observed": partial(_instead, "slipway.admission.lists", "_observe", lambda *_, **__: None),
    "off-the-list-again": partial(_instead, "slipway.promotion.deploying", "unless_refused", lambda *_: nullcontext()),
    "taken-back": partial(_instead, "slipway.promotion.deploying", "_taken_back", _left_as_it_is),
    "one-run-at-a-time": partial(
        _instead, "slipway.runs.keeping", "fcntl", SimpleNamespace(flock=lambda *_: None, LOCK_EX=0, LOCK_NB=0)
    ),
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
    """Leave out what the environment names, a line each: Slipway's own guards, and rules, in whatever packs the hooks' code."""
    named = os.environ.get(WITHOUT, "").splitlines()
    for guard in named:
        if guard in OWN:
            OWN[guard]()
    if rules := [rule for rule in named if rule not in OWN]:
        packed = code(rules, gitserver.code())
        gitserver.code = lambda: packed
