"""A branch, handed to the pipeline: pushed for the runner to take, or run here and now."""

from __future__ import annotations

import re
import traceback
from dataclasses import replace

from slipway import access, git, gitops, policy, runs, wishes
from slipway.access import Access
from slipway.errors import SlipwayError, UsageError, unknown
from slipway.progress import Phase, Progress
from slipway.promotion import Refused
from slipway.pushing.following import Shown, follow_newest
from slipway.runs import Run
from slipway.settings import Settings

HEADS, TAGS = "refs/heads/", "refs/tags/"
_SHORT = 9

_COMMIT = re.compile(r"[0-9a-f]{7,40}")


def push(settings: Settings, branch: str = "", to: str = "", user: str = "", *, progress: Progress) -> Run:
    """What the pipeline made of a branch of the checkout, once it was pushed.

    A branch that is there already is not pushed again: its last run is followed, or repeated when it failed or when an
    environment is asked for.

    Args:
        settings: The instance's.
        branch: A branch of the checkout; the one that is checked out by default.
        to: An environment to ask for.
        user: As whom; the developer by default.
        progress: Where the stages are shown.

    Raises:
        UsageError: There is no such branch, environment or user, or the instance does not run.
        Refused: The policy forbids it; nothing was pushed.
        PushRefused: The Git server forbids it.
        PushConflict: The branch on the server has commits that the checkout's lacks.
        WaitTimeout: The runner does not take it, or does not come to an end.
    """
    mine = access.open(settings, user or "developer")
    branch = branch or _checked_out(settings)
    if to:
        settings.environment(to)
    commit = git.resolve(settings.root, f"{HEADS}{branch}")
    if commit is None:
        there = [name.removeprefix(HEADS) for name in git.local_refs(settings.root, HEADS)]
        raise unknown("branch in this checkout", branch, there)
    with progress.showing():
        with progress.phase(f"push {branch}") as phase:
            known = {run.id for run in runs.every(settings)}
            if _push(mine, branch, commit, to, phase):
                phase.say(f"{commit[:_SHORT]} as {mine.user}" + (f", {to} asked for" if to else ""))
            elif found := _again(mine, branch, commit, to, phase):
                known.discard(found.id)
        if branch == _head(settings) and git.dirty(settings.root):
            progress.note("uncommitted changes were not pushed: the pipeline takes commits")
        return follow_newest(settings, branch, commit, progress, among=lambda run: run.id not in known)


def ci(settings: Settings, ref: str, to: str = "", user: str = "", *, progress: Progress) -> Run:
    """What the pipeline makes of a branch of app.git here and now, in the foreground; it needs no runner.

    Args:
        settings: The instance's.
        ref: The branch, a commit that only one branch has, or both as BRANCH@COMMIT.
        to: An environment to bring it to.
        user: Whose wish it is, as if they had pushed; the developer's by default.
        progress: Where the stages are shown.

    Raises:
        UsageError: There is no such branch, commit, environment or user, or the instance does not run.
        WaitTimeout: Another run does not end.
    """
    from slipway import pipeline

    mine, whose = access.open(settings), user or "developer"
    if whose not in settings.roles:
        raise unknown("user", whose, settings.roles)
    if to:
        settings.environment(to)
    branch, commit = _named(mine, ref)
    wish = wishes.sign(access.open(settings, whose).key, to, branch, commit) if to else ""
    run = runs.new(settings, branch=branch, commit=commit, pusher=whose, requested=to, where=runs.HERE, wish=wish)
    shown = Shown(progress)
    recorder = runs.Recorder(settings, run, on_change=shown.update)
    with progress.showing(), runs.attended(settings, run):
        try:
            with progress.phase("other runs", quiet_when_skipped=True) as phase:
                turn = runs.alone(settings, say=phase.say)
                turn.__enter__()
                phase.skip("none")
        except BaseException:
            recorder.end(runs.FAILED, trouble="it was interrupted while another run was under way")
            raise
        try:
            recorder.begin()
            outcome = pipeline.run(mine, commit, branch, requested=to, triggered_by=whose, wish=wish, recorder=recorder)
            return recorder.end(outcome.state, verdict=outcome.verdict, trouble=outcome.trouble)
        except SlipwayError as error:
            return recorder.end(runs.FAILED, trouble=str(error))
        except BaseException as error:
            recorder.log(traceback.format_exc())
            recorder.end(runs.FAILED, trouble="it was interrupted" if isinstance(error, KeyboardInterrupt) else repr(error))
            raise
        finally:
            shown.close()
            turn.__exit__(None, None, None)


