"""What `up` refuses, in which order it works, and what it keeps when a phase fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from graphlib import TopologicalSorter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import (
    admission,
    artifacts,
    assembly,
    bundle,
    cluster,
    credentials,
    doctor,
    engine,
    gateway,
    genesis,
    git,
    images,
    instance,
    kind,
    pull,
    recipes,
    up,
)
from slipway.credentials import Secrets
from slipway.dev import tilt
from slipway.errors import PhaseFailed, SlipwayError, ToolMissing, UsageError, WaitTimeout
from slipway.instance import Facts
from slipway.kube import Kube
from slipway.progress import Phase
from slipway.registry import Registry
from slipway.settings import ROOT, Settings
from slipway.steps import Step
from slipway.waiting import Ready
from tests.unit.fake_cluster import FakeEngine, FakeKube, FakeNode, pod, waiting, workload
from tests.unit.fakes import FakeClock, Screen

COMMIT = "c" * 40
PASSWORD = "hunter2-hunter2"
STEPS = (
    *("cluster", "accounts", "storage", "git server", "gateway", "argo cd", "monitoring", "projects"),
    *("service images", "first records", "delivery", "platform"),
)


class FakePlan:
    """A plan with nothing to make."""

    registry = Registry(5001, "slipway-registry", "running", "slipway/registry:1")
    mounts: Sequence[tuple[Path, str]] = ()

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def tool(self, name: str) -> Path:
        """Where it would be."""
        return Path("/tools") / name


class World:
    """A machine on which `up` can run, with an engine and what was asked of the rest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.patch, self.settings = monkeypatch, Settings(ROOT, home, "test")
        self.engine: FakeEngine | None = FakeEngine()
        self.screen, self.plan, self.kube = Screen(), FakePlan(), FakeKube()
        self.asked: list[str] = []
        self.works: list[tuple[str, str, bool]] = []
        self.fails: SlipwayError | None = None
        self.dirty = False
        monkeypatch.setattr(engine, "find", lambda _: self.engine)
        monkeypatch.setattr(engine, "connect", self._connect)
        monkeypatch.setattr(pull, "choose", self._choose)
        monkeypatch.setattr(doctor, "require", self._require)
        monkeypatch.setattr(genesis, "origin", lambda _: genesis.Origin(COMMIT, self.dirty))
        monkeypatch.setattr(credentials, "keep", lambda _: Secrets(passwords={"developer": PASSWORD}))
        monkeypatch.setattr(recipes, "plan", lambda *_: self.plan)
        monkeypatch.setattr(assembly, "Kube", lambda *_: self.kube)

        def steps(work: Any) -> list[Step]:  # a method of ours would not be given the work
            return self._steps(work)

        monkeypatch.setattr(assembly.Assembly, "steps", steps)
        for name in ("URL", "USER", "PASSWORD_FILE", "TOKEN_FILE"):
            monkeypatch.delenv(f"SLIPWAY_REMOTE_WRITE_{name}", raising=False)

    def _connect(self, _: Settings, *, progress: Any) -> FakeEngine:
        del progress
        self.asked.append("connect")
        self.engine = self.engine or self.later
        return self.engine

    later = FakeEngine()

    def _choose(self, source: str, _: Settings) -> pull.Choice:
        self.asked.append(f"source {source}")
        return pull.Choice("build" if source == "auto" else source, "because")

    def _require(self, _: Settings, *, profile: str, source: str, progress: Any) -> None:
        del progress
        self.asked.append(f"doctor {profile} {source}")

    def _steps(self, work: Any) -> list[Step]:
        def cluster(_: Phase) -> None:
            self.works.append((work.profile.name, work.source, work.fresh))
            work.node = SimpleNamespace(http_port=8081)
            work.settings.folder.mkdir(parents=True, exist_ok=True)
            work.settings.kubeconfig.touch()

        def delivery(_: Phase) -> None:
            if self.fails:
                raise self.fails

        return [Step("cluster", cluster), Step("delivery", delivery, ("cluster",))]

    def had(self, node: FakeNode) -> FakeEngine:
        """The engine with an instance that an earlier `up` made, whose passwords are on this host."""
        self.engine = self.later = FakeEngine(test=node)
        credentials.write_private(credentials.file(self.settings), "{}")
        return self.engine

    def up(self, **options: Any) -> up.Made:
        return up.up(self.settings, progress=self.screen.progress, **options)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"source": "mirror"}, "auto, build, pull"), ({"profile": "huge"}, "full, minimal")],
)
def test_a_wrong_name_is_refused_with_the_valid_ones_before_anything_is_touched(
    world: World, options: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        world.up(**options)
    assert world.asked == []
    assert list(world.settings.home.iterdir()) == []


def test_settings_of_a_copy_that_contradict_are_refused_before_anything_is_touched(world: World) -> None:
    world.patch.setenv("SLIPWAY_REMOTE_WRITE_USER", "me")
    with pytest.raises(UsageError, match="SLIPWAY_REMOTE_WRITE_URL is not"):
        world.up()
    assert world.asked == []
    assert list(world.settings.home.iterdir()) == []


def test_an_instance_that_another_command_works_on_is_left_alone(world: World) -> None:
    with instance.locked(world.settings, "down"), pytest.raises(UsageError, match=r"`\./invoke down` is working"):
        world.up()
    assert world.asked == []


def test_a_name_that_somebody_elses_cluster_has_is_refused_before_anything_is_touched(world: World) -> None:
    world.engine = FakeEngine(test=FakeNode(profile=None, image="kindest/node:v1.33.1"))
    with pytest.raises(UsageError, match="container test-control-plane is not Slipway's: choose another --name"):
        world.up()
    assert (world.asked, world.works) == ([], [])
    assert not world.settings.folder.exists()


def test_a_new_instance_is_full_and_says_where_its_images_come_from_and_why(world: World) -> None:
    made = world.up()
    assert (made.profile, made.source, world.works) == ("full", "build", [("full", "build", True)])
    assert world.asked == ["source auto", "doctor full build", "connect"]
    assert "source: build, because because" in world.screen.lines


@pytest.mark.parametrize(
    ("log", "said"), [(Path("/cache/tilt.log"), "in the background, which /cache/tilt.log"), (None, "there already")]
)
def test_tilt_is_compiled_after_all_else_and_only_when_asked_for(world: World, log: Path | None, said: str) -> None:
    begun: list[int] = []

    def start(_: Settings) -> Path | None:
        begun.append(len(world.works))
        return log

    world.patch.setattr(tilt, "start", start)
    world.patch.setattr(tilt, "require", lambda _: None)
    world.up()
    assert begun == []
    world.up(with_tilt=True)
    assert begun == [2]
    assert any(said in line for line in world.screen.lines)


def test_an_up_that_failed_compiles_no_tilt(world: World) -> None:
    world.patch.setattr(tilt, "start", lambda _: pytest.fail("it is in the way"))
    world.patch.setattr(tilt, "require", lambda _: None)
    world.fails = SlipwayError("no")
    with pytest.raises(PhaseFailed):
        world.up(with_tilt=True)


def test_a_machine_that_cannot_compile_tilt_is_told_before_anything_is_made(world: World) -> None:
    def refuse(_: Settings) -> None:
        raise ToolMissing("no C compiler")

    world.patch.setattr(tilt, "require", refuse)
    with pytest.raises(ToolMissing, match="no C compiler"):
        world.up(with_tilt=True)
    assert world.asked == [] and world.works == []
    world.up()


def test_an_unfit_machine_is_refused_before_an_engine_is_started(world: World) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise SlipwayError("2 GiB of memory are too few")

    world.patch.setattr(doctor, "require", refuse)
    with pytest.raises(SlipwayError, match="2 GiB"):
        world.up()
    assert "connect" not in world.asked


def test_uncommitted_changes_are_said_to_stay_out_of_a_new_instance_alone(world: World) -> None:
    world.dirty = True
    world.up()
    assert "uncommitted changes are not delivered" in world.screen.text
    again = World(world.patch, world.settings.home)
    again.dirty = True
    again.had(FakeNode())
    again.up()
    assert "uncommitted" not in again.screen.text


@pytest.mark.parametrize("state", ["running", "exited"])
def test_an_instance_keeps_the_profile_and_source_that_it_was_made_with(world: World, state: str) -> None:
    world.had(FakeNode(status=state, profile="minimal"))
    assert world.up().profile == "minimal"
    assert world.works == [("minimal", "build", False)]
    assert world.asked[0] == "source build"
    assert "because" not in world.screen.text


@pytest.mark.parametrize("state", ["running", "exited"])
@pytest.mark.parametrize("late", [False, True])
def test_an_instance_whose_passwords_are_not_here_is_not_given_new_ones(world: World, state: str, late: bool) -> None:
    world.had(FakeNode(status=state))
    credentials.file(world.settings).unlink()
    if late:
        world.engine = None
    with pytest.raises(
        UsageError, match=r"its passwords are not: .*secrets\.json is gone.*SLIPWAY_HOME.*`\./invoke down --name test`"
    ):
        world.up()
    assert world.works == []
    assert not credentials.file(world.settings).exists()


def test_what_an_interrupted_up_left_half_made_needs_no_passwords(world: World) -> None:
    world.engine = FakeEngine(test=FakeNode(profile=None))
    assert world.up().profile == "full"


@pytest.mark.parametrize("state", ["running", "exited"])
def test_the_profile_of_an_instance_cannot_be_changed(world: World, state: str) -> None:
    world.had(FakeNode(status=state, profile="minimal"))
    with pytest.raises(
        UsageError, match=r"has the profile minimal.*`\./invoke down --name test` first.*--name NAME --profile full"
    ):
        world.up(profile="full")
    assert (world.works, world.asked) == ([], [])


def test_the_source_of_an_instance_cannot_be_changed(world: World) -> None:
    world.had(FakeNode())
    with pytest.raises(UsageError, match=r"has the source build.*`\./invoke down --name test` first.*--name NAME --source pull"):
        world.up(source="pull")
    assert (world.works, world.asked) == ([], [])


def test_the_profile_it_has_may_be_named(world: World) -> None:
    world.had(FakeNode(profile="minimal"))
    assert world.up(profile="minimal").profile == "minimal"


def test_after_a_restart_of_the_engine_an_instance_is_still_what_it_was(world: World) -> None:
    world.had(FakeNode(status="exited", profile="minimal"))
    world.engine = None
    assert world.up().profile == "minimal"
    assert world.works == [("minimal", "build", False)]
    world.engine = None
    with pytest.raises(UsageError, match="has the profile minimal"):
        world.up(profile="full")


def test_what_up_returns_holds_no_secret(world: World) -> None:
    made = world.up()
    told = json.dumps(asdict(made), default=dict)
    assert PASSWORD not in told
    assert made.secrets.endswith("secrets.json")
    assert made.urls["storefront.dev"] == "http://storefront.dev.localhost:8081"
    screen = Screen()
    up.show(made, screen.progress.console)
    assert PASSWORD not in screen.text
    assert "  storefront.dev    http://storefront.dev.localhost:8081" in screen.lines
    assert screen.lines[-1] == "Next: ./invoke status --name test"
    world.patch.setenv("SLIPWAY_INSTANCE", "test")
    up.show(made, screen.progress.console)
    assert screen.lines[-1] == "Next: ./invoke status"


def test_the_objects_that_were_applied_are_told_to_whoever_asks(world: World) -> None:
    told: list[Any] = []
    world.up(record=told.append)
    assert told == [[]]


# ── what is kept when a phase fails


def test_a_failed_phase_names_its_causes_the_evidence_and_the_next_command(world: World) -> None:
    world.fails = WaitTimeout("dev to run what Git records: not within 240 s; last seen: catalog: 0/1 ready")
    world.kube = FakeKube(pod("catalog-1", "dev", containerStatuses=waiting("CrashLoopBackOff", exit_code=3)))
    with pytest.raises(PhaseFailed) as failed:
        world.up()
    lines = str(failed.value).splitlines()
    assert lines[0] == f"delivery: {world.fails}"
    (folder,) = (world.settings.home / "evidence").iterdir()
    assert lines[1] == f"Evidence: {folder}"
    assert lines[2:4] == ["Likely causes:", "  Pod dev/catalog-1: container main: CrashLoopBackOff, last exit code 3"]
    assert "`./invoke up --name test` goes on from here" in lines[-1]
    assert "`./invoke down --name test` removes what there is" in lines[-1]
    assert (folder / "pods.yaml").is_file()
    assert "last seen: catalog: 0/1 ready" in (folder / "waited-for.txt").read_text()


def test_evidence_of_a_cluster_that_does_not_answer_is_the_nodes_own_log(world: World) -> None:
    def export(tool: Path, *, name: str, folder: Path, env: Mapping[str, str]) -> None:
        assert (tool, name, env) == (Path("/tools/kind"), "test", world.engine and world.engine.environment)
        folder.mkdir()
        (folder / "journal.log").write_text("kubelet")

    world.patch.setattr(kind, "export_logs", export)
    world.had(FakeNode())
    world.kube = FakeKube(answers=False)
    world.fails = SlipwayError("it broke")
    with pytest.raises(PhaseFailed) as failed:
        world.up()
    assert failed.value.bundle
    assert (failed.value.bundle / "node" / "journal.log").is_file()
    assert not (failed.value.bundle / "pods.yaml").exists()
    assert "Likely causes" not in str(failed.value)


def test_an_engine_that_goes_away_does_not_hide_what_failed(world: World) -> None:
    def gone(_: str) -> None:
        raise SlipwayError("the engine does not answer")

    world.fails = SlipwayError("it broke")
    running = world.had(FakeNode())

    def fail_later(*_: Any) -> Path:
        world.patch.setattr(running, "container", gone)
        return world.settings.home / "evidence" / "one"

    world.patch.setattr(bundle, "new_folder", fail_later)
    with pytest.raises(PhaseFailed, match="delivery: it broke"):
        world.up()
    assert "the engine does not answer" in (world.settings.home / "evidence" / "one" / "missing.txt").read_text()


def test_a_bug_is_a_traceback_and_no_evidence_of_the_cluster(world: World) -> None:
    world.fails = ValueError("bug")  # type: ignore[assignment]
    with pytest.raises(ValueError, match="bug"):
        world.up()
    assert not (world.settings.home / "evidence").exists()


# ── the order of the work


def work(monkeypatch: pytest.MonkeyPatch, home: Path, *, source: str, profile: str, fresh: bool = True) -> Any:
    monkeypatch.setattr(credentials, "keep", lambda _: Secrets())
    monkeypatch.setattr(FakeEngine, "image_id", lambda *_: None)
    settings = Settings(ROOT, home, "test")
    return assembly.Assembly(settings, FakeEngine(), profile, source, None, commit=COMMIT, fresh=fresh)


@pytest.fixture(params=[("build", "full"), ("build", "minimal"), ("pull", "full"), ("pull", "minimal")])
def needs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, tuple[str, ...]]:
    source, profile = request.param
    steps: list[Step] = work(monkeypatch, tmp_path, source=source, profile=profile).steps()
    assert len({step.name for step in steps}) == len(steps)
    return {step.name: step.needs for step in steps}


