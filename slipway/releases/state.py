"""Where a release stands: what the records, locks, stage results and approvals of the prod tier say, and app.git beside them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from slipway import git, gitops, locks, oci, policy, promotion, runs, versions
from slipway.access import Access
from slipway.errors import SlipwayError, UsageError
from slipway.gitops import Entry, Record
from slipway.locks import Approval, LoadResult, Lock, StageResult
from slipway.progress import Phase
from slipway.promotion import Refused
from slipway.settings import Settings
from slipway.waiting import Pending, Ready, wait_for

HEADS, TAGS = "refs/heads/", "refs/tags/"

# Shorter beginnings of a hash could mean another lock tomorrow.
_SHORTEST = 6

# Seconds until the runner takes a push, and until it is done with it: it may have to build every service first.
TAKEN_TIMEOUT = 90.0
RUN_TIMEOUT = 1800.0


@dataclass(frozen=True)
class State:
    """The repository of the prod tier at one commit.

    Attributes:
        commit: The commit.
        entries: What each environment records.
        locks: Every lock.
        results: Which locks have run in the environment before.
        approvals: Who approved which lock.
        loads: Which locks have passed a load test there.
    """

    commit: str
    entries: Mapping[tuple[str, str], Entry] = field(repr=False)
    locks: tuple[Lock, ...]
    results: tuple[StageResult, ...]
    approvals: tuple[Approval, ...]
    loads: tuple[LoadResult, ...] = ()

    def services(self, environment: str) -> dict[str, Record]:
        """What an environment records of each service; stores are delivered with the platform, not with a release."""
        mine = (entry.record for (name, _), entry in self.entries.items() if name == environment)
        return {record.service: record for record in mine if record.chart == gitops.CHART}

    def ends(self, access: Access, lock: Lock, environment: str) -> tuple[Record, ...]:
        """The records that end what an environment runs and a lock no longer has; the mirror has the lock's commit."""
        named = {one.service for one in lock.services}
        there = [entry.record for (name, service), entry in self.entries.items() if name == environment and service not in named]
        made = promotion.retirements(access.mirror, lock.commit, lock.branch, there)
        return tuple(replace(record, release=lock.release, lock=lock.hash) for record in made)

    def lock(self, named: str) -> Lock | None:
        """The lock of that hash."""
        return next((lock for lock in self.locks if lock.hash == named), None)

    def choose(self, release: str, named: str = "", *, running: str = "") -> Lock | None:
        """The lock of a release that is meant; None when there is none.

        Args:
            release: The release.
            named: The lock's hash or its beginning; by default the one that `running` names, else the last one that
                has run in the environment before, else the last one at all.
            running: The lock that the environment before runs.

        Raises:
            UsageError: The beginning is too short, or several locks begin so.
        """
        own = [lock for lock in self.locks if lock.release == release]
        if named:
            plain = named.removeprefix("sha256:")
            found = [lock for lock in own if lock.hash.removeprefix("sha256:").startswith(plain)]
            if len(plain) < _SHORTEST or len(found) > 1:
                raise UsageError(f"{named!r} does not say which lock of {release}: give {_SHORTEST} digits or more of its hash.")
            return found[0] if found else None
        times = {result.lock: result.time for result in self.results}
        oldest = versions.Version(0, 0, 0)

        def rank(lock: Lock) -> tuple[bool, str, versions.Version]:
            return lock.hash == running, times.get(lock.hash, ""), versions.parse(lock.version) or oldest

        return max(own, key=rank, default=None)


def gate(settings: Settings) -> policy.Gate:
    """The environment that needs approval, and what it asks.

    Raises:
        UsageError: The policy has none.
    """
    found = next(iter(settings.policy.approvals.values()), None)
    if found is None:
        raise UsageError("the policy has no environment that needs approval (`approvals`), so there are no releases.")
    return found


def onward(settings: Settings, release: str) -> str:
    """What to type once a release runs where releases are tried.

    Raises:
        UsageError: The policy has no environment that needs approval.
    """
    asked = gate(settings)
    if settings.policy.load == "required":
        return settings.command(f"load --env {asked.after} --release {release.removeprefix('v')}")
    return settings.command(f"approve {release} --user {next(iter(asked.approvers))}")


def name(release: str) -> str:
    """What a release is called ("v0.2.0"), however it was written.

    Raises:
        UsageError: It is no version of a release.
    """
    wanted = versions.parse(release)
    if wanted is None or wanted.pre:
        raise UsageError(f"{release!r} is no release. Releases are called like 0.2.0: three numbers, and nothing behind them.")
    return f"v{wanted}"


def look(access: Access) -> State:
    """What the repository of the prod tier says now.

    Raises:
        CommandFailed: The Git server refuses.
        WaitTimeout: It does not answer.
    """
    remote = access.records(gate(access.settings).environment)

    def ask() -> State:
        with tempfile.TemporaryDirectory(prefix="slipway-releases-") as folder:
            tree = Path(folder, "tree")
            git.clone(remote, tree, branch=gitops.BRANCH, depth=1)
            return read(gitops.There(tree, git.resolve(tree, "HEAD") or ""))

    return gitops.patiently(remote, ask)


def read(there: gitops.There) -> State:
    """What a working tree of that repository says."""
    tree = there.folder
    found = tuple(locks.read_locks(tree)), tuple(locks.stage_results(tree)), tuple(locks.approvals(tree))
    return State(there.commit, dict(there), *found, tuple(locks.load_results(tree)))


def passed(mirror: Path, commit: str) -> bool:
    """Whether the pipeline says of a commit that it passed."""
    return verdict(mirror, commit).get("state") == runs.PASSED


