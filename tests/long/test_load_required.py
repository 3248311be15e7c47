"""Where the policy asks for a load test, on an instance of its own: prod takes a release only after stage has withstood one."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from slipway import admission
from tests.e2e import developing, ledger, loading, train
from tests.e2e.conftest import Instance
from tests.long.policies import by_policy

RELEASE = "v0.2.0"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Generator[Instance]:
    """An instance whose prod asks for a load test."""
    with by_policy("long-load", {"load": "required"}, tmp_path_factory.mktemp("policy")) as made:
        yield made


def test_prod_takes_a_release_only_after_its_lock_has_withstood_a_load_test(instance: Instance) -> None:
    cut = instance.invoke("release.cut", RELEASE[1:], timeout=developing.RUN_TIMEOUT)
    assert "./invoke load --env stage --release" in cut.stdout
    instance.invoke("approve", RELEASE, "--user", "lead")
    before, admitted = ledger.look(instance), admission.approved(instance.kube, "prod")

    by_task = instance.invoke("promote", "prod", check=False, timeout=train.FOLLOWED)
    assert (by_task.code, "rule 'load'" in by_task.stderr) == (1, True), by_task.stdout + by_task.stderr
    # Whose own copy of the policy asks for nothing is told so by the Git server, which has the instance's.
    by_hook = instance.invoke("promote", "prod", env={"SLIPWAY_POLICY": ""}, check=False, timeout=train.FOLLOWED)
    assert (by_hook.code, "REFUSED by rule 'load'" in by_hook.stderr) == (1, True), by_hook.stdout + by_hook.stderr
    assert admission.approved(instance.kube, "prod") == admitted, "what was refused is not admitted either"
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