def after(needs: Mapping[str, tuple[str, ...]], name: str) -> set[str]:
    """Every step that is done when `name` begins."""
    return {name for need in needs[name] for name in (need, *after(needs, need))}


def test_every_step_needs_only_steps_that_there_are_and_none_waits_for_itself(needs: dict[str, tuple[str, ...]]) -> None:
    assert {need for wanted in needs.values() for need in wanted} <= set(needs)
    TopologicalSorter(needs).prepare()


def test_the_runner_is_judged_only_when_everything_that_it_asks_is_ready(needs: dict[str, tuple[str, ...]]) -> None:
    assert {"platform", "git server", "gateway"} <= after(needs, "runner")


def test_nothing_is_applied_before_the_cluster_its_accounts_and_its_image_are_there(needs: dict[str, tuple[str, ...]]) -> None:
    for name, image in {
        "git server": "git-server",
        "gateway": "git-server",
        "argo cd": "argocd",
        "monitoring": "prometheus",
    }.items():
        if name in needs:
            assert {"cluster", "accounts", "tool helm", f"image {image}"} <= after(needs, name)
    assert "registry" in after(needs, "accounts")


def test_the_cluster_does_not_wait_for_what_runs_in_it(needs: dict[str, tuple[str, ...]]) -> None:
    assert not after(needs, "cluster") & {"image argocd", "image prometheus", "image git-server", *STEPS}


