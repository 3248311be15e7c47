"""Rollback: what ran before comes back, byte for byte, and what is meant by "before"."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from slipway import git, gitops, promoting, promotion, releases, rollback, runs
from slipway.errors import UsageError
from slipway.git import Commit
from slipway.promotion import Change, PromotionFailed, Refused
from slipway.rollback import Past, RolledBack
from tests.delivery import releasing
from tests.delivery.receiving import NONPROD, SERVICES
from tests.delivery.releasing import Start, World

CATALOG = "services/catalog/envs/prod.yaml"


@pytest.fixture
def world(begun: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return releasing.world(begun, tmp_path, monkeypatch)


def release(world: World, version: str, *, fails: bool = False) -> None:
    """A release that prod gets."""
    world.put("develop", world.change(f"feature/{version}", {CATALOG: f"a: '{version}'\n"}))
    releases.cut(world.settings, version, user="developer", progress=world.progress)
    releases.approve(world.settings, f"v{version}", user="lead")
    if fails:
        world.pods.ill.add("prod")
    try:
        promoting.promote(world.settings, promoting.Asked("prod", release=version), progress=world.progress)
    except PromotionFailed:
        assert fails
    world.pods.ill.clear()


def back(world: World, to: str = "", environment: str = "prod", user: str = "developer") -> RolledBack:
    return rollback.rollback(world.settings, environment, to=to, user=user, progress=world.progress)


def files(world: World, environment: str = "prod") -> dict[tuple[str, str], dict[str, bytes]]:
    return {key: entry.files for key, entry in world.records().items() if key[0] == environment}


def printed(made: RolledBack) -> str:
    console = Console(file=io.StringIO(), width=160)
    rollback.show(made, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_was_new_and_taken_back_is_as_if_it_had_never_come(tmp_path: Path) -> None:
    git.init(tmp_path, branch="main")
    told = {"cart": {"chart": "microservice"}, "catalog": {"chart": "retired"}, "payments": {"chart": "retired", "inputs": "x"}}
    for service, record in told.items():
        file = tmp_path / "envs" / "stage" / service / "record.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(record))
    git.stage(tmp_path, ["."])
    git.commit(tmp_path, "Revert", identity=gitops.PIPELINE)
    (only,) = rollback.past(tmp_path, "stage")
    assert set(only.records) == {"cart", "catalog"}


def test_prod_is_back_to_the_byte_in_one_commit_that_says_what_it_restores(world: World) -> None:
    before, genesis = files(world), world.commits()[0].sha
    release(world, "0.2.0")
    assert files(world) != before
    count = len(world.commits())
    made = back(world)
    assert files(world) == before
    commit = world.commits()[0]
    assert len(world.commits()) == count + 1
    assert (commit.sha, commit.trailers["Kind"], commit.trailers["Restores"]) == (made.commit, "rollback", genesis)
    assert commit.trailers["Triggered-By"] == "developer"
    assert made.release == "v0.1.0"
    assert "is back at v0.1.0, to the byte" in printed(made)
    assert world.pods.waited[-1] == ("prod", SERVICES)


@pytest.mark.usefixtures("after_prod")
def test_a_rollback_again_changes_nothing_and_goes_no_further_by_itself(world: World) -> None:
    back(world)
    before = world.commits()
    assert back(world, "0.1.0").made is False
    with pytest.raises(UsageError, match="prod ran nothing before what it runs now"):
        back(world)
    assert world.commits() == before


@pytest.mark.usefixtures("after_prod")
def test_each_rollback_goes_to_what_ran_before_what_runs(world: World) -> None:
    release(world, "0.3.0")
    assert back(world).release == "v0.2.0"
    assert back(world).release == "v0.1.0"


@pytest.mark.usefixtures("after_prod")
def test_a_release_is_named_with_and_without_its_letter_and_by_its_commit(world: World) -> None:
    at_two = files(world)
    release(world, "0.3.0")
    first = back(world, "v0.1.0")
    assert back(world, "0.2.0").release == "v0.2.0"
    assert files(world) == at_two
    assert back(world, first.restores[:10]).restores == first.restores


def test_a_release_that_never_ran_well_is_nowhere_to_go_back_to(world: World) -> None:
    release(world, "0.2.0", fails=True)
    before = world.commits()
    for to in ("0.2.0", "0.9.0", "ffffff"):
        with pytest.raises(UsageError, match=r"prod never ran .* whole and well. It ran the releases v0.1.0"):
            back(world, to)
    release(world, "0.3.0")
    assert back(world).release == "v0.1.0"
    assert before[0] in world.commits()


def test_a_release_of_which_prod_got_one_service_is_undone_whole(world: World) -> None:
    before = files(world)
    releases.cut(world.settings, "0.2.0", user="developer", progress=world.progress)
    releases.approve(world.settings, "v0.2.0", user="lead")
    promoting.promote(world.settings, promoting.Asked("prod", services=("cart",)), progress=world.progress)
    made = back(world)
    assert files(world) == before
    assert [moved.service for moved in made.services if moved.changed] == ["cart"]


@pytest.mark.usefixtures("after_prod")
def test_after_a_rollback_the_release_can_be_promoted_again(world: World) -> None:
    at_two = files(world)
    back(world)
    promoting.promote(world.settings, promoting.Asked("prod", release="0.2.0"), progress=world.progress)
    assert files(world) == at_two
    assert back(world).release == "v0.1.0", "what came and went in between does not count"


@pytest.mark.usefixtures("after_prod")
def test_what_stage_runs_is_untouched(world: World) -> None:
    before = files(world, "stage")
    back(world)
    assert files(world, "stage") == before


def test_stage_goes_back_too(world: World) -> None:
    before = files(world, "stage")
    releases.cut(world.settings, "0.2.0", user="developer", progress=world.progress)
    back(world, environment="stage")
    assert files(world, "stage") == before


def test_dev_goes_back_to_a_version_or_to_what_ran_before(world: World) -> None:
    world.change("develop", {CATALOG: "a: 1.1\n"})
    first = world.record("dev", "catalog")
    world.change("develop", {CATALOG: "a: 1.2\n"})
    second = world.record("dev", "catalog")
    back(world, environment="dev")
    assert world.record("dev", "catalog") == first
    back(world, second.version, environment="dev")
    assert world.record("dev", "catalog") == second


@pytest.mark.usefixtures("after_prod")
def test_who_may_not_dispatch_may_not_roll_back(world: World, tmp_path: Path) -> None:
    import yaml

    data = yaml.safe_load(world.settings.policy_file.read_text())
    data["approvals"]["prod"]["dispatchers"] = ["lead"]
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    releasing.ruled(world, tmp_path / "policy.yaml")
    before = world.commits()
    with pytest.raises(Refused) as caught:
        back(world)
    assert caught.value.rules == {"dispatch"}
    assert world.commits() == before
    assert back(world, user="lead").made


def test_what_is_no_environment_or_user_is_said_so(world: World) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        back(world, environment="nowhere")
    with pytest.raises(UsageError, match="stranger"):
        back(world, user="stranger")


def one(sha: str, records: dict[str, str], kind: str = "promotion", restores: str = "") -> Commit:
    return Commit(sha, (), "pipeline", 0, "", {"Kind": kind, "Restores": restores})


def test_a_commit_of_another_environment_may_stand_for_what_came_back() -> None:
    told = [one("c", {}, "revert", "elsewhere"), one("b", {}), one("a", {}, "genesis")]
    assert rollback._undone(told) == {"b"}  # pyright: ignore[reportPrivateUsage]
    told = [one("d", {}, "revert", "a"), one("c", {}), one("b", {}), one("a", {}, "genesis")]
    assert rollback._undone(told) == {"b", "c"}  # pyright: ignore[reportPrivateUsage]


def test_an_environment_without_a_release_says_what_it_ran() -> None:
    told = (Past(one("a" * 40, {}), {"cart": {"version": "0.1.0", "release": ""}}),)
    with pytest.raises(UsageError, match="It ran no release, but commits"):
        rollback.choose(told, "dev", "9.9.9")


def again(world: World, branch: str) -> str:
    """What the pipeline says of a branch's tip that it has deployed before."""
    tip = world.site.tip(branch)
    world.run(branch, tip, "developer")
    return runs.every(world.settings)[0].trouble


