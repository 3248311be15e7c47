"""The workflows hold no logic of their own: their steps are tasks, and the tasks have the flags that they are given."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.exceptions import ParseError
from invoke.parser import Parser

import tasks
from slipway import checks, target
from slipway.settings import ROOT
from tests.browser import SCREENSHOTS

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.iterdir())

# What may be granted beyond reading the code, and what for: AWS gives a role to whoever shows GitHub's token.
GRANTED = {"publish": {"id-token"}, "promote": {"id-token"}}

# A workflow of this repository that a job calls, at the commit that it is of itself.
CALLED = "./.github/workflows/push.yaml"

# Decides whether a registry's login is needed, or whether there is something to keep; never what may be delivered.
CONDITIONS = {
    "${{ failure() || cancelled() }}",
    "${{ always() }}",
    "${{ vars.SLIPWAY_AWS_ROLE != '' }}",
    "${{ vars.SLIPWAY_REGISTRY_USER != '' }}",
}

each_file = pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)


def load(file: Path) -> dict[str, Any]:
    """A workflow; YAML's own word for yes is how GitHub spells when."""
    read = yaml.safe_load(file.read_text())
    return {"on" if name is True else name: value for name, value in read.items()}


def steps(file: Path) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every step, with its job."""
    for job in load(file)["jobs"].values():
        for step in job.get("steps", ()):
            yield job, step


def commands(file: Path) -> list[str]:
    """Every command that a workflow runs, a matrix spelled out."""
    found: list[str] = []
    for job, step in steps(file):
        for line in str(step.get("run", "")).splitlines():
            named = re.search(r"\$\{\{ matrix\.(\w+) \}\}", line)
            values = job["strategy"]["matrix"][named[1]] if named else [""]
            found += [line.replace(named[0], value) if named else line for value in values]
    return found


COMMANDS = [(file.name, line) for file in FILES for line in commands(file)]


def task(line: str) -> str:
    """The task that a command runs: Invoke's own parser decides. A variable of the step stands for one word."""
    program, *words = shlex.split(line)
    assert program == "./invoke"
    [parsed] = Parser(contexts=tasks.namespace.to_contexts()).parse_argv(words)
    assert not parsed.missing_positional_args
    return str(parsed.name)


@pytest.mark.parametrize(("file", "line"), COMMANDS)
def test_every_command_is_a_task_with_the_flags_that_it_has(file: str, line: str) -> None:
    assert task(line) == line.split()[1], file


@pytest.mark.parametrize("line", ["./invoke images.pubish", "./invoke images.publish --tag 1", "./invoke images.promote"])
def test_a_command_that_is_no_task_or_lacks_a_word_would_be_found(line: str) -> None:
    with pytest.raises((ParseError, AssertionError, ValueError)):
        task(line)


@each_file
def test_a_step_runs_tasks_and_nothing_else(file: Path) -> None:
    for _, step in steps(file):
        if "run" in step:
            for line in step["run"].splitlines():
                # What a person types into GitHub comes by the environment: spelled into a command it would be one.
                assert re.fullmatch(r'\./invoke [a-z0-9.]+( "\$[A-Z]+")?|\./invoke \$\{\{ matrix\.part \}\}', line), line
            assert set(step) <= {"run", "env"}
        assert step.get("if") in {None, *CONDITIONS}


@each_file
def test_no_expression_decides_what_may_be_delivered(file: Path) -> None:
    for job in load(file)["jobs"].values():
        assert "if" not in job
    assert not re.search(r"github\.(ref_name|actor|base_ref|head_ref|event)\b", file.read_text())


def test_every_part_of_the_tests_runs_on_a_push() -> None:
    parts = {line.removeprefix("./invoke ").removeprefix("test.") for line in commands(FOLDER / "push.yaml")}
    assert parts == {*checks.TIER_1, "images.build"}


def test_the_cluster_waits_for_everything_that_is_cheaper() -> None:
    jobs = load(FOLDER / "push.yaml")["jobs"]
    assert sorted(jobs["e2e"]["needs"]) == sorted(set(jobs) - {"e2e"})


@pytest.mark.parametrize("name", ["push.yaml", "nightly.yaml"])
def test_what_failed_is_kept_wherever_tests_run(name: str) -> None:
    for job in load(FOLDER / name)["jobs"].values():
        if not any("test" in str(step.get("run")) or "matrix" in str(step.get("run")) for step in job["steps"]):
            continue
        kept = job["steps"][-1]
        assert kept["uses"].startswith("actions/upload-artifact@")
        assert kept["if"] == "${{ failure() || cancelled() }}"
        assert str(checks.REPORTS.relative_to(ROOT)) in kept["with"]["path"]
        if home := job.get("env", {}).get("SLIPWAY_HOME"):
            # Evidence is kept; passwords and keys, which lie beside it, are not.
            folder = home.removeprefix("${{ github.workspace }}/")
            assert kept["with"]["path"].split() == ["build/reports", f"{folder}/evidence"]


def test_the_pictures_that_a_browser_took_are_kept_of_every_run() -> None:
    jobs = load(FOLDER / "push.yaml")["jobs"]
    kept = {
        name: step["with"]["path"]
        for name, job in jobs.items()
        for step in job["steps"]
        if str(step.get("uses")).startswith("actions/upload-artifact@") and step["if"] == "${{ always() }}"
    }
    assert kept == {"e2e": str(SCREENSHOTS.relative_to(ROOT))}


