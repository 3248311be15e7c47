"""Cutting a release: its branch begins at develop's tip, a hotfix's at the tag of what prod runs; stage gets it by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway import access, git, gitops, locks, policy, versions
from slipway.access import Access
from slipway.errors import SlipwayError, UsageError
from slipway.progress import Progress
from slipway.promotion import Refused
from slipway.releases import state
from slipway.releases.state import HEADS, TAGS, State
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Cut:
    """A release that was cut, and that runs where releases are tried.

    Attributes:
        release: The release.
        branch: Its branch.
        commit: Where the branch stands.
        origin: Where it began: "develop", or the tag of a release.
        made: Whether the branch was made now; not when an interrupted command was run again.
        environment: The environment that runs it.
        lock: Its lock.
        digests: Its images, by service.
        run: The run of the pipeline.
        next: What to type next.
    """

    release: str
    branch: str
    commit: str
    origin: str
    made: bool
    environment: str
    lock: str
    digests: dict[str, str]
    run: str
    next: str


def cut(settings: Settings, version: str, *, user: str, progress: Progress) -> Cut:
    """The release X.Y.Z, cut and running in stage.

    Args:
        settings: The instance's.
        version: The version: X.Y.0 begins at develop's tip, X.Y.Z at the tag of the release X.Y.* that prod runs.
        user: Who cuts it.
        progress: Shows what happens.

    Raises:
        UsageError: It is no version, or the policy knows no releases.
        Refused: The policy forbids it.
        SlipwayError: The pipeline's run failed: the release is cut, and does not run in stage.
    """
    release = state.name(version)
    mine = access.open(settings, user)
    environment = state.gate(settings).after
    with progress.showing():
        with progress.phase(f"Cut {release}") as phase:
            gitops.patiently(mine.app, mine.fetch)
            there = state.look(mine)
            line, branch = _branch(settings, release)
            origin, commit = _begin(mine, there, line, release)
            reference = f"{HEADS}{branch}"
            heads, tags = (git.local_refs(mine.mirror, prefix) for prefix in (HEADS, TAGS))
            # What an interrupted command has cut already, and nobody has gone on with.
            made = heads.get(reference) != commit or f"{TAGS}{release}" in tags
            if made:
                _check(mine, there, policy.Push(policy.APP, user, reference, new=commit), origin)
                git.push(mine.mirror, mine.app, {reference: commit}, only_new=True)
            phase.say(f"{branch} at {commit[:9]}, from {origin}" if made else f"{branch} is there")
        with progress.phase(f"{environment} gets {release}") as phase:
            run = state.follow(settings, branch, commit, phase=phase)
    there = state.look(mine)
    lock = there.choose(release, running=next((one.lock for one in there.services(environment).values()), ""))
    if lock is None or not locks.passed(lock, there.results, environment):
        raise SlipwayError(
            f"{release} is cut, and {environment} did not come to run it: {run.trouble or run.verdict or run.state}.\n"
            f"`{settings.command(f'ci.runs --run {run.id}')}` tells what was done; push to {branch}, or run "
            f"`{settings.command(f'ci --ref {branch}')}`."
        )
    return Cut(
        release=release,
        branch=branch,
        commit=commit,
        origin=origin,
        made=made,
        environment=environment,
        lock=lock.hash,
        digests=lock.digests,
        run=run.id,
        next=state.onward(settings, release),
    )


def _branch(settings: Settings, release: str) -> tuple[policy.Line, str]:
    for line in settings.policy.lines:
        named = line.release(line.example)
        if named:
            return line, line.example.replace(named, release)
    raise UsageError(
        f"the preset {settings.policy.preset} has no branches for releases: what is pushed to its main line is one. "
        f"See ./invoke policy."
    )


def _begin(mine: Access, there: State, line: policy.Line, release: str) -> tuple[str, str]:
    """From what a release is cut, and the commit."""
    wanted = versions.parse(release) or versions.Version(0, 0, 0)
    if wanted.patch:
        runs = [found for one in state.in_prod(mine.settings, there) if (found := versions.parse(one.release))]
        family = [found for found in runs if (found.major, found.minor) == (wanted.major, wanted.minor) and found < wanted]
        tag = f"v{max(family)}" if family else ""
        commit = git.local_refs(mine.mirror, TAGS).get(f"{TAGS}{tag}")
        if commit:
            return tag, commit
    # A hotfix of what does not run in prod begins nowhere; the policy says so of whatever else it is tried from.
    commit = git.resolve(mine.mirror, f"{HEADS}{line.cut_from}")
    if commit is None:
        raise UsageError(f"there is no branch {line.cut_from} to cut {release} from. See ./invoke policy.")
    return line.cut_from, commit


def _check(mine: Access, there: State, push: policy.Push, origin: str) -> None:
    try:
        state.check(mine, there, push)
    except Refused as refused:
        tags = git.local_refs(mine.mirror, TAGS)
        untagged = [one.release for one in state.in_prod(mine.settings, there) if f"{TAGS}{one.release}" not in tags]
        if untagged and not origin.startswith("v"):
            hint = f"{untagged[0]} runs in prod and has no tag yet, which ./invoke release.finish {untagged[0][1:]} makes."
            refused.args = (f"{refused}\n{hint}",)
        raise


def show(made: Cut, console: Console) -> None:
    """Print what was cut, for a person."""
    begun = f"cut from {made.origin}" if made.made else "was cut before"
    console.print(f"● {made.release}  {begun}, {made.branch} at {made.commit[:9]}", markup=False)
    console.print(
        f"  {made.environment} runs it by itself: lock {made.lock.removeprefix('sha256:')[:12]} (run {made.run})", markup=False
    )
    for service, digest in sorted(made.digests.items()):
        console.print(f"    {service:<12} {digest[:19]}", markup=False)
    who = ", by somebody who did not push to it" if " approve " in made.next else ""
    console.print(f"\nNext{who}: {made.next}", markup=False)
