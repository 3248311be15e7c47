"""One load test, whole, and the file that it is kept in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from slipway.load.model.client import Client
from slipway.load.model.planned import Plan, Target
from slipway.load.model.servers import Books, Pods, Server
from slipway.load.model.verdict import CODES, INVALID, Verdict
from slipway.load.written import NotThat, plain, read

# Of the file that a run is kept in; one with another number was written by another version of this program.
SCHEMA = 4


@dataclass(frozen=True)
class Host:
    """The machine.

    Attributes:
        memory: In bytes.
        load: The load average of a minute when the test began.
    """

    cores: int
    memory: int
    model: str
    kernel: str
    load: float


@dataclass(frozen=True)
class Change:
    """What was changed in the environment while the load was on.

    Attributes:
        kind: rollout, promotion or rollback.
        begin: The moment at which it began.
        end: The moment at which it was done, or had failed.
        failed: Why it was not done; empty when it was.
    """

    kind: str
    begin: float
    end: float
    failed: str = ""


@dataclass(frozen=True)
class Run:
    """One load test, whole.

    Attributes:
        id: Its name, which its requests and its data carry.
        time: When it began, in UTC (ISO 8601).
        tools: Versions of what took part.
        comparable: The hash of the settings that must be equal for two runs to be compared.
        rules: What Git calls the contents of the files that it was planned and judged by, by path.
        change: What was driven through the environment meanwhile; None for nothing.
    """

    id: str
    time: str
    tools: Mapping[str, str]
    host: Host
    plan: Plan
    target: Target
    client: Client
    server: Server
    pods: Pods
    books: Books
    verdict: Verdict
    comparable: str
    rules: Mapping[str, str]
    change: Change | None = None

    @property
    def code(self) -> int:
        """What the command exits with."""
        return CODES.get(self.verdict.outcome, CODES[INVALID])


def to_json(run: Run) -> str:
    """A run as text; `from_json` makes the same run of it."""
    return json.dumps({"schema": SCHEMA, "run": plain(run)}, allow_nan=False, ensure_ascii=False) + "\n"


def from_json(text: str) -> Run:
    """The run that a text holds.

    Raises:
        NotThat: It holds none, or one of another version of this program.
    """
    try:
        told = json.loads(text)
    except ValueError as error:
        raise NotThat(f"this is no run of a load test: {error}.") from None
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise NotThat(f"this run was kept by another version of Slipway (schema {SCHEMA} is wanted). Run the test again.")
    return read(Run, told.get("run"), "run")
