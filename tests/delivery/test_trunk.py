"""The preset trunk, and develop in stage: whole deliveries by a policy file of one's own, judged by the server's hooks too."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import git, merging, policy, promoting, promotion, releases, rollback, runs, versions, wishes
from slipway.errors import SlipwayError, UsageError
from slipway.progress import Phase
from slipway.promotion import Change, Refused
from slipway.settings import load
from tests.delivery import releasing
from tests.delivery.receiving import APP, SERVICES, refused
from tests.delivery.releasing import Start, World

CATALOG, BRANCH = "services/catalog/envs/prod.yaml", "feature/x"


def ruled(begun_delivery: Start, folder: Path, monkeypatch: pytest.MonkeyPatch, changed: Mapping[str, Any]) -> World:
    """A world by a policy of its own, with its hooks; its application has the branches that the policy begins with."""
    made = releasing.judged(begun_delivery, folder, monkeypatch, changed)
    if "develop" not in made.settings.policy.seeds:
        subprocess.run(["git", "-C", made.site.bare(APP), "update-ref", "-d", "refs/heads/develop"], check=True)
    return made


@pytest.fixture
def trunk(begun_delivery: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return ruled(begun_delivery, tmp_path, monkeypatch, {"preset": "trunk"})


@pytest.fixture
def staging(begun_delivery: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return ruled(begun_delivery, tmp_path, monkeypatch, {"options": {"develop_reaches_stage": True}})


def released(world: World, environment: str) -> set[str]:
    return {world.record(environment, service).release for service in SERVICES}


def to_prod(world: World, user: str = "developer", release: str = "") -> promoting.Promoted:
    return promoting.promote(world.settings, promoting.Asked("prod", release=release, user=user), progress=world.progress)


def test_a_push_to_main_is_in_stage_by_itself_and_prod_by_dispatch_after_somebody_elses_approval(trunk: World) -> None:
    first = trunk.change("main", {CATALOG: "a: 2\n"})
    assert (released(trunk, "stage"), released(trunk, "prod")) == ({"v0.2.0"}, {"v0.1.0"})
    with pytest.raises(Refused, match="rule 'approval'"):
        to_prod(trunk)
    with pytest.raises(Refused, match="rule 'four-eyes'"):
        releases.approve(trunk.settings, "v0.2.0", user="developer")
    approved = releases.approve(trunk.settings, "v0.2.0", user="lead")
    assert approved.authors == ("developer", "pipeline")
    done = to_prod(trunk)
    assert (done.next, git.refs(trunk.open(trunk.settings).app)["refs/tags/v0.2.0"]) == ("./invoke history prod", first)
    # The next push is the next release; the lead who makes it cannot approve it.
    trunk.change("main", {CATALOG: "a: 3\n"}, user="lead")
    assert (released(trunk, "stage"), released(trunk, "prod")) == ({"v0.3.0"}, {"v0.2.0"})
    with pytest.raises(Refused, match="rule 'four-eyes'"):
        releases.approve(trunk.settings, "v0.3.0", user="lead")
    rollback.rollback(trunk.settings, "prod", user="lead", progress=trunk.progress)
    assert released(trunk, "prod") == {"v0.1.0"}


def test_after_a_part_of_a_release_reached_prod_the_next_push_is_the_next_release_and_the_rest_may_follow(trunk: World) -> None:
    first = trunk.change("main", {CATALOG: "a: 2\n"})
    releases.approve(trunk.settings, "v0.2.0", user="lead")
    asked = promoting.Asked("prod", services=("catalog",), user="developer")
    part = promoting.promote(trunk.settings, asked, progress=trunk.progress)
    assert part.next == "./invoke promote prod --release v0.2.0"
    assert released(trunk, "prod") == {"v0.1.0", "v0.2.0"}
    assert git.refs(trunk.open(trunk.settings).app)["refs/tags/v0.2.0"] == first
    trunk.change("main", {CATALOG: "a: 3\n"})
    assert released(trunk, "stage") == {"v0.3.0"}
    to_prod(trunk, release="v0.2.0")
    assert released(trunk, "prod") == {"v0.2.0"}
    releases.approve(trunk.settings, "v0.3.0", user="lead")
    to_prod(trunk)
    assert released(trunk, "prod") == {"v0.3.0"}


def test_a_merge_lands_on_main_and_says_what_comes_next(trunk: World) -> None:
    tip = trunk.change(BRANCH, {CATALOG: "a: 2\n"})
    made = merging.merge(trunk.settings, BRANCH, user="developer", progress=trunk.progress)
    assert (made.into, made.tip, made.next) == ("main", tip, "./invoke approve v0.2.0 --user lead")
    assert released(trunk, "stage") == {"v0.2.0"}
    assert git.log(trunk.site.bare(APP), "main")[0].subject == "Merge feature/x into main"


def test_a_merge_waits_for_the_checks_though_its_user_may_push_to_main(trunk: World) -> None:
    trunk.change(BRANCH, {CATALOG: "a: 2\n"}, runs=False)
    with pytest.raises(Refused, match=r"rule 'merge'(?s:.*)has not passed(?s:.*)\./invoke push feature/x"):
        merging.merge(trunk.settings, BRANCH, user="developer", progress=trunk.progress)


def test_the_server_refuses_what_trunk_does_not_know(trunk: World) -> None:
    trunk.site.git("config", "--unset", "core.hooksPath", at=trunk.site.bare(APP), check=False)
    trunk.site.branch("mine", trunk.site.tip("main"))
    made = trunk.site.commit({CATALOG: "a: 2\n"})
    for branch in ("develop", "release/v0.2.0"):
        refused(trunk.site.push(f"{made}:refs/heads/{branch}", user="developer"), "references", "main")
    for environment in ("stage", "prod"):
        done = trunk.site.push(f"{made}:refs/heads/feature/y", user="developer", options=[f"deploy={environment}"])
        refused(done, "branches", environment)
    refused(trunk.site.push(f"{made}:refs/heads/main", user="developer", options=["deploy=prod"]), "branches", "prod")
    with pytest.raises(UsageError, match="the preset trunk has no branches for releases"):
        releases.cut(trunk.settings, "0.2.0", user="developer", progress=trunk.progress)


def bring(world: World, environment: str, branch: str, commit: str, *, how: Any = "request", user: str = "developer") -> None:
    """A run's deployment of catalog, as the pipeline makes it."""
    pipeline = world.open(world.settings)
    pipeline.fetch()
    image = world.image("catalog", commit)
    version, wish = f"0.2.0-{versions.slug(branch)}.1", wishes.sign(world.site.keys / user, environment, branch, commit)
    record = replace(world.record("stage", "catalog"), version=version, digest=image, source_commit=commit, inputs="")
    wanted = replace(record, branch=branch, release="", lock="")
    change = Change(environment, "request", branch, (wanted,), how=how, triggered_by=user, wish=wish, reason="Deploy")
    promotion.deploy(pipeline, change, phase=Phase("deploy"))


