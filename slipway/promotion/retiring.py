"""The end of a service: its folder is gone from a commit, and the environments that the commit comes to run it no longer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from slipway import git
from slipway.records import CHART, RETIRED, Record, withdrawal


def retirements(mirror: Path, commit: str, branch: str, there: Iterable[Record]) -> tuple[Record, ...]:
    """The records that end every service which a commit has no folder of any more; those that it has ended already too.

    What the commit's history does not have is not gone from it: a branch that was made before says nothing of it.

    Args:
        mirror: The application's repository, with the commit.
        commit: The commit.
        branch: The branch that it comes by.
        there: What an environment records.
    """
    if not git.contents(mirror, commit, f"charts/{RETIRED}"):  # of before there was such an end
        return ()
    told = {"branch": branch, "source_commit": commit, "chart": RETIRED}
    blank = dict.fromkeys(("chart_version", "config", "inputs", "release", "lock"), "")
    return tuple(
        replace(one, **told, **blank)
        for one in there
        if (one.chart == CHART or (one.retired and one.source_commit == commit))
        and git.contains(mirror, commit, one.source_commit)
        and not git.contents(mirror, commit, f"services/{one.service}")
    )


def withdrawals(mirror: Path, new: Iterable[Record]) -> tuple[Record, ...]:
    """The records that end services which are taken back and have never run there before; none of a commit without such an end.

    Args:
        mirror: The application's repository, with the commits of these records.
        new: What came with what is taken back.
    """
    return tuple(
        withdrawal(one)
        for one in new
        if one.chart == CHART and git.contents(mirror, one.source_commit, f"charts/{RETIRED}/Chart.yaml")
    )
