"""What is explained of a service in an environment."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from slipway.gitops import Record
from slipway.history import Change
from slipway.policy import Deploy, Refusal


@dataclass(frozen=True)
class Running:
    """Pods of a service that run one image; `ready` of them take requests."""

    digest: str
    pods: int
    ready: int


@dataclass(frozen=True)
class Source:
    """The commit of the application that a record names; `time` is in seconds since 1970."""

    commit: str
    author: str
    time: int
    subject: str


@dataclass(frozen=True)
class Held:
    """What an environment was rolled back from, and what does not come again by itself.

    Attributes:
        version: The version that ran.
        branch: The branch it came from.
        release: The release it belongs to; empty for none.
        commit: The commit of the GitOps repository that rolled back.
    """

    version: str
    branch: str
    release: str
    commit: str


@dataclass(frozen=True)
class Next:
    """The next environment, and what it would say.

    Attributes:
        environment: Its name.
        how: How the branch reaches it: "automatic", "request", "dispatch" or "refused".
        there: Whether it runs this very artifact already.
        facts: What the policy was told.
        refusals: What it would answer; empty when the promotion may happen.
    """

    environment: str
    how: str
    there: bool
    facts: Deploy
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True)
class Explained:
    """What runs of a service in an environment.

    Attributes:
        record: What Git says.
        change: The commit of the GitOps repository that brought it.
        approved_by: Who approved the lock that the record names.
        source: The commit of the application that it was made from; None when app.git does not have it.
        running: What the cluster says, by image; None when it does not answer.
        held: What it was rolled back from, the newest first; empty once something else has come to stay.
        next: The next environment; None for the last one, and for what the pipeline does not promote.
        command: What to type next.
    """

    service: str
    environment: str
    record: Record
    change: Change | None
    approved_by: tuple[str, ...]
    source: Source | None
    running: tuple[Running, ...] | None
    held: tuple[Held, ...]
    next: Next | None
    command: str

    @property
    def exact(self) -> bool:
        """Whether the pods run what Git says, and nothing else."""
        return bool(self.running) and all(one.digest == self.record.digest for one in self.running or ())

    def as_dict(self) -> dict[str, Any]:
        """The same, for machines."""
        told = self.change.as_dict() if self.change else None
        return {**asdict(self), "change": told, "runs_what_git_says": self.exact if self.running is not None else None}
