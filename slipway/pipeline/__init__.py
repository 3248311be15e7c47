"""The pipeline: what a commit changes is checked, built once, and brought to the environments that its branch reaches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from slipway import artifacts, git, gitops, runs, testing
from slipway.access import Access
from slipway.errors import CommandFailed, SlipwayError
from slipway.pipeline.making import VERDICT, build, deploy, judged
from slipway.pipeline.surveying import begin, differs, said, survey
from slipway.pipeline.work import Needless, Outcome, Work, listed
from slipway.progress import Phase
from slipway.promotion import Unseen

# Services checked, and built, at a time: much of either is waiting for the engine.
_CHECKERS, _BUILDERS = 2, 4

CHANGED, CHECKS, IMAGES = "what changed", "lint and test", "images"

__all__ = ["CHANGED", "CHECKS", "IMAGES", "VERDICT", "Outcome", "run"]


def run(
    access: Access,
    commit: str,
    branch: str,
    *,
    requested: str = "",
    triggered_by: str = "",
    wish: str = "",
    recorder: runs.Recorder,
    services: Sequence[str] = (),
) -> Outcome:
    """What came of a commit of a branch: checked, built and deployed as far as that was needed.

    Doing it again changes nothing, and sees through what was ended before. What a newer push or a newer commit in an
    environment made needless ends as superseded.

    Args:
        access: An instance, as the pipeline.
        commit: The commit.
        branch: The branch that it was pushed to.
        requested: An environment that was asked for.
        triggered_by: On whose behalf.
        wish: What they signed, when they asked for the environment otherwise than with a push.
        recorder: Where its stages are written down.
        services: Only these; all by default, and always all of a release.
    """
    work = Work(access, commit, branch, requested, triggered_by or access.user, recorder, wish=wish)
    try:
        _go(work, services)
    except Needless as why:
        return work.outcome(runs.SUPERSEDED, str(why))
    except SlipwayError as error:
        return replace(work.outcome(runs.FAILED, str(error)), away=_away(error))
    if work.skipped and not work.deployed:
        return work.outcome(runs.SUPERSEDED, "; ".join(work.skipped.values()))
    return work.outcome(runs.PASSED)


def _away(error: BaseException | None) -> bool:
    """Whether somebody who has to answer did not, so that the same run may go through later."""
    return error is not None and (isinstance(error, (gitops.Away, Unseen)) or _away(error.__cause__))


def _go(work: Work, services: Sequence[str]) -> None:
    access, recorder = work.access, work.recorder
    with ExitStack() as stack:
        with recorder.stage(CHANGED) as phase:
            targets = begin(work)
            if not targets:
                phase.skip(f"{work.branch} reaches no environment")
                return
            paths = ["charts", "services", *git.tree(access.mirror, work.commit, testing.STYLE)]
            source = stack.enter_context(access.source(work.commit, paths))
            survey(work, source, targets, services)
            left = sorted(set(artifacts.services(source)) - set(work.keys))
            changed = [name for name in work.keys if any(seen[name].changed for seen in work.surveyed.values())]
            checked = [name for name in work.keys if name in changed or differs(work, name)]
            phase.say(said(work, changed))
        try:
            if checked:
                with _stage(work, CHECKS) as phase:
                    _each(checked, _CHECKERS, lambda name: testing.check(access, source, name, phase))
                    phase.say(listed(checked))
            if changed:
                with _stage(work, IMAGES) as phase:
                    _each(changed, _BUILDERS, lambda name: build(work, source, name, phase))
                    phase.say(f"{work.version} of {listed(changed)}")
        except (testing.ChecksFailed, CommandFailed):  # whatever else happens says nothing about the commit
            with suppress(SlipwayError):  # what is wrong with it matters more than who gets to know
                judged(work, runs.FAILED)
            raise
    if left:
        with recorder.stage(VERDICT) as phase:
            phase.skip(f"says nothing of the commit: {listed(left)} was not asked for")
    else:
        judged(work, runs.PASSED)
    for environment in targets:
        if work.comes(environment):
            with _stage(work, f"deploy {environment}") as phase:
                deploy(work, environment, phase)


@contextmanager
def _stage(work: Work, name: str) -> Generator[Phase]:
    """A stage of the run, unless a newer push made it needless meanwhile."""
    if work.recorder.newer():
        raise Needless(f"A newer push of {work.branch} took over.")
    with work.recorder.stage(name) as phase:
        yield phase


def _each(services: Sequence[str], workers: int, do: Callable[[str], None]) -> None:
    """Do the same for several services side by side; the first that fails counts, once all have ended."""
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(do, services):
            pass
