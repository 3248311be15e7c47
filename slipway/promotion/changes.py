"""What a promotion is asked for, what comes out of it, and how it can fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slipway import policy
from slipway.errors import SlipwayError
from slipway.gitops import Entry, Record

# What a commit that brings something new is called, by how it came to be.
KINDS: Mapping[policy.Kind, str] = {"automatic": "deploy", "request": "request", "dispatch": "promotion"}


@dataclass(frozen=True)
class Change:
    """What shall run in an environment from now on, and why.

    Attributes:
        environment: The environment.
        kind: What the commit is called: "deploy", "request", "release", "promotion", "rollback" or "revert".
        branch: The branch of the application in whose name it comes; empty when each record says its own.
        records: What shall run. Environment, branch, release and lock are set as the change has them; values and manifests
            are rendered from each one's own source commit.
        entries: What shall run, byte for byte: what ran before and comes back.
        how: How the policy sees it: "automatic", "request", "dispatch", "rollback" or "revert".
        release: The release it belongs to.
        lock: The lock of that release.
        promoted_from: The environment it comes from.
        triggered_by: On whose behalf it is made.
        wish: For a request that no push made: the wish of whoever made it, as they signed it.
        restores: The commit whose records come back.
        files: Other files of the same commit, such as a lock.
        reason: The first words of the commit's subject.
    """

    environment: str
    kind: str
    branch: str = ""
    records: tuple[Record, ...] = ()
    entries: tuple[Entry, ...] = ()
    how: policy.Kind = "automatic"
    release: str = ""
    lock: str = ""
    promoted_from: str = ""
    triggered_by: str = ""
    wish: str = ""
    restores: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    reason: str = ""


@dataclass(frozen=True)
class Deployed:
    """An environment that runs what was wanted.

    Attributes:
        environment: The environment.
        commit: The commit of the GitOps repository that it runs.
        made: Whether that commit was made for it; not when nothing differed.
        entries: What was wanted.
        changed: The services whose records changed.
        digests: What their pods were seen to run, by service.
    """

    environment: str
    commit: str
    made: bool
    entries: tuple[Entry, ...]
    changed: tuple[str, ...]
    digests: Mapping[str, str]


class Refused(SlipwayError):
    """The policy refuses a change; the message says by which rules, and what they would allow."""

    def __init__(self, refusals: Sequence[policy.Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__("\n".join(str(refusal) for refusal in refusals))

    @property
    def rules(self) -> frozenset[str]:
        """The names of the rules."""
        return frozenset(refusal.rule for refusal in self.refusals)


class Overtaken(SlipwayError):
    """A later commit changes the same services, or some of them while the rest runs: nobody waits for this one any more."""


class NotRunning(SlipwayError):
    """An environment cannot come to run what Git records; the message says why, and `never` what of it has never run."""

    def __init__(self, message: str, *, never: Sequence[Entry] = ()) -> None:
        self.never = tuple(never)
        super().__init__(message)


class Unseen(SlipwayError):
    """Argo CD has not even looked at a commit in time."""


class PromotionFailed(SlipwayError):
    """An environment did not come to run what was promoted; `reverted` is the commit that took it back, or empty."""

    def __init__(self, message: str, *, commit: str, reverted: str = "") -> None:
        self.commit, self.reverted = commit, reverted
        super().__init__(message)
