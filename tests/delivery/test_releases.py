"""Releases from cut to finish, with real repositories, the real policy and real promotions; only the cluster is a stand-in."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import cli
from slipway import git, locks, oci, promoting, releases, rollback
from slipway.errors import SlipwayError, UsageError
from slipway.progress import Phase
from slipway.promotion import Refused
from tests.delivery import releasing
from tests.delivery.receiving import PROD, SERVICES
from tests.delivery.releasing import Start, World
from tests.unit.fake_registry import HOST

CATALOG = "services/catalog/envs/prod.yaml"

# What a test begins with; see conftest.py.
after_cut = pytest.mark.usefixtures("after_cut")
after_prod = pytest.mark.usefixtures("after_prod")


@pytest.fixture
def world(begun: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return releasing.world(begun, tmp_path, monkeypatch)


def develop(world: World, files: dict[str, str | None]) -> str:
    """A commit that is on develop, however it came there."""
    made = world.change("feature/x", files)
    world.put("develop", made)
    return made


def cut(world: World, version: str = "0.2.0", user: str = "developer") -> releases.Cut:
    return releases.cut(world.settings, version, user=user, progress=world.progress)


def approve(world: World, release: str = "v0.2.0", user: str = "lead", lock: str = "") -> releases.Approved:
    return releases.approve(world.settings, release, lock=lock, user=user)


def to_prod(world: World, release: str = "v0.2.0") -> None:
    asked = promoting.Asked(to="prod", release=release, user="developer")
    promoting.promote(world.settings, asked, progress=world.progress)


def finish(world: World, version: str = "0.2.0", user: str = "lead") -> releases.Finished:
    return releases.finish(world.settings, version, user=user, progress=world.progress)


def printed(made: object) -> str:
    console = Console(file=io.StringIO(), width=160)
    show = releases.show_approval if isinstance(made, releases.Approved) else releases.show
    show(made, console)  # type: ignore[arg-type]
    json.dumps(made, default=cli._plain)  # pyright: ignore[reportPrivateUsage]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# --- cutting


def test_a_release_is_cut_from_develop_and_stage_runs_it(world: World) -> None:
    tip = develop(world, {CATALOG: "a: 2\n"})
    made = cut(world)
    assert (made.branch, made.commit, made.origin, made.made) == ("release/v0.2.0", tip, "develop", True)
    records = [world.record("stage", service) for service in SERVICES]
    assert {(record.release, record.lock, record.branch) for record in records} == {("v0.2.0", made.lock, made.branch)}
    assert "./invoke approve v0.2.0 --user lead" in printed(made)


@after_cut
def test_stage_gets_lock_and_records_in_one_commit_and_the_result_in_the_next(world: World) -> None:
    result, deploy = world.commits()[:2]
    assert (deploy.trailers["Kind"], result.trailers["Kind"]) == ("deploy", "release")
    assert set(deploy.trailers["Service"].split(", ")) == set(SERVICES)
    [lock], [told] = world.state().locks, world.state().results
    assert git.tree(world.site.bare(PROD), deploy.sha, "releases") == (lock.path,)
    assert (told.commit, told.lock, dict(told.digests)) == (deploy.sha, lock.hash, lock.digests)
    assert result.trailers["Lock"] == lock.hash
    assert result.trailers["Triggered-By"] == "developer"


def test_what_is_cut_again_is_only_followed(world: World) -> None:
    first = cut(world)
    before = world.commits()[0]
    again = cut(world)
    assert (again.made, again.lock) == (False, first.lock)
    assert world.commits()[0] == before
    assert "was cut before" in printed(again)


def test_a_release_that_stage_did_not_come_to_run_is_no_success(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # As when a newer push made the run needless before it came to stage.
    monkeypatch.setattr(world, "deploy", lambda *_: None)
    with pytest.raises(SlipwayError, match=r"v0.2.0 is cut, and stage did not come to run it"):
        cut(world)


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9", "0.1.1-rc.1", "1.0", "next"])
def test_a_version_that_is_none_or_was_used_is_refused(world: World, version: str) -> None:
    before = git.refs(world.open(world.settings).app)
    with pytest.raises((Refused, UsageError)) as caught:
        cut(world, version)
    assert isinstance(caught.value, UsageError) or caught.value.rules == {"release-name"}
    assert git.refs(world.open(world.settings).app) == before


@after_cut
def test_a_hotfix_begins_at_the_tag_of_what_prod_runs(world: World) -> None:
    approve(world)
    to_prod(world)
    finish(world)
    tag = git.refs(world.open(world.settings).app)["refs/tags/v0.2.0"]
    develop(world, {CATALOG: "a: 3\n"})
    made = cut(world, "0.2.1")
    assert (made.commit, made.origin) == (tag, "v0.2.0")


@after_cut
def test_a_hotfix_of_what_prod_does_not_run_is_refused_with_what_is_lacking(world: World) -> None:
    with pytest.raises(Refused) as caught:
        cut(world, "0.2.1")
    assert caught.value.rules == {"release-name"}
    approve(world)
    to_prod(world)
    with pytest.raises(Refused, match=r"v0.2.0 runs in prod and has no tag yet, which ./invoke release.finish 0.2.0 makes"):
        cut(world, "0.2.1")


def test_who_may_not_cut_is_refused(world: World) -> None:
    with pytest.raises(Refused) as caught:
        cut(world, user="pipeline")
    assert caught.value.rules == {"push"}
    assert "refs/heads/release/v0.2.0" not in git.refs(world.open(world.settings).app)


def test_an_unhealthy_release_stops_the_train(world: World) -> None:
    before = {service: world.record("stage", service) for service in SERVICES}
    world.pods.ill.add("stage")
    develop(world, {CATALOG: "a: 2\n"})
    with pytest.raises(SlipwayError, match="CrashLoopBackOff"):
        cut(world)
    assert {service: world.record("stage", service) for service in SERVICES} == before
    assert world.state().results == ()
    with pytest.raises(Refused) as caught:
        to_prod(world)
    assert {"stage-first", "approval"} <= caught.value.rules


def test_pods_that_run_something_else_are_no_result(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive = world.pods.arrive

    def elsewhere(*args: object, **more: object) -> object:
        done = arrive(*args, **more)  # type: ignore[arg-type]
        world.pods.running["stage", "catalog"] = "sha256:" + "f" * 64
        return done

    from slipway.promotion import deploying

    monkeypatch.setattr(deploying, "arrive", elsewhere)
    with pytest.raises(SlipwayError, match="the pods of catalog run something else"):
        cut(world)
    assert world.state().results == ()


def test_a_push_to_the_release_is_another_lock_and_a_push_that_changes_no_service_is_not(world: World) -> None:
    first = cut(world)
    world.change("release/v0.2.0", {"README.md": "hello\n"})
    assert world.record("stage", "catalog").lock == first.lock
    world.change("release/v0.2.0", {CATALOG: "a: 4\n"})
    second = world.record("stage", "catalog").lock
    assert second != first.lock
    assert [lock.commit for lock in world.state().locks if lock.hash == first.lock] == [first.commit]
    assert world.record("stage", "cart").digest == first.digests["cart"], "what did not change keeps its image"


# --- approving


def test_an_approval_names_the_whole_lock_and_is_signed_by_whoever_gives_it(world: World) -> None:
    made = cut(world)
    given = approve(world)
    assert (given.lock, given.by, given.authors, given.made, given.tried) == (made.lock, "lead", ("developer",), True, True)
    [approval] = world.state().approvals
    assert (approval.lock, approval.by, approval.release) == (made.lock, "lead", "v0.2.0")
    [commit] = [one for one in world.commits() if one.trailers.get("Kind") == "approval"]
    assert (commit.author, commit.trailers["Lock"], commit.trailers["Approved-By"]) == ("lead", made.lock, "lead")
    said = printed(given)
    assert made.lock in said
    assert "./invoke promote prod --release v0.2.0" in said


@after_cut
def test_an_approval_shows_what_prod_will_get(world: World) -> None:
    parts = {part.service: part for part in approve(world).services}
    assert (parts["catalog"].now, parts["catalog"].differs) == ("0.1.0", "image")


def without_catalog(world: World) -> str:
    """A commit of the release's branch that has no catalog any more, and that stage runs."""
    branch = "release/v0.2.0"
    gone = git.tree(world.site.bare("app"), world.site.tip(branch), "services/catalog")
    commit = world.change(branch, dict.fromkeys(gone), runs=False)
    world.note(commit)
    pipeline = world.open(world.settings)
    pipeline.fetch()
    cart = [world.artifact("stage", "cart", commit, branch, "0.2.0-rc.9")]
    releases.stage(pipeline, commit, branch, cart, version="0.2.0-rc.9", phase=Phase("stage"), triggered_by="developer")
    return commit


