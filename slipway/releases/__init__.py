"""Releases: cut, tried in stage, approved, and after prod runs them finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slipway.releases import cutting, finishing
from slipway.releases.approving import Approved, approve
from slipway.releases.approving import show as show_approval
from slipway.releases.cutting import Cut, cut
from slipway.releases.finishing import Finished, finish, tag
from slipway.releases.staging import Staged, bring, records_of, released_as, stage
from slipway.releases.state import (
    State,
    alias,
    check,
    check_alias,
    check_tag,
    follow,
    gate,
    lives_on,
    look,
    name,
    onward,
    passed,
    verdict,
)
from slipway.releases.withstanding import Uncounted, withstood

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Approved",
    "Cut",
    "Finished",
    "Staged",
    "State",
    "Uncounted",
    "alias",
    "approve",
    "bring",
    "check",
    "check_alias",
    "check_tag",
    "cut",
    "finish",
    "follow",
    "gate",
    "lives_on",
    "look",
    "name",
    "onward",
    "passed",
    "records_of",
    "released_as",
    "show",
    "show_approval",
    "stage",
    "tag",
    "verdict",
    "withstood",
]


def show(made: Cut | Finished, console: Console) -> None:
    """Print what was cut or finished, for a person."""
    if isinstance(made, Cut):
        cutting.show(made, console)
    else:
        finishing.show(made, console)
