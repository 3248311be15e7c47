"""Runs as they lie in their folders: read, written, listed, and one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway.errors import UsageError, unknown
from slipway.settings import Settings
from slipway.waiting import Pending, Ready, wait_for

QUEUED, RUNNING, PASSED, FAILED, SUPERSEDED = "queued", "running", "passed", "failed", "superseded"
SKIPPED = "skipped"
ENDED = (PASSED, FAILED, SUPERSEDED)

# Who runs it: the instance's runner, or a command in the foreground.
RUNNER, HERE = "runner", "here"

# Runs that are kept; the oldest that ended go first.
KEPT = 200

# Seconds. A run may have to build every service, and wait for every environment.
LOCK_TIMEOUT = 3600.0
_RUN, _LOG, _LOCK, _ATTENDED = "run.json", "log", ".lock", ".attended"


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        state: "running", "passed", "failed" or "skipped".
        said: What it did last, or why it failed.
    """

    name: str
    state: str = RUNNING
    seconds: float = 0.0
    said: str = ""


@dataclass(frozen=True)
class Run:
    """One run of the pipeline.

    Attributes:
        id: Its name; runs in the order of their names are in the order of their pushes.
        branch: The branch that was pushed.
        commit: The commit that it is for.
        pusher: On whose behalf it runs: a role, or "unknown" when nobody wrote down who pushed.
        requested: The environment that was asked for with the push; "" for none.
        state: "queued", "running", "passed", "failed" or "superseded".
        where: "runner", or "here" for one in the foreground.
        queued: When it was asked for, in seconds since 1970; `begun` and `ended` likewise, 0 until then.
        stages: Its stages so far, in the order in which they began.
        trouble: Why it failed, or what superseded it.
        verdict: In one line, what came out of it.
        attempts: How often it was begun: a runner that was ended begins it again.
        wish: What whoever asked for the environment has signed, when no push says that they did.
    """

    id: str
    branch: str
    commit: str
    pusher: str
    requested: str = ""
    state: str = QUEUED
    where: str = RUNNER
    queued: float = 0.0
    begun: float = 0.0
    ended: float = 0.0
    stages: tuple[Stage, ...] = ()
    trouble: str = ""
    verdict: str = ""
    attempts: int = 0
    wish: str = ""

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return round((self.ended or time.time()) - self.begun, 1) if self.begun else 0.0

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED

    @property
    def well(self) -> bool:
        """Whether nothing is wrong with it; one that a newer push made needless is well."""
        return self.state in (PASSED, SUPERSEDED)

    def as_dict(self) -> dict[str, Any]:
        """The same, for machines."""
        return {**asdict(self), "seconds": self.seconds, "well": self.well}


def folder(settings: Settings) -> Path:
    """Where the runs of an instance lie."""
    return settings.folder / "runs"


def log_file(settings: Settings, run: str) -> Path:
    """Where a run's log is."""
    return folder(settings) / run / _LOG


def name(branch: str, commit: str, when: float, *, requested: str = "", wish: str = "") -> str:
    """The name of a run: the same push is always the same run, and what asks for anything else is always another.

    Args:
        branch: The branch that was pushed.
        commit: The commit that it is for.
        when: When it was asked for, in seconds since 1970.
        requested: The environment that was asked for.
        wish: What whoever asked has signed.
    """
    stamp = datetime.fromtimestamp(when, UTC).strftime("%Y%m%d-%H%M%S")
    plain = re.sub(r"[^a-z0-9.]+", "-", branch.lower()).strip("-.")[:40] or "branch"
    # Within one second feature/a-b and feature/a/b may come to one commit, or one branch be asked for twice.
    exact = hashlib.sha256("\n".join((branch, requested, wish)).encode()).hexdigest()[:6]
    return f"{stamp}-{plain}-{commit[:9]}-{exact}"


