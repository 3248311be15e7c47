"""The push log as the hooks keep it: who moved which reference of the application, as the server authenticated them."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slipway.receive.bare import ZERO

# In the application's repository.
PLACE = Path("slipway", "pushes.jsonl")


@dataclass(frozen=True)
class Pushed:
    """One reference that a push moved; a commit of zeros stands for none."""

    time: str
    user: str
    repository: str
    reference: str
    before: str
    after: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])


def options(environ: Mapping[str, str]) -> dict[str, str]:
    """What was asked for with a push (`git push -o deploy=dev`), by name."""
    given = (environ.get(f"GIT_PUSH_OPTION_{number}", "") for number in range(int(environ.get("GIT_PUSH_OPTION_COUNT") or 0)))
    return {name: value for name, _, value in (option.partition("=") for option in given)}


def read(app: Path) -> list[Pushed]:
    """Every push to the application, the oldest first."""
    log = app / PLACE
    if not log.is_file():
        return []
    with log.open() as source:
        fcntl.flock(source, fcntl.LOCK_SH)  # a hook may be writing
        return [Pushed(**json.loads(line)) for line in source]


def authors(log: Sequence[Pushed], branch: str, tip: str, *, known: Callable[[str], bool]) -> tuple[str, ...]:
    """Who made a branch what it is at a commit: whoever pushed to it since it was made; empty when nobody knows.

    Each push has to begin where the one before it ended: of a log with a hole nobody knows who was left out. What went into
    a release before this one is not looked at, and neither is who pushed later.

    Args:
        log: Every push.
        branch: The branch.
        tip: A commit that it named.
        known: Whether what a commit brought went into a release before this one, so that its author is not this one's.
    """
    mine: list[Pushed] = []
    for pushed in log:
        if pushed.reference == f"refs/heads/{branch}":
            mine = [pushed] if pushed.before == ZERO else [*mine, pushed]
    # A branch may name a commit again only by going back, which it cannot.
    end = next((number for number, pushed in enumerate(mine) if pushed.after == tip), None)
    if end is None:
        return ()
    begun = max((number for number in range(end + 1) if known(mine[number].after)), default=-1)
    before = mine[begun].after if begun >= 0 else ZERO
    for pushed in mine[begun + 1 : end + 1]:
        if pushed.before != before:
            return ()
        before = pushed.after
    return tuple(sorted({pushed.user for pushed in mine[begun + 1 : end + 1]}))
