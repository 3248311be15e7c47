"""Comparisons of runs that are kept, and comparisons that are kept themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from slipway.errors import UsageError
from slipway.load import keeping, report, written
from slipway.load.alike import alike
from slipway.load.answers import Comparison
from slipway.load.compare import COMPARISON, judge
from slipway.load.model import Run
from slipway.settings import Settings

FILE = "comparison.json"

# A run as its name says when it was made (`plan.identify`).
_KEPT = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")


def named(*words: str) -> bool:
    """Whether words name runs that are kept (several with commas between), and no releases."""
    return all(_KEPT.fullmatch(name) for word in words for name in word.split(","))


def compare(settings: Settings, first: str, second: str) -> Comparison:
    """What runs that are kept say of each other, without a calibration: the noise is that of the first ones.

    Args:
        settings: The instance's.
        first: The runs that are the measure, with commas between.
        second: Those that are compared with them.

    Raises:
        UsageError: There are no such runs, they are of several releases, or they are not alike; the message says what differs.
    """
    sides = [[keeping.read(settings, name) for name in words.split(",")] for words in (first, second)]
    ids = [run.id for side in sides for run in side]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise UsageError(f"{', '.join(twice)} cannot be compared with itself: name each run once.")
    alike(run for side in sides for run in side)
    releases_of = [_release(side) for side in sides]
    one, other = releases_of if releases_of[0] != releases_of[1] else [f"{releases_of[0]} ({mark})" for mark in "ab"]
    made = [(label, COMPARISON, run) for label, side in zip((one, other), sides, strict=True) for run in side]
    return judge(one, other, made, name=f"compare-{sides[0][0].id}-{sides[1][0].id}")


def _release(runs: Sequence[Run]) -> str:
    """The one release that all of some runs were of."""
    found = {run.target.release or run.target.commit[:9] for run in runs}
    if len(found) > 1:
        raise UsageError(f"{', '.join(run.id for run in runs)} are of several releases: {', '.join(sorted(found))}.")
    return found.pop()


def of(settings: Settings, run: str) -> Comparison | None:
    """The newest comparison that a run was part of; None for none, or for one of another version of Slipway."""
    # A comparison is called by its first run, which may be much older than itself.
    for file in sorted(keeping.folder(settings).glob(f"compare-*/{FILE}"), key=_made, reverse=True):
        try:
            told = written.read(Comparison, json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, UsageError):
            continue
        if run in {ran.id for ran in told.runs}:
            return told
    return None


def _made(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def keep(settings: Settings, told: Comparison) -> Path:
    """The page of a comparison, in a folder of its own from now on, beside the runs that it links to."""
    folder = keeping.folder(settings, told.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(written.plain(told), indent=2) + "\n", encoding="utf-8")
    file = folder / report.FILE
    file.write_text(report.compared_page(settings, told), encoding="utf-8")
    return file