def test_what_stage_was_rolled_back_from_does_not_come_again_by_itself(world: World) -> None:
    releases.cut(world.settings, "0.2.0", user="developer", progress=world.progress)
    back(world, environment="stage")
    before = files(world, "stage")
    assert "stage was rolled back from this v0.2.0" in again(world, "release/v0.2.0")
    # Built anew with another version it is another lock, and still what nobody wanted.
    world.log.append(world.log[-1])
    assert "stage was rolled back from this v0.2.0" in again(world, "release/v0.2.0")
    assert files(world, "stage") == before
    world.change("release/v0.2.0", {CATALOG: "a: 3\n"})
    assert world.record("stage", "catalog").release == "v0.2.0"


def test_what_stage_was_rolled_back_from_comes_when_somebody_asks(world: World) -> None:
    releases.cut(world.settings, "0.2.0", user="developer", progress=world.progress)
    at_two = files(world, "stage")
    back(world, environment="stage")
    promoting.promote(world.settings, promoting.Asked("stage", release="0.2.0"), progress=world.progress)
    assert files(world, "stage") == at_two


def test_of_an_automatic_environment_what_was_rolled_back_is_held_and_what_is_newer_is_not(world: World) -> None:
    world.change("develop", {CATALOG: "a: 1.1\n"})
    older = world.record("dev", "catalog")
    world.change("develop", {CATALOG: "a: 1.2\n"})
    bad = world.record("dev", "catalog")
    pipeline = world.open(world.settings)
    assert promotion.held(pipeline, "dev", [bad]) == set()
    back(world, environment="dev")
    pipeline.fetch()
    assert promotion.held(pipeline, "dev", [bad]) == {"catalog"}
    assert promotion.held(pipeline, "dev", [older]) == {"catalog"}
    newer = replace(bad, source_commit=world.change("develop", {CATALOG: "a: 1.3\n"}, runs=False), inputs="sha256:new")
    pipeline.fetch()
    assert promotion.held(pipeline, "dev", [newer]) == set()


def test_a_shallow_copy_of_the_records_does_not_hide_a_rollback(world: World, tmp_path: Path) -> None:
    world.change("develop", {CATALOG: "a: 1.1\n"})
    world.change("develop", {CATALOG: "a: 1.2\n"})
    bad, pipeline = world.record("dev", "catalog"), world.open(world.settings)
    back(world, environment="dev")
    git.clone(git.Remote(f"file://{world.site.bare(NONPROD)}"), tmp_path / "shallow", branch="main", depth=1)
    assert (tmp_path / "shallow" / ".git" / "shallow").is_file()
    there = gitops.There(tmp_path / "shallow", git.resolve(tmp_path / "shallow", "HEAD") or "")
    change = Change("dev", "deploy", "develop", (bad,), triggered_by="developer")
    pipeline.fetch()
    assert [one.rule for one in promotion.judge(pipeline, change, [bad], there)] == ["held"]
