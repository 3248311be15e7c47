"""A policy file that is none is refused with the line and the reason; what is missing in it is refused, never allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slipway import policy
from slipway.errors import UsageError
from slipway.settings import ROOT, Settings, load

FILE = ROOT / "cluster" / "policy.yaml"
TEXT = FILE.read_text()


def settings_of(file: Path) -> Settings:
    return load(environ={"SLIPWAY_POLICY": str(file), "SLIPWAY_HOME": str(file.parent)})


def refused(text: str, folder: Path) -> tuple[int, str]:
    """The line that a file is refused for, and the reason."""
    file = folder / "policy.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        _ = settings_of(file).policy
    said = str(caught.value)
    found = re.fullmatch(
        rf"{re.escape(str(file))}:([0-9]+): (.+)\. Correct the line; SLIPWAY_POLICY names another file\.", said, re.DOTALL
    )
    assert found, said
    return int(found[1]), found[2]


def edited(old: str, new: str, *, after: str = "") -> tuple[str, int]:
    """The checkout's file with one thing replaced, and the line of it."""
    start = TEXT.index(after) if after else 0
    at = TEXT.index(old, start)
    return TEXT[:at] + new + TEXT[at + len(old) :], TEXT[:at].count("\n") + 1


# What is replaced, by what, after which text, and what is said about that very line.
WRONG = [
    ("preset: gitflow", "preset: waterfall", "", "preset: there is no 'waterfall'; there is 'gitflow', 'trunk'"),
    ("preset: gitflow", "preset: [gitflow]", "", "preset: must be a text (of gitflow, trunk), and is ['gitflow']"),
    ("preset: gitflow", "presett: gitflow", "", "presett: there is no key 'presett' here; there are preset, options,"),
    (
        "develop_reaches_stage: false",
        "develop_reaches_stage: 'no'",
        "",
        "options.develop_reaches_stage: must be true or false, and is 'no'",
    ),
    (
        "develop_reaches_stage:",
        "reaches_stage:",
        "when:\n",
        "when.reaches_stage: there is no option 'reaches_stage'; there are develop_reaches_stage",
    ),
    ("qa: {tier: nonprod}", "qa: {tier: test}", "", "environments.qa.tier: there is no 'test'; there is 'nonprod', 'prod'"),
    ("qa: {tier: nonprod}", "qa: nonprod", "", "environments.qa: must be a mapping of names to values"),
    ("qa: {tier: nonprod}", "QA: {tier: nonprod}", "", "environments.QA: 'QA' cannot be a name"),
    ("qa: {tier: nonprod}", "dev: {tier: nonprod}", "", "the key 'dev' stands here twice"),
    ("qa: {tier: nonprod}", "7: {tier: nonprod}", "", "must be a mapping of names to values"),
    ("{repository: gitops-prod}", "{repository: 7}", "", "tiers.prod.repository: must be a text, and is 7"),
    ("{repository: gitops-prod}", "{repository: ''}", "", "tiers.prod.repository: must not be empty"),
    ("{repository: gitops-prod}", "{}", "", "tiers.prod: 'repository' is missing; there must be repository"),
    (
        "lead: {push: [app]}",
        "lead: {push: [apps]}",
        "",
        "roles.lead.push[0]: there is no 'apps'; there is 'app', 'gitops-nonprod', 'gitops-prod'",
    ),
    (
        "lead: {push: [app]}",
        "lead: {push: app}",
        "",
        "roles.lead.push: must be a list (of app, gitops-nonprod, gitops-prod), and is 'app'",
    ),
    ("lead: {push: [app]}", "lead: {pull: [app]}", "", "roles.lead.pull: there is no key 'pull' here; there are push"),
    ("prod: {after", "moon: {after", "", "approvals.moon: there is no environment 'moon'; there are dev, qa, stage, prod"),
    ("after: stage", "after: prod", "", "approvals.prod.after: there is no 'prod'; there is 'dev', 'qa', 'stage'"),
    (
        "approvers: [lead]",
        "approvers: [boss]",
        "",
        "approvals.prod.approvers[0]: there is no 'boss'; there is 'developer', 'lead', 'pipeline'",
    ),
    ("approvers: [lead]", "approvers: []", "", "approvals.prod.approvers: nobody is named, so nothing would ever reach prod"),
    ("dispatchers: [developer, lead]", "dispatchers: []", "", "approvals.prod.dispatchers: nobody is named"),
    (
        "prod: {tier: prod}",
        "prod: {tier: nonprod}",
        "",
        "environments.prod.tier: prod is where releases go, and only the tier 'prod' takes nothing but what was approved",
    ),
    ("stage: {tier: prod}", "stage: {tier: nonprod}", "", "environments.stage.tier: stage is where releases go"),
    ("load: off", "load: on", "", "load: there is no 'on'; there is 'off', 'required'"),
    ("load: off", "load: sometimes", "", "load: there is no 'sometimes'; there is 'off', 'required'"),
    ("load: off", "load: [required]", "", "load: must be a text (of off, required), and is ['required']"),
    ("load: off", "load: 1", "", "load: must be a text (of off, required), and is 1"),
    ("tags: {push: [pipeline]}", "tags: {push: [robot]}", "", "tags.push[0]: there is no 'robot'"),
    ("results: {push: [pipeline]}", "results: [pipeline]", "", "results: must be a mapping of names to values"),
    (
        "(feature|bugfix|hotfix)/[A-Za-z0-9._/-]+",
        "(feature|bugfix",
        "gitflow:\n",
        "presets.gitflow.branches[0].pattern: '(feature|bugfix' is no regular expression: missing ), unterminated subpattern",
    ),
    (
        "pattern: develop",
        "pattern: trunk",
        "",
        "branches[1].pattern: this line can never match: 'trunk' does not match its own example 'develop'",
    ),
    (
        "pattern: main",
        "pattern: (?!)",
        "",
        "branches[3].pattern: this line can never match: '(?!)' does not match its own example 'main'",
    ),
    ("name: main", "name: develop", "", "branches[3].name: there is a line 'develop' already"),
    ("push: []", "push: [robot]", "name: develop", "branches[1].push[0]: there is no 'robot'"),
    (
        "create: [pipeline]",
        "create: pipeline",
        "name: develop",
        "branches[1].create: must be a list (of developer, lead, pipeline), and is 'pipeline'",
    ),
    ("removable: true", "removable: yes please", "", "branches[0].removable: must be true or false, and is 'yes please'"),
    (
        "removable: true",
        "erasable: true",
        "",
        "branches[0].erasable: there is no key 'erasable' here; there are name, pattern, example, create, push, reach, merge,",
    ),
    (
        "cut_from: develop",
        "cut_from: trunk",
        "",
        "branches[2].cut_from: no line of this preset has a branch 'trunk'; there are feature/*, bugfix/*, hotfix/*, develop,",
    ),
    ("cut_from: develop", "cut_from: ''", "", "branches[2].cut_from: must not be empty"),
    ("label: rc", "label: beta", "", "branches[2].label: there is no 'beta'; there is '', 'dev', 'rc'"),
    (
        "when: passed",
        "when: tested",
        "name: develop",
        "branches[1].merge.when: there is no 'tested'; there is 'passed', 'released'",
    ),
    ("of: [release/vX.Y.Z]", "of: [release/*]", "", "branches[3].merge.of[0]: there is no 'release/*'"),
    (
        "by: [lead, pipeline]",
        "from: [lead, pipeline]",
        "",
        "branches[3].merge.from: there is no key 'from' here; there are by, of, when",
    ),
    (
        "qa: request",
        "qa: sometimes",
        "",
        "branches[0].reach.qa: there is no 'sometimes'; there is 'automatic', 'request', 'dispatch', 'refused'",
    ),
    (
        "qa: request",
        "qa: yes",
        "",
        "branches[0].reach.qa: must be a text (of automatic, request, dispatch, refused), and is True",
    ),
    (
        "qa: request",
        "moon: request",
        "",
        "branches[0].reach.moon: there is no environment 'moon'; there are dev, qa, stage, prod",
    ),
    (
        "qa: request",
        "qa: dispatch",
        "",
        "branches[0].reach.qa: qa has no entry under approvals; it takes automatic, request or refused",
    ),
    (
        "prod: refused",
        "prod: automatic",
        "name: develop",
        "branches[1].reach.prod: prod needs approval, so a branch reaches it by dispatch or is refused; never 'automatic'",
    ),
    ("prod: refused", "prod: request", "name: develop", "branches[1].reach.prod: prod needs approval"),
    ("{stage: automatic}", "{prod: automatic}", "", "branches[1].when.develop_reaches_stage.prod: prod needs approval"),
    (
        "prod: refused",
        "prod: dispatch",
        "name: develop",
        "branches[1].reach: prod takes only what succeeded in stage, and this line is refused there",
    ),
]


