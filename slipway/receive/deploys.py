"""The records in a push: they follow from what they name, and the policy lets them run where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from slipway import locks, policy, records
from slipway.policy import Refusal
from slipway.receive import claims, entries, holding, returning, wishes
from slipway.receive.scene import Scene, key, names, some
from slipway.records import Record

# How the policy sees each kind of commit that brings records.
HOW: Mapping[str, policy.Kind] = {
    "deploy": "automatic",
    "release": "automatic",
    "request": "request",
    "promotion": "dispatch",
    "rollback": "rollback",
    "revert": "revert",
}


def judge(scene: Scene) -> Iterable[Refusal]:
    """Every rule that forbids the records of a commit."""
    keys = sorted({key(one.path) for one in scene.changed if scene.place(one.path) == "record"})
    told = [entries.file(*one) for one in keys]
    if absent := [path for one in keys for path in names(*one) if path not in scene.after]:
        yield Refusal("records", f"{some(absent)} is missing", "a record with its values and its manifests, all three")
        return
    try:
        wanted = [entries.parse(path, content) for path, content in scene.ledger.here.files(scene.commit, told).items()]
        former = {name: scene.running(name) for name in {record.environment for record in wanted}}
    except entries.Unreadable as error:
        yield Refusal("records", str(error), "a record as ./invoke writes it")
        return
    yield from claims.judge(scene, wanted)
    if scene.kind in returning.BACK:
        yield from _judge(scene, wanted, former, restored=returning.judge(scene))
        return
    yield from entries.strangers(scene.ledger.kitchen, wanted)
    yield from entries.departures(scene.ledger.kitchen, wanted, scene.after)
    if scene.kind != "genesis":
        yield from _judge(scene, wanted, former, restored=lambda _: False)


def _judge(
    scene: Scene, wanted: Sequence[Record], former: Mapping[str, Mapping[str, Record]], *, restored: Callable[[Record], bool]
) -> Iterable[Refusal]:
    for record in wanted:
        had = former[record.environment].get(record.service)
        if not {one.chart for one in (record, had) if one} <= {records.CHART, records.RETIRED}:
            allowed = "the services; a store stays what it was when the instance was made"
            yield Refusal("stores", f"{record.service} in {record.environment} is a store", allowed)
            continue
        if record.retired and scene.kind not in returning.BACK:
            yield from _retired(scene, record, had)
        yield from policy.judge_deploy(scene.ledger.policy, _facts(scene, record, had, restored))


def _retired(scene: Scene, record: Record, had: Record | None) -> Iterable[Refusal]:
    """Why a service is not at its end: it does not run, the commit has it, or has never had it."""
    app, commit, where = scene.ledger.kitchen.app, record.source_commit, f"{record.service} in {record.environment}"
    wrong = ""
    if had is None:
        wrong = f"{where} has never run"
    elif (record.version, record.image, record.digest) != (had.version, had.image, had.digest):
        wrong = f"{where} ran {had.version}, and this ends {record.version}"
    elif app.blobs(commit, f"services/{record.service}/"):
        wrong = f"commit {commit[:9]} has services/{record.service}"
    elif not app.contains(commit, had.source_commit):
        wrong = f"{where} comes from {had.source_commit[:9]}, which {commit[:9]} does not have, so it is not gone from there"
    if wrong:
        yield Refusal("retired", wrong, "the end of what runs, by a commit after it that has no folder of the service any more")


def _facts(scene: Scene, record: Record, had: Record | None, restored: Callable[[Record], bool]) -> policy.Deploy:
    app, user = scene.ledger.kitchen.app, scene.trailers.get("Triggered-By", "")
    lock = scene.locks.get(record.lock)
    how, rules = HOW.get(scene.kind, "automatic"), scene.ledger.policy
    asked = how in policy.ASKED
    home = had is not None and policy.comes_home(rules, record.environment, record.branch, had.branch, asked=asked)
    mine = [result for result in scene.results if result.lock == record.lock]
    withstood = [result for result in scene.loads if result.lock == record.lock]
    held = _held(scene, record) if how in ("automatic", "request") else None
    return policy.Deploy(
        environment=record.environment,
        branch=record.branch,
        kind=how,
        user=user,
        on_branch=app.contains(app.resolve(f"refs/heads/{record.branch}"), record.source_commit),
        order=records.order(record, had, app.contains, last=record.environment in rules.approvals, home=home),
        release=record.release,
        lock=record.lock,
        locked=lock is not None
        and (lock.release, lock.branch) == (record.release, record.branch)
        and not locks.departures(lock, [record]),
        passed=tuple(sorted({one.environment for one in mine if lock and locks.passed(lock, [one], one.environment)})),
        authors=scene.authors(lock) if lock and record.environment in rules.approvals else (),
        approvers=tuple(sorted({one.by for one in scene.approvals if one.lock == record.lock})),
        restores=restored(record),
        running=had.release if had else "",
        loaded=tuple(sorted({one.environment for one in withstood if lock and locks.passed(lock, [one], one.environment)})),
        held=held is not None,
        wished=how == "request" and wishes.known(scene, record, since=held.time if held else 0),
        version=record.version,
        former=had.version if had else "",
        grows=records.grows(record, had, app.contains),
    )


def _held(scene: Scene, record: Record) -> holding.Left | None:
    told = holding.left(scene.ledger.here, scene.parent, record.environment, record.service)
    return holding.holding(record, told, scene.locks, scene.ledger.kitchen.app.contains)