def test_features_and_main_come_to_dev_on_request_and_take_turns(trunk: World) -> None:
    older = trunk.site.tip("main")
    tip = trunk.change(BRANCH, {CATALOG: "a: 2\n"})
    bring(trunk, "dev", BRANCH, tip)
    assert trunk.record("dev", "catalog").branch == BRANCH
    bring(trunk, "dev", "main", older)
    assert (trunk.record("dev", "catalog").branch, trunk.record("dev", "catalog").source_commit) == ("main", older)
    with pytest.raises(Refused, match="rule 'branches'"):
        bring(trunk, "stage", BRANCH, tip)


def test_a_version_that_prod_had_is_not_released_once_more(trunk: World) -> None:
    trunk.change("main", {CATALOG: "a: 2\n"})
    releases.approve(trunk.settings, "v0.2.0", user="lead")
    lock = trunk.state().locks[0]
    # A push lands while prod gets what was approved: stage runs it under a number that is taken a moment later.
    trunk.change("main", {CATALOG: "a: 3\n"})
    later = next(one for one in trunk.state().locks if one.hash != lock.hash)
    assert later.release == lock.release
    releases.tag(trunk.settings, lock)
    releases.approve(trunk.settings, "v0.2.0", user="lead")
    with pytest.raises(Refused, match=r"rule 'tags'(?s:.*)v0\.2\.0 was released already(?s:.*)\./invoke ci --ref main"):
        to_prod(trunk)
    assert released(trunk, "prod") == {"v0.1.0"}
    trunk.run("main", trunk.site.tip("main"), "developer")
    assert released(trunk, "stage") == {"v0.3.0"}