@pytest.mark.parametrize(("old", "new", "after", "reason"), WRONG)
def test_a_wrong_line_is_refused_by_its_number_and_with_what_is_allowed(
    old: str, new: str, after: str, reason: str, tmp_path: Path
) -> None:
    text, line = edited(old, new, after=after)
    at, said = refused(text, tmp_path)
    assert reason in said
    # What a mapping lacks, or what it holds altogether, is said where the mapping begins.
    around = reason.startswith("must be a mapping") and TEXT[: TEXT.index("environments:")].count("\n") + 1
    assert at == (around or line)


def test_a_wider_pattern_is_taken_where_it_leaves_the_others_their_own(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(edited("pattern: develop", "pattern: develop(/.+)?")[0])
    assert policy.line(settings_of(file).policy, "develop/next")


# What stands elsewhere than the mistake, or takes more than one line.
def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def remove(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return remove


def branches(data: dict[str, Any]) -> list[dict[str, Any]]:
    return data["presets"]["gitflow"]["branches"]


def all_in_front(data: dict[str, Any]) -> None:
    branches(data).insert(0, {**branches(data)[3], "name": "all", "pattern": ".+", "example": "x"})


def plain_group(data: dict[str, Any]) -> None:
    branches(data)[2].update(pattern="release/(?P<release>.+)", example="release/summer")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (without("presets"), "the policy 'presets' is missing; there must be preset, options, environments,"),
        (without("presets", "gitflow"), "preset: there is no 'gitflow'; there is 'trunk'"),
        (lambda data: data.update(presets={}), "preset: there is no 'gitflow'; there is nothing that could stand here"),
        (lambda data: data.update(environments={}), "environments: there must be at least one"),
        (lambda data: data.update(roles={}), "roles: there must be at least one"),
        (
            lambda data: data["presets"]["gitflow"].update(branches=[]),
            "presets.gitflow.branches: must be a list of lines, with at least one",
        ),
        (
            lambda data: data["presets"]["gitflow"].update(branches={"main": {}}),
            "presets.gitflow.branches: must be a list of lines",
        ),
        (lambda data: data["presets"]["gitflow"].update(branches={}), "presets.gitflow.branches: must be a list of lines"),
        (lambda data: data["presets"]["gitflow"].update(branches=["main"]), "presets.gitflow.branches[0]: must be a mapping"),
        (lambda data: data["presets"]["trunk"].update(branches=[]), "presets.trunk.branches: must be a list of lines"),
        (lambda data: branches(data)[1].pop("reach"), "presets.gitflow.branches[1]: 'reach' is missing; there must be name,"),
        (lambda data: branches(data)[2].pop("cut_from"), "branches[2]: a line of releases needs cut_from"),
        (all_in_front, "branches[1].pattern: this line can never match: 'feature/basket' is taken by the line 'all' before it"),
        (plain_group, "branches[2].pattern: the group 'release' must be a version vX.Y.Z; in 'release/summer' it is not"),
        (
            lambda data: branches(data)[1].update(when={"develop_reaches_stage": {"moon": "automatic"}}),
            "when.develop_reaches_stage.moon: there is no environment 'moon'",
        ),
        (
            lambda data: branches(data)[0].update(when={"fast": {}}),
            "branches[0].when.fast: there is no option 'fast'; there are develop_reaches_stage",
        ),
    ],
)
def test_what_is_missing_or_in_the_way_is_said(edit: Callable[[dict[str, Any]], object], reason: str, tmp_path: Path) -> None:
    data = yaml.safe_load(TEXT)
    edit(data)
    assert reason in refused(yaml.safe_dump(data, sort_keys=False), tmp_path)[1]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "the policy must be a mapping of names to values"),
        ("# nothing\n", 1, "the policy must be a mapping"),
        ("- gitflow\n", 1, "the policy must be a mapping"),
        ("gitflow\n", 1, "the policy must be a mapping"),
        ("preset: gitflow\n  options: {}\n", 2, "this is no YAML: mapping values are not allowed"),
        ("preset: gitflow\noptions: {\n", 3, "this is no YAML"),
        ("preset: gitflow\npreset: trunk\n", 2, "the key 'preset' stands here twice"),
        ("options: {a: true,\n  a: false}\n", 2, "the key 'a' stands here twice"),
        ("preset: gitflow\noptions: !!python/name:os.system x\n", 2, "this is no YAML: could not determine a constructor"),
        ("preset: *other\n", 1, "this is no YAML: found undefined alias"),
        ("? [a]\n: b\n", 1, "this is no YAML: found unhashable key"),
        ("&a [*a]\n", 1, "the policy must be a mapping"),
        ("a: 1\n---\nb: 2\n", 2, "this is no YAML: but found another document"),
    ],
)
def test_what_is_no_yaml_or_no_mapping_is_refused_with_its_line(text: str, line: int, reason: str, tmp_path: Path) -> None:
    at, said = refused(text, tmp_path)
    assert (at, reason in said) == (line, True), said


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"preset: \x07\n", b"since: 2026-13-45\n"])
def test_what_is_no_text_is_refused_as_well(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=r"policy\.yaml cannot be read: .+SLIPWAY_POLICY names another file"):
        _ = settings_of(tmp_path / "policy.yaml").policy


