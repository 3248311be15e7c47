"""Runs of the pipeline, with real repositories and promotions; checks, images and the cluster are stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from slipway import credentials, git, gitops, images, oci, pipeline, promotion, releases, runs, testing, wishes
from slipway.engine import EngineError
from slipway.errors import SlipwayError
from slipway.gitops import Entry
from slipway.images import Built
from slipway.pipeline import Outcome
from slipway.progress import Phase
from slipway.promotion import Change, Unseen, deploying
from slipway.runs import Recorder
from tests.delivery import promoting
from tests.delivery.promoting import World
from tests.delivery.receiving import Site, digest

CATALOG, CART = "services/catalog/main.py", "services/cart/main.py"
PROGRAMS = {
    "services/cart/main.py": "cart",
    "services/catalog/main.py": "catalog",
    "services/Dockerfile": "",
    "services/.dockerignore": "**/test\n",
}


@dataclass
class Line:
    """The pipeline of a world, and what it did."""

    world: World
    checked: list[str] = field(default_factory=list[str])
    built: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    failing: set[str] = field(default_factory=set[str])
    newer: bool = False
    number: int = 0

    def run(self, branch: str, commit: str = "", **more: Any) -> Outcome:
        self.number += 1
        commit = commit or self.world.site.tip(branch)
        run = runs.new(self.world.settings, branch=branch, commit=commit, pusher="developer", when=1.8e9 + self.number)
        recorder = Recorder(self.world.settings, run, newer=lambda: self.newer)
        recorder.begin()
        self.recorder = recorder
        told = {"triggered_by": "developer", **more}
        if to := told.get("requested"):
            key = credentials.signing_key(self.world.settings, told["triggered_by"])
            told.setdefault("wish", wishes.sign(key, to, branch, commit))
        return pipeline.run(self.world.access, commit, branch, recorder=recorder, **told)

    @property
    def stages(self) -> dict[str, str]:
        return {stage.name: stage.state for stage in self.recorder.run.stages}

    def develop(self, files: Mapping[str, str | None], *, branch: str = "develop") -> str:
        self.world.site.branch("work", self.world.site.tip(branch) or self.world.site.tip("develop"))
        made = self.world.site.commit(files)
        self.world.put(branch, made)
        return made

    def verdict(self, commit: str) -> Mapping[str, str]:
        return releases.verdict(self.world.access.fetch(), commit)

    # --- stand-ins

    def check(self, _: object, source: Any, service: str, phase: object) -> None:
        self.checked.append(service)
        if service in self.failing:
            raise testing.ChecksFailed(f"{service}: 1 test failed")

    def build(
        self, *_: object, service: str, version: str, commit: str, context: Path, base: str, build_base: str, **__: object
    ) -> Built:
        self.built.append((service, version))
        inputs = images.key(context, service, base=base, build_base=build_base)
        return Built(f"localhost:5001/{service}", digest(f"{service}{commit[:9]}"), inputs)

    def tagged(self, reference: str) -> str | None:
        return self.tags.get(reference)

    def alias(self, reference: str, tag: str) -> bool:
        place = oci.split(reference)
        self.tags[f"{place.host}/{place.repository}:{tag}"] = place.pin
        return True


# The Git server's hooks take their time; these tests are judged by them too.
hooked = pytest.mark.parametrize("line", [True], indirect=True, ids=["hooked"])


@dataclass(frozen=True)
class Begun:
    """What every line begins with: both services of develop run in dev and qa. It is copied."""

    site: Site
    tags: Mapping[str, str]
    number: int


@pytest.fixture(scope="session")
def begun_line(begun_instance: Site, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """The first run of develop, and what it leaves."""
    with pytest.MonkeyPatch.context() as patched:
        world = promoting.world(begun_instance, tmp_path_factory.mktemp("line"), patched)
        made = stand_in(Line(world), patched)
        made.develop(PROGRAMS)
        first = made.run("develop")
        assert first.state == "passed", first.trouble
    return Begun(world.site, made.tags, made.number)


@pytest.fixture
def line(request: pytest.FixtureRequest, begun_line: Begun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    world = promoting.world(begun_line.site, tmp_path, monkeypatch, hooks=getattr(request, "param", False))
    return stand_in(Line(world, tags=dict(begun_line.tags), number=begun_line.number), monkeypatch)


def stand_in(line: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    """The line, in the place of checks, builds and tags."""
    monkeypatch.setattr(testing, "check", line.check)
    monkeypatch.setattr(images, "build_service", line.build)
    monkeypatch.setattr(oci, "digest", line.tagged)
    monkeypatch.setattr(oci, "alias", line.alias)
    return line


def test_a_push_to_develop_is_checked_built_once_and_brought_to_dev_and_qa(line: Line) -> None:
    commit = line.develop({CATALOG: "better"})
    cart = {name: line.world.entry(name, "cart") for name in ("dev", "qa")}
    made = line.run("develop")
    assert (made.state, made.version, made.built, made.trouble) == ("passed", "0.2.0-dev.3", ("catalog",), "")
    assert (line.checked, line.built) == (["catalog"], [("catalog", "0.2.0-dev.3")])
    assert line.tags["localhost:5001/catalog:0.2.0-dev.3"] == digest(f"catalog{commit[:9]}")
    for name in ("dev", "qa"):
        record = line.world.record(name, "catalog")
        assert (record.source_commit, record.version, record.branch) == (commit, "0.2.0-dev.3", "develop")
        assert record.digest == digest(f"catalog{commit[:9]}")
        assert line.world.entry(name, "cart") == cart[name]
        assert made.deployed[name] == line.world.head(name) or name == "dev"
    assert line.world.record("stage", "catalog").version == "0.1.0"
    assert list(line.stages) == ["what changed", "lint and test", "images", "verdict", "deploy dev", "deploy qa"]
    assert set(line.stages.values()) == {"passed"}
    assert line.verdict(commit) == {"state": "passed", "run": line.recorder.id, "branch": "develop"}


def test_the_same_commit_again_changes_nothing(line: Line) -> None:
    line.develop({CATALOG: "better"})
    line.run("develop")
    heads, built = (line.world.head("dev"), line.world.head("stage")), list(line.built)
    again = line.run("develop")
    assert (again.state, again.built) == ("passed", ())
    assert (line.world.head("dev"), line.world.head("stage")) == heads
    assert line.built == built


def test_a_commit_that_was_not_seen_through_is_seen_through_by_the_next_run(line: Line) -> None:
    commit = line.develop({CATALOG: "better"})
    line.world.cluster.list("Application")
    line.world.cluster.away = True
    promote = promotion.deploy

    def impatient(*arguments: Any, **more: Any) -> promotion.Deployed:
        return promote(*arguments, **{**more, "timeout": 0.5})

    line_patch = pytest.MonkeyPatch()
    with line_patch.context() as patched:
        patched.setattr(promotion, "deploy", impatient)
        failed = line.run("develop")
    assert failed.state == "failed"
    assert "Argo CD has not looked at commit" in failed.trouble
    line.world.cluster.away = False
    done = line.run("develop")
    assert (done.state, set(done.deployed)) == ("passed", {"dev", "qa"})
    assert line.world.record("qa", "catalog").source_commit == commit
    assert len(line.built) == 1


def test_a_change_of_what_no_service_is_made_of_passes_without_a_build(line: Line) -> None:
    commit = line.develop({"README.md": "more"})
    made = line.run("develop")
    assert (made.state, made.verdict, line.built, line.checked) == ("passed", "nothing changed", [], [])
    assert line.verdict(commit)["state"] == "passed"


def test_a_change_of_tests_alone_is_tested_and_not_built(line: Line) -> None:
    line.develop({"services/catalog/test/test_it.py": "assert True"})
    made = line.run("develop")
    assert (made.state, line.checked, line.built) == ("passed", ["catalog"], [])


@pytest.mark.parametrize(
    "name",
    [
        "services/chassis/test/test_it.py",
        "services/pytest.ini",
        "services/conftest.py",
        "services/ruff.toml",
        "services/test-requirements.txt",
        "pyproject.toml",
    ],
)
def test_a_change_of_what_the_checks_share_is_checked_for_all_and_can_fail(line: Line, name: str) -> None:
    line.develop({name: "other"})
    made = line.run("develop")
    assert (made.state, sorted(line.checked), line.built) == ("passed", ["cart", "catalog"], [])
    # What does not pass is not got past by a later commit that does not mend it.
    line.failing.add("cart")
    for commit in (line.develop({name: "worse"}), line.develop({"README.md": "more"})):
        made = line.run("develop", commit)
        assert (made.state, line.verdict(commit)["state"]) == ("failed", "failed"), made


def test_the_checks_go_by_the_style_of_the_commit(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(testing, "check", lambda _, source, *__: seen.append((source.folder / testing.STYLE).read_text()))
    line.develop({"pyproject.toml": "[tool.ruff]\n", CATALOG: "better"})
    assert line.run("develop").state == "passed"
    assert set(seen) == {"[tool.ruff]\n"}


def test_a_change_of_what_all_share_builds_all(line: Line) -> None:
    line.develop({"services/chassis/server.py": "serve"})
    assert line.run("develop").built == ("cart", "catalog")


def test_a_service_that_fails_its_tests_is_not_built_and_the_commit_has_not_passed(line: Line) -> None:
    commit = line.develop({CATALOG: "worse"})
    line.failing.add("catalog")
    heads = line.world.head("dev")
    made = line.run("develop")
    assert (made.state, made.trouble, line.built) == ("failed", "catalog: 1 test failed", [])
    assert line.world.head("dev") == heads
    assert line.verdict(commit)["state"] == "failed"
    assert line.stages["lint and test"] == "failed"


def test_checks_that_could_not_be_made_say_nothing_of_the_commit(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = line.develop({CATALOG: "better"})

    def check(*_: object) -> None:
        raise EngineError("the engine does not answer")

    monkeypatch.setattr(testing, "check", check)
    assert line.run("develop").state == "failed"
    assert line.verdict(commit) == {}


def folder(line: Line, commit: str) -> dict[str, str | None]:
    """What removes the folder of catalog from a commit."""
    return dict.fromkeys(git.tree(line.world.site.tree, commit, "services/catalog"))


@hooked
def test_a_service_whose_folder_is_gone_is_retired_where_the_branch_comes_to_and_comes_back_with_it(line: Line) -> None:
    site, before = line.world.site, {name: line.world.record(name, "catalog") for name in ("dev", "qa")}
    cart = line.world.entry("dev", "cart")
    commit = line.develop(folder(line, site.tip("develop")))
    made = line.run("develop")
    assert (made.state, made.retired, made.removed, line.built) == ("passed", ("catalog",), (), []), made.trouble
    assert "catalog retired" in made.verdict
    for name in ("dev", "qa"):
        entry = line.world.entry(name, "catalog")
        assert (entry.record.retired, entry.record.source_commit, entry.record.digest) == (True, commit, before[name].digest)
        assert [item["kind"] for item in entry.manifests] == ["ConfigMap"]
    assert line.world.entry("dev", "cart") == cart
    assert not line.world.record("stage", "catalog").retired
    head = line.world.head("dev")
    again = line.run("develop")
    assert (again.state, again.retired, line.world.head("dev")) == ("passed", (), head)

    site.git("checkout", "--quiet", f"{commit}^", "--", "services/catalog")
    files = {path: (site.tree / path).read_text() for path in git.tree(site.tree, f"{commit}^", "services/catalog")}
    back = line.develop(files)
    made = line.run("develop")
    assert (made.state, made.built) == ("passed", ("catalog",)), made.trouble
    assert {line.world.record(name, "catalog").source_commit for name in ("dev", "qa")} == {back}
    assert not line.world.record("dev", "catalog").retired


@hooked
def test_what_a_feature_branch_retired_is_back_when_develop_comes_again(line: Line) -> None:
    commit = line.develop(folder(line, line.world.site.tip("develop")), branch="feature/x")
    made = line.run("feature/x", commit, requested="dev")
    assert (made.state, made.retired, line.world.record("dev", "catalog").retired) == ("passed", ("catalog",), True), made.trouble
    assert not line.world.record("qa", "catalog").retired
    commit = line.develop({CART: "better"})
    made = line.run("develop")
    assert made.state == "passed", made.trouble
    back = line.world.record("dev", "catalog")
    assert (back.retired, back.source_commit, back.branch) == (False, commit, "develop")


def test_a_branch_that_does_not_have_a_service_yet_leaves_it_alone(line: Line) -> None:
    early = line.world.site.tip("develop")
    line.develop(
        {"services/reviews/main.py": "new"}
        | {
            f"services/reviews/{part}": "a: 1\n"
            for name in ("dev", "qa", "stage", "prod")
            for part in (f"envs/{name}.yaml", f"helm/{name}-values.yaml")
        }
    )
    assert line.run("develop").built == ("reviews",)
    line.world.site.branch("work", early)
    line.world.put("feature/y", commit := line.world.site.commit({CART: "mine"}))
    made = line.run("feature/y", commit, requested="dev")
    assert (made.state, made.removed, made.retired) == ("passed", ("reviews",), ()), made.trouble
    assert "reviews not in this commit, and left alone" in made.verdict
    assert not line.world.record("dev", "reviews").retired


def test_a_run_of_one_service_retires_no_other(line: Line) -> None:
    line.develop(folder(line, line.world.site.tip("develop")))
    assert line.run("develop", services=["cart"]).state == "passed"
    assert not line.world.record("dev", "catalog").retired


@hooked
def test_what_was_rolled_back_to_is_not_retired_again_by_itself(line: Line) -> None:
    former, head = line.world.entry("dev", "catalog"), line.world.head("dev")
    line.develop(folder(line, line.world.site.tip("develop")))
    line.run("develop")
    back = Change("dev", "rollback", "", entries=(former,), how="rollback", restores=head, triggered_by="developer")
    promotion.deploy(line.world.access, back, phase=line.world.phase)
    assert line.run("develop").state == "passed"
    assert line.world.entry("dev", "catalog") == former


@hooked
def test_a_feature_branch_is_built_and_deployed_nowhere_unless_asked_for(line: Line) -> None:
    commit = line.develop({CATALOG: "mine"}, branch="feature/x")
    before = line.world.head("dev")
    made = line.run("feature/x")
    assert (made.state, made.built, dict(made.deployed)) == ("passed", ("catalog",), {})
    assert made.version == "0.2.0-feature-x.3"
    assert line.world.head("dev") == before
    assert line.verdict(commit)["state"] == "passed"
    asked = line.run("feature/x", requested="dev")
    assert (asked.state, set(asked.deployed)) == ("passed", {"dev"})
    assert line.world.record("dev", "catalog").branch == "feature/x"
    assert line.world.record("qa", "catalog").branch == "develop"


def test_what_may_not_be_asked_for_is_refused_before_anything_is_built(line: Line) -> None:
    line.develop({CATALOG: "mine"}, branch="feature/x")
    made = line.run("feature/x", requested="stage")
    assert made.state == "failed"
    assert "feature/x cannot reach stage" in made.trouble
    assert "Allowed:" in made.trouble
    assert (line.built, line.checked) == ([], [])


def test_an_environment_that_is_not_there_is_an_error_that_lists_those_that_are(line: Line) -> None:
    made = line.run("develop", requested="mars")
    assert (made.state, made.trouble) == ("failed", "there is no environment 'mars'; valid: dev, prod, qa, stage")


@hooked
def test_a_failing_deployment_does_not_take_back_that_the_commit_passed(line: Line) -> None:
    commit = line.develop({CATALOG: "mine"}, branch="feature/x")
    line.world.cluster.broken[digest(f"catalog{commit[:9]}")] = "CrashLoopBackOff"
    made = line.run("feature/x", requested="dev")
    assert (made.state, made.away) == ("failed", False)
    assert "brought back what ran before" in made.trouble
    assert line.verdict(commit)["state"] == "passed"
    assert line.world.record("dev", "catalog").branch == "develop"


def test_an_environment_that_fails_stops_the_train(line: Line) -> None:
    commit = line.develop({CATALOG: "worse"})
    line.world.cluster.broken[digest(f"catalog{commit[:9]}")] = "ErrImagePull"
    made = line.run("develop")
    assert (made.state, dict(made.deployed)) == ("failed", {})
    assert "deploy qa" not in line.stages
    assert line.world.record("qa", "catalog").source_commit != commit


def test_an_older_commit_that_is_late_is_superseded_and_writes_nothing(line: Line) -> None:
    older = line.develop({CATALOG: "1"})
    line.develop({CATALOG: "2"})
    line.run("develop")
    heads = line.world.head("dev")
    late = line.run("develop", older)
    assert late.state == "superseded"
    assert "dev runs something newer than this already" in late.trouble
    assert line.world.head("dev") == heads
    assert line.stages["deploy dev"] == "skipped"


def roll_back(line: Line, commit: str, *former: Entry) -> None:
    """Dev goes back to what it ran at a commit of its repository."""
    back = Change("dev", "rollback", entries=former, how="rollback", restores=commit, triggered_by="developer")
    promotion.deploy(line.world.access, back, phase=Phase("rollback"))


def test_what_dev_was_rolled_back_from_is_left_out_until_somebody_asks_and_the_rest_comes(line: Line) -> None:
    former, at = line.world.entry("dev", "catalog"), line.world.head("dev")
    line.develop({CATALOG: "worse"})
    line.run("develop")
    bad = line.world.entry("dev", "catalog")
    roll_back(line, at, former)
    line.develop({CART: "better"})
    made = line.run("develop")
    assert (made.state, set(made.deployed), line.built[-1][0]) == ("passed", {"dev", "qa"}, "cart")
    assert "dev: dev was rolled back from this catalog" in made.verdict
    assert line.world.entry("dev", "catalog") == former
    assert line.world.entry("dev", "cart") != line.world.entry("stage", "cart")
    assert line.run("develop", requested="dev").state == "passed"
    assert line.world.record("dev", "catalog").digest == bad.record.digest


def test_a_rollback_that_comes_after_the_pipeline_has_looked_is_not_overwritten(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, at = line.world.entry("dev", "catalog"), line.world.head("dev")
    line.develop({CATALOG: "worse"})
    line.run("develop")
    looked = promotion.held

    def look(*words: Any) -> frozenset[str]:
        seen = looked(*words)
        assert seen == set()
        roll_back(line, at, former)
        return seen

    monkeypatch.setattr(promotion, "held", look)
    again = line.run("develop")
    assert line.world.entry("dev", "catalog") == former
    assert "dev was rolled back from this develop" in (again.verdict + again.trouble)
    assert line.stages["deploy dev"] == "skipped"


def test_a_run_that_a_newer_push_made_needless_stops_where_it_is(line: Line) -> None:
    line.develop({CATALOG: "1"})
    line.newer = True
    made = line.run("develop")
    assert (made.state, made.trouble, line.built) == ("superseded", "A newer push of develop took over.", [])


def test_a_branch_that_is_gone_supersedes_its_run(line: Line) -> None:
    commit = line.develop({CATALOG: "mine"}, branch="feature/x")
    line.world.site.git("update-ref", "-d", "refs/heads/feature/x", at=line.world.site.bare("app"))
    assert line.run("feature/x", commit).state == "superseded"


def test_a_push_to_main_reaches_no_environment(line: Line) -> None:
    line.develop({CATALOG: "1"}, branch="main")
    heads = line.world.head("dev"), line.world.head("prod")
    made = line.run("main")
    assert (made.state, line.built, line.stages) == ("passed", [], {"what changed": "skipped"})
    assert (line.world.head("dev"), line.world.head("prod")) == heads


def rule(line: Line, file: Path, **changed: Any) -> None:
    """Let another policy count."""
    data = yaml.safe_load(line.world.settings.policy_file.read_text())
    file.write_text(yaml.safe_dump({**data, **changed}, sort_keys=False))
    line.world.settings = replace(line.world.settings, rules=file)


def test_with_develop_in_stage_a_release_has_its_turn_though_develop_is_ahead(line: Line, tmp_path: Path) -> None:
    rule(line, tmp_path / "policy.yaml", options={"develop_reaches_stage": True})
    tip = line.develop({CATALOG: "better"})
    assert set(line.run("develop").deployed) == {"dev", "qa", "stage"}
    assert line.world.record("stage", "catalog").lock == ""
    line.world.put("release/v0.2.0", tip)
    assert line.run("release/v0.2.0").state == "passed"
    cart = line.world.record("stage", "cart")
    line.develop({CART: "ahead"})
    line.run("develop")
    assert line.world.record("stage", "cart").branch == "develop"
    line.develop({CATALOG: "mended"}, branch="release/v0.2.0")
    made = line.run("release/v0.2.0")
    assert (made.state, set(made.deployed)) == ("passed", {"stage"}), made
    record = line.world.record("stage", "cart")
    assert (record.release, record.branch) == ("v0.2.0", "release/v0.2.0")
    assert line.world.record("stage", "catalog").lock == record.lock != cart.lock


def test_by_trunk_a_push_to_main_is_the_next_release_in_stage_and_nowhere_else(line: Line, tmp_path: Path) -> None:
    rule(line, tmp_path / "policy.yaml", preset="trunk")
    commit = line.develop({**PROGRAMS, CATALOG: "better"}, branch="main")
    made = line.run("main")
    assert (made.state, made.version, set(made.deployed)) == ("passed", "0.2.0-rc.2", {"stage"}), made.trouble
    record = line.world.record("stage", "catalog")
    assert (record.release, record.branch, record.source_commit, record.version) == ("v0.2.0", "main", commit, "0.2.0-rc.2")
    asked = line.run("main", requested="dev")
    assert (asked.state, line.world.record("dev", "catalog").branch) == ("passed", "main"), asked.trouble


@hooked
def test_an_environment_comes_home_to_develop_when_somebody_asks_for_it_and_not_by_itself(line: Line) -> None:
    tip = line.world.site.tip("develop")
    line.develop({CATALOG: "mine"}, branch="feature/x")
    line.run("feature/x", requested="dev")
    by_itself = line.run("develop")
    assert line.world.record("dev", "catalog").branch == "feature/x", by_itself
    asked = line.run("develop", requested="dev")
    assert (asked.state, line.world.record("dev", "catalog").source_commit) == ("passed", tip), asked


@hooked
def test_a_merged_feature_is_not_built_again_where_dev_runs_it(line: Line) -> None:
    commit = line.develop({CATALOG: "mine"}, branch="feature/x")
    line.run("feature/x", requested="dev")
    line.built.clear()
    line.world.put("develop", commit)
    made = line.run("develop")
    assert (made.state, made.taken, line.built) == ("passed", ("catalog",), [])
    qa = line.world.record("qa", "catalog")
    assert (qa.version, qa.branch, qa.digest) == ("0.2.0-feature-x.3", "develop", line.world.record("dev", "catalog").digest)


def test_a_new_service_gets_its_records(line: Line) -> None:
    files = {
        f"services/payments/{kind}/{env}{end}": "a: 1\n"
        for kind, end in (("envs", ".yaml"), ("helm", "-values.yaml"))
        for env in ("dev", "qa", "stage", "prod")
    }
    commit = line.develop({**files, "services/payments/main.py": "pay"})
    made = line.run("develop")
    assert (made.state, made.built) == ("passed", ("payments",)), made.trouble
    assert {line.world.record(name, "payments").source_commit for name in ("dev", "qa")} == {commit}


def test_a_service_that_is_gone_is_reported_and_left_alone(line: Line) -> None:
    line.develop({CART: None})
    made = line.run("develop")
    assert (made.state, made.removed) == ("passed", ("cart",))
    assert "cart not in this commit, and left alone" in made.verdict
    assert line.world.record("dev", "cart")


def test_a_commit_that_takes_back_another_builds_what_runs_no_more(line: Line) -> None:
    line.develop({CATALOG: "1"})
    line.run("develop")
    back = line.develop({CATALOG: "catalog"})
    made = line.run("develop")
    assert (made.state, made.built) == ("passed", ("catalog",))
    assert line.world.record("qa", "catalog").source_commit == back


def test_a_version_is_never_used_for_other_content(line: Line) -> None:
    line.develop({CATALOG: "1"})
    line.tags["localhost:5001/catalog:0.2.0-dev.3"] = digest("other")
    made = line.run("develop")
    assert made.state == "failed"
    assert "a version is never used twice. Push another commit to develop" in made.trouble


def test_versions_of_a_branch_grow_though_another_release_is_finished_meanwhile(line: Line) -> None:
    def tag(name: str, commit: str) -> None:
        line.world.site.git("update-ref", f"refs/tags/{name}", commit, at=line.world.site.bare("app"))

    line.develop({CATALOG: "1"})
    first = line.develop({CATALOG: "2"}, branch="release/v0.2.0")
    line.develop({CATALOG: "3"}, branch="release/v0.3.0")
    line.develop({CATALOG: "4"}, branch="feature/x")
    branches = ("release/v0.3.0", "feature/x", "release/v0.2.0")
    before = [line.run(branch).version for branch in branches]
    # What finishing v0.2.0 leaves: main has it, and a tag names it.
    line.world.put("main", first)
    tag("v0.2.0", first)
    for number, branch in enumerate(branches):
        line.develop({CATALOG: f"more {number}"}, branch=branch)
    after = [line.run(branch).version for branch in branches]
    assert (before, after) == (
        ["0.3.0-rc.4", "0.2.0-feature-x.4", "0.2.0-rc.4"],
        ["0.3.0-rc.5", "0.3.0-feature-x.5", "0.2.0-rc.5"],
    )
    # A hotfix on top of what is released moves no core, and takes no number away.
    line.world.put("main", line.world.site.tip("release/v0.2.0"))
    tag("v0.2.1", line.world.site.tip("release/v0.2.0"))
    line.develop({CATALOG: "last"}, branch="feature/x")
    assert line.run("feature/x").version == "0.3.0-feature-x.6"


def test_only_the_services_that_are_asked_for_are_looked_at(line: Line) -> None:
    commit = line.develop({CATALOG: "1", CART: "1"})
    assert line.run("develop", services=["cart"]).built == ("cart",)
    assert (line.stages["verdict"], line.verdict(commit)) == ("skipped", {}), "a merge would take catalog unchecked"
    assert "valid: cart, catalog" in line.run("develop", services=["nothing"]).trouble


@hooked
def test_a_release_goes_to_stage_with_its_lock_and_takes_what_it_did_not_change(line: Line) -> None:
    commit = line.develop({CATALOG: "1"})
    line.run("develop")
    line.world.site.push(f"{commit}:refs/heads/release/v0.2.0", user="developer")
    line.built.clear()
    made = line.run("release/v0.2.0", commit)
    assert (made.state, set(made.deployed)) == ("passed", {"stage"}), made.trouble
    assert set(line.built) == {("cart", "0.2.0-rc.3"), ("catalog", "0.2.0-rc.3")}
    first = {name: line.world.record("stage", name) for name in ("cart", "catalog")}
    assert {(one.release, one.branch) for one in first.values()} == {("v0.2.0", "release/v0.2.0")}
    state = releases.look(line.world.access)
    assert [lock.version for lock in state.locks] == ["0.2.0-rc.3"]
    assert [result.lock for result in state.results] == [state.locks[0].hash]
    line.built.clear()
    line.world.site.branch("work", commit)
    fixed = line.world.site.commit({CATALOG: "2"})
    line.world.site.push(f"{fixed}:refs/heads/release/v0.2.0", user="developer")
    again = line.run("release/v0.2.0", fixed)
    assert (again.state, line.built) == ("passed", [("catalog", "0.2.0-rc.4")]), again.trouble
    cart = line.world.record("stage", "cart")
    assert replace(cart, lock="") == replace(first["cart"], lock="")
    assert cart.lock == line.world.record("stage", "catalog").lock != first["cart"].lock


def test_what_a_git_server_does_not_answer_at_once_is_asked_again(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    from slipway.errors import CommandFailed

    line.develop({CATALOG: "1"})
    mirror, troubles = git.mirror, [1, 1]

    def away(*arguments: Any, **more: Any) -> None:
        if troubles:
            troubles.pop()
            raise CommandFailed(["git", "fetch"], 128, "fatal: the remote end hung up unexpectedly")
        mirror(*arguments, **more)

    monkeypatch.setattr(git, "mirror", away)
    assert line.run("develop").state == "passed"
    assert not troubles


def test_a_run_to_which_the_git_server_or_argo_cd_did_not_answer_is_told_from_one_that_failed(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.develop({CATALOG: "1"})

    def raising(error: SlipwayError) -> Callable[..., NoReturn]:
        def ask(*_: Any, **__: Any) -> NoReturn:
            raise error

        return ask

    with monkeypatch.context() as patch:
        patch.setattr(git, "mirror", raising(gitops.Away("the Git server: not within 180 s")))
        made = line.run("develop")
        assert (made.state, made.away) == ("failed", True)
    with monkeypatch.context() as patch:
        patch.setattr(deploying, "arrive", raising(Unseen("dev: Argo CD has not looked at it")))
        made = line.run("develop")
        assert (made.state, made.away) == ("failed", True)
    made = line.run("develop")
    assert (made.state, made.away) == ("passed", False)