def _named(mine: Access, ref: str) -> tuple[str, str]:
    """The branch and the commit that are meant; a commit that several branches have could mean a run of any of them."""
    mirror = gitops.patiently(mine.app, mine.fetch)
    heads = {name.removeprefix(HEADS): commit for name, commit in git.local_refs(mirror, HEADS).items()}
    wanted = ref.removeprefix(HEADS)
    if wanted in heads:
        return wanted, heads[wanted]
    branch, _, text = wanted.rpartition("@")
    if not _COMMIT.fullmatch(text) or (branch and branch not in heads):
        raise unknown("branch in app.git", branch or wanted, heads)
    commit = git.resolve(mirror, text)
    found = [name for name, head in heads.items() if commit and git.contains(mirror, head, commit)]
    if commit is None or not found:
        raise UsageError(f"no branch of app.git has one commit {text}. Push it to one, or give more of its hash.")
    if branch and branch not in found:
        raise UsageError(f"{branch} does not have {text}, which is on {policy.either(found)}. Name a branch that has it.")
    if not branch and len(found) > 1:
        said = " and ".join([", ".join(found[:-1]), found[-1]])
        raise UsageError(f"{text} is on {said}. Say for which of them it shall run: ./invoke ci --ref {found[0]}@{text}")
    return branch or found[0], commit


def _checked_out(settings: Settings) -> str:
    if branch := _head(settings):
        return branch
    raise UsageError("no branch is checked out here. Name one (./invoke push BRANCH), or make one: git switch -c feature/NAME")


def _head(settings: Settings) -> str:
    return git.branch(settings.root)


def _push(mine: Access, branch: str, commit: str, to: str, phase: Phase) -> bool:
    """Whether the branch had to be pushed; what the policy forbids is said before anything is sent."""
    refs = git.refs(mine.app)
    old = refs.get(f"{HEADS}{branch}", "")
    _judge(mine, refs, branch, commit, to)
    if old == commit:
        return False
    phase.say("sending")
    options = {policy.DEPLOY: to} if to else {}
    try:
        git.push(mine.settings.root, mine.app, {f"{HEADS}{branch}": commit}, options=options)
    except git.PushConflict as error:
        cure = f"Bring them here (git pull {mine.app.url} {branch}), then push again."
        raise git.PushConflict(f"{branch} has commits in app.git that this checkout lacks. {cure}") from error
    return True


def _judge(mine: Access, refs: dict[str, str], branch: str, commit: str, to: str) -> None:
    root, old = mine.settings.root, refs.get(f"{HEADS}{branch}", "")
    if old != commit and len(parents := git.log(root, commit, limit=1)[0].parents) > 1 and parents[0] == old:
        return  # whether a merge may land depends on what only the Git server knows
    heads = {name.removeprefix(HEADS): at for name, at in refs.items() if name.startswith(HEADS)}
    tags = {name.removeprefix(TAGS): at for name, at in refs.items() if name.startswith(TAGS)}
    fetched = mine.fetch() if not old else root
    inside = [name for name, at in heads.items() if not old and git.contains(fetched, at, commit)]
    lines = mine.settings.policy.lines
    asked = policy.Push(
        policy.APP,
        mine.user,
        f"{HEADS}{branch}",
        old=old,
        new=commit,
        # What this checkout has never seen, git itself finds to be missing.
        fast_forward=not old or git.resolve(root, old) is None or git.contains(root, commit, old),
        based_on=(*inside, *(name for name, at in tags.items() if at == commit)),
        tags=tuple(tags),
        releases=tuple(sorted({line.release(name) for name in heads for line in lines} - {""})),
        options={policy.DEPLOY: to} if to else {},
    )
    refusals = policy.judge_push(mine.settings.policy, asked)
    if old == commit:  # nothing moves: all that counts is whether the environment may be asked for
        anyway = policy.judge_push(mine.settings.policy, replace(asked, options={}))
        refusals = tuple(one for one in refusals if one not in anyway)
    if refusals:
        raise Refused(refusals)


def _again(mine: Access, branch: str, commit: str, to: str, phase: Phase) -> Run | None:
    """The run to follow for a branch that the server has at this very commit already."""
    before = [run for run in runs.settled(mine.settings) if (run.branch, run.commit) == (branch, commit)]
    last = before[0] if before else None
    if last and not last.over and to in ("", last.requested):
        phase.skip(f"app.git has {commit[:_SHORT]} already; its run is under way")
        return last
    if last and last.state == runs.PASSED and not to:
        phase.skip(f"app.git has {commit[:_SHORT]} already; this is how its run ended")
        return last
    phase.say(f"app.git has {commit[:_SHORT]} already; it is run again" + (f" for {to}" if to else ""))
    # Of a push that moves nothing the server hears nothing: what was asked for has to say itself by whom.
    wish = wishes.sign(mine.key, to, branch, commit) if to else ""
    return runs.new(mine.settings, branch=branch, commit=commit, pusher=mine.user, requested=to, wish=wish)
