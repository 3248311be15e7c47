"""Locks, results and approvals in a push: each must be what it says, and say what is so."""

from __future__ import annotations

from collections.abc import Iterable

from slipway import locks, policy, records, versions
from slipway.locks import Lock
from slipway.policy import Refusal
from slipway.receive import entries
from slipway.receive.scene import Scene, is_commit, paths, some
from slipway.records import Record


def judge(scene: Scene) -> Iterable[Refusal]:
    """Every rule that forbids the locks, the results and the approvals of a commit."""
    for place, rule in {"lock": _lock, "stage": _stage, "load": _load, "approval": _approval}.items():
        mine = [one.path for one in scene.changed if scene.place(one.path) == place]
        for path, content in scene.ledger.here.files(scene.commit, mine).items():
            try:
                yield from rule(scene, path, content)
            except locks.LockError as error:
                yield Refusal(place, str(error).rstrip("."), f"a {place} as ./invoke writes it")


def _lock(scene: Scene, path: str, content: bytes) -> Iterable[Refusal]:
    lock, app = locks.parse_lock(path, content), scene.ledger.kitchen.app
    allowed = "the lock that a push to the release's branch makes, by ./invoke"
    if lock.files != {path: content}:
        yield Refusal("lock", f"{path} is written in another way than its own", allowed)
    found = policy.line(scene.ledger.policy, lock.branch)
    if found is None or not found.releases or found.release(lock.branch) not in ("", lock.release):
        yield Refusal("lock", f"{lock.branch} makes no release {lock.release}", allowed)
    if not app.contains(app.resolve(f"refs/heads/{lock.branch}"), lock.commit):
        yield Refusal("origin", f"{lock.commit[:9]} is not on {lock.branch}", "a lock of a commit of the release's branch")
    tried = [gate.after for gate in scene.ledger.policy.approvals.values() if gate.after in scene.ledger.environments]
    running = [record for name in tried for record in scene.running(name).values() if record.chart == records.CHART]
    named = {one.service for one in lock.services}
    absent = sorted({one.service for one in running if one.service not in named and not _gone(scene, lock, one)})
    if absent:
        yield Refusal("lock", f"it lacks {some(absent)}", "a lock of every service that its commit has")
    for one in lock.services:
        if not app.contains(lock.commit, one.source_commit):
            wrong = f"{one.service} comes from {one.source_commit[:9]}, which {lock.commit[:9]} does not have"
            yield Refusal("origin", wrong, "artifacts of commits that the lock's commit contains")
    yield from entries.strangers(scene.ledger.kitchen, lock.services)
    yield from _versions(scene, lock)


def _gone(scene: Scene, lock: Lock, record: Record) -> bool:
    """Whether the commit of a lock comes after what runs of a service, and has no folder of it any more."""
    app = scene.ledger.kitchen.app
    return app.contains(lock.commit, record.source_commit) and not app.blobs(lock.commit, f"services/{record.service}/")


def _versions(scene: Scene, lock: Lock) -> Iterable[Refusal]:
    """What is wrong with the versions in a lock: they lead to its release, or are of images that were there before."""
    known: dict[tuple[str, str], str] = {
        (one.service, one.version): one.digest for name in scene.ledger.environments for one in scene.running(name).values()
    }
    known |= {(one.service, one.version): one.digest for other in scene.known_locks.values() for one in other.services}
    core = versions.parse(lock.release)
    built = versions.parse(lock.version)
    if built is None or built.core != core or not built.pre:
        yield Refusal("version", f"{lock.version} does not lead to {lock.release}", f"{lock.release[1:]}-rc.N")
    for one in lock.services:
        mine, had = versions.parse(one.version), known.get((one.service, one.version))
        if had is None and (mine is None or mine.core != core or not mine.pre):
            wrong = f"{one.service} {one.version} does not lead to {lock.release}, and never ran here"
            yield Refusal("version", wrong, f"{lock.release[1:]}-rc.N; or an artifact that stage or prod has run")
        if had not in (None, one.digest):
            wrong = f"{one.service} {one.version} is another image already"
            yield Refusal("version", wrong, "a version that was never used: push another commit")


def _stage(scene: Scene, path: str, content: bytes) -> Iterable[Refusal]:
    result = locks.parse_stage(path, content)
    for wrong in _not_so(scene, path, content, result):
        yield Refusal("stage", wrong, "the result of a lock that this environment ran, and still runs, whole")


def _load(scene: Scene, path: str, content: bytes) -> Iterable[Refusal]:
    result = locks.parse_load(path, content)
    allowed = "the passed load test of a lock that this environment ran, and still runs, whole"
    for wrong in _not_so(scene, path, content, result):
        yield Refusal("load", wrong, allowed)
    lock = scene.known_locks.get(result.lock)
    if lock and not locks.passed(lock, scene.results, result.environment):
        yield Refusal("load", f"{result.environment} has not come to run the lock {result.lock[:19]}", allowed)


def _not_so(scene: Scene, path: str, content: bytes, result: locks.StageResult | locks.LoadResult) -> Iterable[str]:
    """What is not as a result says: of a lock that was there before, and that its environment runs now, whole."""
    gates = {gate.after for gate in scene.ledger.policy.approvals.values()}
    if result.files != {path: content} or result.environment not in gates or result.environment not in scene.ledger.environments:
        yield f"{path} is no result of {' or '.join(sorted(gates))}"
        return
    lock = scene.known_locks.get(result.lock)
    if lock is None:
        yield f"there is no lock {result.lock[:19]} that it could be of"
        return
    if dict(result.digests) != lock.digests:
        yield f"{path} saw other images than the lock has"
    running = scene.running(result.environment)
    mine = [running[one.service] for one in lock.services if one.service in running]
    wrong = [record.service for record in mine if record.lock != lock.hash] + list(locks.departures(lock, mine))
    if wrong or len(mine) != len(lock.services):
        yield f"{result.environment} does not run that lock ({some(wrong) or 'not all of it'})"
    here = scene.ledger.here
    if not is_commit(result.commit) or not here.contains(scene.parent, result.commit):
        yield f"{result.commit[:9]} is no commit of {scene.ledger.name}"
        return
    ran = here.blobs(result.commit, f"envs/{result.environment}/")
    if any(ran.get(path) != scene.before.get(path) for record in mine for path in paths(record)):
        yield f"{result.environment} has changed since {result.commit[:9]}"


def _approval(scene: Scene, path: str, content: bytes) -> Iterable[Refusal]:
    given = locks.parse_approval(path, content)
    if given.by != scene.user:
        yield Refusal("approval", f"{scene.user} cannot approve in the name of {given.by}", "an approval in one's own name")
    lock = scene.known_locks.get(given.lock)
    if given.files != {path: content} or (lock and lock.release != given.release):
        yield Refusal("approval", f"{path} does not say which release its lock is of", "an approval as ./invoke writes it")
    authors = scene.authors(lock) if lock else ()
    for refusal in policy.judge_approval(scene.ledger.policy, scene.user, authors, lock is not None):
        if lock and not authors and refusal.rule == "four-eyes":
            known = "a release of which the push log has every push, one after the other: cut it again under another version"
            yield Refusal("four-eyes", refusal.wrong, known)
        else:
            yield refusal
