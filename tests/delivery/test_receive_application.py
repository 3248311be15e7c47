"""What the Git server takes of the application: the policy, with facts read from the repositories."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import credentials, gitserver, images
from slipway.registry import Registry
from slipway.settings import load
from tests.delivery.receiving import Site, landed, refused


@pytest.fixture
def site(begun_site: Site, tmp_path: Path) -> Site:
    return begun_site.copy(tmp_path / "site")


def merge(site: Site, onto: str, brought: str, *, files: dict[str, str] | None = None) -> str:
    """A merge of a commit onto a branch, with more in it than git would put there when files are given."""
    site.branch("merging", site.tip(onto))
    site.git("merge", "--quiet", "--no-ff", "--no-commit", brought)
    for name, content in (files or {}).items():
        (site.tree / name).write_text(content)
    return site.commit({}, "Merge")


def test_a_developer_works_on_a_feature_branch_and_removes_it(site: Site) -> None:
    site.change("feature/x", {"a": "1"})
    site.change("feature/x", {"a": "2"}, user="lead")
    landed(site.push(":refs/heads/feature/x", user="developer"))


def test_nobody_pushes_without_a_name(site: Site) -> None:
    refused(site.push(f"{site.head}:refs/heads/feature/x", user=""), "identity")


@pytest.mark.parametrize("user", ["argocd", "stranger"])
def test_whom_the_policy_does_not_name_pushes_nothing(site: Site, user: str) -> None:
    refused(site.push(f"{site.head}:refs/heads/feature/x", user=user), "push", user)


@pytest.mark.parametrize("user", ["developer", "lead", "pipeline"])
@pytest.mark.parametrize("branch", ["develop", "main"])
def test_nobody_pushes_commits_to_develop_or_main(site: Site, user: str, branch: str) -> None:
    site.branch("mine", site.tip(branch))
    made = site.commit({"a": "1"})
    done = site.push(f"{made}:refs/heads/{branch}", user=user)
    refused(done, "push" if (user, branch) == ("developer", "main") else "merge")


def test_develop_takes_a_clean_merge_of_what_passed(site: Site) -> None:
    tip = site.change("feature/x", {"a": "1"})
    merged = merge(site, "develop", tip)
    refused(site.push(f"{merged}:refs/heads/develop", user="developer"), "merge", "has not passed the pipeline")
    landed(site.passed(tip, "failed"))
    refused(site.push(f"{merged}:refs/heads/develop", user="developer"), "merge", "has not passed the pipeline")
    landed(site.passed(tip))
    landed(site.push(f"{merged}:refs/heads/develop", user="developer"))


def test_develop_takes_no_merge_with_something_of_ones_own_in_it(site: Site) -> None:
    tip = site.change("feature/x", {"a": "1"})
    landed(site.passed(tip))
    merged = merge(site, "develop", tip, files={"evil": "1"})
    refused(site.push(f"{merged}:refs/heads/develop", user="developer"), "merge", "holds more than git makes")


def test_develop_takes_no_merge_of_what_lies_on_no_branch(site: Site) -> None:
    site.branch("loose", site.tip("develop"))
    tip = site.commit({"a": "1"})
    landed(site.push(f"{tip}:refs/heads/feature/gone", user="developer"))
    landed(site.passed(tip))
    landed(site.push(":refs/heads/feature/gone", user="developer"))
    merged = merge(site, "develop", tip)
    refused(site.push(f"{merged}:refs/heads/develop", user="developer"), "merge", "does not take merges of")


def test_develop_takes_one_merge_at_a_time(site: Site) -> None:
    one, two = (site.change(f"feature/{name}", {name: "1"}, start=site.tip("develop")) for name in ("x", "y"))
    for tip in (one, two):
        landed(site.passed(tip))
    merge(site, "develop", one)
    site.git("merge", "--quiet", "--no-ff", "-m", "Two", two)
    refused(site.push(f"{site.head}:refs/heads/develop", user="developer"), "merge", "one merge at a time")
    refused(site.push(f"{one}:refs/heads/develop", user="developer"), "merge", "one merge at a time")


@pytest.mark.parametrize("branch", ["feature/x", "develop", "release/v0.2.0"])
@pytest.mark.parametrize("user", ["developer", "lead", "pipeline"])
def test_history_is_never_rewritten_by_anybody(site: Site, branch: str, user: str) -> None:
    site.branch("mine", site.tip("develop"))
    if branch != "develop":
        landed(site.push(f"{site.commit({'a': '1'})}:refs/heads/feature/x", user="developer"))
        landed(site.push(f"{site.tip('develop')}:refs/heads/release/v0.2.0", user="developer"))
    site.git("checkout", "--quiet", "--orphan", "other")
    made = site.commit({"b": "1"})
    refused(site.push(f"{made}:refs/heads/{branch}", user=user, force=True), "history", "rewrite")


@pytest.mark.parametrize("branch", ["main", "develop", "release/v0.2.0"])
def test_a_branch_that_others_rely_on_is_never_removed(site: Site, branch: str) -> None:
    landed(site.push(f"{site.tip('develop')}:refs/heads/release/v0.2.0", user="lead"))
    # git itself protects the branch that HEAD names; the rule must hold without that
    site.git("config", "receive.denyDeleteCurrent", "ignore", at=site.bare("app"))
    for user in ("developer", "lead", "pipeline"):
        refused(site.push(f":refs/heads/{branch}", user=user), "removable")


@pytest.mark.parametrize("reference", ["refs/heads/wip", "refs/notes/commits", "refs/replace/x", "refs/heads/release/next"])
def test_a_reference_that_the_policy_does_not_know_is_refused(site: Site, reference: str) -> None:
    refused(site.push(f"{site.head}:{reference}", user="lead"), "references")


def test_all_of_a_push_is_refused_when_one_part_is(site: Site) -> None:
    done = site.push(f"{site.head}:refs/heads/feature/x", f"{site.head}:refs/heads/wip", user="lead")
    refused(done, "references")
    assert not site.tip("feature/x")


@pytest.mark.parametrize(("environment", "taken"), [("dev", True), ("qa", True), ("stage", False), ("prod", False)])
def test_a_wish_that_the_policy_refuses_is_refused_with_the_push(site: Site, environment: str, taken: bool) -> None:
    done = site.push(f"{site.head}:refs/heads/feature/x", user="developer", options=[f"deploy={environment}"])
    assert (done.returncode == 0) == taken, done.stderr
    if not taken:
        assert "REFUSED by rule" in done.stderr
        assert environment in done.stderr


# --- releases


def test_a_release_is_cut_from_develop_once(site: Site) -> None:
    develop = site.tip("develop")
    landed(site.push(f"{develop}:refs/heads/release/v0.2.0", user="developer"))
    for name in ("v0.1.0", "v0.0.9", "v0.0.0"):
        refused(site.push(f"{develop}:refs/heads/release/{name}", user="developer"), "release-name")


def test_a_release_is_cut_from_nothing_but_develop(site: Site) -> None:
    tip = site.change("feature/x", {"a": "1"})
    refused(site.push(f"{tip}:refs/heads/release/v0.2.0", user="developer"), "release-name", "not cut from develop")
    refused(site.push(f"{site.tip('develop')}:refs/heads/release/v0.2.0", user="pipeline"), "push")


def test_a_release_that_only_a_lock_remembers_is_not_cut_again(site: Site) -> None:
    lock = site.cut("v0.5.0")
    site.git("update-ref", "-d", "refs/heads/release/v0.5.0", at=site.bare("app"))
    refused(site.push(f"{lock.commit}:refs/heads/release/v0.5.0", user="developer"), "release-name", "it exists")


def test_a_hotfix_is_cut_from_the_tag_that_prod_runs(site: Site) -> None:
    first = site.tip("main")
    tip = site.change("feature/x", {"a": "1"})
    landed(site.passed(tip))
    merged = merge(site, "develop", tip)
    landed(site.push(f"{merged}:refs/heads/develop", user="developer"))
    refused(site.push(f"{merged}:refs/heads/release/v0.1.1", user="developer"), "release-name", "is not cut from the tag")
    landed(site.push(f"{first}:refs/heads/release/v0.1.1", user="developer"))


def test_main_takes_a_release_that_prod_runs_and_no_other(site: Site) -> None:
    tip = site.change("feature/x", {"services/cart/envs/prod.yaml": "a: 7\n"})
    landed(site.passed(tip))
    landed(site.push(f"{merge(site, 'develop', tip)}:refs/heads/develop", user="developer"))
    lock = site.cut("v0.2.0")
    merged = merge(site, "main", lock.commit)
    refused(site.push(f"{merged}:refs/heads/main", user="lead"), "merge", "is not what a release that runs in prod was made of")
    site.tried(lock)
    landed(site.approve(lock))
    landed(site.promote(lock))
    refused(site.push(f"{merge(site, 'main', tip)}:refs/heads/main", user="lead"), "merge")
    landed(site.push(f"{merged}:refs/heads/main", user="lead"))


@pytest.mark.parametrize("user", ["developer", "lead"])
def test_nobody_but_the_pipeline_tags(site: Site, user: str) -> None:
    refused(site.push(f"{site.head}:refs/tags/v9.9.9", user=user), "tags", user)
    landed(site.push(f"{site.head}:refs/tags/v9.9.9", user="pipeline"))


def test_a_tag_never_moves_and_never_goes(site: Site) -> None:
    made = site.change("feature/x", {"a": "1"})
    refused(site.push(f"{made}:refs/tags/v0.1.0", user="pipeline", force=True), "tags", "is never moved")
    refused(site.push(":refs/tags/v0.1.0", user="pipeline"), "tags", "is never removed")


# --- how runs ended


@pytest.mark.parametrize("user", ["developer", "lead"])
def test_nobody_but_the_pipeline_says_how_a_run_ended(site: Site, user: str) -> None:
    tip = site.change("feature/x", {"a": "1"})
    refused(site.passed(tip, user=user), "push", "may not say how a run ended")


def test_how_a_run_ended_is_said_in_one_way(site: Site) -> None:
    tip = site.change("feature/x", {"a": "1"})
    for text in ("passed", json.dumps({"state": "maybe"}), json.dumps(["passed"]), json.dumps({"state": "passed", "run": 1})):
        site.git("update-ref", "-d", "refs/notes/ci")
        site.git("notes", "--ref=ci", "add", "-f", "-m", text, tip)
        refused(site.push("refs/notes/ci", user="pipeline"), "results", "is not how a run ended")


def test_a_second_note_replaces_the_first(site: Site) -> None:
    tip = site.change("feature/x", {"a": "1"})
    landed(site.passed(tip, "failed"))
    landed(site.passed(tip))


# --- other ways to be pushed to


def test_a_shallow_clone_can_seed_the_application(site: Site, tmp_path: Path) -> None:
    shutil.rmtree(site.bare("app"))
    site.git("init", "-q", "--bare", "-b", "main", site.bare("app"))
    site.git("config", "receive.shallowUpdate", "true", at=site.bare("app"))
    site.commit({"a": "1"})
    site.git("clone", "-q", "--depth=1", "--no-local", f"file://{site.tree}", tmp_path / "shallow")
    for branch in ("main", "develop"):
        done = site.git(
            "push", site.bare("app"), f"HEAD:refs/heads/{branch}", at=tmp_path / "shallow", user="pipeline", check=False
        )
        landed(done)


def test_a_policy_of_ones_own_counts(site: Site) -> None:
    site = replace(site, policy={**site.policy, "preset": "trunk"})
    site.prepare()
    site.branch("mine", site.tip("main"))
    landed(site.push(f"{site.commit({'a': '1'})}:refs/heads/main", user="developer"))


def test_a_repository_that_no_rule_knows_takes_nothing(site: Site) -> None:
    site.git("init", "-q", "--bare", "-b", "main", site.bare("other"))
    refused(site.push(f"{site.head}:refs/heads/main", user="pipeline", repository="other"), "repository")


def test_the_code_needs_nothing_but_itself_and_yaml(site: Site) -> None:
    made = site.folder / "hooks" / "slipway.zip"
    script = (
        f"import sys; sys.path[:0] = [{str(made)!r}]; from slipway import receive; print(receive.__file__, sorted(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, cwd=site.folder
    ).stdout
    assert said.startswith(str(made))
    assert not any(name in said for name in ("'urllib3'", "'docker'", "'kubernetes'", "'rich'"))


def test_the_code_is_the_same_bytes_each_time_and_small() -> None:
    assert gitserver.code() == gitserver.code()
    assert len(gitserver.code()) < 100_000  # a ConfigMap holds a mebibyte


def test_rules_name_the_policy_and_the_tools(site: Site) -> None:
    rules: dict[str, Any] = gitserver.rules(load())
    assert rules["policy"]["preset"] == "gitflow"
    assert rules["address"].format(user="lead") == credentials.address("lead")
    assert (rules["helm"], rules["signers"]) == ("/opt/tools/helm", "/etc/git-secrets/allowed_signers")
    beside = Registry(5001, "slipway-registry", "running", "")
    kept = images.service_repository(load(), beside, "cart")
    assert rules["images"].format(port=5001, service="cart") == kept