def test_finishing_a_release_of_main_has_nothing_left_to_do(trunk: World) -> None:
    trunk.change("main", {CATALOG: "a: 2\n"})
    releases.approve(trunk.settings, "v0.2.0", user="lead")
    to_prod(trunk)
    done = releases.finish(trunk.settings, "0.2.0", user="lead", progress=trunk.progress)
    assert (done.merged, done.tagged) == ({}, False)


def test_an_instance_of_another_preset_says_so(trunk: World) -> None:
    trunk.change(BRANCH, {CATALOG: "a: 2\n"})
    trunk.settings = replace(trunk.settings, rules=None)
    with pytest.raises(UsageError, match=r"no branch develop(?s:.*)SLIPWAY_POLICY"):
        merging.merge(trunk.settings, BRANCH, user="developer", progress=trunk.progress)


# --- develop in stage


def test_a_merge_to_develop_runs_in_stage_too_and_prod_refuses_it(staging: World) -> None:
    staging.change(BRANCH, {CATALOG: "a: 2\n"})
    made = merging.merge(staging.settings, BRANCH, user="developer", progress=staging.progress)
    assert {staging.record(name, "catalog").source_commit for name in ("dev", "qa", "stage")} == {made.commit}
    record = staging.record("stage", "catalog")
    assert (record.branch, record.release, record.lock) == ("develop", "", "")
    with pytest.raises(Refused, match=r"rule 'lock': stage does not run one release"):
        to_prod(staging)
    with pytest.raises(Refused, match="rule 'branches'"):
        bring(staging, "prod", "develop", made.commit, how="dispatch")
    assert released(staging, "prod") == {"v0.1.0"}


def test_a_release_has_its_turn_in_stage_though_develop_goes_on(staging: World) -> None:
    staging.change(BRANCH, {CATALOG: "a: 2\n"})
    merging.merge(staging.settings, BRANCH, user="developer", progress=staging.progress)
    cut = releases.cut(staging.settings, "0.2.0", user="developer", progress=staging.progress)
    assert released(staging, "stage") == {"v0.2.0"}
    staging.change("feature/y", {CATALOG: "a: 3\n"})
    merging.merge(staging.settings, "feature/y", user="developer", progress=staging.progress)
    assert released(staging, "stage") == {""}
    # What stage ran whole may go on, whatever it runs now.
    releases.approve(staging.settings, "0.2.0", user="lead")
    to_prod(staging, release="v0.2.0")
    assert {staging.record("prod", service).lock for service in SERVICES} == {cut.lock}
    # And a correction of the release, which lacks what develop has, comes by itself.
    tip = staging.change("release/v0.2.0", {"services/cart/envs/prod.yaml": "a: 2\n"})
    assert runs.every(staging.settings)[0].state == runs.PASSED, runs.every(staging.settings)[0].trouble
    assert (released(staging, "stage"), staging.state().choose("v0.2.0").commit) == ({"v0.2.0"}, tip)  # type: ignore[union-attr]


def test_a_policy_that_is_none_is_said_before_anything_is_done(tmp_path: Path) -> None:
    settings = load(environ={"SLIPWAY_POLICY": str(tmp_path / "none.yaml"), "SLIPWAY_HOME": str(tmp_path)})
    with pytest.raises(SlipwayError, match=r"none\.yaml cannot be read"):
        assert policy.line(settings.policy, "main")
