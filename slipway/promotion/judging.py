"""The facts of a change, read from the repositories as the Git server reads them, for the policy to judge."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from slipway import git, gitops, locks, policy, pushlog, records
from slipway.access import Access
from slipway.gitops import Record, There
from slipway.promotion.changes import Change
from slipway.receive import holding, pushes
from slipway.receive.bare import Bare


def facts(
    access: Access,
    change: Change,
    record: Record,
    there: There,
    *,
    people: Mapping[str, tuple[str, ...]] | None = None,
    kept: bool | None = None,
) -> policy.Deploy:
    """What the policy asks about one record of a change.

    Args:
        access: An instance, whose mirror of the application is up to date.
        change: The change.
        record: One of its records, with the branch, release and lock that it comes with.
        there: What the environment's repository holds.
        people: The authors of locks, by the lock's hash, where they are known already.
        kept: Whether the environment was rolled back from it, where that is known already.
    """
    rules, contains = access.settings.policy, partial(git.contains, access.mirror)
    lock = known(change, there).get(record.lock)
    results, loads = locks.stage_results(there.folder), locks.load_results(there.folder)
    approvals = locks.approvals(there.folder)
    had = there.get(record.key)
    head = git.resolve(access.mirror, f"refs/heads/{record.branch}")
    guarded = change.environment in rules.approvals
    asked, user = change.how in policy.ASKED, change.triggered_by or access.user
    home = had is not None and policy.comes_home(rules, change.environment, record.branch, had.record.branch, asked=asked)
    if people is None:
        people = {lock.hash: authors(access, lock, there)} if lock and guarded else {}
    if kept is None:
        kept = change.how == "automatic" and record.service in _held(access, change, [record], there)
    return policy.Deploy(
        environment=change.environment,
        branch=record.branch,
        kind=change.how,
        user=user,
        on_branch=head is not None and contains(head, record.source_commit),
        order=records.order(record, had.record if had else None, contains, last=guarded, home=home),
        release=record.release,
        lock=record.lock,
        locked=lock is not None
        and (lock.release, lock.branch) == (record.release, record.branch)
        and not locks.departures(lock, [record]),
        passed=tuple(name for name in rules.environments if lock and locks.passed(lock, results, name)),
        authors=people.get(record.lock, ()),
        approvers=tuple(one.by for one in approvals if one.lock == record.lock),
        restores=bool(change.restores),
        running=had.record.release if had else "",
        loaded=tuple(name for name in rules.environments if lock and locks.passed(lock, loads, name)),
        held=kept,
        # The Git server wants to see that they did.
        wished=policy.asks(rules, user),
        version=record.version,
        former=had.record.version if had else "",
        grows=records.grows(record, had.record if had else None, contains),
    )


def judge(access: Access, change: Change, wanted: Sequence[Record], there: There) -> tuple[policy.Refusal, ...]:
    """All that the policy has against a change, each thing once.

    Args:
        access: An instance, whose mirror of the application is up to date.
        change: The change.
        wanted: Its records.
        there: What the environment's repository holds.
    """
    rules, all_locks = access.settings.policy, known(change, there)
    named = {record.lock for record in wanted if record.lock in all_locks and change.environment in rules.approvals}
    people = {one: authors(access, all_locks[one], there) for one in named}
    kept = _held(access, change, wanted, there) if change.how == "automatic" else frozenset[str]()
    found = [
        policy.judge_deploy(rules, facts(access, change, one, there, people=people, kept=one.service in kept)) for one in wanted
    ]
    return tuple(dict.fromkeys(refusal for refusals in found for refusal in refusals))


def held(access: Access, environment: str, wanted: Sequence[Record]) -> frozenset[str]:
    """The services of which an environment was rolled back from what is wanted there, or from something newer.

    Args:
        access: An instance, whose mirror of the application is up to date.
        environment: The environment.
        wanted: What would come by itself, as the environment would record it.
    """
    remote = access.records(environment)
    with tempfile.TemporaryDirectory(prefix="slipway-held-") as folder:
        tree = Path(folder, "tree")
        gitops.patiently(remote, lambda: git.clone(remote, tree, branch=gitops.BRANCH) or True)
        return _held(access, Change(environment, "deploy"), wanted, There(tree, git.resolve(tree, "HEAD") or ""))


def _held(access: Access, change: Change, wanted: Sequence[Record], there: There) -> frozenset[str]:
    running = [record for record in wanted if (change.environment, record.service) in there]
    if not running:
        return frozenset()
    every, contains = known(change, there), partial(git.contains, access.mirror)
    with _history(access, change.environment, there) as bare:
        told = {one.service: holding.left(bare, there.commit, change.environment, one.service) for one in running}
    return frozenset(one.service for one in running if holding.holding(one, told[one.service], every, contains))


@contextmanager
def _history(access: Access, environment: str, there: There) -> Generator[Bare]:
    """The repository of an environment with all its past, which what is read for a change may lack."""
    own = there.folder / ".git"
    if own.is_dir() and not (own / "shallow").is_file():
        yield Bare(own)
        return
    remote = access.records(environment)
    with tempfile.TemporaryDirectory(prefix="slipway-past-") as folder:
        whole = Path(folder, "whole")
        gitops.patiently(remote, lambda: git.mirror(remote, whole) or True)
        yield Bare(whole)


def known(change: Change, there: There) -> Mapping[str, locks.Lock]:
    """Every lock there is, by its hash, and those that come with the change itself."""
    brought = [locks.parse_lock(name, content) for name, content in change.files.items() if name.endswith("/lock.yaml")]
    return {lock.hash: lock for lock in (*locks.read_locks(there.folder), *brought)}


def authors(access: Access, lock: locks.Lock, there: There | None = None) -> tuple[str, ...]:
    """Who made what a lock is made of, as the Git server authenticated them; empty when nobody knows.

    Args:
        access: An instance, whose mirror of the application is up to date.
        lock: The lock.
        there: What the repository holds that the lock is in. Of a branch that lives on, such as main, only what the last
            environment does not run yet counts; without it, everything does.

    Raises:
        PushLogError: The push log cannot be read now.
    """
    rules = access.settings.policy
    line = policy.line(rules, lock.branch)
    own = bool(line and line.release(lock.branch))
    ran: list[str] = []
    if there is not None and not own:
        ended = {entry.record.lock for entry in there.values() if entry.record.environment in rules.approvals} - {lock.hash, ""}
        ran = [one.commit for one in locks.read_locks(there.folder) if one.hash in ended]
    log = [
        pushes.Pushed(str(one.time), one.user, one.repository, one.reference, one.before, one.after)
        for one in pushlog.push_log(access)
    ]
    return pushes.authors(
        log, lock.branch, lock.commit, known=lambda commit: any(git.contains(access.mirror, had, commit) for had in ran)
    )
