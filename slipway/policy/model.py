"""What the policy says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Reach = Literal["automatic", "request", "dispatch", "refused"]
Kind = Literal["automatic", "request", "dispatch", "rollback", "revert"]
Order = Literal["newer", "same", "older", "unrelated", "new"]
Load = Literal["off", "required"]

REACHES: tuple[Reach, ...] = ("automatic", "request", "dispatch", "refused")
LABELS = ("", "dev", "rc")
CONDITIONS = ("passed", "released")
LOADS: tuple[Load, ...] = ("off", "required")
# The kinds of changes that somebody asked for.
ASKED: tuple[Kind, ...] = ("request", "dispatch")
# The tier whose environments the cluster guards: it runs approved images there, and nothing else.
GUARDED = "prod"

APP = "app"
# What the application's repository holds besides branches and tags: how the pipeline's runs ended, as notes on commits.
RESULTS = "refs/notes/ci"
# The only branch of a GitOps repository.
RECORDS = "refs/heads/main"
# What a push may ask for: to be deployed (git push -o deploy=dev), or that nothing be made of it.
DEPLOY, SKIP = PUSH_OPTIONS = ("deploy", "ci.skip")

_RELEASE = re.compile(r"v(0|[1-9][0-9]*)[.](0|[1-9][0-9]*)[.](0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Environment:
    """One environment: its tier, and the GitOps repository its records lie in."""

    name: str
    tier: str
    repository: str


@dataclass(frozen=True)
class Role:
    """Somebody who uses the instance: which Git repositories they may push to."""

    name: str
    push: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One kind of branch.

    Attributes:
        name: As people write it: "release/vX.Y.Z".
        pattern: A regular expression for a whole branch name; its group `release`, when it has one, names the release.
        example: A branch of this kind.
        create: Who may make such a branch.
        push: Who may push to it directly.
        merge: Who may land a merge on it that brings what it takes.
        takes: The names of the lines it takes merges of.
        condition: What must hold for a merged commit: it "passed" the pipeline, or its release is "released" (runs in
            the environment that needs approval).
        removable: Whether those who may push may remove it again.
        cut_from: For a line of releases: the branch that a release with Z = 0 is cut from.
        label: What its versions are called before they are final; "" takes it from the branch's name.
        reach: How it reaches each environment.
    """

    name: str
    pattern: str
    example: str
    create: tuple[str, ...]
    push: tuple[str, ...]
    merge: tuple[str, ...]
    takes: tuple[str, ...]
    condition: str
    removable: bool
    cut_from: str
    label: str
    reach: Mapping[str, Reach]

    @property
    def releases(self) -> bool:
        """Whether what it brings is a release, with a lock: it goes where a dispatch is needed."""
        return "dispatch" in self.reach.values()

    def matches(self, branch: str) -> bool:
        """Whether the branch is of this line."""
        return re.fullmatch(self.pattern, branch) is not None

    def release(self, branch: str) -> str:
        """The release that the branch is for ("v0.2.0"); "" when its name does not say."""
        found = re.fullmatch(self.pattern, branch)
        return (found.groupdict().get("release") or "") if found else ""


@dataclass(frozen=True)
class Gate:
    """What an environment asks of a release before it takes it.

    Attributes:
        environment: The one that is guarded.
        after: Where the very same lock must have succeeded first.
        approvers: Roles that may approve; one of them, not an author, must have.
        dispatchers: Roles that may send a release there, and back.
    """

    environment: str
    after: str
    approvers: tuple[str, ...]
    dispatchers: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """The whole policy, with one preset chosen.

    Attributes:
        preset: Its name.
        presets: Those there are.
        options: What was switched on or off.
        environments: In the order of promotion.
        roles: By name.
        lines: The kinds of branches; the first that matches counts.
        approvals: The gates, by environment.
        tags: Who may make the tag of a release.
        results: Who may say how a run ended.
        load: Whether a lock has to pass a load test, in the environment before, for an environment that needs approval.
    """

    preset: str
    presets: tuple[str, ...]
    options: Mapping[str, bool]
    environments: Mapping[str, Environment]
    roles: Mapping[str, Role]
    lines: tuple[Line, ...]
    approvals: Mapping[str, Gate]
    tags: tuple[str, ...]
    results: tuple[str, ...]
    load: Load = "off"

    @property
    def seeds(self) -> tuple[str, ...]:
        """The branches that an instance begins with: the lines that are one branch, main first."""
        fixed = [line.name for line in self.lines if line.name == line.example]
        return tuple(sorted(fixed, key=lambda name: name != "main"))


def number(release: str) -> tuple[int, int, int] | None:
    """The numbers of a release ("v0.2.0"), which compare as releases do; None for anything else."""
    found = _RELEASE.fullmatch(release)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def line(policy: Policy, branch: str) -> Line | None:
    """The line that the branch is of; None when the policy does not know such branches."""
    return next((found for found in policy.lines if found.matches(branch)), None)


def taker(policy: Policy, branch: str) -> Line | None:
    """The line that takes a merge of the branch once its commit has passed; None when there is none."""
    found = line(policy, branch)
    return next((one for one in policy.lines if found and found.name in one.takes and one.condition == "passed"), None)


def asks(policy: Policy, user: str) -> bool:
    """Whether a user can ask for a deployment: a role that is somebody, and not what says how runs ended."""
    return user in policy.roles and user not in policy.results


def comes_home(policy: Policy, environment: str, branch: str, former: str, *, asked: bool) -> bool:
    """Whether a branch may come to an environment after another one that had more: it is its turn, and no step back.

    That is so of releases after what is none, where they come by themselves. And when somebody asks for it: of the branch
    that the environment follows by itself, after one that it does not; else of the one that the former is merged into.

    Args:
        policy: The policy.
        environment: The environment.
        branch: The branch that comes.
        former: The branch that runs there.
        asked: Whether somebody asks for it.
    """
    new, had = line(policy, branch), line(policy, former)
    if new is None or branch == former:
        return False
    reach = new.reach.get(environment, "refused")
    followed = had is not None and had.reach.get(environment) == "automatic"
    if reach == "automatic" and new.releases and not (had and had.releases):
        return True
    merged = had is not None and had.name in new.takes
    return asked and not followed and (reach == "automatic" or (reach == "request" and merged))
