"""Where the policy asks for a load test, on an instance of its own: prod takes a release only after stage has withstood one."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from slipway.load.model import FAIL
from tests.e2e import developing, ledger, loading, train
from tests.e2e.conftest import Instance
from tests.e2e.developing import Workspace
from tests.long.policies import by_policy

RELEASE = "v0.2.0"

# What is wrong with a release, as stage gets to feel it: five of a hundred product pages, and answers that take long.
BAD = {
    "v0.3.0": ({"route": "/products/{product_id}", "status": 503, "ratio": 0.05}, "catalog server errors is"),
    "v0.4.0": ({"latency_ms": 16}, "catalog p50 is"),
}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Generator[Instance]:
    """An instance whose prod asks for a load test."""
    with by_policy("long-load", {"load": "required"}, tmp_path_factory.mktemp("policy")) as made:
        yield made


def test_prod_takes_a_release_only_after_its_lock_has_withstood_a_load_test(instance: Instance) -> None:
    cut = instance.invoke("release.cut", RELEASE[1:], timeout=developing.RUN_TIMEOUT)
    assert "./invoke load --env stage --release" in cut.stdout
    instance.invoke("approve", RELEASE, "--user", "lead")
    before = ledger.look(instance)

    by_task = instance.invoke("promote", "prod", check=False, timeout=train.FOLLOWED)
    assert (by_task.code, "rule 'load'" in by_task.stderr) == (1, True), by_task.stdout + by_task.stderr
    # Whose own copy of the policy asks for nothing is told so by the Git server, which has the instance's.
    by_hook = instance.invoke("promote", "prod", env={"SLIPWAY_POLICY": ""}, check=False, timeout=train.FOLLOWED)
    assert (by_hook.code, "REFUSED by rule 'load'" in by_hook.stderr) == (1, True), by_hook.stdout + by_hook.stderr
    # A test of half a load is one, and counts for nobody.
    made = loading.trusted(lambda: loading.load(instance, "--rate", "3", "--duration", "20"))
    assert made.code == 0, made.why
    still = instance.invoke("promote", "prod", check=False, timeout=train.FOLLOWED)
    assert (still.code, "rule 'load'" in still.stderr) == (1, True), still.stdout + still.stderr
    assert ledger.look(instance).of("prod") == before.of("prod")

    made = loading.trusted(lambda: loading.load(instance, "--release", RELEASE))
    assert made.code == 0, made.why
    instance.invoke("promote", "prod", timeout=train.FOLLOWED)
    after = ledger.look(instance)
    services = instance.settings.services
    assert {after.records["prod", service].release for service in services} == {RELEASE}
    assert {after.records["prod", service].lock for service in services} == {made.run.target.lock}


@pytest.mark.parametrize("release", BAD, ids=["5-percent-errors", "slower"])
def test_a_bad_release_that_came_to_stage_comes_no_further(instance: Instance, tmp_path: Path, release: str) -> None:
    """After the good one, which prod runs: whoever uses it notices nothing of all this."""
    fault, broken = BAD[release]
    cut_with(instance, tmp_path, release, {"faults": [fault]})
    instance.invoke("approve", release, "--user", "lead")
    before = ledger.look(instance)
    assert {record.release for record in before.of("prod").values() if record.service in instance.settings.services} == {RELEASE}

    made = loading.trusted(lambda: loading.load(instance, "--release", release))
    assert (made.verdict.outcome, made.code) == (FAIL, 1), made.why
    assert [reason for reason in made.verdict.reasons if reason.said.startswith(broken)], made.why

    refused = instance.invoke("promote", "prod", "--release", release, check=False, timeout=train.FOLLOWED)
    assert (refused.code, "rule 'load'" in refused.stderr) == (1, True), refused.stdout + refused.stderr
    after = ledger.look(instance)
    assert after.of("prod") == before.of("prod")
    assert before.moved(after, ["prod"]) == set()
    assert before.changed(after, ["prod"]) == set()


def cut_with(instance: Instance, folder: Path, release: str, told: Mapping[str, object]) -> None:
    """Bring a release to stage in which catalog is told something else there: by a branch and develop, as every change comes."""
    branch = f"feature/bad-{release[1:].replace('.', '-')}"
    work = Workspace.clone(instance, folder / "work")
    work.configure("catalog", "stage", told)
    work.commit("Tell catalog something else in stage")
    train.passed(instance, work.push(branch), branch)
    instance.invoke("merge", branch, timeout=train.FOLLOWED)
    train.passed(instance, Workspace.clone(instance, folder / "merged").head, "develop")
    instance.invoke("release.cut", release[1:], timeout=developing.RUN_TIMEOUT)
