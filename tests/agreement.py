"""What the policy says of an image and an environment, case by case: the table that hook, tasks and admission are held to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from slipway.policy import Deploy, Order

RELEASE, BRANCH = "v0.2.0", "release/v0.2.0"
LOCK = "sha256:" + "a1" * 32


@dataclass(frozen=True)
class Case:
    """One image on its way into one environment.

    Attributes:
        state: What is known of the image, in words.
        asked: The same as the policy's facts.
        rules: The rules that forbid it; none when it may come.
    """

    state: str
    asked: Deploy
    rules: tuple[str, ...] = ()

    @property
    def environment(self) -> str:
        """Where it wants to go."""
        return self.asked.environment

    @property
    def name(self) -> str:
        """The case, for a person."""
        return f"{self.environment}: {self.state}"

    @property
    def image(self) -> str:
        """An image of this case and of no other."""
        return f"localhost:5001/agreement@sha256:{hashlib.sha256(self.name.encode()).hexdigest()}"


def feature(environment: str) -> Deploy:
    """A feature branch's image, somewhere on request."""
    return Deploy(environment, "feature/basket", "request", "developer", on_branch=True, order="newer", wished=True, grows=True)


def staged(
    *,
    order: Order = "newer",
    lock: str = LOCK,
    locked: bool = True,
    on_branch: bool = True,
    held: bool = False,
    grows: bool = True,
) -> Deploy:
    """A release branch's image on its way to stage, by itself."""
    return Deploy(
        "stage",
        BRANCH,
        "automatic",
        "developer",
        on_branch=on_branch,
        order=order,
        release=RELEASE,
        lock=lock,
        locked=locked,
        held=held,
        grows=grows,
    )


def dispatched(
    *,
    passed: tuple[str, ...] = ("stage",),
    approvers: tuple[str, ...] = ("lead",),
    authors: tuple[str, ...] = ("developer",),
    locked: bool = True,
    order: Order = "newer",
    by_itself: bool = False,
    loaded: tuple[str, ...] = (),
) -> Deploy:
    """A release's image on its way to prod."""
    return Deploy(
        "prod",
        BRANCH,
        "automatic" if by_itself else "dispatch",
        "developer",
        on_branch=True,
        order=order,
        release=RELEASE,
        lock=LOCK,
        locked=locked,
        passed=passed,
        approvers=approvers,
        authors=authors,
        loaded=loaded,
        held=False,
        grows=True,
    )


def back(environment: str, *, restores: bool) -> Deploy:
    """An image that comes back."""
    return Deploy(environment, BRANCH, "rollback", "developer", on_branch=True, order="older", restores=restores)


CASES = (
    Case("of a feature branch", feature("stage"), ("branches",)),
    Case("of a feature branch", feature("prod"), ("branches", "lock", "stage-first", "approval", "dispatch")),
    Case(
        "of develop",
        Deploy("stage", "develop", "automatic", "developer", on_branch=True, order="newer", held=False, grows=True),
        ("branches",),
    ),
    Case(
        "of main",
        Deploy("stage", "main", "automatic", "lead", on_branch=True, order="newer", held=False, grows=True),
        ("branches",),
    ),
    Case(
        "of a branch that nobody knows",
        Deploy("stage", "mine", "request", "developer", on_branch=True, order="new", wished=True, grows=True),
        ("branches",),
    ),
    Case("pushed to a release branch", staged()),
    Case("pushed to a release branch, for the first time", staged(order="new")),
    Case("of a release branch, without a lock", staged(lock=""), ("lock",)),
    Case("of a release branch, not what its lock says", staged(locked=False), ("lock",)),
    Case("said to be of a release branch, and of none", staged(on_branch=False), ("origin",)),
    Case("of a release branch, older than what runs", staged(order="older"), ("order",)),
    Case("of a release branch, and stage was rolled back from it", staged(held=True), ("held",)),
    Case("of a release branch, under a version that does not go up", staged(grows=False), ("version",)),
    Case("ran there before", back("stage", restores=True)),
    Case("is said to have run there before", back("stage", restores=False), ("rollback",)),
    Case("approved, and stage ran it", dispatched()),
    Case("approved by its author and by somebody else", dispatched(approvers=("developer", "lead"))),
    Case("not run by stage", dispatched(passed=()), ("stage-first",)),
    Case("run by dev and qa alone", dispatched(passed=("dev", "qa")), ("stage-first",)),
    Case("approved by nobody", dispatched(approvers=()), ("approval",)),
    Case("approved by somebody who may not", dispatched(approvers=("pipeline",)), ("approval",)),
    Case("approved by its author alone", dispatched(authors=("lead",)), ("four-eyes",)),
    Case("approved, but of nobody knows whom", dispatched(authors=()), ("four-eyes",)),
    Case("approved, and not what its lock says", dispatched(locked=False), ("lock",)),
    Case("approved, and sent by nobody", dispatched(by_itself=True), ("dispatch",)),
    Case("approved, and older than what runs", dispatched(order="older"), ("order",)),
    Case("ran there before", back("prod", restores=True)),
    Case("is said to have run there before", back("prod", restores=False), ("rollback",)),
)

# What the same policy says when it requires a load test of a release (load: required).
LOADED = (
    Case("passed a load test in stage", dispatched(loaded=("stage",))),
    Case("passed no load test", dispatched(), ("load",)),
    Case("passed a load test in qa alone", dispatched(loaded=("qa",)), ("load",)),
    Case("passed no load test, and ran there before", back("prod", restores=True)),
)
