"""Two other policies, each on an instance of its own: the preset trunk, and develop in stage; from the push to prod."""

from __future__ import annotations

import re
import secrets
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slipway import git, shell
from tests.e2e import delivering, developing, ledger, train
from tests.e2e.conftest import Instance
from tests.e2e.developing import Workspace
from tests.e2e.ledger import Sight
from tests.long.policies import by_policy

SERVICES = {"cart", "catalog", "orders", "storefront"}

# One after the other: the first instance is gone before the second is made.
by_trunk = pytest.mark.parametrize("instance", [{"preset": "trunk"}], indirect=True, scope="module", ids=["trunk"])
with_develop_in_stage = pytest.mark.parametrize(
    "instance", [{"options": {"develop_reaches_stage": True}}], indirect=True, scope="module", ids=["develop-in-stage"]
)


@pytest.fixture(scope="module")
def instance(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Instance]:
    """An instance by the policy that a test asks for."""
    with by_policy("long-policy", request.param, tmp_path_factory.mktemp("policy")) as made:
        yield made


def said(result: shell.Result) -> str:
    return result.stdout + result.stderr


def releases(sight: Sight, environment: str) -> set[str]:
    return {record.release for service, record in sight.of(environment).items() if service in SERVICES}


def refs(instance: Instance) -> dict[str, str]:
    return dict(git.refs(delivering.remote(instance, "app")))


def pushed(
    instance: Instance,
    folder: Path,
    branch: str,
    *services: str,
    user: str = "developer",
    base: str = "main",
    options: tuple[str, ...] = (),
) -> str:
    """The commit of a change of services that somebody pushed to a branch, and that passed."""
    work = Workspace.clone(instance, folder / secrets.token_hex(4), user=user, branch=base)
    work.touch(*services)
    work.commit(f"Change {', '.join(services)}")
    commit = work.push(branch, options=list(options))
    train.passed(instance, commit, branch)
    return commit


# --- trunk


@dataclass(frozen=True)
class Trunk:
    """What happened, in order; a sight of everything after each step.

    Attributes:
        start: Before anything.
        on_request: After catalog's feature branch was pushed with the wish to run in dev.
        staged: After cart was pushed to main.
        merged: After the feature was merged.
        promoted: After prod got what stage runs.
        again: After prod was asked for it once more.
        following: After a lead pushed storefront to main.
        tip: The commit of main that prod runs.
        too_early: What the promotion said before anybody had approved.
        own: What the author's own approval was answered.
        leads_own: What the lead's approval of what the lead had pushed was answered.
    """

    start: Sight
    on_request: Sight
    staged: Sight
    merged: Sight
    promoted: Sight
    again: Sight
    following: Sight
    tip: str
    too_early: shell.Result
    own: shell.Result
    leads_own: shell.Result


