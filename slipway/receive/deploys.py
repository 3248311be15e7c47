"""The records in a push: they follow from what they name, and the policy lets them run where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict

from slipway import locks, policy, records
from slipway.policy import Refusal
from slipway.receive import entries
from slipway.receive.scene import Scene, is_commit, key, names, paths, some
from slipway.records import Record

_BACK = ("rollback", "revert")


def judge(scene: Scene) -> Iterable[Refusal]:
    """Every rule that forbids the records of a commit."""
    keys = sorted({key(one.path) for one in scene.changed if scene.place(one.path) == "record"})
    told = [f"{entries.folder(*one)}/record.yaml" for one in keys]
    if absent := [path for one in keys for path in names(*one) if path not in scene.after]:
        yield Refusal("records", f"{some(absent)} is missing", "a record with its values and its manifests, all three")
        return
    try:
        wanted = [entries.parse(path, content) for path, content in scene.ledger.here.files(scene.commit, told).items()]
        former = {name: scene.running(name) for name in {record.environment for record in wanted}}
    except entries.Unreadable as error:
        yield Refusal("records", str(error), "a record as ./invoke writes it")
        return
    yield from _claims(scene, wanted)
    if scene.kind in _BACK:
        restored = _restored(scene)
        yield from _judge(scene, wanted, former, restored=lambda record: _came_back(scene, record, restored))
        return
    yield from entries.departures(scene.ledger.kitchen, wanted, scene.after)
    if scene.kind != "genesis":
        yield from _judge(scene, wanted, former, restored=lambda _: False)


def _claims(scene: Scene, wanted: Sequence[Record]) -> Iterable[Refusal]:
    for name, told in {
        "Environment": "environment",
        "Service": "service",
        "Version": "version",
        "Source-Commit": "source_commit",
        "Branch": "branch",
        "Release": "release",
        "Lock": "lock",
    }.items():
        said = {word.strip() for word in scene.trailers.get(name, "").split(",")}
        true = {value for record in wanted if (value := asdict(record)[told])}
        if scene.kind != "genesis" and not true <= said:
            wrong = f"its trailer {name} does not say {some(sorted(true - said))}"
            yield Refusal("trailers", wrong, "trailers that name what the commit changes")


def _restored(scene: Scene) -> str:
    """The commit that is said to be restored; "" when it is none of this repository's past."""
    named = scene.trailers.get("Restores", "")
    return named if is_commit(named) and scene.ledger.here.contains(scene.parent, named) else ""


def _came_back(scene: Scene, record: Record, restored: str) -> bool:
    """Whether a record and what follows from it are what they were at a former commit, in the same environment.

    A revert undoes the last change and nothing else; a rollback goes anywhere that was not itself undone.
    """
    if not restored:
        return False
    was = scene.ledger.here.blobs(restored, f"{entries.folder(record.environment, record.service)}/")
    if any(was.get(path) != scene.after[path] for path in paths(record)):
        return False
    path = f"{entries.folder(record.environment, record.service)}/record.yaml"
    past = scene.ledger.here.past(scene.parent, path)
    if scene.kind == "revert":
        return bool(past) and past[-1].old == scene.after[path]
    undone = {one.old for one in past if one.trailer == "revert"} - {one.old for one in past if one.trailer != "revert"}
    return scene.after[path] not in undone


def _judge(
    scene: Scene, wanted: Sequence[Record], former: Mapping[str, Mapping[str, Record]], *, restored: Callable[[Record], bool]
) -> Iterable[Refusal]:
    for record in wanted:
        had = former[record.environment].get(record.service)
        if record.chart != records.CHART or (had and had.chart != records.CHART):
            allowed = "the services; a store stays what it was when the instance was made"
            yield Refusal("stores", f"{record.service} in {record.environment} is a store", allowed)
            continue
        yield from policy.judge_deploy(scene.ledger.policy, _facts(scene, record, had, restored))


def _facts(scene: Scene, record: Record, had: Record | None, restored: Callable[[Record], bool]) -> policy.Deploy:
    app, user = scene.ledger.kitchen.app, scene.trailers.get("Triggered-By", "")
    lock = scene.locks.get(record.lock)
    how, rules = _how(scene, user), scene.ledger.policy
    asked = how == "request"
    home = had is not None and policy.comes_home(rules, record.environment, record.branch, had.branch, asked=asked)
    mine = [result for result in scene.results if result.lock == record.lock]
    withstood = [result for result in scene.loads if result.lock == record.lock]
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
    )


def _how(scene: Scene, user: str) -> policy.Kind:
    if scene.kind in ("rollback", "revert"):
        return "rollback" if scene.kind == "rollback" else "revert"
    if scene.kind == "promotion":
        return "dispatch"
    # Somebody's wish, or nobody's: a person asks, the pipeline goes by itself.
    return "request" if user in scene.ledger.policy.roles and user not in scene.ledger.policy.results else "automatic"
