"""What the policy is asked about, and how it answers when it forbids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slipway.policy.model import Kind, Order


@dataclass(frozen=True)
class Refusal:
    """One rule that forbids, and what it would allow."""

    rule: str
    wrong: str
    allowed: str

    def __str__(self) -> str:
        return f"REFUSED by rule '{self.rule}': {self.wrong}.\nAllowed: {self.allowed}."


@dataclass(frozen=True)
class Deploy:
    """The facts of a change of what an environment runs.

    Attributes:
        environment: Where.
        branch: Where the artifacts come from.
        kind: How it came to be: by itself, on request, by dispatch; or back to what ran before.
        user: On whose behalf; for a dispatch and a rollback it must be a role that may.
        on_branch: Whether the commit of every artifact is on that branch.
        order: How the commits stand to those that run there: the worst of all services.
        release: The release ("v0.2.0") that the records name.
        lock: The hash of its lock.
        locked: Whether the records are exactly what that lock says.
        passed: The environments in which this very lock has succeeded.
        authors: Everybody who pushed to the release's branch, as the Git server authenticated them.
        approvers: Everybody who approved this very lock.
        restores: For a rollback and a revert: whether the records are exactly what ran there before.
        running: The release that runs there now; "" when there is none.
        loaded: The environments in which this very lock has passed a load test.
        held: Whether the environment was rolled back from this, or from something newer, and nobody has promoted since.
        wished: For a request: whether somebody who is known asked for it.
        version: The version that the records name.
        former: The version of the same service that runs there now; "" when there is none.
        grows: Whether the version may follow the one that runs there.
    """

    environment: str
    branch: str
    kind: Kind
    user: str
    on_branch: bool
    order: Order
    release: str = ""
    lock: str = ""
    locked: bool = False
    passed: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    restores: bool = False
    running: str = ""
    loaded: tuple[str, ...] = ()
    held: bool = True
    wished: bool = False
    version: str = ""
    former: str = ""
    grows: bool = False


@dataclass(frozen=True)
class Released:
    """A release that runs where approval is needed: its name and the commit that its lock names."""

    release: str
    commit: str


@dataclass(frozen=True)
class Push:
    """The facts of a push of one reference.

    Attributes:
        repository: "app", or one of the GitOps repositories.
        user: Who pushes, as the Git server authenticated them.
        reference: "refs/heads/feature/x".
        old: The commit it has; "" when there is no such reference yet.
        new: The commit it gets; "" when it is removed.
        fast_forward: Whether `new` contains `old`; of no account when either is "".
        merged: When the push is exactly one merge commit on top of `old`: the other commit that it merges; else "".
        merge_of: Every branch that contains that other commit.
        merge_clean: Whether the merge holds what git makes of the two by itself, and nothing else.
        merge_passed: Whether that other commit passed the pipeline.
        based_on: Of a new branch: the branches that contain its commit, and the tags that are exactly on it.
        tags: The tags there are.
        releases: The releases there are: of every branch and every lock ("v0.2.0").
        prod: The releases that run where approval is needed.
        options: The options that came with it: {"deploy": "dev"}.
        approval: For a GitOps repository: whether the push adds an approval by its user, and nothing else.
    """

    repository: str
    user: str
    reference: str
    old: str = ""
    new: str = ""
    fast_forward: bool = False
    merged: str = ""
    merge_of: tuple[str, ...] = ()
    merge_clean: bool = False
    merge_passed: bool = False
    based_on: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    prod: tuple[Released, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    approval: bool = False
