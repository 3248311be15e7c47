"""Each thing that a rule of the Git server says, one by one: many of them bear one name, and none may hide behind another."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_RECEIVE = "tests/delivery/test_receive.py::test_"
_RETIRED = "tests/delivery/test_receive_retired.py::test_"
_APPLICATION = "tests/delivery/test_receive_application.py::test_"

# "RULE: what it says", a pattern; and the test that notices when it says so no more.
SITES: Mapping[str, str] = {
    # locks, results and approvals
    "lock: belongs into": f"{_RECEIVE}a_lock_lies_where_its_hash_says",
    "lock: is written in another way": f"{_RECEIVE}a_lock_is_written_in_one_way",
    "lock: makes no release": f"{_RECEIVE}a_lock_is_of_its_releases_branch",
    "lock: it lacks": f"{_RECEIVE}a_lock_names_every_service",
    "origin: is not on": f"{_RECEIVE}a_lock_is_of_its_releases_branch",
    "origin: comes from": f"{_RECEIVE}a_lock_is_of_its_releases_branch",
    "stage: has to say": f"{_RECEIVE}a_stage_result_says_what_stage_runs",
    "stage: is no result of": f"{_RECEIVE}a_stage_result_says_what_stage_runs",
    "stage: there is no lock": f"{_RECEIVE}a_stage_result_of_a_lock_that_comes_with_it_is_refused",
    "stage: saw other images": f"{_RECEIVE}a_stage_result_says_what_stage_runs",
    "stage: does not run that lock": f"{_RECEIVE}a_stage_result_says_what_stage_runs",
    "stage: is no commit of": f"{_RECEIVE}a_stage_result_says_what_stage_runs",
    "stage: has changed since": f"{_RECEIVE}a_stage_result_says_what_stage_runs",
    "load: has to say": f"{_RECEIVE}a_load_test_says_what_stage_runs",
    "load: was not passed": f"{_RECEIVE}a_load_test_says_what_stage_runs",
    "load: is no result of": f"{_RECEIVE}a_load_test_says_what_stage_runs",
    "load: there is no lock": f"{_RECEIVE}a_load_test_says_what_stage_runs",
    "load: saw other images": f"{_RECEIVE}a_load_test_says_what_stage_runs",
    "load: does not run that lock": f"{_RECEIVE}a_load_test_says_what_stage_runs",
    "load: is no commit of": f"{_RECEIVE}a_load_test_says_what_stage_runs",
    "load: has changed since": f"{_RECEIVE}a_load_test_says_what_stage_runs",
    "load: has not come to run": f"{_RECEIVE}a_load_test_says_what_stage_runs",
    "approval: belongs into": f"{_RECEIVE}an_approval_that_somebody_smuggled_into_the_tree_does_not_say_another_name",
    "approval: in the name of": f"{_RECEIVE}whoever_may_write_and_approve_still_approves_in_their_own_name_alone",
    "approval: does not say which release": f"{_RECEIVE}an_approval_names_the_release_of_its_lock",
    "approval: may not approve": f"{_RECEIVE}who_may_approve_is_said_by_the_policy",
    "four-eyes: is an author": f"{_RECEIVE}an_author_does_not_approve_their_own_release",
    "four-eyes: nobody knows who": f"{_RECEIVE}a_release_whose_author_nobody_wrote_down_is_not_approved",
    # a commit and its form
    "linear: it is a merge": f"{_RECEIVE}a_merge_is_refused_as_one_whatever_it_brings",
    "signature: it is signed by": f"{_RECEIVE}a_commit_signed_with_another_roles_key_is_refused",
    "signature: it bears no signature": f"{_RECEIVE}a_commit_signed_with_a_strangers_key_is_refused",
    "signature: it is by": f"{_RECEIVE}a_commit_by_somebody_else_is_refused_though_the_pipeline_signed_it",
    "paths: cannot be in": f"{_RECEIVE}a_link_is_no_record",
    "paths: it changes nothing": f"{_RECEIVE}a_commit_that_changes_nothing_is_refused",
    "removed: it removes": f"{_RECEIVE}a_record_is_never_removed[names0]",
    "write-once: it rewrites": f"{_RECEIVE}what_was_written_once_is_never_rewritten[lock]",
    "trailers: twice$": f"{_RECEIVE}a_commit_says_each_thing_once",
    r"trailers: its Kind is \w+$": f"{_RECEIVE}a_commit_says_what_kind_it_is[party]",
    "genesis: it is no genesis": f"{_RECEIVE}the_first_commit_is_a_genesis_or_nothing",
    "genesis: it is a genesis": f"{_RECEIVE}a_second_genesis_is_refused",
    "trailers: and it changes": f"{_RECEIVE}each_kind_of_commit_changes_its_own_kind_of_file[promotion]",
    # what its records say of themselves
    **{
        f"trailers: its trailer {name} does not say": f"{_RECEIVE}a_commit_says_what_it_changes[{name}]"
        for name in ("Environment", "Service", "Version", "Source-Commit", "Branch")
    },
    **{
        f"trailers: its trailer {name} does not say": f"{_RECEIVE}a_commit_of_a_release_says_which[{name}]"
        for name in ("Release", "Lock")
    },
    # the end of a service
    "retired: has never run": f"{_RETIRED}what_never_ran_is_not_retired",
    "retired: and this ends": f"{_RETIRED}an_end_says_what_ran[told0]",
    "retired: has services/": f"{_RETIRED}a_service_whose_folder_is_there_is_not_retired",
    "retired: so it is not gone": f"{_RETIRED}a_branch_that_never_had_what_runs_does_not_retire_it",
    # the versions of a lock
    r"version: does not lead to \S+$": f"{_RECEIVE}a_lock_bears_versions_that_lead_to_its_release_or_that_ran_before",
    "version: and never ran here": f"{_RECEIVE}a_lock_bears_versions_that_lead_to_its_release_or_that_ran_before",
    "version: is another image already": f"{_RECEIVE}a_lock_bears_versions_that_lead_to_its_release_or_that_ran_before",
    # what the policy says of a lock, of a merge and of a release's name
    "lock: names no lock": f"{_RECEIVE}prod_takes_nothing_without_a_lock",
    "lock: are not what the lock": f"{_RECEIVE}prod_takes_what_the_lock_says_and_nothing_near_it",
    "merge: takes one merge at a time": f"{_APPLICATION}develop_takes_one_merge_at_a_time",
    "merge: holds more than git makes": f"{_APPLICATION}develop_takes_no_merge_with_something_of_ones_own_in_it",
    "merge: does not take merges of": f"{_APPLICATION}develop_takes_no_merge_of_what_lies_on_no_branch",
    "merge: has not passed": f"{_APPLICATION}develop_takes_a_clean_merge_of_what_passed",
    "merge: is not what a release": f"{_APPLICATION}main_takes_a_release_that_prod_runs_and_no_other",
    "release-name: it exists": f"{_APPLICATION}a_release_that_only_a_lock_remembers_is_not_cut_again",
    "release-name: its commit is not there": f"{_APPLICATION}a_release_is_cut_from_nothing_but_develop",
    "release-name: is not cut from the tag": f"{_APPLICATION}a_hotfix_is_cut_from_the_tag_that_prod_runs",
}

# What something else says first, so that nothing can come to it: why.
HIDDEN: Mapping[str, str] = {
    "linear: it begins another history": "only a merge joins another history to this one, and a merge is refused as one",
    "push: may not push it to": "the policy's own rule 'push' lets nobody so far who brings anything but an approval",
}


def missing(file: Path) -> Iterable[str]:
    """What a module refuses, or finds wrong, that is neither among the sites nor hidden."""
    for function in ast.walk(ast.parse(file.read_text())):
        if isinstance(function, ast.FunctionDef):
            yield from _missing(function)


def _missing(function: ast.FunctionDef) -> Iterable[str]:
    named = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    for node in ast.walk(function):
        told: list[tuple[str, str]] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal":
            rule = node.args[0]
            # One that passes on another's words has no words of its own.
            if isinstance(rule, ast.Constant):
                told = [(str(rule.value), text) for text in _texts(node.args[1], named)]
        elif isinstance(node, ast.Yield) and node.value is not None:
            told = [(rule, text) for text in _texts(node.value, named) for rule in ("stage", "load")]
        yield from (f"{rule}: {text}" for rule, text in told if not _known(rule, text))


def _texts(node: ast.expr, named: Sequence[ast.Assign]) -> list[str]:
    """What an expression can say; an X for each part that is not known."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)]
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body, named), *_texts(node.orelse, named)]
    if not isinstance(node, ast.Name):
        return []
    # The last of its assignments above.
    mine = [one for one in named if isinstance(one.targets[0], ast.Name) and one.targets[0].id == node.id]
    last = max((one for one in mine if one.lineno < node.lineno), key=lambda one: one.lineno, default=None)
    return _texts(last.value, named) if last else []


def _known(rule: str, text: str) -> bool:
    return any(one.partition(": ")[0] == rule and re.search(one.partition(": ")[2], text) for one in (*SITES, *HIDDEN))
