"""`merge`: the pull request's stand-in. A branch lands on develop (or main, where there is no develop) in one clean merge.

Its commit must have passed the pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway import access, git, gitops, policy, releases, runs, versions
from slipway.access import Access
from slipway.errors import SlipwayError, UsageError, unknown
from slipway.policy import Push
from slipway.progress import Phase, Progress
from slipway.promotion import Refused
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

HEADS = "refs/heads/"

# Somebody else may merge in between a few times.
_ATTEMPTS = 5

_SHORT = 9


@dataclass(frozen=True)
class Merged:
    """A branch that landed.

    Attributes:
        branch: The branch.
        into: Where it landed.
        tip: The commit of the branch.
        commit: The commit that the other branch has now.
        made: Whether it was merged now; not when it was there already.
        run: The run of the pipeline for it; empty when there was nothing to follow.
        verdict: What came of that run.
        next: What to type next.
    """

    branch: str
    into: str
    tip: str
    commit: str
    made: bool
    run: str
    verdict: str
    next: str


def merge(settings: Settings, branch: str, *, user: str, progress: Progress) -> Merged:
    """A branch, merged where the policy wants branches of its kind, and what the pipeline makes of that.

    Running it again after an interrupt goes on: what has landed is followed.

    Args:
        settings: The instance's.
        branch: The branch.
        user: Who merges.
        progress: Shows what happens.

    Raises:
        UsageError: There is no such branch, or nothing takes merges of it.
        Refused: The policy forbids it; above all, its commit has not passed.
        SlipwayError: It does not merge by itself, or the run after it failed.
    """
    mine = access.open(settings, user)
    with progress.showing():
        with progress.phase(f"Merge {branch}") as phase:
            into = _target(settings, branch)
            tip, commit, made = _land(mine, branch, into, phase)
        run = None
        if made or _pending(settings, into, commit):
            with progress.phase(f"{into} runs") as phase:
                run = releases.follow(settings, into, commit, phase=phase)
    return Merged(
        branch=branch,
        into=into,
        tip=tip,
        commit=commit,
        made=made,
        run=run.id if run else "",
        verdict=(run.verdict or run.state) if run else "",
        next=_next(mine, into),
    )


def _target(settings: Settings, branch: str) -> str:
    """The branch that takes merges of such branches when they have passed."""
    taker = policy.taker(settings.policy, branch)
    if taker is None:
        taken = sorted({name for one in settings.policy.lines if one.condition == "passed" for name in one.takes})
        raise UsageError(f"nothing takes merges of {branch}. Merged are branches of {', '.join(taken)}: see ./invoke policy.")
    return taker.example


def _land(mine: Access, branch: str, into: str, phase: Phase) -> tuple[str, str, bool]:
    """The branch's commit, the other branch's commit that has it, and whether that was made now."""
    for attempt in range(1, _ATTEMPTS + 1):
        gitops.patiently(mine.app, mine.fetch)
        heads = {name.removeprefix(HEADS): commit for name, commit in git.local_refs(mine.mirror, HEADS).items()}
        if branch not in heads:
            raise unknown("branch in app.git", branch, heads)
        if into not in heads:
            wrong = f"app.git has no branch {into}, which the preset {mine.settings.policy.preset} merges {branch} into"
            raise UsageError(f"{wrong}: it was made by another policy. Name that one by SLIPWAY_POLICY. See ./invoke policy.")
        tip, old = heads[branch], heads[into]
        if git.contains(mine.mirror, old, tip):
            phase.skip(f"{into} has {tip[:_SHORT]} already")
            return tip, old, False
        made = _merge(mine, branch, into, tip, old)
        try:
            git.push(mine.mirror, mine.app, {f"{HEADS}{into}": made})
        except git.PushConflict:
            if attempt == _ATTEMPTS:
                raise
        else:
            phase.say(f"{into} at {made[:_SHORT]}")
            return tip, made, True
    raise SlipwayError("unreachable: the last attempt returns or raises")


def _merge(mine: Access, branch: str, into: str, tip: str, old: str) -> str:
    """The merge that may land; what forbids it is said before what only prevents it."""
    try:
        made, conflict = git.merge(mine.mirror, old, tip, _message(mine, branch, into), identity=mine.identity), None
    except git.MergeConflict as error:
        made, conflict = tip, error
    push = Push(policy.APP, mine.user, f"{HEADS}{into}", old=old, new=made, merged=tip, merge_clean=True)
    try:
        releases.check(mine, releases.look(mine), push)
        _check_passed(mine, into, tip)
    except Refused as refused:
        if not releases.passed(mine.mirror, tip):
            refused.args = (f"{refused}\n{_why_not(mine, branch, tip)}",)
        raise
    if conflict:
        raise SlipwayError(_by_hand(mine, branch, into, conflict)) from conflict
    return made


def _check_passed(mine: Access, into: str, tip: str) -> None:
    """Whoever may push there may land anything by a push; a merge stands for a pull request, which waits for the checks."""
    if not releases.passed(mine.mirror, tip):
        wrong = f"{tip[:_SHORT]} has not passed the pipeline"
        raise Refused((policy.Refusal("merge", wrong, f"a branch whose commit passed; or a push to {into} itself"),))


def _message(mine: Access, branch: str, into: str) -> str:
    return f"Merge {branch} into {into}\n\nMerged-By: {mine.user}\n"


def _why_not(mine: Access, branch: str, tip: str) -> str:
    """Which run of the commit failed or is under way, and what to do about it."""
    short = tip[:_SHORT]
    found = next((run for run in runs.settled(mine.settings) if run.commit == tip), None)
    told = releases.verdict(mine.mirror, tip)
    if found is None or (found.state == runs.PASSED and not told):
        push = mine.settings.command(f"push {branch}")
        return f"No run of {short} has passed: the runner takes it when it was pushed ({push} follows it)."
    look = mine.settings.command(f"ci.runs --run {found.id}")
    if not found.over:
        where = f" ({found.stages[-1].name})" if found.stages else ""
        return f"Its run {found.id} is {found.state}{where}: wait for it, {look} shows it."
    if found.state == runs.SUPERSEDED:
        again = mine.settings.command(f"ci --ref {branch}")
        return f"Its run {found.id} was superseded: {found.trouble}. Run it again with `{again}`."
    return f"Its run {found.id} {found.state}: {found.trouble.splitlines()[0] if found.trouble else ''}\n{look} tells why."


def _by_hand(mine: Access, branch: str, into: str, conflict: git.MergeConflict) -> str:
    return (
        f"{branch} does not merge into {into} by itself: both change {', '.join(conflict.paths)}. Nothing was pushed.\n"
        f"Merge {into} into the branch, and let that pass first:\n"
        f"    git switch {branch}\n"
        f"    git fetch {mine.app.url} {into}\n"
        f"    git merge FETCH_HEAD          # resolve, then git commit\n"
        f"    {mine.settings.command(f'push {branch}')}\n"
        f"    {mine.settings.command(f'merge {branch}')}"
    )


def _pending(settings: Settings, into: str, commit: str) -> bool:
    """Whether a run of what was merged before is still under way, as after an interrupted command."""
    return any(not run.over for run in runs.every(settings) if (run.branch, run.commit) == (into, commit))


def _next(mine: Access, into: str) -> str:
    """Cutting the next release, where releases are cut from that branch; approving it, where the branch makes one itself."""
    rules, tags = mine.settings.policy, git.local_refs(mine.mirror, "refs/tags/")
    if (own := policy.line(rules, into)) and own.releases:
        last = versions.newest(tags)
        approver = next(iter(releases.gate(mine.settings).approvers))
        return mine.settings.command(f"approve v{last.next_minor if last else '0.1.0'} --user {approver}")
    line = next((line for line in rules.lines if line.cut_from == into), None)
    if line is None:
        return mine.settings.command("status")
    taken = [line.release(name.removeprefix(HEADS)) for name in git.local_refs(mine.mirror, HEADS)]
    last = versions.newest([*tags, *taken])
    return mine.settings.command(f"release.cut {last.next_minor if last else '0.1.0'}")


def show(made: Merged, console: Console) -> None:
    """Print what landed, for a person."""
    said = f"merged into {made.into} as {made.commit[:_SHORT]}" if made.made else f"is in {made.into} already"
    console.print(f"● {made.branch}  {said}", markup=False)
    if made.run:
        console.print(f"  {made.verdict}  (run {made.run})", markup=False)
    console.print(f"\nNext: {made.next}", markup=False)