def test_a_file_that_is_not_there_is_refused_and_only_when_it_is_needed(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "nowhere.yaml")
    assert settings.services
    with pytest.raises(UsageError, match=r"nowhere\.yaml cannot be read"):
        _ = settings.environments
    with pytest.raises(UsageError, match=r"nowhere\.yaml cannot be read"):
        _ = settings.roles


def test_the_file_that_is_named_counts_instead_of_the_checkouts(tmp_path: Path) -> None:
    file = tmp_path / "trunk.yaml"
    file.write_text(TEXT.replace("preset: gitflow", "preset: trunk"))
    assert settings_of(file).policy.preset == "trunk"
    assert settings_of(file).policy_file == file
    assert load(environ={}).policy_file == FILE
    assert load(environ={"SLIPWAY_POLICY": ""}).policy_file == FILE


def test_environments_and_roles_come_from_the_same_policy(tmp_path: Path) -> None:
    data = yaml.safe_load(TEXT)
    data["environments"] = {"blue": {"tier": "prod"}, **data["environments"]}
    data["roles"]["guest"] = {"push": []}
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    settings = settings_of(tmp_path / "policy.yaml")
    assert list(settings.environments) == ["blue", "dev", "qa", "stage", "prod"]
    assert settings.environment("blue").repository == "gitops-prod"
    assert settings.roles["guest"].push == ()
    assert settings.policy.environments is settings.environments


