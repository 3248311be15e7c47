"""Finishing a release that prod runs: into main, tagged, and back to develop; as often as it takes, each part once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway import access, git, gitops, policy
from slipway.access import Access
from slipway.errors import SlipwayError
from slipway.locks import Lock
from slipway.progress import Phase, Progress
from slipway.promotion import Refused
from slipway.releases import state
from slipway.releases.state import HEADS, TAGS, State
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

# Somebody else may push in between a few times.
_ATTEMPTS = 5

_ABBREVIATED = 9


@dataclass(frozen=True)
class Finished:
    """A release that is finished.

    Attributes:
        release: The release.
        commit: The commit that it was made of, which its tag names.
        merged: The commits that brought it to each branch; "" where the branch had it already.
        tagged: Whether the tag was made now.
        images: How the registry calls its images.
        unreleased: How many commits its branch has beyond it: they were never in prod, and are in no tag.
        next: What to type next.
    """

    release: str
    commit: str
    merged: dict[str, str]
    tagged: bool
    images: tuple[str, ...]
    unreleased: int
    next: str


def finish(settings: Settings, version: str, *, user: str, progress: Progress) -> Finished:
    """A release that prod runs, merged to main, tagged, and brought back to develop.

    What an interrupted command has done stays done: it can be run again at any time, and goes on.

    Args:
        settings: The instance's.
        version: The release.
        user: Who merges.
        progress: Shows what happens.

    Raises:
        UsageError: It is no version.
        Refused: Prod does not run it, or the policy forbids it.
        SlipwayError: It does not merge back by itself; all the rest is done.
    """
    release = state.name(version)
    mine = access.open(settings, user)
    merged: dict[str, str] = {}
    with progress.showing():
        with progress.phase(f"Find {release}"):
            gitops.patiently(mine.app, mine.fetch)
            there = state.look(mine)
            lock = _released(settings, there, release)
            state.check_alias(lock)
        targets = _targets(settings, lock.branch)
        for line in (one for one in targets if one.condition == "released"):
            with progress.phase(f"Merge {release} to {line.name}") as phase:
                merged[line.name] = _merge(mine, there, line.name, lambda: lock.commit, release=release, phase=phase)
        with progress.phase(f"Tag {release}") as phase:
            tagged = tag(settings, lock)
            images = state.alias(lock)
            phase.say(f"{release} at {lock.commit[:_ABBREVIATED]}, {len(images)} images")
        for line in (one for one in targets if one.condition != "released"):
            with progress.phase(f"Merge {release} to {line.name}") as phase:
                try:
                    merged[line.name] = _merge(mine, there, line.name, lambda: _back(mine, lock), release=release, phase=phase)
                except git.MergeConflict as conflict:
                    raise SlipwayError(_by_hand(mine, release, lock.branch, line.name, conflict)) from conflict
    head = git.resolve(mine.mirror, f"{HEADS}{lock.branch}") or lock.commit
    return Finished(
        release=release,
        commit=lock.commit,
        merged=merged,
        tagged=tagged,
        images=images,
        unreleased=git.count(mine.mirror, head, without=lock.commit),
        next=settings.command(f"history {state.gate(settings).environment}"),
    )


def tag(settings: Settings, lock: Lock) -> bool:
    """Whether the tag of a release was made now; it names what the release was made of, for ever.

    Raises:
        Refused: The policy forbids it, or the tag names another commit.
    """
    pipeline = access.open(settings)
    gitops.patiently(pipeline.app, pipeline.fetch)
    reference = f"{TAGS}{lock.release}"
    there = git.local_refs(pipeline.mirror, TAGS).get(reference)
    if there == lock.commit:
        return False
    push = policy.Push(policy.APP, pipeline.user, reference, old=there or "", new=lock.commit)
    state.check(pipeline, state.look(pipeline), push)
    git.push(pipeline.mirror, pipeline.app, {reference: lock.commit}, only_new=True)
    return True


def _released(settings: Settings, there: State, release: str) -> Lock:
    """The lock of the release that prod runs, whole."""
    environment = state.gate(settings).environment
    runs = there.services(environment)
    found = {record.lock for record in runs.values() if record.release == release}
    lock = there.lock(found.pop()) if len(found) == 1 else None
    others = {name: record.release for name, record in runs.items() if not lock or record.lock != lock.hash}
    if lock is None or others:
        said = ", ".join(f"{name} is of {other or 'no release'}" for name, other in sorted(others.items()))
        wrong = f"{environment} does not run the whole of {release}: {said or 'nothing of it'}"
        promote = settings.command(f"promote {environment} --release {release}")
        allowed = f"a release that {environment} runs ({promote})"
        raise Refused((policy.Refusal("merge", wrong, allowed),))
    return lock


def _targets(settings: Settings, branch: str) -> list[policy.Line]:
    """The branches that take what a release's branch brings; none where the release comes from such a branch itself."""
    lines = settings.policy.lines
    own = policy.line(settings.policy, branch)
    return [line for line in lines if own and line.name == line.example and own.name in line.takes]