def verdict(mirror: Path, commit: str) -> Mapping[str, str]:
    """What the pipeline says of a commit: how its run ended, which run it was; empty when it says nothing."""
    note = git.note(mirror, commit, kind=policy.RESULTS.removeprefix("refs/notes/"))
    try:
        told = json.loads(note) if note else {}
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def check(access: Access, state: State, push: policy.Push) -> None:
    """Return when the policy lets a push to the application's repository land; the Git server asks the same.

    Args:
        access: Who pushes; the mirror is up to date.
        state: The state of the releases.
        push: What is particular about the push; the facts about all releases are filled in.

    Raises:
        Refused: It does not.
    """
    tags = git.local_refs(access.mirror, TAGS)
    heads = git.local_refs(access.mirror, HEADS)
    contains = {branch: git.contains(access.mirror, commit, push.merged or push.new) for branch, commit in heads.items()}
    inside = tuple(branch.removeprefix(HEADS) for branch, there in contains.items() if there)
    exactly = tuple(tag.removeprefix(TAGS) for tag, commit in tags.items() if commit == push.new)
    there = {line.release(branch.removeprefix(HEADS)) for branch in heads for line in access.settings.policy.lines}
    judged = policy.judge_push(
        access.settings.policy,
        policy.Push(
            repository=policy.APP,
            user=access.user,
            reference=push.reference,
            old=push.old,
            new=push.new,
            fast_forward=True,
            merged=push.merged,
            merge_of=inside if push.merged else (),
            merge_clean=push.merge_clean,
            merge_passed=bool(push.merged) and passed(access.mirror, push.merged),
            based_on=(*inside, *exactly) if not push.old else (),
            tags=tuple(tag.removeprefix(TAGS) for tag in tags),
            releases=tuple(sorted({release for release in there if release} | {lock.release for lock in state.locks})),
            prod=in_prod(access.settings, state),
        ),
    )
    if judged:
        raise Refused(judged)


def in_prod(settings: Settings, state: State) -> tuple[policy.Released, ...]:
    """The releases that run where approval is needed, with the commits that their locks name."""
    found: dict[policy.Released, None] = {}
    for record in state.services(gate(settings).environment).values():
        lock = state.lock(record.lock)
        if record.release:
            found[policy.Released(record.release, lock.commit if lock else record.source_commit)] = None
    return tuple(found)


def follow(settings: Settings, branch: str, commit: str, *, phase: Phase) -> runs.Run:
    """The run of the pipeline for a branch at a commit, once it has ended well.

    Raises:
        WaitTimeout: The runner does not take it, or does not come to an end.
        SlipwayError: It failed.
    """

    def find() -> runs.Run | None:
        return next((run for run in runs.settled(settings) if (run.branch, run.commit) == (branch, commit)), None)

    def taken() -> Ready[None] | Pending:
        return Ready(None) if find() else Pending("the runner has not taken it yet")

    def ended() -> Ready[runs.Run] | Pending:
        run = find()
        if run is None or not run.over:
            last = run.stages[-1] if run and run.stages else None
            return Pending(f"{last.name}: {last.said}".rstrip(": ") if last else "it is queued")
        return Ready(run)

    what = f"the run of {branch} at {commit[:9]}"
    look = f"see {settings.command('ci.runs')} and {settings.command('status')}"
    hint = f"What was pushed stays, and the runner takes it as soon as it can: {look}."
    wait_for(what, taken, timeout=TAKEN_TIMEOUT, on_change=phase.say, hint=hint)
    run = wait_for(what, ended, timeout=RUN_TIMEOUT, on_change=phase.say, hint=hint)
    if run.state == runs.FAILED:
        raise SlipwayError(
            f"{what} failed: {run.trouble}\nRead why with `{settings.command(f'ci.runs --run {run.id}')}`, and push a correction."
        )
    phase.say(run.verdict or run.state)
    return run


def alias(lock: Lock, services: Sequence[str] = ()) -> tuple[str, ...]:
    """The tags by which the registry knows the images of a release from now on: the very manifests that were tried.

    Args:
        lock: What the release is made of.
        services: Only these of its services.

    Raises:
        RegistryError: The registry does not answer, or a tag names another image already.
    """
    mine = [one for one in lock.services if not services or one.service in services]
    version = lock.release.removeprefix("v")
    for one in mine:
        oci.alias(f"{one.image}@{one.digest}", version)
    return tuple(f"{one.image}:{version}" for one in mine)


def check_alias(lock: Lock) -> None:
    """Return when every image of a release can be called by its version.

    Raises:
        RegistryError: A tag names another image already, or the registry does not answer.
    """
    version = lock.release.removeprefix("v")
    for one in lock.services:
        named = oci.digest(f"{one.image}:{version}")
        if named and named != one.digest:
            raise oci.RegistryError(
                f"{one.image}:{version} names {named} already, and a tag never moves: {lock.release} cannot be released as that. "
                f"Cut a release with a higher version."
            )


def check_tag(access: Access, lock: Lock) -> None:
    """Return when a release can be tagged at what this lock is made of.

    Raises:
        Refused: It was released before, made of another commit.
    """
    gitops.patiently(access.app, access.fetch)
    there = git.local_refs(access.mirror, TAGS).get(f"{TAGS}{lock.release}", lock.commit)
    if there != lock.commit:
        wrong = f"{lock.release} was released already, made of {there[:9]}, and this lock is made of {lock.commit[:9]}"
        how = access.settings.command(f"ci --ref {lock.branch}" if lives_on(access.settings, lock) else "release.cut X.Y.Z")
        raise Refused((policy.Refusal("tags", wrong, f"a release with a version of its own ({how})"),))


def lives_on(settings: Settings, lock: Lock) -> bool:
    """Whether the branch of a lock goes on to the next release, as main does where no branch is made for each."""
    return all(line.release(lock.branch) == "" for line in settings.policy.lines)


def now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
