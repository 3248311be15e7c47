"""Promotion by hand: a release to prod, or to an environment what the one before it runs; one commit, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slipway import access, gitops, promotion, releases
from slipway.access import Access
from slipway.errors import UsageError, unknown
from slipway.gitops import Record
from slipway.locks import Lock
from slipway.policy import Refusal
from slipway.progress import Progress
from slipway.promotion import Change, Deployed, Moved, Refused, moved, show_moved
from slipway.releases import State
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Asked:
    """What shall be promoted.

    Attributes:
        to: The environment that gets it.
        source: The environment that it comes from; by default the one before.
        services: Only these services; all by default.
        release: The release, where releases go; by default the one that the environment before runs.
        user: On whose behalf.
    """

    to: str
    source: str = ""
    services: tuple[str, ...] = ()
    release: str = ""
    user: str = "developer"


@dataclass(frozen=True)
class Promoted:
    """An environment that runs what was promoted.

    Attributes:
        environment: The environment.
        source: Where it came from.
        release: The release; empty for none.
        lock: Its lock.
        made: Whether anything had to be changed.
        commit: The commit that the environment runs.
        services: The services.
        images: Under which tags the registry knows a release's images now.
        next: What to type next.
    """

    environment: str
    source: str
    release: str
    lock: str
    made: bool
    commit: str
    services: tuple[Moved, ...]
    images: tuple[str, ...]
    next: str


def promote(settings: Settings, asked: Asked, *, progress: Progress) -> Promoted:
    """An environment, running what was asked for: all of it, or what ran before.

    Running it again changes nothing; running it after an interrupt goes on.

    Args:
        settings: The instance's.
        asked: What shall be promoted.
        progress: Shows what happens.

    Raises:
        UsageError: There is no such environment, service, release or user, or nothing to promote.
        Refused: The policy forbids it.
        PromotionFailed: The environment did not come to run it, and was taken back.
    """
    settings.environment(asked.to)
    if asked.user not in settings.roles:
        raise unknown("user", asked.user, settings.roles)
    pipeline = access.open(settings)
    if asked.to not in pipeline.environments:
        raise unknown("environment of this instance", asked.to, pipeline.environments)
    gate = releases.gate(settings) if settings.policy.approvals else None
    with progress.showing():
        if gate and asked.to == gate.environment:
            return _release(pipeline, asked, gate.after, progress)
        if gate and asked.to == gate.after and not asked.source:
            return _again(pipeline, asked, progress)
        return _onward(pipeline, asked, progress)


def _release(pipeline: Access, asked: Asked, source: str, progress: Progress) -> Promoted:
    """A release to where approval is needed."""
    if asked.source not in ("", source):
        raise UsageError(f"{asked.to} gets releases that {source} has run, and nothing from {asked.source}. Leave out --origin.")
    there = releases.look(pipeline)
    lock = _lock(there, asked, source)
    before = there.services(asked.to)
    wanted = _chosen(releases.records_of(lock, asked.to), asked.services)
    whole = len(wanted) == len(lock.services)
    releases.check_tag(pipeline, lock)
    releases.check_alias(lock)
    change = Change(
        environment=asked.to,
        kind="promotion",
        branch=lock.branch,
        # What the release no longer has ends with the rest of it.
        records=(*wanted, *(there.ends(pipeline, lock, asked.to) if whole else ())),
        how="dispatch",
        release=lock.release,
        lock=lock.hash,
        promoted_from=source,
        triggered_by=asked.user,
        reason=f"Promote {lock.release}",
    )
    with progress.phase(f"{asked.to} gets {lock.release}") as phase:
        done = promotion.deploy(pipeline, change, phase=phase, fetched=True)  # for its tag, a moment ago
    with progress.phase(f"Tag the images {lock.release[1:]}") as phase:
        images = releases.alias(lock, [record.service for record in wanted])
        phase.say(f"{len(images)} images, none built")
    # A line that lives on has no branch to be finished: what prod runs of it is tagged at once, a part as well: the next push
    # must be another release.
    lives_on = releases.lives_on(pipeline.settings, lock)
    if lives_on:
        with progress.phase(f"Tag {lock.release}"):
            releases.tag(pipeline.settings, lock)
    finish = pipeline.settings.command(f"release.finish {lock.release[1:]} --user {_merger(pipeline.settings)}")
    rest = pipeline.settings.command(f"promote {asked.to} --release {lock.release}")
    following = pipeline.settings.command(f"history {asked.to}") if lives_on else finish
    return _told(done, source, before, images=images, lock=lock, following=following if whole else rest)


def _again(pipeline: Access, asked: Asked, progress: Progress) -> Promoted:
    """A release, once more, to where releases are tried."""
    if asked.services:
        raise UsageError(f"{asked.to} runs a release whole, or it could not be judged: leave out --service.")
    there = releases.look(pipeline)
    lock = _lock(there, asked, asked.to)
    before = there.services(asked.to)
    with progress.phase(f"{asked.to} gets {lock.release}") as phase:
        staged = releases.bring(
            pipeline, lock, releases.records_of(lock, asked.to), phase=phase, triggered_by=asked.user, how="dispatch"
        )
    services = moved(releases.records_of(lock, asked.to), _versions(before), staged.changed)
    approver = next(iter(releases.gate(pipeline.settings).approvers))
    following = pipeline.settings.command(f"approve {lock.release} --user {approver}")
    return Promoted(asked.to, "", lock.release, lock.hash, staged.made, staged.commit, services, (), following)


def _onward(pipeline: Access, asked: Asked, progress: Progress) -> Promoted:
    """To an environment what another one runs."""
    if asked.release:
        raise UsageError(f"{asked.to} does not take releases by name. It takes what another environment runs: --origin ENV.")
    source = asked.source or _before(pipeline, asked.to)
    if source == asked.to or source not in pipeline.environments:
        raise unknown("environment to promote from", source, [name for name in pipeline.environments if name != asked.to])
    with progress.phase(f"Read {source}"):
        _, found = gitops.read(pipeline.records(source))
        _, had = gitops.read(pipeline.records(asked.to))
    mine = [entry.record for (name, _), entry in sorted(found.items()) if name == source and entry.record.chart == gitops.CHART]
    # What a record says of a release is about the environment that runs it as one.
    plain = [replace(record, environment=asked.to, release="", lock="", config="") for record in mine]
    wanted = _chosen(plain, asked.services)
    ends = [one.record for (name, _), one in sorted(found.items()) if name == source and one.record.retired]
    if ends and not asked.services:
        gitops.patiently(pipeline.app, pipeline.fetch)
        there = [(one, had[asked.to, one.service].record) for one in ends if (asked.to, one.service) in had]
        wanted += tuple(
            over for one, runs in there for over in promotion.retirements(pipeline.mirror, one.source_commit, one.branch, [runs])
        )
    change = Change(
        environment=asked.to,
        kind="promotion",
        branch="",
        records=wanted,
        how="dispatch",
        promoted_from=source,
        triggered_by=asked.user,
    )
    before = {service: entry.record for (name, service), entry in had.items() if name == asked.to}
    with progress.phase(f"{asked.to} gets {', '.join(record.service for record in wanted)}") as phase:
        done = promotion.deploy(pipeline, change, phase=phase)
    return _told(done, source, before, following=pipeline.settings.command(f"diff {source} {asked.to}"))


def _lock(there: State, asked: Asked, source: str) -> Lock:
    """The lock that is meant: of the release that was named, else of the one that the environment before runs."""
    runs = {record.lock: record for record in there.services(source).values()}
    named = releases.name(asked.release) if asked.release else ""
    if not named:
        if len(runs) != 1 or not there.lock(next(iter(runs))):
            said = ", ".join(sorted({record.release or record.branch for record in runs.values()})) or "nothing"
            wrong = f"{source} does not run one release with a lock: {said}"
            raise Refused((Refusal("lock", wrong, "a release that was cut: ./invoke release.cut X.Y.Z, or --release vX.Y.Z"),))
        named = next(iter(runs.values())).release
    running = next((lock for lock, record in runs.items() if record.release == named), "")
    lock = there.choose(named, running=running)
    if lock is None:
        known = ", ".join(sorted({one.release for one in there.locks})) or "none yet"
        wrong = f"{named} has no lock: no push to its branch has reached {source}"
        raise Refused((Refusal("lock", wrong, f"a release whose branch was pushed and built; with a lock: {known}"),))
    return lock


def _chosen(records: Sequence[Record], services: Sequence[str]) -> tuple[Record, ...]:
    known = [record.service for record in records]
    for service in services:
        if service not in known:
            raise unknown("service to promote", service, known)
    chosen = tuple(record for record in records if not services or record.service in services)
    if not chosen:
        raise UsageError("there is nothing to promote: no service runs where it would come from. See ./invoke status.")
    return chosen


def _before(pipeline: Access, environment: str) -> str:
    order = pipeline.environments
    if environment == order[0]:
        what = f"nothing comes before {environment}: name where it comes from with --origin, or push to a branch"
        raise UsageError(f"{what} ({pipeline.settings.command(f'push BRANCH --to {environment}')}).")
    return order[order.index(environment) - 1]


def _merger(settings: Settings) -> str:
    """Somebody who may merge a release."""
    return next((role for line in settings.policy.lines if line.condition == "released" for role in line.merge), "lead")


def _versions(records: Mapping[str, Record]) -> Mapping[str, str]:
    return {name: record.version for name, record in records.items()}


def _told(
    done: Deployed,
    source: str,
    before: Mapping[str, Record],
    *,
    images: tuple[str, ...] = (),
    lock: Lock | None = None,
    following: str,
) -> Promoted:
    return Promoted(
        environment=done.environment,
        source=source,
        release=lock.release if lock else "",
        lock=lock.hash if lock else "",
        made=done.made,
        commit=done.commit,
        services=moved((entry.record for entry in done.entries), _versions(before), done.changed),
        images=images,
        next=following,
    )


def show(made: Promoted, console: Console) -> None:
    """Print what was promoted, for a person."""
    what = made.release or "what it was to get"
    came = f" from {made.source}" if made.source else ""
    said = f"runs {what}{came}" if made.made else f"runs {what} already; nothing changed"
    console.print(f"● {made.environment}  {said}", markup=False)
    if made.lock:
        console.print(f"  lock {made.lock}", markup=False)
    show_moved(made.services, console)
    console.print(f"\nNext: {made.next}", markup=False)