@after_cut
def test_a_release_ends_what_it_no_longer_has_in_stage_and_in_prod_and_a_rollback_brings_it_back(world: World) -> None:
    had = {service: world.records()["prod", service].files for service in SERVICES}
    commit = without_catalog(world)
    over = world.record("stage", "catalog")
    assert (over.retired, over.source_commit, over.release) == (True, commit, "v0.2.0")
    assert [one.service for one in world.state().lock(over.lock).services] == ["cart"]  # type: ignore[union-attr]
    given = approve(world)
    assert [(part.service, part.version, part.differs) for part in given.services if part.service == "catalog"] == [
        ("catalog", "", "retired")
    ]
    assert "retired" in printed(given)
    before = world.commits()
    to_prod(world)
    assert len(world.commits()) == len(before) + 1
    assert (world.record("prod", "catalog").retired, world.record("prod", "cart").release) == (True, "v0.2.0")
    assert list(world.state().services("prod")) == ["cart"]
    after = world.commits()
    to_prod(world)
    assert world.commits() == after, "doing it again changes nothing"
    rollback.rollback(world.settings, "prod", user="developer", progress=world.progress)
    assert {service: world.records()["prod", service].files for service in SERVICES} == had
    again = rollback.rollback(world.settings, "prod", to="0.2.0", user="developer", progress=world.progress)
    assert (again.made, world.record("prod", "catalog").retired) == (True, True)


