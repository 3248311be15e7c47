"""The guards of Slipway itself, each with the tests that are named for it."""

from __future__ import annotations

from collections.abc import Mapping

_RECEIVE = "tests/delivery/test_receive.py::test_"
_APPLICATION = "tests/delivery/test_receive_application.py::test_"
_BACK = "tests/delivery/test_receive_back.py::test_"
_RETIRED = "tests/delivery/test_receive_retired.py::test_"
_PROMOTION = "tests/delivery/test_promotion.py::test_"

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
    "retired": f"{_RETIRED}a_service_whose_folder_is_there_is_not_retired",
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
    "approval-before-the-commit": (f"{_PROMOTION}stage_admits_the_images_before_the_commit_is_made",),
    "judgement-before-the-approval": (f"{_PROMOTION}what_the_policy_refuses_is_refused_before_anything_is_written",),
    "approval-is-observed": (
        "tests/unit/test_admission.py::test_approving_ends_only_when_the_api_server_goes_by_the_list",
        "tests/unit/test_admission.py::test_revoking_ends_only_when_the_api_server_refuses_each_image",
    ),
    "off-the-list-again": (
        "tests/delivery/test_agreement.py::test_hook_and_tasks_say_what_the_table_says_and_only_what_has_landed_is_listed"
        "[prod: approved by nobody]",
    ),
    "taken-back": (f"{_PROMOTION}one_that_does_not_start_is_taken_back_whole_by_one_commit",),
    "one-run-at-a-time": ("tests/unit/test_runs.py::test_the_pipeline_is_one_at_a_time_whoever_runs_it",),
}

# What an earlier rule of the hook sees first; tests/unit takes these rules away from the policy itself.
UNREACHED = {"environment", "request"}