def _back(mine: Access, lock: Lock) -> str:
    """What of a release's branch goes back: all of it, when all of it has passed."""
    head = git.resolve(mine.mirror, f"{HEADS}{lock.branch}")
    return head if head and state.passed(mine.mirror, head) else lock.commit


def _merge(mine: Access, there: State, branch: str, brought: Callable[[], str], *, release: str, phase: Phase) -> str:
    """The commit that merges a release into a branch, pushed; "" when the branch has it already."""
    reference = f"{HEADS}{branch}"
    for attempt in range(1, _ATTEMPTS + 1):
        tip, commit = git.resolve(mine.mirror, reference) or "", brought()
        if git.contains(mine.mirror, tip, commit):
            phase.skip(f"{branch} has {commit[:_ABBREVIATED]}")
            return ""
        message = f"Merge {release} into {branch}\n\nRelease: {release}\nMerged-By: {mine.user}\n"
        made = git.merge(mine.mirror, tip, commit, message, identity=mine.identity)
        state.check(mine, there, policy.Push(policy.APP, mine.user, reference, tip, made, merged=commit, merge_clean=True))
        try:
            git.push(mine.mirror, mine.app, {reference: made})
        except git.PushConflict:
            if attempt == _ATTEMPTS:
                raise
            gitops.patiently(mine.app, mine.fetch)
        else:
            phase.say(f"{branch} at {made[:_ABBREVIATED]}")
            return made
    raise SlipwayError("unreachable: the last attempt returns or raises")


def _by_hand(mine: Access, release: str, branch: str, into: str, conflict: git.MergeConflict) -> str:
    feature = f"feature/merge-{release}"
    return (
        f"{release} is released and tagged, and does not merge into {into} by itself: both change {', '.join(conflict.paths)}.\n"
        f"Merge it on a branch, and bring that to {into}:\n"
        f"    git fetch {mine.app.url} {into} {branch}:{branch}\n"
        f"    git switch --create {feature} FETCH_HEAD\n"
        f"    git merge {branch}          # resolve, then git commit\n"
        f"    {mine.settings.command(f'push {feature}')}\n"
        f"    {mine.settings.command(f'merge {feature}')}"
    )


def show(made: Finished, console: Console) -> None:
    """Print what was finished, for a person."""
    console.print(f"● {made.release}  is finished", markup=False)
    for branch, commit in made.merged.items():
        said = f"merged as {commit[:_ABBREVIATED]}" if commit else "has it"
        console.print(f"  {branch:<10} {said}", markup=False)
    console.print(
        f"  {'tag':<10} {made.release} at {made.commit[:_ABBREVIATED]}{'' if made.tagged else ' (was there)'}", markup=False
    )
    for image in made.images:
        console.print(f"  {'image':<10} {image}", markup=False)
    if made.unreleased:
        console.print(f"  {made.unreleased} later commit(s) of its branch were never in prod: no tag has them.", markup=False)
    console.print(f"\nNext: {made.next}", markup=False)
