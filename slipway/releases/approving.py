"""Approving a release: a signed file that names the lock's whole hash, pushed by whoever approves, as themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slipway import access, gitops, locks, policy, promotion
from slipway.promotion import Refused
from slipway.releases import state
from slipway.releases.state import State
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Part:
    """One service of what is approved, beside what runs where it is approved for.

    Attributes:
        version: The version that will run; empty for a service that ends with the release.
        now: The version that runs there; empty for none.
        differs: What will be another: "image", "chart", "configuration", or "new" or "retired"; empty when nothing will.
    """

    service: str
    version: str
    digest: str
    source_commit: str
    now: str
    differs: str


@dataclass(frozen=True)
class Approved:
    """A lock that somebody approved.

    Attributes:
        release: The release.
        lock: The lock's whole hash.
        environment: Where it may go now.
        by: Who approved.
        authors: Who pushed to the release's branch.
        made: Whether it is new; not when the same user had approved the same lock before.
        commit: The commit that says so.
        tried: Whether the environment before has run exactly this lock.
        loaded: Whether it has passed a load test there; None when the policy asks for none.
        services: What it holds.
        next: What to type next.
    """

    release: str
    lock: str
    environment: str
    by: str
    authors: tuple[str, ...]
    made: bool
    commit: str
    tried: bool
    loaded: bool | None
    services: tuple[Part, ...]
    next: str


def approve(settings: Settings, release: str, *, lock: str = "", user: str) -> Approved:
    """A release's lock, approved.

    Args:
        settings: The instance's.
        release: The release.
        lock: The lock that is meant, by its hash or the beginning of it; by default the one that stage runs.
        user: Who approves.

    Raises:
        UsageError: It is no release, or the hash is too short.
        Refused: The policy forbids it.
    """
    release = state.name(release)
    gate = state.gate(settings)
    mine = access.open(settings, user)
    gitops.patiently(mine.app, mine.fetch)
    told: list[Approved] = []

    def edit(now: gitops.There) -> gitops.Commit:
        there = state.read(now)
        running = next((one.lock for one in there.services(gate.after).values() if one.release == release), "")
        chosen = there.choose(release, lock, running=running)
        authors = promotion.authors(mine, chosen, now) if chosen else ()
        refusals = policy.judge_approval(settings.policy, user, authors, chosen is not None, environment=gate.environment)
        if chosen is None or refusals:
            raise Refused(refusals)
        approval = locks.Approval(release, chosen.hash, user, state.now())
        known = any((one.lock, one.by) == (approval.lock, user) for one in there.approvals)
        ends = there.ends(mine, chosen, gate.environment)
        over = tuple(Part(one.service, "", "", one.source_commit, one.version, "retired") for one in ends)
        made = _told(settings, there, chosen, gate, user=user, authors=authors)
        told.append(replace(made, services=(*made.services, *over)))
        trailers = {"Kind": "approval", "Release": release, "Lock": chosen.hash, "Approved-By": user, "Triggered-By": user}
        return gitops.Commit() if known else gitops.Commit(files=approval.files, trailers=trailers)

    remote = mine.records(gate.environment)
    done = gitops.change(remote, edit, reason=f"Approve {release}", identity=mine.identity, key=mine.key)
    asks = settings.policy.load == "required"
    return replace(told[-1], made=done.made, commit=done.commit, loaded=told[-1].loaded if asks else None)


def _told(
    settings: Settings, there: State, lock: locks.Lock, gate: policy.Gate, *, user: str, authors: tuple[str, ...]
) -> Approved:
    return Approved(
        release=lock.release,
        lock=lock.hash,
        environment=gate.environment,
        by=user,
        authors=authors,
        made=False,
        commit=there.commit,
        tried=locks.passed(lock, there.results, gate.after),
        loaded=locks.passed(lock, there.loads, gate.after),
        services=parts(there, lock, gate.environment),
        next=settings.command(f"promote {gate.environment} --release {lock.release}"),
    )


def parts(there: State, lock: locks.Lock, environment: str) -> tuple[Part, ...]:
    """The services of a lock beside what an environment runs of them."""
    runs = there.services(environment)
    made: list[Part] = []
    for one in lock.services:
        now = runs.get(one.service)
        pairs = {
            "image": now and now.digest != one.digest,
            "chart": now and (now.chart, now.chart_version) != (one.chart, one.chart_version),
        }
        other = [name for name, differs in pairs.items() if differs]
        # What a service is told is in no lock by itself: its artifact's inputs hold it.
        told = ["configuration"] if now and not other and now.inputs != one.inputs else []
        differs = ", ".join([*other, *told]) if now else "new"
        made.append(Part(one.service, one.version, one.digest, one.source_commit, now.version if now else "", differs))
    return tuple(made)


def show(made: Approved, console: Console) -> None:
    """Print what was approved, for a person."""
    from rich.table import Table

    said = "approved" if made.made else "had approved already"
    console.print(f"● {made.release}  {made.by} {said} for {made.environment}, and exactly this:", markup=False)
    console.print(f"  lock {made.lock}", markup=False)
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("  SERVICE", "VERSION", "DIGEST", "COMMIT", f"NOW IN {made.environment.upper()}", "DIFFERS"):
        table.add_column(column, no_wrap=True)
    for part in made.services:
        cells = (f"  {part.service}", part.version or "-", part.digest[:19] or "-", part.source_commit[:9], part.now or "-")
        table.add_row(*cells, part.differs or "-")
    console.print(table)
    if not made.tried:
        console.print("It has not run in the environment before yet, or not well: until then it goes nowhere.", markup=False)
    if made.loaded is False:
        console.print("It has passed no load test there yet, which the policy asks for: ./invoke load.", markup=False)
    console.print(f"\nNext: {made.next}", markup=False)
