"""The benchmark of the pipeline: what it reports, what it works on, what it puts back; fakes for cluster and instance."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import cli
from slipway import access, bench_pipeline, bench_report, git, gitops, runs
from slipway.bench_pipeline import floor, ground, legs
from slipway.bench_pipeline.ground import Undo
from slipway.errors import SlipwayError, UsageError
from slipway.progress import Phase
from slipway.settings import load
from slipway.waiting import Pending, Ready
from tests.unit.deliveries import Deliveries, digest, entry, record
from tests.unit.fakes import Screen

SERVICES = ("cart", "catalog")


# --- what it reports


def test_a_way_is_told_by_median_and_worst_and_its_ratio_to_the_floor() -> None:
    made = bench_report.leg("push", [8.0, 30.0, 9.0], floors=[3.0, 2.0, 9.9], budget=20.0)
    assert (made.median, made.worst, made.floor, made.ratio, made.within) == (9.0, 30.0, 3.0, 3.0, True)
    assert not bench_report.leg("push", [21.0], budget=20.0).within
    bare = bench_report.leg("push", [1.0])
    assert (bare.floor, bare.ratio, bare.within) == (None, None, True)


def shown(report: bench_pipeline.Report) -> str:
    written = io.StringIO()
    bench_pipeline.show(report, Console(file=written, width=140, soft_wrap=True))
    return written.getvalue()


def test_a_person_sees_what_is_over_its_budget_and_what_stays(capsys: pytest.CaptureFixture[str]) -> None:
    rows = (
        bench_report.leg("push", [8.0, 9.0], floors=[4.0], budget=20.0),
        bench_report.leg("commit", [8.0], floors=[4.0], budget=5.0),
    )
    report = bench_pipeline.Report(rows, "catalog", 4, "branch release/v0.1.1", ("roll dev back: refused",))
    lines = [" ".join(line.split()) for line in shown(report).splitlines()]
    assert lines[1] == "push 8.50 s 9.00 s 2 20 s 4.00 s 2.1x"
    assert lines[2] == "commit 8.00 s 8.00 s 1 5 s 4.00 s 2x over budget"
    assert "What stays in the instance: branch release/v0.1.1." in shown(report)
    assert lines[-2] == "commit: over its budget of 5 s because what Slipway does beside it takes 4.0 s, and the floor 4.0 s."
    assert lines[-1] == "Not put back: roll dev back: refused"
    cli.answer(report, json=True)
    assert json.loads(capsys.readouterr().out)["legs"][0]["runs"] == [8.0, 9.0]


def test_a_budget_below_the_floor_is_said_to_be_one_that_nothing_keeps() -> None:
    made = bench_report.leg("promotion", [20.0], floors=[11.0], budget=10.0)
    assert bench_pipeline.reason(made) == (
        "over its budget of 10 s because the floor alone takes 11.0 s, which no pipeline gets below; "
        "what Slipway does beside it takes 9.0 s"
    )
    assert (
        bench_pipeline.reason(bench_report.leg("done", [20.0], budget=10.0)) == "over its budget of 10 s because it takes 20.0 s"
    )


def test_when_a_promotion_wrote_its_commit_is_taken_from_what_it_says() -> None:
    watched = legs.Watched("deploy")
    watched.say("writing to prod")
    assert watched.written == 0
    watched.say("commit c0ffee123 is written")
    first = watched.written
    watched.say("commit of somebody else")
    assert 0 < first == watched.written


def test_so_few_runs_measure_nothing() -> None:
    with pytest.raises(UsageError, match="0 runs measure nothing"):
        bench_pipeline.bench_pipeline(load("h7"), runs=0, progress=Screen().progress)


# --- the floor


class Kube:
    """A cluster whose Deployments roll one look after they were changed."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.deleted: list[str] = []
        self.stale: set[str] = set()

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> None:
        for item in objects:
            meta = item["metadata"]
            self.held[item["kind"], meta.get("namespace", ""), meta["name"]] = {**item}
            self._settle(self.held[item["kind"], meta.get("namespace", ""), meta["name"]])

    def get(self, kind: str, name: str, *, namespace: str = "", api_version: str = "v1") -> dict[str, Any] | None:
        found = self.held.get((kind, namespace, name))
        return self._look(found) if found else None

    def list(self, kind: str, *, namespace: str, api_version: str = "v1") -> Sequence[dict[str, Any]]:
        return [self._look(item) for (of, place, _), item in self.held.items() if (of, place) == (kind, namespace)]

    def _look(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["metadata"]["name"] in self.stale:
            self.stale.remove(item["metadata"]["name"])
            item["status"] = {"observedGeneration": 0}
        else:
            self._settle(item)
        return item

    def patch(self, kind: str, name: str, change: Mapping[str, Any], *, namespace: str, api_version: str) -> dict[str, Any]:
        item = self.held[kind, namespace, name]
        for key, value in change["spec"].items():
            if key == "template":
                item["spec"]["template"]["spec"]["containers"] = value["spec"]["containers"]
            else:
                item["spec"][key] = value
        self.stale.add(name)
        return item

    def delete(self, kind: str, name: str) -> bool:
        self.deleted.append(name)
        there = [key for key in self.held if key[1] == name or key == (kind, "", name)]
        for key in there:
            del self.held[key]
        return bool(there)

    @staticmethod
    def _settle(item: dict[str, Any]) -> None:
        count = (item.get("spec") or {}).get("replicas", 1)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count)
        item["metadata"] = {"generation": 1, **item["metadata"]}
        item["status"] = {"observedGeneration": 1, **counts}


