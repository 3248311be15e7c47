"""The push log: who pushed what to the application's repository, as the Git server authenticated them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import urllib3

from slipway import git
from slipway.errors import SlipwayError
from slipway.waiting import Clock, Ready, wait_for

APP = "app"

# Whoever pushed while nobody wrote it down.
UNKNOWN = "unknown"

_TIMEOUT = 10.0
_OK, _UNCHANGED, _NONE, _FAILED = 200, 304, 404, 500

# Seconds that the server may be away while somebody needs the log to judge by: its pod has time to come back.
PATIENCE = 180.0

_BRANCHES = "refs/heads/"


class PushLogError(SlipwayError):
    """The push log cannot be read now."""


class Away(PushLogError):
    """The Git server does not answer now; it may later."""


class _Access(Protocol):
    def remote(self, repository: str) -> git.Remote: ...


@dataclass(frozen=True)
class Pushed:
    """One reference that one push moved.

    Attributes:
        time: When, in seconds since 1970.
        user: Who, as the Git server authenticated them.
        before: The commit it named before; zeros for none.
        after: The commit it names now; zeros when it was removed.
        options: What was asked for with the push, such as deploy=dev.
    """

    time: float
    user: str
    reference: str
    before: str
    after: str
    repository: str = APP
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def branch(self) -> str:
        """The branch that was pushed; "" for any other reference."""
        return self.reference.removeprefix(_BRANCHES) if self.reference.startswith(_BRANCHES) else ""

    @property
    def removed(self) -> bool:
        """Whether the reference is gone."""
        return self.after == git.ZERO or not self.after


@dataclass(frozen=True)
class Read:
    """What a look at the log found; `unchanged` when it is as it was at the last look."""

    pushes: tuple[Pushed, ...] = ()
    unchanged: bool = False


class Reader:
    """Reads the log again and again, and lets the server say when nothing is new.

    Args:
        remote: The application's repository, and who asks.
    """

    def __init__(self, remote: git.Remote) -> None:
        self._remote, self._tag, self._had = remote, "", False
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT)

    def read(self) -> Read:
        """The log as it is now.

        Raises:
            PushLogError: The Git server does not answer, or refuses.
        """
        place = urlsplit(self._remote.url)
        token = base64.b64encode(f"{self._remote.user}:{self._remote.password}".encode()).decode()
        headers = {"Host": place.netloc.rpartition(":")[0] or place.netloc, "Authorization": f"Basic {token}"}
        if self._tag:
            headers["If-None-Match"] = self._tag
        # Not every resolver knows that names below localhost mean this machine.
        host = "127.0.0.1" if (place.hostname or "").endswith(".localhost") else place.hostname
        url = f"{place.scheme}://{host}:{place.port or 80}{place.path}/pushes"
        try:
            answer = self._pool.request("GET", url, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise Away(f"the Git server at {self._remote.url} does not answer ({type(error).__name__})") from error
        finally:
            # A connection that is kept leads for ever to where it once led: after a restart of the node that may be a pod
            # which was given the address of another one, and answers for it.
            self._pool.clear()
        if answer.status == _UNCHANGED:
            return Read(unchanged=True)
        if answer.status == _NONE and not self._had:  # nobody has pushed yet
            return Read()
        if answer.status != _OK:
            trouble = Away if answer.status >= _FAILED else PushLogError
            raise trouble(f"the Git server at {self._remote.url} answers {answer.status} when asked for the push log")
        found = parse(answer.data.decode(errors="replace"))
        self._tag, self._had = answer.headers.get("ETag", ""), True
        return Read(found)


def push_log(access: _Access, *, clock: Clock | None = None) -> list[Pushed]:
    """Every push to the application's repository, the oldest first; a server that is away is asked again.

    Args:
        access: Who asks; anybody whom the Git server knows may.
        clock: Another clock, for tests.

    Raises:
        PushLogError: The Git server refuses.
        WaitTimeout: It does not answer.
    """
    reader = Reader(access.remote(APP))
    read = wait_for(
        "the Git server's push log",
        lambda: Ready(reader.read()),
        timeout=PATIENCE,
        tolerate=(Away,),
        hint="Look at `./invoke status`, and repeat.",
        clock=clock,
    )
    return list(read.pushes)


def parse(text: str) -> tuple[Pushed, ...]:
    """The pushes in a log; a line that is not whole, because it is being written, is left out."""
    found: list[Pushed] = []
    for line in text.splitlines():
        try:
            data = json.loads(line)
            found.append(_pushed(data))
        except (ValueError, KeyError, TypeError):
            continue
    return tuple(found)


def _pushed(data: Mapping[str, Any]) -> Pushed:
    return Pushed(
        time=_seconds(data["time"]),
        user=str(data["user"]),
        reference=str(data["reference"]),
        before=str(data.get("before") or git.ZERO),
        after=str(data.get("after") or git.ZERO),
        repository=str(data.get("repository", APP)),
        options={str(key): str(value) for key, value in (data.get("options") or {}).items()},
    )


def _seconds(when: object) -> float:
    if isinstance(when, int | float):
        return float(when)
    moment = datetime.fromisoformat(str(when))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