def test_records_are_written_once_all_that_takes_them_is_there(needs: dict[str, tuple[str, ...]]) -> None:
    assert {"git server", "gateway", "storage", "service images"} <= after(needs, "first records")
    assert {"first records", "argo cd", "projects"} <= after(needs, "delivery")


def test_up_ends_only_when_every_part_was_waited_for(needs: dict[str, tuple[str, ...]]) -> None:
    parts = {"storage", "git server", "gateway", "argo cd", "monitoring"} & set(needs)
    assert parts <= after(needs, "platform")


@pytest.mark.parametrize(("profile", "there"), [("full", True), ("minimal", False)])
def test_only_a_profile_with_monitoring_has_its_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: str, there: bool
) -> None:
    names = {step.name for step in work(monkeypatch, tmp_path, source="build", profile=profile).steps()}
    assert ("monitoring" in names) is there
    assert set(STEPS) - {"monitoring"} <= names


def step(made: Any, name: str) -> Callable[[Phase], None]:
    return next(one.do for one in made.steps() if one.name == name)


def test_an_instance_that_is_there_builds_no_image_of_a_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made, phase = work(monkeypatch, tmp_path, source="build", profile="full", fresh=False), Phase("service images")
    step(made, "service images")(phase)
    assert phase.skipped


@pytest.mark.parametrize("fresh", [True, False])
def test_only_a_new_instance_counts_its_versions_from_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh: bool
) -> None:
    made, begun = work(monkeypatch, tmp_path, source="build", profile="full", fresh=fresh), list[str]()
    made.plan = SimpleNamespace(image=lambda name: name, registry=None)
    monkeypatch.setattr(genesis, "source", lambda *_: nullcontext(SimpleNamespace(folder=tmp_path)))
    monkeypatch.setattr(artifacts, "inputs", lambda _, service, **__: f"sha256:{service}")
    monkeypatch.setattr(images, "build_service", lambda *_, service, **__: images.Built(service, "sha256:1", "key"))
    monkeypatch.setattr(images, "begin_versions", lambda built, version: begun.append(f"{built.repository} {version}"))
    parts = made._build_services(Phase("service images"))
    assert {part.name: part.inputs for part in parts} == {name: f"sha256:{name}" for name in made.settings.services}
    assert sorted(begun) == ([f"{name} 0.1.0" for name in made.settings.services] if fresh else [])