@pytest.fixture(scope="module")
def trunk(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Trunk:
    """A delivery by the preset trunk, all the way."""
    folder, feature = tmp_path_factory.mktemp("trunk"), "feature/catalog"
    start = ledger.look(instance)
    pushed(instance, folder, feature, "catalog", options=("deploy=dev",))
    on_request = ledger.look(instance)
    pushed(instance, folder, "main", "cart")
    staged = ledger.look(instance)
    instance.invoke("merge", feature, timeout=train.FOLLOWED)
    tip = refs(instance)["refs/heads/main"]
    train.passed(instance, tip, "main")
    merged = ledger.look(instance)

    too_early = instance.invoke("promote", "prod", check=False)
    own = instance.invoke("approve", "v0.2.0", check=False)
    instance.invoke("approve", "v0.2.0", "--user", "lead")
    instance.invoke("promote", "prod", timeout=train.FOLLOWED)
    promoted = ledger.look(instance)
    instance.invoke("promote", "prod", timeout=train.FOLLOWED)
    again = ledger.look(instance)

    pushed(instance, folder, "main", "storefront", user="lead")
    leads_own = instance.invoke("approve", "v0.3.0", "--user", "lead", check=False)
    following = ledger.look(instance)
    return Trunk(start, on_request, staged, merged, promoted, again, following, tip, too_early, own, leads_own)


@by_trunk
def test_an_instance_by_trunk_begins_with_main_alone_and_shows_its_policy(instance: Instance, trunk: Trunk) -> None:
    there = refs(instance)
    assert {"refs/heads/main", "refs/tags/v0.1.0"} <= set(there)
    assert "refs/heads/develop" not in there
    told: Any = instance.json("policy")
    assert (told["preset"], told["file"]) == ("trunk", instance.environ["SLIPWAY_POLICY"])
    assert [branch["name"] for branch in told["branches"]] == ["feature/*, bugfix/*, hotfix/*", "main"]
    assert releases(trunk.start, "prod") == releases(trunk.start, "stage") == {"v0.1.0"}


@by_trunk
def test_a_feature_branch_runs_in_dev_on_request_and_nowhere_else(trunk: Trunk) -> None:
    assert {service for _, service in trunk.start.moved(trunk.on_request, ["dev"])} == {"catalog"}
    assert trunk.on_request.records["dev", "catalog"].branch == "feature/catalog"
    assert trunk.start.changed(trunk.on_request, ["qa", "stage", "prod"]) == set()


@by_trunk
def test_a_push_to_main_is_in_stage_by_itself_and_nowhere_else(trunk: Trunk) -> None:
    assert releases(trunk.staged, "stage") == {"v0.2.0"}
    assert {record.branch for service, record in trunk.staged.of("stage").items() if service in SERVICES} == {"main"}
    cart = trunk.staged.records["stage", "cart"]
    assert re.fullmatch(r"0\.2\.0-rc\.\d+", cart.version)
    assert trunk.staged.images["stage", "cart"] == {cart.digest}
    assert cart.digest != trunk.start.records["stage", "cart"].digest
    assert trunk.on_request.changed(trunk.staged, ["dev", "qa", "prod"]) == set()


@by_trunk
def test_a_merge_lands_on_main_and_is_in_stage(trunk: Trunk) -> None:
    assert {trunk.merged.records["stage", service].lock for service in SERVICES} != {
        trunk.staged.records["stage", service].lock for service in SERVICES
    }
    changed = {
        name for name in SERVICES if trunk.staged.records["stage", name].digest != trunk.merged.records["stage", name].digest
    }
    assert changed == {"catalog"}
    assert trunk.staged.changed(trunk.merged, ["dev", "qa", "prod"]) == set()


@by_trunk
def test_nothing_reaches_prod_before_somebody_else_approved(trunk: Trunk) -> None:
    assert (trunk.too_early.code, "rule 'approval'" in trunk.too_early.stderr) == (1, True), said(trunk.too_early)
    assert trunk.own.code == 1
    assert "rule 'four-eyes'" in trunk.own.stderr, said(trunk.own)
    assert (trunk.leads_own.code, "rule 'four-eyes'" in trunk.leads_own.stderr) == (1, True), said(trunk.leads_own)


@by_trunk
def test_prod_runs_by_dispatch_exactly_what_stage_ran_and_it_is_tagged(instance: Instance, trunk: Trunk) -> None:
    for service in SERVICES:
        stage, prod = (trunk.promoted.records[environment, service] for environment in ("stage", "prod"))
        assert (prod.digest, prod.lock, prod.release) == (stage.digest, stage.lock, "v0.2.0")
        assert trunk.promoted.images["prod", service] == {prod.digest}
        assert trunk.promoted.tags[f"{service}:0.2.0"] == prod.digest
    assert refs(instance)["refs/tags/v0.2.0"] == trunk.tip
    assert set(trunk.promoted.tags.values()) == set(trunk.merged.tags.values()), "nothing was built"
    assert trunk.promoted.held == trunk.merged.held, "no manifest came, tagged or not"
    assert trunk.merged.changed(trunk.promoted, ["dev", "qa", "stage"]) == set()
    assert trunk.again.commits == trunk.promoted.commits


@by_trunk
def test_the_next_push_to_main_is_the_next_release_and_prod_stays(trunk: Trunk) -> None:
    assert (releases(trunk.following, "stage"), releases(trunk.following, "prod")) == ({"v0.3.0"}, {"v0.2.0"})
    assert trunk.following.records["stage", "storefront"].version.startswith("0.3.0-rc.")
    assert trunk.again.changed(trunk.following, ["dev", "qa", "prod"]) == set()


@by_trunk
@pytest.mark.parametrize(
    ("branch", "option", "rule"),
    [
        ("develop", "", "references"),
        ("release/v0.4.0", "", "references"),
        ("feature/far", "deploy=stage", "branches"),
        ("feature/far", "deploy=prod", "branches"),
        ("main", "deploy=prod", "branches"),
    ],
)
def test_the_git_server_refuses_what_trunk_does_not_allow(
    instance: Instance, trunk: Trunk, tmp_path: Path, branch: str, option: str, rule: str
) -> None:
    before = refs(instance)
    work = Workspace.clone(instance, tmp_path / "work", branch="main")
    work.touch("catalog")
    work.commit()
    with pytest.raises(git.PushRefused, match=rf"REFUSED by rule '{rule}'(?s:.*)Allowed: "):
        work.push(branch, options=[option] if option else [])
    assert refs(instance) == before


@by_trunk
def test_no_release_is_cut_where_main_makes_them(instance: Instance, trunk: Trunk) -> None:
    refused = instance.invoke("release.cut", "0.9.0", check=False)
    assert refused.code == 2
    assert "the preset trunk has no branches for releases" in refused.stderr


@by_trunk
def test_prod_goes_back_and_the_instance_is_well(instance: Instance, trunk: Trunk) -> None:
    instance.invoke("rollback", "prod", timeout=train.FOLLOWED)
    assert ledger.look(instance).of("prod") == trunk.merged.of("prod")
    seen = instance.json("status")
    assert seen["state"] == "healthy", seen["trouble"]


# --- develop in stage


@dataclass(frozen=True)
class Staging:
    """What happened where develop reaches stage; a sight of everything after each step.

    Attributes:
        start: Before anything.
        merged: After catalog was merged to develop.
        cut: After a release was cut.
        ahead: After cart was merged to develop.
        corrected: After the release got a correction of orders.
        tip: The commit of that correction.
        refused: What the promotion of develop to prod was answered.
    """

    start: Sight
    merged: Sight
    cut: Sight
    ahead: Sight
    corrected: Sight
    tip: str
    refused: shell.Result


@pytest.fixture(scope="module")
def staging(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Staging:
    """A delivery in which stage follows develop and the releases, in turns."""
    folder, release = tmp_path_factory.mktemp("staging"), "release/v0.2.0"
    start = ledger.look(instance)

    def merge(branch: str, service: str) -> Sight:
        pushed(instance, folder, branch, service, base="develop")
        instance.invoke("merge", branch, timeout=train.FOLLOWED)
        train.passed(instance, refs(instance)["refs/heads/develop"], "develop")
        return ledger.look(instance)

    merged = merge("feature/catalog", "catalog")
    refused = instance.invoke("promote", "prod", check=False)
    instance.invoke("release.cut", "0.2.0", timeout=train.FOLLOWED)
    cut = ledger.look(instance)
    ahead = merge("feature/cart", "cart")
    tip = pushed(instance, folder, release, "orders", base=release)
    return Staging(start, merged, cut, ahead, ledger.look(instance), tip, refused)


@with_develop_in_stage
def test_a_merge_to_develop_runs_in_stage_too(instance: Instance, staging: Staging) -> None:
    told: Any = instance.json("policy")
    assert told["options"] == {"develop_reaches_stage": True}
    for environment in ("dev", "qa", "stage"):
        record = staging.merged.records[environment, "catalog"]
        assert (record.branch, record.release, record.lock) == ("develop", "", "")
        assert staging.merged.images[environment, "catalog"] == {record.digest}
        assert record.digest == staging.merged.records["dev", "catalog"].digest
    assert staging.start.changed(staging.merged, ["prod"]) == set()


@with_develop_in_stage
def test_prod_refuses_develop(instance: Instance, staging: Staging, tmp_path: Path) -> None:
    assert (staging.refused.code, "rule 'lock'" in staging.refused.stderr) == (1, True), said(staging.refused)
    asked = instance.invoke("ci", "--ref", "develop", "--to", "prod", check=False, timeout=train.FOLLOWED)
    assert (asked.code, "rule 'branches'" in said(asked)) == (1, True), said(asked)
    work = Workspace.clone(instance, tmp_path / "work")
    with pytest.raises(git.PushRefused, match="REFUSED by rule"):
        work.push("feature/far", options=["deploy=prod"])


@with_develop_in_stage
def test_stage_takes_releases_and_develop_in_turns(staging: Staging) -> None:
    assert (releases(staging.cut, "stage"), staging.cut.records["stage", "cart"].branch) == ({"v0.2.0"}, "release/v0.2.0")
    assert (staging.ahead.records["stage", "cart"].branch, staging.ahead.records["stage", "cart"].release) == ("develop", "")
    # The release has less than develop; it is its turn all the same, whole and with a lock.
    assert releases(staging.corrected, "stage") == {"v0.2.0"}
    assert len({staging.corrected.records["stage", service].lock for service in SERVICES}) == 1
    assert staging.corrected.records["stage", "orders"].source_commit == staging.tip
    assert staging.corrected.records["stage", "cart"].digest == staging.cut.records["stage", "cart"].digest


@with_develop_in_stage
def test_the_release_goes_on_to_prod(instance: Instance, staging: Staging) -> None:
    instance.invoke("approve", "v0.2.0", "--user", "lead")
    instance.invoke("promote", "prod", timeout=train.FOLLOWED)
    after = ledger.look(instance)
    assert releases(after, "prod") == {"v0.2.0"}
    for service in SERVICES:
        assert after.images["prod", service] == {staging.corrected.records["stage", service].digest}
    assert developing.next_release(instance) == "0.3.0"
