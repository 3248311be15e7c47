"""Every guard is alive: without it the test that is named for it goes red, and with it green again.

Each rule of the Git server is left out of the hooks that tests/delivery runs here. And each guard of a real instance is
taken away from it, one at a time; the instance is its own (`--instance NAME` lends it another one), and is in the end what
it was in the beginning.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from slipway import names
from slipway.errors import SlipwayError
from slipway.settings import ROOT
from slipway.waiting import Pending, Ready, wait_for
from tests import unguarded
from tests.e2e.conftest import Instance
from tests.long import apart, guards
from tests.long.guards import Guard, deleted, granted, no_hook, overriding, project, rules, unhealed, without_policy
from tests.long.lent import own_or_lent

NAME = "long-guards"

# Seconds for one run of the named tests, and until a change has come to where it counts.
RUN_TIMEOUT = 600.0
EFFECT_TIMEOUT = 120.0

# What a hook says that fails instead of judging: a test that is red because of it has noticed nothing.
_BROKEN = ("could not be applied", "CommandFailed", "ToolMissing")

_REFUSALS, _ADMISSION = "tests/e2e/test_refusals.py::test_", "tests/e2e/test_admission.py::test_"
_DELIVERY, _RECEIVE = "tests/e2e/test_delivery.py::test_", "tests/delivery/test_receive.py::test_"
_BACK = "tests/delivery/test_receive_back.py::test_"
_APPLICATION = "tests/delivery/test_receive_application.py::test_"


# --- the rules of the Git server, in its hooks as tests/delivery runs them; and what Slipway sees to itself

RULES: Mapping[str, str] = {
    "approval": f"{_RECEIVE}prod_takes_nothing_that_nobody_approved",
    "branches": f"{_RECEIVE}a_feature_branch_cannot_reach_stage_or_prod",
    "derived": f"{_RECEIVE}values_that_do_not_follow_from_the_commit_are_refused",
    "dispatch": f"{_RECEIVE}prod_changes_by_dispatch_alone",
    "four-eyes": f"{_RECEIVE}an_author_does_not_approve_their_own_release",
    "genesis": f"{_RECEIVE}a_second_genesis_is_refused",
    "held": f"{_BACK}what_was_rolled_back_is_refused_when_it_comes_by_itself",
    "history": f"{_APPLICATION}history_is_never_rewritten_by_anybody[developer-feature/x]",
    "identity": f"{_RECEIVE}nobody_pushes_without_a_name",
    "image": f"{_RECEIVE}a_service_runs_its_own_images_from_where_this_instance_keeps_them[localhost:5001/cart]",
    "linear": f"{_RECEIVE}a_merge_of_records_is_refused",
    "load": f"{_RECEIVE}prod_takes_nothing_that_passed_no_load_test_where_the_policy_requires_one",
    "lock": f"{_RECEIVE}prod_takes_nothing_without_a_lock",
    "merge": f"{_APPLICATION}develop_takes_no_merge_with_something_of_ones_own_in_it",
    "order": f"{_RECEIVE}what_is_older_than_what_runs_is_refused",
    "origin": f"{_RECEIVE}a_commit_of_another_branch_is_refused",
    "paths": f"{_RECEIVE}a_link_is_no_record",
    "push": f"{_RECEIVE}a_record_comes_from_the_pipeline_alone[gitops-prod-prod-developer]",
    "records": f"{_RECEIVE}a_record_has_its_values_and_its_manifests",
    "references": f"{_RECEIVE}a_record_repository_has_one_branch[refs/heads/side]",
    "release-name": f"{_APPLICATION}a_release_is_cut_from_nothing_but_develop",
    "removable": f"{_APPLICATION}a_branch_that_others_rely_on_is_never_removed[main]",
    "removed": f"{_RECEIVE}a_record_is_never_removed[names0]",
    "repository": f"{_APPLICATION}a_repository_that_no_rule_knows_takes_nothing",
    "results": f"{_APPLICATION}how_a_run_ended_is_said_in_one_way",
    "rollback": f"{_RECEIVE}a_rollback_needs_what_really_ran_there",
    "signature": f"{_RECEIVE}a_commit_without_a_signature_is_refused",
    "stage": f"{_RECEIVE}a_stage_result_says_what_stage_runs",
    "stage-first": f"{_RECEIVE}prod_takes_nothing_that_stage_has_not_run",
    "stores": f"{_RECEIVE}a_store_stays_what_it_was",
    "tags": f"{_APPLICATION}a_tag_never_moves_and_never_goes",
    "trailers": f"{_RECEIVE}a_commit_says_each_thing_once",
    "version": f"{_RECEIVE}within_a_branch_versions_go_up",
    "wish": f"{_BACK}a_request_that_nobody_made_is_refused[signed by nobody-told0]",
    "write-once": f"{_RECEIVE}what_was_written_once_is_never_rewritten[lock]",
}

# And Slipway's own guards, of no rule.
OWN: Mapping[str, tuple[str, ...]] = {
    "versions-of-runs": ("tests/delivery/test_pipeline.py::test_a_version_is_never_used_for_other_content",),
    "versions-of-publishing": (
        "tests/unit/test_publishing.py::test_a_version_is_never_given_to_another_image_and_nothing_is_sent_for_it",
    ),
    "tags-at-promotion": (
        "tests/delivery/test_promoting.py::test_a_tag_that_names_another_image_is_found_before_anything_changes",
    ),
    "tags-at-the-finish": (
        "tests/delivery/test_releases.py::test_a_tag_that_names_another_image_stops_everything_before_it_begins",
    ),
    "no-network": (
        "tests/unit/test_testing.py::test_the_container_of_a_branchs_code_reaches_nothing_and_may_do_nothing",
        "tests/services/test_checks.py::test_code_of_a_branch_finds_no_credential_no_socket_and_no_network",
    ),
}

# What an earlier rule of the hook sees first; tests/unit takes these rules away from the policy itself.
UNREACHED = {"environment", "request"}


@dataclass(frozen=True)
class Seen:
    """How a run of named tests ended.

    Attributes:
        states: "passed", "failed", or "not judged" for what did not come to be tried, by test.
        output: What pytest said.
    """

    states: Mapping[str, str]
    output: str

    def __str__(self) -> str:
        told = "\n".join(f"{name}: {state}" for name, state in self.states.items())
        return f"{told}\n{self.output[-4000:]}"


def run(nodes: Collection[str], folder: Path, *words: str, env: Mapping[str, str] | None = None) -> Seen:
    """How these tests end in a run of their own."""
    report, log = folder / "report.xml", folder / "log"
    report.unlink(missing_ok=True)
    quiet = ["-q", "-p", "no:cacheprovider", f"--basetemp={folder / 'run'}", f"--junitxml={report}"]
    apart.run([*quiet, *words, *nodes], log=log, env=env or {}, timeout=RUN_TIMEOUT)
    cases = list(ElementTree.parse(report).getroot().iter("testcase")) if report.is_file() else []
    states = {case.get("name", "?"): _state(case) for case in cases}
    missing = len(nodes) - len(cases)
    return Seen({**states, **({"those that there are not": "not judged"} if missing else {})}, log.read_text(errors="replace"))


def _state(case: ElementTree.Element) -> str:
    if (failure := case.find("failure")) is not None:
        return "not judged" if any(word in (failure.get("message") or "") for word in _BROKEN) else "failed"
    return "not judged" if case.find("error") is not None or case.find("skipped") is not None else "passed"


NAMED = {**{rule: (test,) for rule, test in RULES.items()}, **OWN}


@pytest.mark.parametrize("guard", NAMED)
def test_a_rule_that_is_gone_is_missed_by_the_test_that_is_named_for_it(guard: str, tmp_path: Path) -> None:
    seen = run(NAMED[guard], tmp_path, "-p", "tests.unguarded", env={unguarded.WITHOUT: guard})
    blind = [name for name, state in seen.states.items() if state != "failed"]
    assert blind == [], f"{guard} is gone, and {', '.join(blind)} did not notice:\n{seen}"


def test_with_every_rule_in_its_place_the_named_tests_are_green(tmp_path: Path) -> None:
    seen = run({test for tests in NAMED.values() for test in tests}, tmp_path, "-p", "tests.unguarded")
    assert set(seen.states.values()) == {"passed"}, str(seen)


def test_every_rule_that_there_is_has_a_test() -> None:
    found: set[str] = set()
    for file in (*(ROOT / "slipway" / "policy").glob("*.py"), *(ROOT / "slipway" / "receive").glob("*.py")):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Refusal":
                rule = call.args[0]
                found |= {rule.value} if isinstance(rule, ast.Constant) and isinstance(rule.value, str) else set()
    assert found == {*RULES, *UNREACHED}
    assert set(unguarded.OWN) == set(OWN)


# --- the guards of an instance


def _hook(rule: str, *red: str) -> Guard:
    how = f"the hook that judges pushes is packed without the rule '{rule}'"
    return Guard(f"rule {rule}", how, rules(rule), tuple(_REFUSALS + one for one in red))


def _binding(name: str, *red: str) -> Guard:
    return Guard(f"admission: {name}", f"its binding slipway-{name} is deleted", without_policy(name), _at(_ADMISSION, *red))


def _at(place: str, *tests: str) -> tuple[str, ...]:
    return tuple(place + test for test in tests)


GUARDS: tuple[Guard, ...] = (
    Guard(
        "the hook",
        "Git looks for hooks where there are none",
        no_hook,
        _at(
            _REFUSALS,
            "nobody_pushes_to_develop_or_main_directly[main-developer]",
            "nobody_but_the_pipeline_writes_records[gitops-prod-developer]",
            "a_record_without_the_pipelines_signature_is_refused",
            "a_feature_branch_cannot_even_ask_for_stage_or_prod[prod]",
            "no_history_is_ever_lost",
        ),
    ),
    _hook("push", "nobody_but_the_pipeline_writes_records[gitops-nonprod-developer]"),
    _hook("references", "a_repository_of_records_has_one_branch[gitops-nonprod]"),
    _hook("history", "no_history_is_ever_lost"),
    _hook("tags", "nobody_but_the_pipeline_tags_a_release[developer]"),
    _hook("merge", "what_has_not_passed_cannot_be_merged", "nobody_pushes_to_develop_or_main_directly[develop-developer]"),
    _hook("release-name", "a_release_branch_bears_a_new_version_or_is_refused[v0.0.1]"),
    _hook("branches", "a_feature_branch_cannot_even_ask_for_stage_or_prod[stage]"),
    _hook("linear", "records_go_on_one_after_the_other_and_never_by_a_merge"),
    _hook("signature", "a_record_without_the_pipelines_signature_is_refused"),
    _hook("paths", "a_record_outside_its_tier_is_refused"),
    _hook("removed", "a_record_that_is_deleted_is_refused[pipeline]"),
    _hook("trailers", "a_commit_of_records_says_what_it_is[-trailers]"),
    _hook("genesis", "a_commit_of_records_says_what_it_is[genesis-genesis]"),
    _hook("derived", "manifests_that_do_not_follow_from_the_values_are_refused", "values_that_no_commit_has_are_refused"),
    _hook("origin", "a_digest_that_no_lock_names_is_refused_even_from_the_pipeline[stage]"),
    _hook("lock", "a_digest_that_no_lock_names_is_refused_even_from_the_pipeline[prod]", "an_approval_cannot_be_forged[lead]"),
    _hook("stage-first", "a_digest_that_no_lock_names_is_refused_even_from_the_pipeline[prod]"),
    _hook("dispatch", "a_digest_that_no_lock_names_is_refused_even_from_the_pipeline[prod]"),
    _hook(
        "approval",
        "a_digest_that_no_lock_names_is_refused_even_from_the_pipeline[prod]",
        "an_approval_cannot_be_forged[pipeline]",
    ),
    _hook("rollback", "nothing_is_rolled_back_to_what_never_ran"),
    *(
        _binding(
            f"approved-digests-{environment}",
            f"no_kind_of_workload_runs_an_image_that_is_not_approved_wherever_it_stands[{environment}-Deployment-containers]",
            f"who_refuses_what_to_whom[admin-set an image-{environment}]",
        )
        for environment in ("stage", "prod")
    ),
    _binding(
        "controllers",
        "pods_and_what_they_are_copied_from_come_from_the_clusters_controllers_alone[Pod-prod]",
        "the_images_of_a_running_pod_and_of_its_replica_set_cannot_be_changed",
    ),
    _binding(
        "sources",
        "an_application_brings_into_prod_what_its_records_say_and_nothing_else[another environment's path]",
        "an_operation_applies_what_the_branch_says_and_nothing_else[a commit]",
    ),
    _binding(
        "lists",
        "a_list_holds_images_and_nothing_else",
        "a_program_that_may_write_everywhere_may_not_write_a_list",
    ),
    Guard(
        "rights in the environments",
        "the developer is granted `edit` everywhere",
        granted("developer", "edit"),
        (
            "tests/e2e/test_roles.py::test_role[developer-delete-deployments.apps-dev-False]",
            *_at(_ADMISSION, "who_refuses_what_to_whom[developer-scale-prod]"),
        ),
    ),
    Guard(
        "rights over the lists",
        "the developer is granted what the pipeline may do there",
        granted("developer", "slipway-approver", names.ADMISSION),
        _at(_ADMISSION, "only_the_pipeline_may_change_a_list"),
    ),
    Guard(
        "rights over the guards",
        "the lead is made the cluster's admin",
        granted("lead", "cluster-admin"),
        _at(_ADMISSION, "no_role_has_a_right_that_would_be_a_way_around[lead]"),
    ),
    Guard(
        "the rights of the pipeline",
        "the role binding that lets it approve is deleted",
        lambda instance: deleted(instance, "RoleBinding", "pipeline", api_version=guards.RIGHTS, namespace=names.ADMISSION),
        _at(_ADMISSION, "only_the_pipeline_may_change_a_list"),
    ),
    Guard(
        "Argo CD's default project",
        "it takes every repository",
        project("default", sourceRepos=["*"], destinations=[{"server": "*", "namespace": "*"}]),
        _at(_DELIVERY, "argocds_default_project_can_deliver_nothing"),
    ),
    Guard(
        "Argo CD's projects of the tiers",
        "the one before stage takes every repository",
        project("nonprod", sourceRepos=["*"]),
        _at(_DELIVERY, "an_application_of_one_tier_cannot_read_the_other_tiers_repository"),
    ),
    Guard(
        "Argo CD's healing",
        "the applications of the prod tier are told to leave changes alone",
        unhealed("prod"),
        _at(_DELIVERY, "a_change_by_hand_is_undone"),
    ),
    Guard(
        "Argo CD's roles",
        "the lead may override, update and create",
        overriding(
            *(f"p, role:lead, applications, {verb}, */*, allow" for verb in ("override", "update", "create")),
            "p, role:lead, projects, create, *, allow",
        ),
        _at(_REFUSALS, "argo_cd_lets_no_role_run_anything_but_what_the_branch_says[lead]"),
    ),
)


# What is tried, and what is put back before it.
End = Callable[[Guard, str, Callable[[], None]], None]


@pytest.fixture(scope="module")
def instance(request: pytest.FixtureRequest) -> Generator[Instance]:
    """An instance of these tests, or the one that they are lent; it ends as it began."""
    with own_or_lent(request, NAME) as made:
        yield made


@pytest.fixture(scope="module")
def before(instance: Instance) -> Mapping[str, Any]:
    """What the instance was in the beginning, and is after every test."""
    return guards.state(instance)


@pytest.fixture
def end(instance: Instance, tmp_path: Path) -> End:
    """Returns when all tests of a guard end in a state: a change takes a moment to come to where it counts."""

    def wait(guard: Guard, state: str, put_back: Callable[[], None]) -> None:
        seen: list[Seen] = []

        def look() -> Ready[None] | Pending:
            put_back()  # what landed would be there already
            seen.append(run(guard.red, tmp_path, "--instance", instance.settings.instance))
            others = [name for name, found in seen[-1].states.items() if found != state]
            return Pending(f"{', '.join(others)}") if others else Ready(None)

        try:
            wait_for(f"{guard.name}: every named test to have {state}", look, timeout=EFFECT_TIMEOUT)
        except SlipwayError:
            others = ", ".join(name for name, found in seen[-1].states.items() if found != state)
            gone = f"{guard.name} was taken away ({guard.how}), and {others} did not notice"
            back = f"{guard.name} was taken away and put back, and {others} did not become green again"
            pytest.fail(f"{gone if state == 'failed' else back}:\n{seen[-1]}")

    return wait


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_that_is_gone_is_missed_by_the_tests_that_are_named_for_it(
    guard: Guard, instance: Instance, before: Mapping[str, Any], end: End
) -> None:
    judges_pushes = all(node.startswith(_REFUSALS) for node in guard.red)
    with guards.quiet(instance) if judges_pushes else nullcontext(_nothing) as put_back:
        with guard.removed(instance):
            end(guard, "failed", put_back)
        end(guard, "passed", put_back)
    assert list(guards.departures(before, guards.state(instance))) == [], f"{guard.name} is not as it was"


def _nothing() -> None:
    pass