def test_repositories_with_content_get_no_first_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made, phase = work(monkeypatch, tmp_path, source="build", profile="full", fresh=False), Phase("first records")
    made.node, made.secrets = SimpleNamespace(http_port=8081), Secrets(passwords={"pipeline": PASSWORD})
    asked: list[str] = []

    def refs(remote: git.Remote) -> dict[str, str]:
        asked.append(remote.url)
        return {"refs/heads/main": "e" * 40}

    monkeypatch.setattr(git, "refs", refs)
    monkeypatch.setattr(gateway, "answers", lambda *_: Ready(None))
    monkeypatch.setattr(admission, "missing", lambda *_: False)
    monkeypatch.setattr(admission, "tidy", lambda *_: frozenset[str]())
    step(made, "first records")(phase)
    assert phase.skipped
    assert {url.rpartition("/")[2] for url in asked} == {"app.git", "gitops-nonprod.git", "gitops-prod.git"}


def test_the_platform_is_waited_for_by_what_was_applied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made, phase = work(monkeypatch, tmp_path, source="build", profile="full"), Phase("platform")
    kube = FakeKube(workload("argocd-server", "argocd"), workload("git", "slipway-system", ready=0))
    monkeypatch.setattr(assembly, "Kube", lambda *_: kube)
    monkeypatch.setattr("slipway.waiting.SystemClock", FakeClock)
    made.applied = [{"kind": "Deployment", "metadata": {"name": "argocd-server", "namespace": "argocd"}}]
    step(made, "platform")(phase)
    assert phase.detail == "1 parts ready"
    made.applied.append({"kind": "Deployment", "metadata": {"name": "git", "namespace": "slipway-system"}})
    with pytest.raises(WaitTimeout, match=r"Deployment slipway-system/git: not within .*0/1 ready"):
        step(made, "platform")(phase)


