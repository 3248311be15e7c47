"""Images, the verdict on a commit, and what an environment gets of it."""

from __future__ import annotations

import json
from typing import Literal

from slipway import git, gitops, images, oci, policy, promotion, releases, runs
from slipway.errors import SlipwayError
from slipway.gitops import Record, Source
from slipway.pipeline.surveying import moves, record
from slipway.pipeline.work import Work, listed
from slipway.progress import Phase
from slipway.promotion import KINDS, Change, Overtaken, Refused

VERDICT = "verdict"

# The rules whose refusal is the end of a run like any other: something newer runs, or somebody does not want it.
_NEEDLESS = frozenset(("order", "held"))

_RESULTS = policy.RESULTS.removeprefix("refs/notes/")


def build(work: Work, source: Source, service: str, phase: Phase) -> None:
    """Build a service's image, and call it by the run's version; several threads may at a time.

    Raises:
        CommandFailed: The build failed.
        SlipwayError: The version is another image already.
    """
    access = work.access
    built = images.build_service(
        access.settings,
        access.engine,
        access.registry,
        service=service,
        context=source.folder / "services",
        base=access.plan.image("python"),
        build_base=access.plan.image("python-build"),
        version=work.version,
        commit=work.commit,
        phase=phase,
    )
    named = oci.digest(f"{built.repository}:{work.version}")
    if named and named != built.digest:
        raise SlipwayError(
            f"{service} {work.version} is another image already ({named[:19]}), and a version is never used twice. "
            f"Push another commit to {work.branch}: it gets a version of its own."
        )
    oci.alias(built.reference, work.version)
    work.built[service] = Record(
        "", service, work.version, built.repository, built.digest, work.commit, branch=work.branch, inputs=work.keys[service]
    )


def judged(work: Work, state: str) -> None:
    """Let app.git say how the checks and builds of the commit ended; whoever merges it looks at that."""
    with work.recorder.stage(VERDICT) as phase:
        told = json.dumps({"state": state, "run": work.recorder.id, "branch": work.branch}, sort_keys=True) + "\n"

        def tell() -> bool | None:
            try:
                return work.access.say(work.commit, told, kind=_RESULTS)
            except git.PushConflict:
                return None

        if state == runs.PASSED and _passed(work):
            phase.skip("passed before")
            return
        gitops.patiently(work.access.app, tell)
        phase.say(state)


def _passed(work: Work) -> bool:
    return releases.passed(work.access.mirror, work.commit)


def deploy(work: Work, environment: str, phase: Phase) -> None:
    """Bring an environment what it lacks of the commit; what something newer made needless is left out, and said.

    Raises:
        Refused: The policy forbids it.
        PromotionFailed: It did not come to run, and was taken back where it could be.
    """
    # What comes by itself may be asked for too: then it may also come back.
    how: Literal["automatic", "request"] = "request" if environment == work.requested else "automatic"
    staged = environment == work.staged
    chosen = tuple(record(work, environment, name) for name in work.keys if staged or moves(work, environment, name))
    ended = work.ended.get(environment, ())
    if not staged:  # a release ends what its lock no longer has
        chosen += ended
    if how == "automatic" and not staged and (held := promotion.held(work.access, environment, chosen)):
        # Whoever rolled back did not want these; the others may come, and these when somebody asks for them.
        work.skipped[environment] = f"{environment} was rolled back from this {listed(sorted(held))}"
        chosen = tuple(record for record in chosen if record.service not in held)
    if not chosen:
        phase.skip(work.skipped.get(environment, "runs it already"))
        return
    try:
        if staged:
            done = releases.stage(
                work.access,
                work.commit,
                work.branch,
                chosen,
                version=work.version,
                phase=phase,
                run=work.recorder.id,
                triggered_by=work.triggered_by,
                how=how,
                wish=work.wish,
            )
        else:
            change = Change(
                environment,
                KINDS[how],
                work.branch,
                chosen,
                how=how,
                triggered_by=work.triggered_by,
                wish=work.wish,
            )
            done = promotion.deploy(work.access, change, phase=phase, run=work.recorder.id)
    except Overtaken as error:
        work.skipped[environment] = str(error)
        phase.skip(str(error))
    except Refused as error:
        if error.rules - _NEEDLESS:
            raise
        work.skipped[environment] = "; ".join(refusal.wrong for refusal in error.refusals)
        phase.skip(work.skipped[environment])
    else:
        work.deployed[environment] = done.commit
        work.retired |= {one.service for one in ended if one.service in done.changed}
        phase.say(f"commit {done.commit[:9]}: {listed(done.changed) or 'nothing to change'}")