def deployment(namespace: str, name: str, image: str) -> dict[str, Any]:
    containers = [{"name": name, "image": image, "env": [1]}, {"name": "proxy", "image": "proxy@sha256:1"}]
    spec = {"replicas": 2, "template": {"spec": {"containers": containers}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def prod(image: str) -> list[gitops.Entry]:
    made = entry(record("prod"))
    return [gitops.Entry(made.record, made.values, [deployment("prod", "catalog", image)])]


def test_the_floor_is_a_copy_in_a_namespace_of_its_own_that_is_gone_afterwards() -> None:
    kube = Kube()
    secret = {"kind": "Secret", "apiVersion": "v1", "type": "Opaque", "data": {"a": "b"}, "metadata": {"name": "valkey"}}
    kube.apply([{**secret, "metadata": {"name": "valkey", "namespace": "prod", "uid": "1", "resourceVersion": "7"}}])
    kube.apply([deployment("prod", "catalog", f"r/catalog@{digest('a')}")])
    with floor.copied(kube, "prod", prod(f"r/catalog@{digest('a')}"), phase=Phase("floor")) as copy:  # type: ignore[arg-type]
        assert set(kube.held["Secret", floor.NAMESPACE, "valkey"]["metadata"]) == {"generation", "name", "namespace"}
        assert copy.change({"catalog": f"r/catalog@{digest('b')}"}) >= 0
        containers = kube.held["Deployment", floor.NAMESPACE, "catalog"]["spec"]["template"]["spec"]["containers"]
        assert [one["image"] for one in containers] == [f"r/catalog@{digest('b')}", "proxy@sha256:1"]
        assert containers[0]["env"] == [1]
        copy.scale("catalog", 1)
        assert kube.held["Deployment", floor.NAMESPACE, "catalog"]["spec"]["replicas"] == 1
    assert {place for _, place, _ in kube.held} == {"prod"}
    kept = kube.held["Deployment", "prod", "catalog"]
    assert kept["spec"]["template"]["spec"]["containers"][0]["image"] == f"r/catalog@{digest('a')}"
    assert kept["spec"]["replicas"] == 2


def test_the_copy_is_removed_when_the_measurement_fails() -> None:
    kube = Kube()
    with pytest.raises(SlipwayError), floor.copied(kube, "prod", prod(f"r/catalog@{digest('a')}"), phase=Phase("floor")):  # type: ignore[arg-type]
        raise SlipwayError("no")
    assert not kube.held


def test_a_namespace_has_rolled_when_the_newest_generation_of_the_wanted_image_is_ready() -> None:
    kube = Kube()
    kube.apply([deployment("dev", "catalog", f"r/catalog@{digest('a')}")])
    assert isinstance(floor.rolled(kube, "dev", {"catalog": digest("a")}), Ready)  # type: ignore[arg-type]
    assert isinstance(floor.rolled(kube, "dev", {"catalog": digest("b")}), Pending)  # type: ignore[arg-type]
    assert isinstance(floor.rolled(kube, "dev", {"cart": digest("a")}), Pending)  # type: ignore[arg-type]
    kube.stale.add("catalog")
    assert isinstance(floor.rolled(kube, "dev", {"catalog": digest("a")}), Pending)  # type: ignore[arg-type]


def test_both_images_are_on_the_node_before_a_change_by_hand_counts() -> None:
    changed: list[Mapping[str, str]] = []

    class Copy:
        def change(self, images: Mapping[str, str]) -> float:
            changed.append(images)
            return 1.0 if len(changed) > 2 else 100.0

    one, other = {"catalog": "r@a"}, {"catalog": "r@b"}
    assert legs.floors(Copy(), [one, other], 4, Phase("floor")) == [1.0] * 4  # type: ignore[arg-type]
    assert changed == [one, other, one, other, one, other]


# --- what it works on


class Instance:
    """An instance of repositories in a folder."""

    environments: tuple[str, ...] = ("dev", "qa", "stage", "prod")
    user = "developer"
    identity = git.Identity("developer", "developer@slipway.localhost")

    class secrets:
        signers_file = ""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = load("h7")
        self.nonprod, self.prod = Deliveries(folder / "nonprod", monkeypatch), Deliveries(folder / "prod", monkeypatch)
        self.mirror = folder / "app"
        git.init(self.mirror, branch="main")
        for service in SERVICES:
            (self.mirror / "services" / service).mkdir(parents=True)
            (self.mirror / "services" / service / "main.py").write_text('"""A service."""\n')
        git.stage(self.mirror, ["."])
        self.first = git.commit(self.mirror, "Begin", identity=self.identity)
        for words in (["tag", "v0.1.0"], ["branch", "develop"]):
            git.shell.run(["git", "-C", self.mirror, *words])
        self.nonprod.begin(*(record("dev", service) for service in SERVICES))
        released = {"release": "v0.1.0", "source_commit": self.first}
        self.prod.begin(*(record(env, service, **released) for env in ("stage", "prod") for service in SERVICES))

    def records(self, environment: str) -> git.Remote:
        return (self.nonprod if environment in ("dev", "qa") else self.prod).remote

    def fetch(self) -> Path:
        return self.mirror


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    made = Instance(tmp_path, monkeypatch)
    monkeypatch.setattr(access, "open", lambda *_: made)
    return made


def test_it_has_a_branch_and_a_hotfix_of_its_own(instance: Instance) -> None:
    seen = ground.survey(instance.settings)
    assert seen.branch.startswith("feature/bench-")
    assert (seen.release, seen.service, seen.services) == ("v0.1.1", "catalog", SERVICES)
    assert (seen.first, seen.gate.environment, seen.gate.after, seen.approver) == ("dev", "prod", "stage", "lead")


def test_a_release_that_was_ever_cut_is_not_used_again(instance: Instance) -> None:
    for words in (["branch", "release/v0.1.1"], ["branch", "release/v0.2.0"], ["tag", "v0.1.3"]):
        git.shell.run(["git", "-C", instance.mirror, *words])
    assert ground.survey(instance.settings).release == "v0.1.4"


def test_an_instance_without_prod_or_without_one_release_in_it_is_not_measured(instance: Instance) -> None:
    instance.prod.change(record("prod", "cart", release="v0.2.0"))
    with pytest.raises(UsageError, match="prod does not run one release"):
        ground.survey(instance.settings)
    instance.environments = ("dev",)
    with pytest.raises(UsageError, match="has no prod: measure an instance of the profile full"):
        ground.survey(instance.settings)


def test_each_change_makes_another_commit_and_one_line_in_each_service(instance: Instance) -> None:
    seen = ground.survey(instance.settings)
    with ground.checkout(seen, instance.first) as tree:
        first = ground.touch(seen, tree, SERVICES)
        second = ground.touch(seen, tree, SERVICES)
        assert len({instance.first, first, second}) == 3
        for service in SERVICES:
            lines = (tree / "services" / service / "main.py").read_text().splitlines()
            assert lines[0].startswith("# Measured at ")
            assert lines[1:] == ['"""A service."""']
    assert not tree.exists()
    assert not git.dirty(instance.mirror)


def test_what_runs_is_known_by_the_commit_that_brought_it(instance: Instance) -> None:
    seen = ground.survey(instance.settings)
    made = instance.prod.change(record("prod", "cart", version="0.2.0"))
    later = instance.prod.change(record("stage", "cart", version="0.2.0"))
    assert (ground.brought(seen, "prod"), ground.brought(seen, "stage")) == (made, later)


# --- what it puts back


def test_everything_is_put_back_the_last_first_and_one_failure_keeps_nothing_else_from_it() -> None:
    done: list[str] = []

    def fail() -> None:
        done.append("second")
        raise SlipwayError("the server is away")

    undo = Undo()
    undo.later("first", lambda: done.append("first"))
    undo.later("second", fail)
    undo.later("third", lambda: done.append("third"))
    undo.later("first", lambda: done.append("never"))
    undo.run()
    assert done == ["third", "second", "first"]
    assert undo.failed == ["second: the server is away"]


@pytest.fixture
def measured(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a whole measurement does, step by step, with everything that takes time done by stand-ins."""
    done: list[str] = []
    states = [("c" * 40, entry(record("dev", digest=digest(letter)))) for letter in "ab"]

    def say(name: str, result: Any) -> Callable[..., Any]:
        def step(*_: Any, **__: Any) -> Any:
            done.append(name)
            return result

        return step

    class Lock:
        services = (record("prod", "cart", digest=digest("d")), record("prod", "catalog", digest=digest("d")))

    @contextmanager
    def copied(*_: Any, **__: Any):
        done.append("copy")

        class Copy:
            scale = staticmethod(say("scale", None))

        yield Copy()
        done.append("copy gone")

    def rolled_back(_: Any, environment: str, *, to: str, user: str, progress: Any) -> None:
        done.append(f"{environment} back to {'genesis' if to else to} by {user}")

    monkeypatch.setattr(legs, "pushes", say("pushes", legs.Pushed([9.0], [11.0], states)))
    monkeypatch.setattr(legs, "commits", say("commits", [3.0]))
    monkeypatch.setattr(legs, "release", say("release", Lock()))
    monkeypatch.setattr(legs, "promotions", say("promotions", legs.Released([3.0], [8.0], [10.0], [7.0])))
    monkeypatch.setattr(legs, "floors", say("floors", [2.0, 2.0]))
    monkeypatch.setattr(floor, "copied", copied)
    monkeypatch.setattr(bench_pipeline.rollback, "rollback", rolled_back)
    monkeypatch.setattr(git, "push", lambda *_, **__: done.append("branch removed"))
    instance.app = None  # type: ignore[attr-defined]
    return done


def test_a_whole_measurement_ends_where_it_began(measured: list[str], instance: Instance) -> None:
    report = bench_pipeline.bench_pipeline(instance.settings, runs=1, progress=Screen().progress)
    assert [(leg.median, leg.floor, leg.budget) for leg in report.legs] == [
        (9.0, 2.0, 20.0),
        (11.0, None, None),
        (3.0, 2.0, 5.0),
        (8.0, 2.0, 10.0),
        (3.0, None, None),
        (10.0, None, None),
        (7.0, 2.0, None),
    ]
    began = ["pushes", "commits", "release", "promotions", "copy", "floors", "scale", "floors", "copy gone"]
    back = [f"{name} back to genesis by developer" for name in ("prod", "stage")]
    assert measured == [*began, *back, "branch removed", "dev back to genesis by developer"]
    assert "release/v0.1.1" in report.stays


def test_a_measurement_that_fails_in_the_middle_puts_back_what_it_had_begun(
    measured: list[str], instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise SlipwayError("the run failed")

    monkeypatch.setattr(legs, "release", fail)
    with pytest.raises(SlipwayError, match="the run failed"):
        bench_pipeline.bench_pipeline(instance.settings, runs=1, progress=Screen().progress)
    assert measured[2:] == ["stage back to genesis by developer", "branch removed", "dev back to genesis by developer"]


def test_a_push_whose_run_failed_is_not_waited_for(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = ground.survey(instance.settings)
    failed = runs.Run("run-1", seen.branch, "c" * 40, "developer", state=runs.FAILED, trouble="lint failed")
    monkeypatch.setattr(runs, "every", lambda _: [failed])  # type: ignore[arg-type]
    with pytest.raises(SlipwayError, match=r"the run failed: lint failed\. Read why with `\./invoke ci\.runs --run run-1`"):
        legs._wait_for_push(seen, "c" * 40)  # pyright: ignore[reportPrivateUsage]
