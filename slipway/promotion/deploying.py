"""A promotion: one signed commit that changes what an environment runs, waited for until it does, or taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from slipway import git, gitops, locks, records
from slipway.access import Access
from slipway.errors import SlipwayError, WaitTimeout
from slipway.gitops import Commit, Entry, Published, Record, There
from slipway.progress import Phase
from slipway.promotion.admitting import admit, unless_refused
from slipway.promotion.arriving import arrive, causes
from slipway.promotion.changes import Change, Deployed, NotRunning, Overtaken, PromotionFailed, Refused, Unseen
from slipway.promotion.judging import judge
from slipway.promotion.retiring import withdrawals
from slipway.promotion.tracing import untraced
from slipway.waiting import Clock

# Seconds until an environment runs what Git records: a migration, and one pod after the other.
DELIVERY_TIMEOUT = 240.0

# Seconds for what ran before to come back: it did run.
RETURN_TIMEOUT = 180.0

# What brings something new: whoever comes later and finds that it has never run takes it back too. What came back was well once.
_NEW = ("deploy", "request", "release", "promotion")

_REASONS = {
    "deploy": "Deploy",
    "request": "Deploy",
    "release": "Release",
    "promotion": "Promote",
    "rollback": "Roll back",
    "revert": "Revert",
}


def render(access: Access, wanted: Sequence[Record]) -> tuple[Entry, ...]:
    """The entries of records, each from its own source commit, as the mirror has it."""
    with ExitStack() as stack:
        sources = {one: stack.enter_context(access.source(one)) for one in {record.source_commit for record in wanted}}
        jobs: list[Callable[[], Entry]] = []
        for record in wanted:
            source = sources[record.source_commit]
            jobs.append(
                partial(
                    records.render,
                    record,
                    {} if record.retired else source.values(record.service, record.environment),
                    tier=access.settings.environment(record.environment).tier,
                    chart=source.chart(record.chart or records.CHART),
                    helm_program=access.helm,
                    kubernetes=access.kubernetes,
                )
            )
        return tuple(records.render_all(jobs))


def deploy(
    access: Access,
    change: Change,
    *,
    phase: Phase,
    run: str = "",
    timeout: float = DELIVERY_TIMEOUT,
    fetched: bool = False,
    clock: Clock | None = None,
) -> Deployed:
    """The environment, running exactly what was wanted; all of it, or what ran before.

    Nothing is written when nothing differs. What the policy refuses is refused before anything is written, also when
    somebody else came first meanwhile. Stage and prod admit the images before the commit that runs them is made, and no longer
    when that is refused.

    Args:
        access: An instance, as the pipeline.
        change: What shall run.
        phase: Told what is done and waited for.
        run: The run of the pipeline that it is part of.
        timeout: Seconds until the environment has to run it.
        fetched: Whether the mirror of the application is up to date already.
        clock: Another clock, for tests.

    Raises:
        Refused: The policy forbids it.
        PushRefused: The Git server forbids it.
        Overtaken: A later commit changes the same services, or some of them; what is left of it runs.
        PromotionFailed: It did not come to run, and was taken back where it could be.
    """
    if not fetched:
        gitops.patiently(access.app, access.fetch, clock=clock)
    named = {
        name: value for name, value in (("branch", change.branch), ("release", change.release), ("lock", change.lock)) if value
    }
    meant = [replace(record, environment=change.environment, **named) for record in change.records]
    listed = set[str]()
    phase.say(f"writing to {change.environment}")
    # The repository is read meanwhile.
    with ThreadPoolExecutor(1) as pool, unless_refused(access, change.environment, listed):
        rendering = pool.submit(render, access, meant)

        def edit(there: There) -> Commit:
            wanted = (*rendering.result(), *change.entries)
            fresh = tuple(entry for entry in wanted if there.get(entry.record.key) != entry)
            files = {name: content for name, content in change.files.items() if _content(there, name) != content}
            if not fresh and not files:
                return Commit()
            if refusals := judge(access, change, [entry.record for entry in fresh or wanted], there):
                raise Refused(refusals)
            if refusals := untraced(access, change.environment, [entry.record for entry in fresh if entry not in change.entries]):
                raise Refused(refusals)
            listed.update(admit(access, change.environment, fresh))
            return Commit(fresh, files, {"Approved-By": ", ".join(_approvers(change, there))})

        made = _publish(access, change, edit, run=run, clock=clock)
    wanted = (*rendering.result(), *change.entries)
    phase.say(f"commit {made.commit[:9]} is written")
    services = tuple(entry.record.service for entry in made.entries)
    if made.made and not made.entries:  # nothing that could run
        return Deployed(change.environment, made.commit, True, wanted, (), {})
    watched = made.entries or wanted
    try:
        digests = arrive(access, change.environment, watched, made, phase=phase, timeout=timeout, clock=clock)
    except (NotRunning, Unseen) as error:
        raise _taken_back(access, change, made, error, phase=phase, run=run, clock=clock) from error
    return Deployed(change.environment, made.commit, made.made, wanted, services, digests)


def _publish(access: Access, change: Change, edit: Callable[[There], Commit], *, run: str, clock: Clock | None) -> Published:
    return gitops.change(
        access.records(change.environment),
        edit,
        reason=change.reason or _REASONS[change.kind],
        trailers={
            "Kind": change.kind,
            "Promoted-From": change.promoted_from,
            "Triggered-By": change.triggered_by or access.user,
            "Wish": change.wish if change.how == "request" else "",
            "Run": run,
            "Restores": change.restores,
        },
        identity=access.identity,
        key=access.key,
        clock=clock,
    )


def _taken_back(
    access: Access, change: Change, made: Published, error: SlipwayError, *, phase: Phase, run: str, clock: Clock | None
) -> PromotionFailed:
    """What to raise when an environment did not come to run a commit, after what ran before is back."""
    environment = change.environment
    if not made.made and isinstance(error, NotRunning):
        made = _unfinished(access, environment, error, clock=clock) or made
    short = made.commit[:9]
    said = [str(error), *causes(access, environment, [entry.record.service for entry in made.entries])]
    told = "\n".join(dict.fromkeys(said))
    if not made.made:
        return PromotionFailed(f"{environment} does not run what Git records: {told}", commit=made.commit)
    if isinstance(error, Unseen):
        return PromotionFailed(
            f"{environment}: {told}\nArgo CD has not looked at commit {short}, so nothing was taken back: it delivers it when it "
            f"is back. Look at `{access.settings.command('status')}`, and run the same command again to see it through.",
            commit=made.commit,
        )
    phase.say(f"{environment} does not come to run it; bringing back what ran before")
    new = [entry.record for entry in made.entries if entry.record.key not in made.former]
    ends = {entry.record.key: entry for entry in render(access, withdrawals(access.mirror, new))}

    def edit(there: There) -> Commit:
        # Whatever somebody else has changed since is theirs.
        ours = [entry.record.key for entry in made.entries if there.get(entry.record.key) == entry]
        former = tuple(made.former[key] for key in ours if key in made.former)
        admit(access, environment, former)
        # What came alone disturbs nothing else, and is left for whoever looks into it.
        return Commit((*former, *(ends[key] for key in ours if key in ends))) if former else Commit()

    back = replace(change, kind="revert", how="revert", restores=made.before, promoted_from="", files={}, reason="")
    try:
        returned = _publish(access, back, edit, run=run, clock=clock)
    except (WaitTimeout, git.PushConflict, git.PushRefused) as away:
        return PromotionFailed(
            f"{environment}: {told}\nWhat ran before is not back: {away}\nRun the same command again: it takes {short} back.",
            commit=made.commit,
        )
    if not returned.made:
        left = f"Nothing ran there before that could come back. {_stays(new)}Correct it, and push again."
        return PromotionFailed(f"{environment}: {told}\n{left}", commit=made.commit)
    what = ", ".join(f"{one.service} {one.version}" for one in _records(returned) if not one.withdrawn)
    over = [one.service for one in _records(returned) if one.withdrawn]
    kept = [one for one in new if one.service not in over]
    rest = f"{', '.join(over)} had never run there, and is retired. " if over else ""
    ending = f"Commit {returned.commit[:9]} brought back what ran before: {what}. {rest}{_stays(kept)}Correct it, and push again."
    try:
        arrive(access, environment, returned.entries, returned, phase=phase, timeout=RETURN_TIMEOUT, clock=clock)
    except (NotRunning, Unseen) as worse:
        ending = f"Commit {returned.commit[:9]} brings back what ran before ({what}), which does not run either: {worse}"
    except Overtaken as later:
        ending = str(later)
    return PromotionFailed(f"{environment}: {told}\n{ending}", commit=made.commit, reverted=returned.commit)


def _unfinished(access: Access, environment: str, error: NotRunning, *, clock: Clock | None) -> Published | None:
    """The commit that brought what has never come to run, when whoever made it did not see that to its end; else None."""
    if not error.never:
        return None
    remote = access.records(environment)
    found = gitops.patiently(remote, partial(gitops.brought, remote, error.never), clock=clock)
    return found if found.before and found.trailers.get("Kind") in _NEW else None


def _records(made: Published) -> Sequence[Record]:
    return [entry.record for entry in made.entries]


def _stays(new: Sequence[Record]) -> str:
    return f"{', '.join(one.service for one in new)} had never run there, and stays as it is. " if new else ""


def _content(there: There, name: str) -> bytes | None:
    file = there.folder / name
    return file.read_bytes() if file.is_file() else None


def _approvers(change: Change, there: There) -> Sequence[str]:
    if change.how != "dispatch":
        return ()
    named = {record.lock for record in change.records if record.lock} | {change.lock}
    return sorted({one.by for one in locks.approvals(there.folder) if one.lock in named})
