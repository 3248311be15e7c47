"""`merge` on real repositories: what lands, what does not, and what is said then."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from slipway import git, merging, promoting, releases, rollback, runs
from slipway.errors import SlipwayError, UsageError
from slipway.merging import Merged
from slipway.progress import Phase
from slipway.promotion import Refused
from tests.delivery import releasing
from tests.delivery.receiving import APP, SERVICES
from tests.delivery.releasing import Start, World

CATALOG = "services/catalog/envs/prod.yaml"
BRANCH = "feature/x"


@pytest.fixture
def world(begun_delivery: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return releasing.world(begun_delivery, tmp_path, monkeypatch)


def merge(world: World, branch: str = BRANCH, user: str = "developer") -> Merged:
    return merging.merge(world.settings, branch, user=user, progress=world.progress)


def printed(made: Merged) -> str:
    console = Console(file=io.StringIO(), width=160)
    merging.show(made, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_passed_lands_as_one_merge_and_its_run_is_followed(world: World) -> None:
    tip, old = world.change(BRANCH, {CATALOG: "a: 2\n"}), world.site.tip("develop")
    made = merge(world)
    commit = git.log(world.site.bare(APP), "develop")[0]
    assert (commit.sha, commit.parents, commit.author) == (made.commit, (old, tip), "developer")
    assert (commit.subject, commit.trailers["Merged-By"]) == ("Merge feature/x into develop", "developer")
    assert (made.into, made.tip, made.made) == ("develop", tip, True)
    assert runs.load(world.settings, made.run).commit == commit.sha
    assert {world.record(name, "catalog").source_commit for name in ("dev", "qa")} == {commit.sha}
    assert "Next: ./invoke release.cut 0.2.0" in printed(made)


def test_merging_again_changes_nothing(world: World) -> None:
    world.change(BRANCH, {CATALOG: "a: 2\n"})
    first = merge(world)
    again = merge(world)
    assert (again.made, again.commit, again.run) == (False, first.commit, "")
    assert "is in develop already" in printed(again)


def test_what_no_run_has_passed_does_not_land(world: World) -> None:
    tip, old = world.change(BRANCH, {CATALOG: "a: 2\n"}, runs=False), world.site.tip("develop")
    with pytest.raises(Refused, match=r"No run of .* has passed: .*\./invoke push feature/x") as caught:
        merge(world)
    assert caught.value.rules == {"merge"}
    run = runs.new(world.settings, branch=BRANCH, commit=tip, pusher="developer")
    recorder = runs.Recorder(world.settings, run)
    recorder.begin()
    with recorder.stage("lint and test"), pytest.raises(Refused, match=rf"Its run {run.id} is running \(lint and test\): wait"):
        merge(world)
    world.note(tip, "failed")
    recorder.end(runs.FAILED, trouble="catalog: 1 failed\nmore")
    with pytest.raises(Refused, match=rf"Its run {run.id} failed: catalog: 1 failed\n./invoke ci.runs --run {run.id} tells why"):
        merge(world)
    recorder.end(runs.SUPERSEDED, trouble="a newer push")
    with pytest.raises(Refused, match=r"was superseded: a newer push. Run it again with `./invoke ci --ref feature/x`"):
        merge(world)
    assert world.site.tip("develop") == old


def test_a_run_that_a_killed_command_left_is_not_waited_for(world: World) -> None:
    tip = world.change(BRANCH, {CATALOG: "a: 2\n"}, runs=False)
    run = runs.new(world.settings, branch=BRANCH, commit=tip, pusher="developer", where=runs.HERE)
    with runs.attended(world.settings, run):
        runs.Recorder(world.settings, run).begin()
    with pytest.raises(SlipwayError, match=r"failed: it was interrupted"):
        releases.follow(world.settings, BRANCH, tip, phase=Phase("follow"))
    runs.save(world.settings, run)
    with pytest.raises(Refused, match=rf"Its run {run.id} failed: it was interrupted"):
        merge(world)


def test_a_pass_of_an_older_commit_is_none_of_the_newer_one(world: World) -> None:
    world.change(BRANCH, {CATALOG: "a: 2\n"})
    world.change(BRANCH, {CATALOG: "a: 3\n"}, runs=False)
    with pytest.raises(Refused) as caught:
        merge(world)
    assert caught.value.rules == {"merge"}


def test_what_conflicts_is_told_with_what_to_type_and_nothing_lands(world: World) -> None:
    tip = world.change(BRANCH, {CATALOG: "a: 2\n"})
    world.put("develop", world.change("feature/other", {CATALOG: "a: 3\n"}))
    old = world.site.tip("develop")
    with pytest.raises(SlipwayError, match=f"does not merge into develop by itself: both change {CATALOG}") as caught:
        merge(world)
    assert "git merge FETCH_HEAD" in str(caught.value)
    assert (world.site.tip("develop"), world.site.tip(BRANCH)) == (old, tip)


def test_who_is_second_merges_into_what_is_there_then(world: World) -> None:
    one, two = world.change(BRANCH, {CATALOG: "a: 2\n"}), world.change("feature/y", {"services/cart/envs/qa.yaml": "a: 2\n"})
    world.before_push = [lambda: merge(world, "feature/y") and None]
    merge(world)
    tree = world.site.bare(APP)
    assert [commit.subject for commit in git.log(tree, "develop", limit=1)] == ["Merge feature/x into develop"]
    assert all(git.contains(tree, world.site.tip("develop"), tip) for tip in (one, two))


def test_a_run_that_fails_after_the_merge_is_said_and_the_merge_stays(world: World) -> None:
    world.change(BRANCH, {CATALOG: "a: 2\n"})
    world.pods.ill.add("dev")
    with pytest.raises(SlipwayError, match=r"the run of develop at .* failed: dev: ca.*: CrashLoopBackOff"):
        merge(world)
    assert git.contains(world.site.bare(APP), world.site.tip("develop"), world.site.tip(BRANCH))


@pytest.mark.parametrize(("branch", "words"), [("feature/ghost", "feature/ghost"), ("main", "nothing takes merges of main")])
def test_what_cannot_be_merged_is_said(world: World, branch: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        merge(world, branch)


def test_the_whole_train_goes_through_the_git_servers_own_hooks(
    begun_delivery: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = releasing.world(begun_delivery, tmp_path, monkeypatch, hooks=True)
    before = {key: entry.files for key, entry in world.records().items() if key[0] == "prod"}
    world.change(BRANCH, {CATALOG: "a: 2\n"})
    merge(world)
    cut = releases.cut(world.settings, "0.2.0", user="developer", progress=world.progress)
    releases.approve(world.settings, "0.2.0", user="lead")
    asked = promoting.Asked("prod")
    promoting.promote(world.settings, asked, progress=world.progress)
    assert {world.record("prod", service).lock for service in SERVICES} == {cut.lock}
    rollback.rollback(world.settings, "prod", user="developer", progress=world.progress)
    assert {key: entry.files for key, entry in world.records().items() if key[0] == "prod"} == before
    promoting.promote(world.settings, asked, progress=world.progress)
    done = releases.finish(world.settings, "0.2.0", user="lead", progress=world.progress)
    assert (done.tagged, done.commit) == (True, cut.commit)
    world.change("release/v0.2.0", {CATALOG: "a: 3\n"})
    hotfix = releases.cut(world.settings, "0.2.1", user="developer", progress=world.progress)
    assert (hotfix.origin, hotfix.commit) == ("v0.2.0", cut.commit)
    promoting.promote(world.settings, promoting.Asked("qa", source="stage"), progress=world.progress)
    assert world.record("qa", "catalog").branch == "release/v0.2.1"