def test_the_platform_is_not_called_ready_while_nobody_keeps_its_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made, phase = work(monkeypatch, tmp_path, source="build", profile="full"), Phase("platform")
    ill = pod("kube-scheduler-test-control-plane", "kube-system", containerStatuses=waiting("CrashLoopBackOff", exit_code=1))
    ill["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "1"}
    kube = FakeKube(ill)
    monkeypatch.setattr(assembly, "Kube", lambda *_: kube)
    monkeypatch.setattr("slipway.waiting.SystemClock", FakeClock)
    with pytest.raises(
        WaitTimeout, match=r"the control plane: not within .*kube-scheduler-test-control-plane: .*CrashLoopBackOff"
    ):
        step(made, "platform")(phase)
    kube.objects.clear()
    step(made, "platform")(phase)


def test_facts_of_a_node_are_what_up_was_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[Facts] = []

    def ensure(_: Any, __: Any, blueprint: cluster.Blueprint, **___: Any) -> Any:
        told.append(blueprint.facts)
        return SimpleNamespace(http_port=8081)

    made = work(monkeypatch, tmp_path, source="pull", profile="minimal")
    made.plan = SimpleNamespace(tool=lambda _: Path("kind"), image=lambda _: "n", mounts=[], steps=[])
    monkeypatch.setattr(cluster, "ensure", ensure)
    step(made, "cluster")(Phase("cluster"))
    assert told == [Facts("minimal", "pull")]
    assert isinstance(made.kube, Kube)
