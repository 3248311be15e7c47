"""Promotion by hand: a release to prod, a release once more to stage, and from environment to environment."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from slipway import git, locks, oci, promoting, promotion, releases
from slipway.errors import UsageError
from slipway.progress import Phase
from slipway.promoting import Asked, Promoted
from slipway.promotion import Change, PromotionFailed, Refused
from tests.delivery import releasing
from tests.delivery.receiving import NONPROD, SERVICES
from tests.delivery.releasing import Start, World
from tests.unit.fake_registry import HOST

CATALOG = "services/catalog/envs/prod.yaml"


@pytest.fixture
def world(begun: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return releasing.world(begun, tmp_path, monkeypatch)


@pytest.fixture
def cut(after_cut: Start, world: World) -> locks.Lock:
    """The lock that stage runs."""
    [lock] = world.state().locks
    return lock


def approve(world: World, release: str = "v0.2.0") -> None:
    releases.approve(world.settings, release, user="lead")


def promote(world: World, to: str, **more: Any) -> Promoted:
    return promoting.promote(world.settings, Asked(to=to, **more), progress=world.progress)


def printed(made: Promoted) -> str:
    console = Console(file=io.StringIO(), width=160)
    promoting.show(made, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# --- a release to prod


def test_prod_gets_the_lock_that_stage_ran_in_one_commit(world: World, cut: locks.Lock) -> None:
    approve(world)
    before = world.commits()
    made = promote(world, "prod")
    [commit] = [one for one in world.commits() if one not in before]
    assert commit.sha == made.commit
    told = {name: commit.trailers[name] for name in ("Kind", "Release", "Lock", "Promoted-From", "Approved-By", "Triggered-By")}
    assert told == {
        "Kind": "promotion",
        "Release": "v0.2.0",
        "Lock": cut.hash,
        "Promoted-From": "stage",
        "Approved-By": "lead",
        "Triggered-By": "developer",
    }
    assert set(commit.trailers["Service"].split(", ")) == set(SERVICES)
    for service in SERVICES:
        stage, prod = world.record("stage", service), world.record("prod", service)
        assert replace(prod, environment="stage", config=stage.config) == stage
    assert world.pods.waited[-1] == ("prod", SERVICES)
    assert "./invoke release.finish 0.2.0 --user lead" in printed(made)


def test_a_promotion_builds_nothing_and_names_the_same_images_by_the_final_version(world: World, cut: locks.Lock) -> None:
    approve(world)
    before = {name for _, name in world.registry.manifests}
    made = promote(world, "prod")
    assert {name for _, name in world.registry.manifests} - before == {"0.2.0"}
    assert made.images == tuple(f"{HOST}/{service}:0.2.0" for service in SERVICES)
    assert {service: oci.digest(f"{HOST}/{service}:0.2.0") for service in SERVICES} == cut.digests


def test_promoting_again_changes_nothing(world: World, cut: locks.Lock) -> None:
    approve(world)
    first = promote(world, "prod")
    before, admitted = world.commits(), list(world.pods.admitted)
    again = promote(world, "prod", release="0.2.0")
    assert (again.made, again.commit, world.commits(), world.pods.admitted) == (False, first.commit, before, admitted)
    assert "nothing changed" in printed(again)


def test_every_refusal_is_named_at_once_and_nothing_changes(world: World, cut: locks.Lock) -> None:
    before = world.commits()
    with pytest.raises(Refused) as caught:
        promote(world, "prod", user="developer")
    assert caught.value.rules == {"approval"}
    world.pods.ill.add("stage")
    world.change("release/v0.2.0", {CATALOG: "a: 5\n"})
    unhealthy = next(lock for lock in world.state().locks if lock.hash != cut.hash)
    commits = world.commits()
    assert unhealthy.release == "v0.2.0"
    approve(world)  # of the lock that stage runs: the first one
    promote(world, "prod")
    assert world.record("prod", "catalog").lock == cut.hash
    assert len(world.commits()) == len(commits) + 2
    assert before[0] in world.commits()


def test_one_service_goes_first_and_the_others_follow(world: World, cut: locks.Lock) -> None:
    approve(world)
    made = promote(world, "prod", services=("cart",))
    assert (world.record("prod", "cart").release, world.record("prod", "catalog").release) == ("v0.2.0", "v0.1.0")
    assert made.images == (f"{HOST}/cart:0.2.0",)
    assert made.next == "./invoke promote prod --release v0.2.0"
    promote(world, "prod")
    assert world.record("prod", "catalog").lock == cut.hash


def test_an_unhealthy_promotion_is_taken_back_whole_and_gets_no_tag(world: World, cut: locks.Lock) -> None:
    approve(world)
    before = {service: world.records()["prod", service].files for service in SERVICES}
    world.pods.ill.add("prod")
    with pytest.raises(PromotionFailed, match="CrashLoopBackOff"):
        promote(world, "prod")
    assert {service: world.records()["prod", service].files for service in SERVICES} == before
    assert world.commits()[0].trailers["Kind"] == "revert"
    assert oci.digest(f"{HOST}/cart:0.2.0") is None


def test_a_tag_that_names_another_image_is_found_before_anything_changes(world: World, cut: locks.Lock) -> None:
    approve(world)
    before = world.commits()
    other = world.image("cart", "other")
    world.registry.manifests["cart", "0.2.0"] = world.registry.manifests["cart", other]
    with pytest.raises(oci.RegistryError, match="a tag never moves"):
        promote(world, "prod")
    assert world.commits() == before


def test_an_interrupt_between_the_commit_and_the_tags_is_made_good(
    world: World, cut: locks.Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(world)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(oci, "alias", stop)
        promote(world, "prod")
    before = world.commits()
    assert promote(world, "prod").made is False
    assert oci.digest(f"{HOST}/cart:0.2.0") == cut.digests["cart"]
    assert world.commits() == before


def test_where_no_release_runs_there_is_none_to_promote(world: World) -> None:
    with pytest.raises(Refused, match=r"stage does not run one release with a lock: v0.1.0") as caught:
        promote(world, "prod")
    assert caught.value.rules == {"lock"}
    with pytest.raises(Refused, match=r"v0.7.0 has no lock"):
        promote(world, "prod", release="0.7.0")


def test_prod_takes_nothing_but_releases(world: World, cut: locks.Lock) -> None:
    with pytest.raises(UsageError, match="prod gets releases that stage has run, and nothing from qa"):
        promote(world, "prod", source="qa")


# --- a release once more to stage


def test_stage_gets_a_former_release_again_and_says_so(world: World, cut: locks.Lock) -> None:
    made = world.change("feature/x", {CATALOG: "a: 3\n"})
    world.put("develop", made)
    releases.cut(world.settings, "0.3.0", user="developer", progress=world.progress)
    results = world.state().results
    again = promote(world, "stage", release="v0.2.0")
    assert {world.record("stage", service).lock for service in SERVICES} == {cut.hash}
    assert (again.release, world.state().results) == ("v0.2.0", results)
    with pytest.raises(UsageError, match="stage runs a release whole"):
        promote(world, "stage", release="v0.2.0", services=("cart",))


def test_stage_has_nothing_to_do_when_it_runs_the_release(world: World, cut: locks.Lock) -> None:
    before = world.commits()
    assert promote(world, "stage").made is False
    assert world.commits() == before


# --- from environment to environment


@pytest.fixture
def in_dev(world: World) -> str:
    """A commit of develop that dev runs, and qa does not."""
    world.runner = False
    made = world.change("develop", {"services/cart/envs/qa.yaml": "a: 7\n", CATALOG: "a: 7\n"}, runs=False)
    pipeline = world.open(world.settings)
    pipeline.fetch()
    wanted = [world.artifact("dev", service, made, "develop", "0.2.0-dev.1") for service in SERVICES]
    from slipway import promotion
    from slipway.progress import Phase

    promotion.deploy(pipeline, promotion.Change("dev", "deploy", "develop", tuple(wanted)), phase=Phase("deploy"))
    return made


def test_qa_gets_what_dev_runs_with_its_own_configuration(world: World, in_dev: str) -> None:
    made = promote(world, "qa")
    entry = world.records()["qa", "cart"]
    assert (entry.record.source_commit, entry.record.digest) == (in_dev, world.record("dev", "cart").digest)
    assert entry.values["config"] == {"a": 7}
    commit = world.commits(NONPROD)[0]
    assert (commit.trailers["Kind"], commit.trailers["Promoted-From"], commit.trailers["Branch"]) == (
        "promotion",
        "dev",
        "develop",
    )
    assert (made.source, made.release, made.next) == ("dev", "", "./invoke diff dev qa")
    assert promote(world, "qa").made is False


def test_one_service_is_promoted_and_the_others_stay(world: World, in_dev: str) -> None:
    promote(world, "qa", services=("cart",))
    assert world.record("qa", "cart").version == "0.2.0-dev.1"
    assert world.record("qa", "catalog").version == "0.1.0"


def test_what_dev_has_retired_ends_in_qa_too_and_not_when_one_service_is_named(world: World) -> None:
    branch = "feature/gone"
    gone = dict.fromkeys(git.tree(world.site.tree, world.site.tip("develop"), "services/catalog"))
    commit = world.change(branch, {**gone, "services/cart/envs/qa.yaml": "a: 7\n"})
    pipeline = world.open(world.settings)
    pipeline.fetch()
    over = promotion.retirements(pipeline.mirror, commit, branch, [world.record("dev", "catalog")])
    cart = world.artifact("dev", "cart", commit, branch, "0.2.0-gone.1")
    change = Change("dev", "request", branch, (cart, *over), how="request", triggered_by="developer", reason="Deploy")
    promotion.deploy(pipeline, change, phase=Phase("dev"))
    promote(world, "qa", services=("cart",))
    assert not world.record("qa", "catalog").retired
    made = promote(world, "qa")
    assert (world.record("qa", "catalog").retired, world.record("qa", "catalog").source_commit) == (True, commit)
    assert "retired" in printed(made)
    assert promote(world, "qa").made is False


def test_two_promotions_at_once_are_two_commits_and_none_is_lost(world: World, in_dev: str) -> None:
    first = world.commits(NONPROD)[0].sha

    def meanwhile() -> None:
        promote(world, "qa", services=("catalog",))

    world.before_push = [meanwhile]
    promote(world, "qa", services=("cart",))
    made = [one for one in world.commits(NONPROD) if one.trailers.get("Kind") == "promotion"]
    assert [one.trailers["Service"] for one in made] == ["cart", "catalog"]
    assert [one.parents for one in made] == [(made[1].sha,), (first,)]
    assert {world.record("qa", service).version for service in SERVICES} == {"0.2.0-dev.1"}


def test_what_a_feature_branch_made_cannot_go_to_stage_from_anywhere(world: World, in_dev: str) -> None:
    before = world.commits()
    with pytest.raises(Refused) as caught:
        promote(world, "stage", source="dev")
    assert "branches" in caught.value.rules
    assert world.commits() == before


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Asked("nowhere"), "nowhere"),
        (Asked("dev"), "nothing comes before dev"),
        (Asked("qa", source="qa"), "environment to promote from"),
        (Asked("qa", services=("ghost",)), "ghost"),
        (Asked("qa", services=("valkey",)), "valkey"),
        (Asked("qa", release="v0.2.0"), "does not take releases by name"),
        (Asked("qa", user="stranger"), "stranger"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_changes(world: World, asked: Asked, words: str) -> None:
    before = world.commits(NONPROD)
    with pytest.raises(UsageError, match=words):
        promoting.promote(world.settings, asked, progress=world.progress)
    assert world.commits(NONPROD) == before