@after_cut
def test_approving_again_changes_nothing(world: World) -> None:
    approve(world)
    before = world.commits()
    assert approve(world).made is False
    assert world.commits() == before


def test_an_author_cannot_approve_and_neither_can_who_may_not(world: World) -> None:
    cut(world, user="lead")
    with pytest.raises(Refused) as caught:
        approve(world, user="lead")
    assert caught.value.rules == {"four-eyes"}
    with pytest.raises(Refused) as caught:
        approve(world, user="developer")
    assert caught.value.rules == {"approval"}
    assert world.state().approvals == ()


def test_what_there_is_no_lock_of_cannot_be_approved(world: World) -> None:
    with pytest.raises(Refused, match="there is no such lock"):
        approve(world, "v0.9.0")
    cut(world)
    with pytest.raises(Refused, match="there is no such lock"):
        approve(world, lock="ffffffffffff")
    with pytest.raises(UsageError, match="does not say which lock"):
        approve(world, lock=world.state().locks[0].hash[7:10])


def test_the_lock_that_is_meant_can_be_named_by_how_it_begins(world: World) -> None:
    first = cut(world)
    world.change("release/v0.2.0", {CATALOG: "a: 4\n"})
    assert approve(world, lock=first.lock[7:15]).lock == first.lock
    assert approve(world).lock == world.record("stage", "catalog").lock != first.lock


# --- finishing


@after_prod
def test_a_finished_release_is_in_main_tagged_and_in_develop(world: World) -> None:
    [made] = world.state().locks
    before = {key: entry.files for key, entry in world.records().items()}
    done = finish(world)
    refs, tree = git.refs(world.open(world.settings).app), world.site.bare("app")
    assert refs["refs/tags/v0.2.0"] == made.commit == done.commit
    merge = git.log(tree, refs["refs/heads/main"])[0]
    assert (merge.parents[1], merge.author) == (made.commit, "lead")
    assert git.content(tree, merge.sha, "services") == git.content(tree, made.commit, "services")
    assert git.contains(tree, refs["refs/heads/develop"], made.commit)
    assert {key: entry.files for key, entry in world.records().items()} == before
    assert [oci.digest(f"{HOST}/{service}:0.2.0") for service in SERVICES] == [made.digests[service] for service in SERVICES]
    assert "merged as" in printed(done)


@after_prod
def test_finishing_again_changes_nothing(world: World) -> None:
    finish(world)
    before = git.refs(world.open(world.settings).app)
    again = finish(world)
    assert git.refs(world.open(world.settings).app) == before
    assert (again.tagged, set(again.merged.values())) == (False, {""})


