"""Where the policy requires a load test, prod takes nothing without one: asked by the tasks, and by the Git server's hooks."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from slipway import git, gitops, locks, promoting, releases
from slipway.errors import SlipwayError
from slipway.load import keeping
from slipway.load.model import Pod, Pods
from slipway.locks import LoadResult
from slipway.promotion import Refused
from tests.delivery import releasing
from tests.delivery.receiving import PROD, SERVICES
from tests.delivery.releasing import Start, World
from tests.unit import loads, test_load_keeping

CATALOG = "services/catalog/envs/prod.yaml"


@pytest.fixture
def world(begun_delivery: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return releasing.judged(begun_delivery, tmp_path, monkeypatch, {"load": "required"})


@pytest.fixture
def cut(world: World) -> releases.Cut:
    return releases.cut(world.settings, "0.2.0", user="developer", progress=world.progress)


def result(world: World, lock: str) -> LoadResult:
    """What a load test says that was passed by what stage runs now."""
    [found] = [one for one in world.state().locks if one.hash == lock]
    return LoadResult(
        found.release, found.hash, "stage", world.state().commit, found.digests, "load-7", "smoke", "2026-11-23T02:00:00Z"
    )


def withstood(world: World, told: LoadResult) -> gitops.Published:
    return releases.withstood(world.open(world.settings), told, rules={}, triggered_by="developer")


def promote(world: World) -> promoting.Promoted:
    return promoting.promote(world.settings, promoting.Asked(to="prod", user="developer"), progress=world.progress)


def test_a_release_reaches_prod_after_a_load_test_that_its_very_lock_passed(world: World, cut: releases.Cut) -> None:
    assert cut.next == "./invoke load --env stage --release 0.2.0"
    given = releases.approve(world.settings, "v0.2.0", user="lead")
    assert given.loaded is False
    with pytest.raises(
        Refused, match=r"passed no load test in stage(.|\n)*\./invoke load --env stage --release 0\.2\.0"
    ) as caught:
        promote(world)
    assert caught.value.rules == {"load"}
    assert {world.record("prod", service).release for service in SERVICES} == {"v0.1.0"}

    done = withstood(world, result(world, cut.lock))
    [commit] = [one for one in world.commits() if one.sha == done.commit]
    said = {name: commit.trailers[name] for name in ("Kind", "Environment", "Release", "Lock", "Run", "Triggered-By")}
    assert said == {
        "Kind": "load",
        "Environment": "stage",
        "Release": "v0.2.0",
        "Lock": cut.lock,
        "Run": "load-7",
        "Triggered-By": "developer",
    }
    assert releases.approve(world.settings, "v0.2.0", user="lead").loaded is True
    promote(world)
    assert {world.record("prod", service).lock for service in SERVICES} == {cut.lock}


def test_a_kept_run_that_passed_is_told_to_the_pipeline_and_one_that_did_not_is_not(world: World, cut: releases.Cut) -> None:
    told = result(world, cut.lock)
    target = replace(loads.TARGET, release=told.release, lock=told.lock, commit=told.commit, digests=told.digests)
    pods = tuple(Pod(service, f"{service}-1", digest, 0, "") for service, digest in told.digests.items())
    passed = test_load_keeping.run(target=target, pods=Pods(pods, pods, ()), rules=rules(world, cut.lock))
    pipeline = world.open(world.settings)
    for lacking in (
        replace(passed, verdict=replace(passed.verdict, outcome="fail")),
        replace(passed, target=replace(target, local=True)),
        replace(passed, target=replace(target, environment="qa")),
    ):
        with pytest.raises(releases.Uncounted):
            keeping.record(pipeline, lacking)
    assert world.state().loads == ()
    done = keeping.record(pipeline, passed, user="developer")
    assert done
    assert done.made
    [recorded] = world.state().loads
    assert (recorded.run, recorded.profile, recorded.lock) == (passed.id, "smoke", cut.lock)


def rules(world: World, lock: str) -> dict[str, str]:
    """What Git calls a file of the release, as a test tells by which it was judged."""
    [found] = [one for one in world.state().locks if one.hash == lock]
    return {CATALOG: git.content(world.open(world.settings).fetch(), found.commit, CATALOG)}


@pytest.mark.parametrize("other", [{CATALOG: "0" * 40}, {"loadtests/thresholds.yaml": "1" * 40}], ids=["another", "none"])
def test_a_test_that_was_judged_by_other_rules_than_the_releases_own_passes_nothing(
    world: World, cut: releases.Cut, other: dict[str, str]
) -> None:
    told = result(world, cut.lock)
    [path] = other
    with pytest.raises(releases.Uncounted, match=rf"{path} here is not what commit [0-9a-f]{{9}} of the release has"):
        releases.withstood(world.open(world.settings), told, rules={**rules(world, cut.lock), **other})
    assert world.state().loads == ()
    assert releases.withstood(world.open(world.settings), told, rules=rules(world, cut.lock)).made


def test_a_second_passed_load_test_changes_nothing(world: World, cut: releases.Cut) -> None:
    first = withstood(world, result(world, cut.lock))
    again = withstood(world, replace(result(world, cut.lock), run="load-8"))
    assert (first.made, again.made, again.commit) == (True, False, first.commit)
    assert [one.run for one in world.state().loads] == ["load-7"]


@pytest.mark.parametrize("wrong", ["digests", "lock", "environment"])
def test_a_load_test_of_something_else_is_not_written_down(world: World, cut: releases.Cut, wrong: str) -> None:
    told = result(world, cut.lock)
    other = {"digests": {**told.digests, "catalog": "sha256:" + "f" * 64}, "lock": "sha256:" + "0" * 64, "environment": "prod"}
    with pytest.raises(SlipwayError, match=r"the load test load-7 does not count for v0\.2\.0"):
        withstood(world, replace(told, **{wrong: other[wrong]}))
    assert world.state().loads == ()


def test_a_load_test_that_stage_outlived_is_refused_by_the_git_server(world: World, cut: releases.Cut) -> None:
    told = result(world, cut.lock)
    world.change("release/v0.2.0", {CATALOG: "a: 4\n"})
    assert world.record("stage", "catalog").lock != cut.lock
    with pytest.raises(SlipwayError, match="rule 'load'"):
        withstood(world, told)
    assert world.state().loads == ()


def test_a_push_to_the_release_asks_for_a_load_test_anew(world: World, cut: releases.Cut) -> None:
    withstood(world, result(world, cut.lock))
    world.change("release/v0.2.0", {CATALOG: "a: 4\n"})
    releases.approve(world.settings, "v0.2.0", user="lead")
    with pytest.raises(Refused) as caught:
        promote(world)
    assert caught.value.rules == {"load"}


def test_an_approval_tells_that_a_load_test_is_still_lacking(world: World, cut: releases.Cut) -> None:
    console = Console(file=io.StringIO(), width=160)
    releases.show_approval(releases.approve(world.settings, "v0.2.0", user="lead"), console)
    assert isinstance(console.file, io.StringIO)
    assert "It has passed no load test there yet, which the policy asks for: ./invoke load." in console.file.getvalue()


def test_where_none_is_required_none_is_missed_and_one_may_be_written_down(
    begun_delivery: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = releasing.judged(begun_delivery, tmp_path, monkeypatch, {"load": "off"})
    made = releases.cut(world.settings, "0.2.0", user="developer", progress=world.progress)
    assert withstood(world, result(world, made.lock)).made
    assert releases.approve(world.settings, "v0.2.0", user="lead").loaded is None
    promote(world)
    folder = gitops.read(world.open(world.settings).records("prod"))[1]
    assert {entry.record.lock for (name, _), entry in folder.items() if name == "prod" and entry.record.lock} == {made.lock}
    assert locks.PASSED in world.site.git("show", f"main:{world.state().loads[0].path}", at=world.site.bare(PROD)).stdout