@each_file
def test_permissions_are_the_least_that_will_do(file: Path) -> None:
    loaded = load(file)
    assert loaded["permissions"] in ({}, {"contents": "read"})
    for name, job in loaded["jobs"].items():
        granted = dict(job.get("permissions", loaded["permissions"]))
        assert granted.pop("contents") == "read"
        assert set(granted) == GRANTED.get(name, set())


@each_file
def test_every_action_is_pinned_to_a_commit_and_says_its_version(file: Path) -> None:
    lines = re.findall(r"uses: (.+)", file.read_text())
    assert lines
    for line in (line for line in lines if line != CALLED):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_an_action_is_the_same_commit_in_every_workflow() -> None:
    used: dict[str, set[str]] = {}
    for file in FILES:
        for name, pin in re.findall(r"uses: ([\w/-]+)@(.+)", file.read_text()):
            used.setdefault(name, set()).add(pin)
    assert {name: pins for name, pins in used.items() if len(pins) > 1} == {}


@each_file
def test_the_token_of_a_checkout_is_not_left_for_the_steps_behind_it(file: Path) -> None:
    for _, step in steps(file):
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def checkout_depths(file: str) -> list[Any]:
    return [step["with"].get("fetch-depth") for _, step in steps(FOLDER / file) if "checkout" in str(step.get("uses"))]


def test_a_version_is_counted_from_the_whole_history() -> None:
    assert checkout_depths("release.yaml") == checkout_depths("nightly.yaml") == [0]


def test_a_release_is_promoted_where_the_commit_is_that_it_was_made_of() -> None:
    assert checkout_depths("prod.yaml") == [0]


def test_a_newer_push_ends_the_older_run_and_a_release_is_never_cut_short() -> None:
    ends = {file.name: load(file)["concurrency"]["cancel-in-progress"] for file in FILES}
    assert ends == {"push.yaml": True, "release.yaml": False, "prod.yaml": False, "nightly.yaml": False}
    assert load(FOLDER / "prod.yaml")["concurrency"]["group"] == "${{ github.workflow }}"
    # One that is called has its caller's name: in its caller's group it would wait for itself for ever.
    called, calling = (load(FOLDER / name)["concurrency"]["group"] for name in ("push.yaml", "release.yaml"))
    assert called != calling


@each_file
def test_no_job_runs_for_ever(file: Path) -> None:
    most = 120 if file.name != "nightly.yaml" else checks.TIMEOUTS["long"] / 60 + 60
    assert all(0 < job["timeout-minutes"] <= most for job in load(file)["jobs"].values() if "uses" not in job)


def test_prod_is_dispatched_by_hand_approved_and_builds_nothing() -> None:
    loaded = load(FOLDER / "prod.yaml")
    assert list(loaded["on"]) == ["workflow_dispatch"]
    assert list(loaded["on"]["workflow_dispatch"]["inputs"]) == ["release"]
    [job] = loaded["jobs"].values()
    assert job["environment"] == "prod"
    assert commands(FOLDER / "prod.yaml") == ['./invoke images.promote "$RELEASE"']


def test_a_release_is_published_by_the_push_of_its_branch() -> None:
    assert load(FOLDER / "release.yaml")["on"] == {"push": {"branches": ["release/v*"]}}
    assert commands(FOLDER / "release.yaml") == ["./invoke images.publish"]


def test_nothing_is_published_that_has_not_passed_all_that_a_push_has_to() -> None:
    jobs, pushed = load(FOLDER / "release.yaml")["jobs"], load(FOLDER / "push.yaml")["on"]
    assert {name: job["uses"] for name, job in jobs.items() if "uses" in job} == {"checks": CALLED}
    assert jobs["publish"]["needs"] == ["checks"] and "workflow_call" in pushed
    # Checked once, not twice at a time.
    assert pushed["push"] == {"branches-ignore": load(FOLDER / "release.yaml")["on"]["push"]["branches"]}


def test_what_takes_long_runs_each_night_and_by_hand() -> None:
    loaded = load(FOLDER / "nightly.yaml")
    assert commands(FOLDER / "nightly.yaml") == ["./invoke test.long"]
    assert set(loaded["on"]) == {"schedule", "workflow_dispatch"}
    [when] = loaded["on"]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \*", when["cron"])
    assert loaded["jobs"]["long"]["timeout-minutes"] * 60 > checks.TIMEOUTS["long"]


@pytest.mark.parametrize("file", ["release.yaml", "prod.yaml"])
def test_the_registry_comes_by_the_settings_that_the_tasks_read(file: str) -> None:
    last = list(steps(FOLDER / file))[-1][1]
    for name in (target.REGISTRY, target.PREFIX):
        assert last["env"][name] == f"${{{{ vars.{name} }}}}"


def secrets_in(words: Sequence[str]) -> set[str]:
    return set(re.findall(r"secrets\.(\w+)", " ".join(words)))


def test_a_password_is_seen_by_the_login_alone() -> None:
    for file in FILES:
        for _, step in steps(file):
            if secrets_in([str(step)]):
                assert step["uses"].startswith("docker/login-action@")


def test_the_manual_names_every_variable_and_secret() -> None:
    manual = (ROOT / "docs" / "ci.md").read_text()
    told = set(re.findall(r"(?:vars|secrets)\.(\w+)", "".join(file.read_text() for file in FILES)))
    assert {name for name in told if f"`{name}`" not in manual} == set()


def test_ci_without_github_runs_the_same_parts() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^\./invoke test ", script.read_text(), re.MULTILINE)