def new(
    settings: Settings,
    *,
    branch: str,
    commit: str,
    pusher: str,
    requested: str = "",
    where: str = RUNNER,
    when: float | None = None,
    wish: str = "",
) -> Run:
    """A run that is queued now; one of that name that is there already is kept as it is.

    Args:
        settings: The instance's.
        branch: The branch that was pushed.
        commit: The commit that it is for.
        pusher: On whose behalf it runs.
        requested: The environment that was asked for.
        where: Who will run it.
        when: When it was asked for, in seconds since 1970; now by default.
        wish: What whoever asked has signed, when no push says that they did.
    """
    when = time.time() if when is None else when
    # The same push may be run by the runner and by hand, at the same moment.
    named = name(branch, commit, when, requested=requested, wish=wish) + (f"-{HERE}" if where == HERE else "")
    run = Run(named, branch, commit, pusher, requested, where=where, queued=when, wish=wish)
    with contextlib.suppress(UsageError):
        return load(settings, run.id)
    # It appears whole: whoever sees that there is one folder more finds a run in it.
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=_made(folder(settings))))
    _write(fresh, run)
    try:
        fresh.rename(folder(settings) / run.id)
    except OSError:  # somebody else was faster, with the same
        shutil.rmtree(fresh)
        return load(settings, run.id)
    return run


def save(settings: Settings, run: Run) -> None:
    """Keep a run, all at once."""
    _write(_made(folder(settings) / run.id), run)


def _made(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    return place


def _write(place: Path, run: Run) -> None:
    fresh = place / f".{_RUN}.new"
    fresh.write_text(json.dumps(asdict(run), indent=1) + "\n")
    fresh.replace(place / _RUN)


def load(settings: Settings, run: str) -> Run:
    """The run of that name.

    Raises:
        UsageError: There is none; the message names the last ones.
    """
    file = folder(settings) / run / _RUN
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", run) or not file.is_file():
        raise unknown("run", run, [found.id for found in every(settings)[:5]])
    return _read(file)


def every(settings: Settings) -> list[Run]:
    """Every run, the newest first."""
    found: list[Run] = []
    for file in folder(settings).glob(f"[!.]*/{_RUN}"):
        with contextlib.suppress(FileNotFoundError):  # it was pruned a moment ago
            found.append(_read(file))
    return sorted(found, key=lambda run: (run.queued, run.id), reverse=True)


@contextmanager
def attended(settings: Settings, run: Run) -> Generator[None]:
    """Let everybody see that somebody sees to a foreground run while this block runs; a process that is killed sees to none."""
    place = _made(folder(settings) / run.id)
    with tempfile.NamedTemporaryFile(prefix=_ATTENDED, dir=place, delete=False) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # It is locked before it can be found: nobody finds a run that seems to be left alone.
        Path(file.name).replace(place / _ATTENDED)
        yield


def settled(settings: Settings) -> list[Run]:
    """Every run, the newest first; of foreground runs that nobody sees to any more it is written down that they have failed."""
    found: list[Run] = []
    for run in every(settings):
        with contextlib.suppress(FileNotFoundError, UsageError):  # it ended and was pruned a moment ago
            found.append(_settled(settings, run) if run.where == HERE and not run.over else run)
    return found


def _settled(settings: Settings, run: Run) -> Run:
    file = folder(settings) / run.id / _ATTENDED
    with contextlib.ExitStack() as stack:
        if file.is_file():
            try:
                fcntl.flock(stack.enter_context(file.open("rb")), fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return run
        elif run.state == QUEUED:
            return run  # it was made a moment ago
        # Whoever saw to it has let go of it, and may have written down how it ended since it was read.
        run = load(settings, run.id)
        if not run.over:
            run = replace(run, state=FAILED, ended=time.time(), trouble="it was interrupted")
            save(settings, run)
        return run


def prune(settings: Settings, *, keep: int = KEPT) -> None:
    """Remove the oldest runs that have ended, but for the last `keep` runs."""
    for run in every(settings)[keep:]:
        if run.over:
            shutil.rmtree(folder(settings) / run.id, ignore_errors=True)


def _read(file: Path) -> Run:
    known = {one.name for one in fields(Run)}
    data: dict[str, Any] = {key: value for key, value in json.loads(file.read_text()).items() if key in known}
    data["stages"] = tuple(Stage(**stage) for stage in data.get("stages", ()))
    return Run(**data)


@contextmanager
def alone(settings: Settings, *, say: Callable[[str], None] | None = None, timeout: float = LOCK_TIMEOUT) -> Generator[None]:
    """Keep every other run of the instance waiting while this block runs, in whatever process or container.

    Raises:
        WaitTimeout: Another run did not end.
    """
    folder(settings).mkdir(parents=True, exist_ok=True)
    with (folder(settings) / _LOCK).open("a") as file:

        def take() -> Ready[None] | Pending:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return Pending("another run is under way; waiting for it")
            return Ready(None)

        wait_for("the pipeline to be free", take, timeout=timeout, on_change=say, hint="See `./invoke ci.runs`.")
        yield
