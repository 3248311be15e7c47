"""Every guard is alive: without it the test that is named for it goes red, and with it green again.

Each rule of the Git server is left out of the hooks that tests/delivery runs here. And each guard of a real instance is
taken away from it, one at a time; the instance is its own (`--instance NAME` lends it another one), and is in the end what
it was in the beginning.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from slipway import applications, names
from slipway.errors import SlipwayError
from slipway.kube import KubeError
from slipway.settings import ROOT
from slipway.waiting import Pending, Ready, wait_for
from tests import unguarded
from tests.e2e.conftest import Instance
from tests.long import apart, guards
from tests.long.guards import Guard, deleted, granted, no_hook, overriding, project, rules, unhealed, without_policy
from tests.long.lent import own_or_lent
from tests.long.named import OWN, RULES, UNREACHED
from tests.long.sites import SITES, missing

NAME = "long-guards"

# Seconds for one run of the named tests, and until a change has come to where it counts.
RUN_TIMEOUT = 600.0
EFFECT_TIMEOUT = 120.0

# What a hook says that fails instead of judging: a test that is red because of it has noticed nothing.
_BROKEN = ("could not be applied", "CommandFailed", "ToolMissing")

_REFUSALS, _ADMISSION = "tests/e2e/test_refusals.py::test_", "tests/e2e/test_admission.py::test_"
_DELIVERY = "tests/e2e/test_delivery.py::test_"


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


NAMED = {**{rule: (test,) for rule, test in {**RULES, **SITES}.items()}, **OWN}


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


@pytest.mark.parametrize("module", ["changes", "documents"])
def test_everything_that_a_commit_is_refused_for_has_a_test(module: str) -> None:
    assert list(missing(ROOT / "slipway" / "receive" / f"{module}.py")) == []


# --- the guards of an instance


def _hook(rule: str, *red: str) -> Guard:
    how = f"the hook that judges pushes is packed without the rule '{rule}'"
    return Guard(f"rule {rule}", how, rules(rule), _at(_REFUSALS, *red), by_push=True)


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
            "a_tag_never_moves_and_never_goes[pipeline]",
        ),
        by_push=True,
    ),
    Guard(
        "the passwords of the Git server",
        "it has a front door that asks for none",
        guards.passwordless,
        _at(_REFUSALS, "a_stranger_reads_and_writes_nothing"),
    ),
    _hook("push", "nobody_but_the_pipeline_writes_records[gitops-nonprod-developer]"),
    _hook("references", "a_repository_of_records_has_one_branch[gitops-nonprod]"),
    _hook("history", "no_history_is_ever_lost"),
    _hook("tags", "nobody_but_the_pipeline_tags_a_release[developer]", "a_tag_never_moves_and_never_goes[pipeline]"),
    _hook("merge", "what_has_not_passed_cannot_be_merged", "nobody_pushes_to_develop_or_main_directly[develop-developer]"),
    _hook("release-name", "a_release_branch_bears_a_new_version_or_is_refused[v0.0.1]"),
    _hook("branches", "a_feature_branch_cannot_even_ask_for_stage_or_prod[stage]"),
    _hook("linear", "records_go_on_one_after_the_other_and_never_by_a_merge"),
    _hook("signature", "a_record_without_the_pipelines_signature_is_refused"),
    _hook("paths", "a_record_outside_its_tier_is_refused[up]", "a_record_outside_its_tier_is_refused[down]"),
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
    *(
        Guard(
            f"Argo CD's project {tier}: kinds",
            "it names every kind",
            project(tier, namespaceResourceWhitelist=[{"group": "*", "kind": "*"}]),
            _at(_DELIVERY, f"argo_cd_makes_no_kind_of_object_that_a_project_does_not_name[{environment}-{tier}]"),
        )
        for environment, tier in (("dev", "nonprod"), ("stage", "prod"))
    ),
    *(
        Guard(
            f"Argo CD's project {tier}: destinations",
            "it names every namespace",
            project(tier, destinations=[{"server": "*", "namespace": "*"}]),
            _at(_DELIVERY, f"argo_cd_writes_into_no_namespace_that_a_project_does_not_name[{environment}-{tier}]"),
        )
        for environment, tier in (("dev", "nonprod"), ("stage", "prod"))
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
    with guards.quiet(instance) if guard.by_push else nullcontext(_nothing) as put_back:
        with guard.removed(instance):
            end(guard, "failed", put_back)
        end(guard, "passed", put_back)
    assert list(guards.departures(before, guards.state(instance))) == [], f"{guard.name} is not as it was"


def _nothing() -> None:
    pass


@pytest.mark.parametrize("wide", [False, True], ids=["as it is", "taking every repository"])
def test_behind_admission_stands_argo_cds_project_of_the_prod_tier(
    instance: Instance, before: Mapping[str, Any], wide: bool
) -> None:
    """Admission sees first what would come from another repository. Without it the project refuses that, and only the project."""
    where: dict[str, Any] = {"namespace": names.ARGOCD, "api_version": applications.API_VERSION}
    own = instance.kube.get("Application", "catalog-stage", **where)
    assert own
    source = {**own["spec"]["source"], "repoURL": names.repository("gitops-nonprod"), "path": "envs/dev/catalog"}
    spec = {"project": "prod", "destination": own["spec"]["destination"], "source": source}  # it applies nothing by itself
    intruder = {
        "apiVersion": applications.API_VERSION,
        "kind": "Application",
        "metadata": {"name": "intruder", "namespace": names.ARGOCD},
        "spec": spec,
    }
    with pytest.raises(KubeError, match="REFUSED by rule 'sources'"):
        instance.kube.create(intruder)

    def made() -> Ready[None] | Pending:
        try:
            return Ready(None) if instance.kube.create(intruder) else Pending("it is there")
        except KubeError as error:
            return Pending(str(error))

    def judged() -> Ready[str] | Pending:
        status = (instance.kube.get("Application", "intruder", **where) or {}).get("status") or {}
        said = "; ".join(one["message"] for one in status.get("conditions") or [])
        compared = (status.get("sync") or {}).get("status") in ("Synced", "OutOfSync")
        return Ready(said) if said or compared else Pending("Argo CD has not judged it yet")

    with ExitStack() as removed:
        removed.enter_context(without_policy("sources")(instance))
        if wide:
            removed.enter_context(project("prod", sourceRepos=["*"])(instance))
        try:
            wait_for("the API server to miss its rule", made, timeout=EFFECT_TIMEOUT)
            said = wait_for("Argo CD to judge the intruder", judged, timeout=EFFECT_TIMEOUT)
            assert ("is not permitted in project 'prod'" in said) is not wide, said
        finally:
            instance.kube.delete("Application", "intruder", **where)
    assert list(guards.departures(before, guards.state(instance))) == []
