"""What was pushed and not taken yet: the push log read on from where it was left, and each push that wants a run queued up.

What was taken is written down before anybody is told: whoever is ended, however it was, goes on where it stood.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from slipway import access, git, pushlog, runs
from slipway.policy import DEPLOY, SKIP
from slipway.pushlog import UNKNOWN, Pushed, PushLogError, Read
from slipway.settings import Settings

# Seconds that a push gets to come into the log before it counts as one that nobody wrote down.
PATIENCE = 5.0

_CURSOR = "cursor.json"


class Log(Protocol):
    """Where pushes are told."""

    def read(self) -> Read:
        """The push log."""
        ...

    def heads(self) -> Mapping[str, str]:
        """The commit of each branch."""
        ...


@dataclass(frozen=True)
class Cursor:
    """How far the push log was taken.

    Attributes:
        seen: How many of its lines.
        last: The last of these, to know that it is still the same log.
        heads: The commit that each branch had then.
    """

    seen: int = 0
    last: Mapping[str, object] = field(default_factory=dict[str, object])
    heads: Mapping[str, str] = field(default_factory=dict[str, str])

    def after(self, pushes: Sequence[Pushed]) -> Sequence[Pushed]:
        """Those of a log that were not taken yet."""
        if self.seen and (len(pushes) < self.seen or asdict(pushes[self.seen - 1]) != dict(self.last)):
            # It is another log: a server that was made anew.
            return [push for push in pushes if push.time > float(str(self.last.get("time", 0)))]
        return pushes[self.seen :]


class Intake:
    """Takes pushes, each once.

    Args:
        settings: The instance's; its folder keeps how far it came.
        say: Told of each run that is queued.
    """

    def __init__(self, settings: Settings, *, say: Callable[[str], None]) -> None:
        self._settings, self._say = settings, say
        self._unexplained: dict[str, tuple[str, float]] | None = None

    def take(self, log: Log) -> None:
        """Queue a run for each push that is new, and for branches that moved though nobody wrote it down.

        Raises:
            PushLogError: The log is not the one that was taken from before.
        """
        first = self._unexplained is None
        heads = log.heads() if first or self._unexplained else {}
        read = log.read()
        cursor = self._cursor()
        if not read.unchanged:
            cursor = self._take_pushes(read.pushes, cursor)
        if first:
            self._unexplained = {
                branch: (commit, time.monotonic())
                for branch, commit in heads.items()
                if cursor.heads.get(branch) != commit
                and commit not in {push.after for push in read.pushes if push.branch == branch}
            }
        elif self._unexplained:
            self._take_unexplained(heads, cursor)

    def _take_pushes(self, pushes: Sequence[Pushed], cursor: Cursor) -> Cursor:
        if cursor.seen and not pushes:
            raise PushLogError(
                f"the push log is empty, and {cursor.seen} pushes were taken from it: somebody else answers in its place"
            )
        fresh = cursor.after(pushes)
        if not fresh:
            return cursor
        heads = dict(cursor.heads)
        for push in fresh:
            if push.repository != pushlog.APP or not push.branch:
                continue
            if push.removed:
                heads.pop(push.branch, None)
                continue
            known, heads[push.branch] = push.branch in heads, push.after
            if SKIP in push.options:  # whoever pushed wants nothing of it
                continue
            # What `up` begins the repository with runs already.
            if known or not (
                push.user == access.PIPELINE and push.before == git.ZERO and push.branch in self._settings.policy.seeds
            ):
                self._queue_up(push.branch, push.after, push.user, requested=push.options.get(DEPLOY, ""), when=push.time)
        made = Cursor(len(pushes), asdict(pushes[-1]), heads)
        self._keep(made)
        return made

    def _take_unexplained(self, heads: Mapping[str, str], cursor: Cursor) -> None:
        """Run for branches that are not where the log left them: somebody pushed, and nobody wrote it down."""
        left = dict(self._unexplained or {})
        for branch, (commit, since) in (self._unexplained or {}).items():
            if heads.get(branch) != commit or cursor.heads.get(branch) == commit:
                del left[branch]
            elif time.monotonic() - since >= PATIENCE:
                del left[branch]
                self._queue_up(branch, commit, UNKNOWN, when=time.time())
                cursor = replace(cursor, heads={**cursor.heads, branch: commit})
                self._keep(cursor)
        self._unexplained = left

    def _queue_up(self, branch: str, commit: str, pusher: str, *, requested: str = "", when: float) -> None:
        run = runs.new(self._settings, branch=branch, commit=commit, pusher=pusher, requested=requested, when=when)
        self._say(f"{run.id} is queued")

    def _cursor(self) -> Cursor:
        try:
            return Cursor(**json.loads((self._settings.folder / _CURSOR).read_text()))
        except (OSError, ValueError, TypeError):
            return Cursor()

    def _keep(self, cursor: Cursor) -> None:
        fresh = self._settings.folder / f".{_CURSOR}.new"
        fresh.write_text(json.dumps(asdict(cursor)) + "\n")
        fresh.replace(self._settings.folder / _CURSOR)
