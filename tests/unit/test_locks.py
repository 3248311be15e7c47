"""Locks, stage results and approvals: what identifies them, where they lie, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from slipway import locks
from slipway.locks import Approval, LoadResult, Lock, Locked, LockError, StageResult
from slipway.records import Record

CATALOG = Locked(
    "catalog", "0.2.0-rc.3", "localhost:5001/catalog", "sha256:" + "a" * 64, "c" * 40, "microservice", "1.0.0", "sha256:1"
)
CART = replace(CATALOG, service="cart", version="0.1.0", digest="sha256:" + "b" * 64)
LOCK = Lock("v0.2.0", "0.2.0-rc.3", "release/v0.2.0", "d" * 40, (CART, CATALOG))
RESULT = StageResult("v0.2.0", LOCK.hash, "stage", "e" * 40, LOCK.digests, "2026-11-21T10:00:00Z")
LOAD = LoadResult("v0.2.0", LOCK.hash, "stage", "e" * 40, LOCK.digests, "261121-100000-ab12", "smoke", "2026-11-21T10:00:30Z")
APPROVAL = Approval("v0.2.0", LOCK.hash, "lead", "2026-11-21T10:01:00Z")


def write(tree: Path, *things: Lock | StageResult | LoadResult | Approval) -> None:
    for thing in things:
        for name, content in thing.files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(content)


def record(locked: Locked, environment: str = "stage") -> Record:
    return Record(
        environment=environment,
        service=locked.service,
        version=locked.version,
        image=locked.image,
        digest=locked.digest,
        source_commit=locked.source_commit,
        chart=locked.chart,
        chart_version=locked.chart_version,
    )


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    write(tmp_path, LOCK, RESULT, LOAD, APPROVAL)
    assert locks.read_locks(tmp_path) == [LOCK]
    assert locks.stage_results(tmp_path) == [RESULT]
    assert locks.load_results(tmp_path) == [LOAD]
    assert locks.approvals(tmp_path) == [APPROVAL]


def test_files_lie_where_the_hash_says(tmp_path: Path) -> None:
    plain = LOCK.hash.removeprefix("sha256:")
    assert LOCK.path == f"releases/v0.2.0/{plain[:12]}/lock.yaml"
    assert RESULT.path == f"releases/v0.2.0/{plain[:12]}/stage.yaml"
    assert LOAD.path == f"releases/v0.2.0/{plain[:12]}/load.yaml"
    assert APPROVAL.path == f"approvals/{plain}/lead.yaml"


def test_an_empty_repository_has_no_locks(tmp_path: Path) -> None:
    assert (locks.read_locks(tmp_path), locks.stage_results(tmp_path), locks.approvals(tmp_path)) == ([], [], [])


@pytest.mark.parametrize("field", ["version", "image", "digest", "source_commit", "chart", "chart_version", "inputs"])
def test_any_change_of_an_artifact_is_another_lock(field: str) -> None:
    assert replace(LOCK, services=(CART, replace(CATALOG, **{field: "other"}))).hash != LOCK.hash


def test_another_release_or_a_service_less_is_another_lock() -> None:
    assert len({LOCK.hash, replace(LOCK, release="v0.3.0").hash, replace(LOCK, services=(CART,)).hash}) == 3


def test_the_hash_does_not_depend_on_order_nor_on_how_often_it_was_built() -> None:
    again = replace(LOCK, version="0.2.0-rc.9", commit="f" * 40, services=(CATALOG, CART))
    assert again.hash == LOCK.hash


def test_the_hash_is_the_same_for_ever() -> None:
    # Approvals in a repository name it: a change of how it is computed would void them all.
    assert LOCK.hash == "sha256:e7126bdda64d00c67f5be0b67464a59212858998342cf92992efdf69bacd5b50"


def test_a_lock_of_records_is_what_they_run_wherever_that_is() -> None:
    stage = locks.of([record(CATALOG), record(CART)], release="v0.2.0", version="1", branch="b", commit="c")
    prod = locks.of([record(CART, "prod"), record(CATALOG, "prod")], release="v0.2.0", version="1", branch="b", commit="c")
    assert stage == prod
    assert [one.service for one in stage.services] == ["cart", "catalog"]


def test_records_that_depart_from_the_lock_are_named() -> None:
    same = locks.of([record(CATALOG), record(CART)], release="v0.2.0", version="", branch="", commit="")
    assert locks.departures(same, [record(CATALOG, "prod")]) == ()
    moved = replace(record(CATALOG), digest="sha256:" + "f" * 64)
    assert locks.departures(same, [moved]) == (f"catalog: digest is {moved.digest}, not {CATALOG.digest}",)
    assert locks.departures(same, [replace(moved, service="ghost")]) == ("ghost is not in the lock",)


def test_stage_passed_only_for_the_very_lock_and_every_digest() -> None:
    assert locks.passed(LOCK, [RESULT], "stage")
    assert not locks.passed(LOCK, [], "stage")
    assert not locks.passed(LOCK, [RESULT], "prod")
    assert not locks.passed(LOCK, [replace(RESULT, digests={"cart": CART.digest})], "stage")
    assert not locks.passed(replace(LOCK, release="v0.2.1"), [RESULT], "stage")


def test_a_load_test_was_passed_only_by_the_very_lock_with_every_digest() -> None:
    assert locks.passed(LOCK, [LOAD], "stage")
    assert not locks.passed(LOCK, [LOAD], "prod")
    assert not locks.passed(LOCK, [replace(LOAD, digests={"cart": CART.digest})], "stage")
    assert not locks.passed(replace(LOCK, release="v0.2.1"), [LOAD], "stage")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("outcome", "fail", "was not passed is not written down here"),
        ("outcome", True, "was not passed is not written down here"),
        ("run", "", "run has to say something"),
        ("profile", "", "profile has to say something"),
        ("commit", 7, "commit has to be text"),
        ("digests", {}, "has to say what was seen running"),
        ("lock", "sha256:1", "is no lock"),
        ("more", "x", "and nothing else"),
    ],
)
def test_what_is_no_passed_load_test_is_refused(key: str, value: object, words: str) -> None:
    told = {**yaml.safe_load(LOAD.files[LOAD.path]), key: value}
    with pytest.raises(LockError, match=words):
        locks.parse_load(LOAD.path, yaml.safe_dump(told).encode())


def test_a_load_test_of_another_lock_is_refused() -> None:
    with pytest.raises(LockError, match="belongs into"):
        locks.parse_load(f"releases/v0.2.0/{'0' * 12}/load.yaml", LOAD.files[LOAD.path])


def test_a_lock_edited_in_place_is_refused(tmp_path: Path) -> None:
    write(tmp_path, LOCK)
    file = tmp_path / LOCK.path
    told = yaml.safe_load(file.read_text())
    told["services"]["cart"]["digest"] = "sha256:" + "f" * 64
    file.write_text(yaml.safe_dump(told))
    with pytest.raises(LockError, match=f"{LOCK.path}: what it says belongs into releases/v0.2.0/"):
        locks.read_locks(tmp_path)


def test_an_approval_under_another_name_or_lock_is_refused() -> None:
    content = APPROVAL.files[APPROVAL.path]
    for path in (APPROVAL.path.replace("lead", "developer"), APPROVAL.path.replace(LOCK.hash[7:20], "0" * 13)):
        with pytest.raises(LockError, match="belongs into"):
            locks.parse_approval(path, content)


def test_a_stage_result_of_another_lock_is_refused() -> None:
    with pytest.raises(LockError, match="belongs into"):
        locks.parse_stage(f"releases/v0.2.0/{'0' * 12}/stage.yaml", RESULT.files[RESULT.path])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"- a\n- list\n", "has to say release, version, branch, commit, services, and nothing else"),
        (b"release: [", "is no YAML"),
        (b"\xff\xfe", "is no YAML"),
        (b"{release: v0.2.0, version: '1', branch: b, commit: c, services: {}}", "services"),
        (b"{release: v0.2.0, version: '1', branch: b, commit: c, services: {cart: {digest: x}}}", "services.cart"),
        (b"{release: v0.2.0, version: 1, branch: b, commit: c, services: {cart: {digest: x}}}", "services.cart"),
        (b"{release: v0.2.0, version: '1', branch: b, commit: c, services: {}, more: 1}", "nothing else"),
    ],
)
def test_what_is_no_lock_is_refused_with_its_path(content: bytes, words: str) -> None:
    with pytest.raises(LockError, match=words) as caught:
        locks.parse_lock("releases/v0.2.0/123456789abc/lock.yaml", content)
    assert "releases/v0.2.0/123456789abc/lock.yaml" in str(caught.value)


@pytest.mark.parametrize("release", ["0.2.0", "v0.2", "v0.2.0-rc.1", "../../envs", "v01.2.0"])
def test_a_release_is_called_by_its_version_and_nothing_else(release: str) -> None:
    strange = replace(LOCK, release=release)
    with pytest.raises(LockError, match="is no release"):
        locks.parse_lock(strange.path, strange.files[strange.path])


@pytest.mark.parametrize("field", ["lock", "by"])
def test_an_approval_names_a_full_hash_and_a_user(field: str) -> None:
    strange = replace(APPROVAL, **{field: "../x"})
    with pytest.raises(LockError):
        locks.parse_approval(strange.path, strange.files[strange.path])