def test_an_environment_that_no_line_names_is_refused_to_every_line() -> None:
    data = yaml.safe_load(TEXT)
    data["environments"]["blue"] = {"tier": "prod"}
    assert {line.reach["blue"] for line in policy.parse(data).lines} == {"refused"}


def test_without_approvals_no_environment_takes_a_dispatch() -> None:
    data = yaml.safe_load(TEXT)
    data["approvals"] = {}
    with pytest.raises(policy.PolicyError, match="prod has no entry under approvals"):
        policy.parse(data)


@pytest.mark.parametrize(
    ("line", "load"),
    [("", "off"), ("load: off", "off"), ("load: 'off'", "off"), ("load: false", "off"), ("load: required", "required")],
)
def test_a_load_test_is_required_by_one_line_and_without_it_is_not(line: str, load: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(edited("load: off", line)[0])
    assert settings_of(file).policy.load == load


def test_a_load_test_cannot_be_required_where_nothing_would_ask_for_it() -> None:
    data = yaml.safe_load(TEXT)
    for preset in data["presets"].values():
        for branch in preset["branches"]:
            branch["reach"]["prod"] = "refused"
    with pytest.raises(policy.PolicyError, match="nothing would ever ask for a load test"):
        policy.parse({**data, "approvals": {}, "load": "required"})


@pytest.mark.parametrize(("path", "written"), [((), ""), (("a",), "a"), (("a", 2, "b", 0), "a[2].b[0]"), ((0,), "[0]")])
def test_a_place_is_written_as_people_write_it(path: tuple[str | int, ...], written: str) -> None:
    assert policy.where(path) == written
    assert str(policy.PolicyError(path, "is wrong")) == (f"{written}: is wrong" if written else "is wrong")


PLAIN = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["dev", "main", "app", "lead", "automatic"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def vandalised(draw: st.DrawFn) -> dict[str, Any]:
    """The checkout's policy with anything put anywhere."""
    data = yaml.safe_load(TEXT)
    at: Any = data
    while True:
        key = draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(at[key], dict | list) and at[key] and draw(st.booleans()):
            at = at[key]
            continue
        at[key] = draw(PLAIN)
        return data


@given(vandalised())
def test_whatever_stands_in_the_file_is_a_policy_or_a_sentence_about_it(data: dict[str, Any]) -> None:
    try:
        found = policy.parse(data)
    except policy.PolicyError as error:
        assert error.reason
        return
    # What was taken still guards what needs approval.
    for line in found.lines:
        assert all(line.reach[name] in ("dispatch", "refused") for name in found.approvals)
        assert all(reach != "dispatch" or name in found.approvals for name, reach in line.reach.items())