@after_prod
@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_finish_goes_on(world: World, after: int) -> None:
    [made] = world.state().locks
    world.change("release/v0.2.0", {"README.md": "later\n"})

    def stop() -> None:
        raise KeyboardInterrupt

    world.before_push = [*[lambda: None] * (after - 1), stop]
    with pytest.raises(KeyboardInterrupt):
        finish(world)
    done = finish(world)
    refs, tree = git.refs(world.open(world.settings).app), world.site.bare("app")
    assert refs["refs/tags/v0.2.0"] == made.commit
    assert len([one for one in git.log(tree, refs["refs/heads/main"]) if one.subject == "Merge v0.2.0 into main"]) == 1
    assert git.contains(tree, refs["refs/heads/develop"], made.commit)
    assert done.unreleased == 1


@after_cut
def test_what_prod_does_not_run_cannot_be_finished(world: World) -> None:
    before = git.refs(world.open(world.settings).app)
    with pytest.raises(Refused, match=r"prod does not run the whole of v0.2.0") as caught:
        finish(world)
    assert caught.value.rules == {"merge"}
    assert git.refs(world.open(world.settings).app) == before


@after_prod
def test_who_may_not_merge_to_main_finishes_nothing(world: World) -> None:
    before = git.refs(world.open(world.settings).app)
    with pytest.raises(Refused) as caught:
        finish(world, user="developer")
    assert caught.value.rules == {"push"}
    assert git.refs(world.open(world.settings).app) == before


@after_cut
def test_what_does_not_merge_back_is_told_with_what_to_type(world: World) -> None:
    world.change("release/v0.2.0", {CATALOG: "a: 5\n"})
    approve(world)
    to_prod(world)
    develop(world, {CATALOG: "a: 6\n"})
    with pytest.raises(
        SlipwayError, match=r"does not merge into develop by itself: both change services/catalog/envs/prod.yaml"
    ) as caught:
        finish(world)
    said = str(caught.value)
    assert "git merge release/v0.2.0" in said
    assert "./invoke merge feature/merge-v0.2.0" in said
    refs = git.refs(world.open(world.settings).app)
    assert "refs/tags/v0.2.0" in refs
    tip = refs["refs/heads/release/v0.2.0"]
    assert git.contains(world.site.bare("app"), refs["refs/heads/main"], tip)


@after_prod
def test_what_was_pushed_after_prod_got_it_is_in_no_tag(world: World) -> None:
    [made] = world.state().locks
    world.change("release/v0.2.0", {"README.md": "later\n"})
    done = finish(world)
    assert (done.commit, done.unreleased) == (made.commit, 1)
    assert "1 later commit(s)" in printed(done)


@after_prod
def test_a_tag_that_names_another_image_stops_everything_before_it_begins(world: World) -> None:
    other = world.image("catalog", "other")
    world.registry.manifests["catalog", "0.2.0"] = world.registry.manifests["catalog", other]
    with pytest.raises(oci.RegistryError, match="a tag never moves"):
        finish(world)
    assert "refs/tags/v0.2.0" not in git.refs(world.open(world.settings).app)


# --- main as a line of releases


@pytest.fixture
def trunk(begun_delivery: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = releasing.world(begun_delivery, tmp_path, monkeypatch)
    data = yaml.safe_load(world.settings.policy_file.read_text())
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump({**data, "preset": "trunk"}, sort_keys=False))
    return releasing.ruled(world, tmp_path / "policy.yaml")


def test_a_push_to_main_is_the_next_release_and_prod_tags_it(trunk: World) -> None:
    tip = trunk.change("main", {CATALOG: "a: 2\n"})
    assert {trunk.record("stage", service).release for service in SERVICES} == {"v0.2.0"}
    approve(trunk)
    to_prod(trunk)
    assert git.refs(trunk.open(trunk.settings).app)["refs/tags/v0.2.0"] == tip
    with pytest.raises(UsageError, match="the preset trunk has no branches for releases"):
        cut(trunk, "0.3.0")


def test_locks_that_lie_there_are_what_the_state_says(world: World) -> None:
    made = cut(world)
    state = world.state()
    lock = state.lock(made.lock)
    assert lock
    assert locks.passed(lock, state.results, "stage")
    assert set(state.services("stage")) == set(SERVICES), "no store"
    assert releases.name("0.2.0") == releases.name("v0.2.0") == "v0.2.0"
