"""The generator as Jobs: what it prints is read whole or not at all, and nothing of it stays behind."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import helm, waiting
from slipway.kube import Kube, KubeError
from slipway.load import data, generator
from slipway.load.generator import NoGenerator
from slipway.load.lines import Lines
from slipway.load.model import Client, Plan, Second
from slipway.load.written import plain
from slipway.progress import Phase
from slipway.settings import ROOT, Settings
from tests.unit import loads
from tests.unit.fakes import FakeClock

CLIENT: Client = loads.changed().client
PLAN: Plan = loads.PLAN
MASTER = "load-r1-master-x"


def second(index: int) -> str:
    return json.dumps({"load": "second", **plain(loads.second(index))})


def result(client: Client = CLIENT, *, pieces: int = 3) -> list[str]:
    """The lines in which the master tells everything."""
    told = {name: value for name, value in plain(client).items() if name != "exit_codes"}
    content = json.dumps(told).encode()
    text = base64.b64encode(zlib.compress(content)).decode()
    size = -(-len(text) // pieces)
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    lines = [json.dumps({"load": "piece", "number": number, "data": part}) for number, part in enumerate(parts)]
    return [*lines, json.dumps({"load": "done", "pieces": len(parts), "sha256": hashlib.sha256(content).hexdigest()})]


BEGIN = json.dumps({"load": "begin", "began": loads.BEGAN, "seconds": 50, "workers": 2})
LOG = [BEGIN, "a warning of the generator", second(0), second(1), *result()]


def taken(lines: Sequence[str]) -> tuple[Lines, list[Second]]:
    told: list[Second] = []
    reader = Lines(told.append)
    for line in lines:
        reader.take(line)
    return reader, told


def test_what_the_generator_prints_is_told_as_it_comes_and_whole_at_its_end() -> None:
    reader, told = taken(LOG)
    assert told == [loads.second(0), loads.second(1)]
    assert reader.said == ["a warning of the generator"]
    made = generator.client(reader, PLAN, {"load-r1-master": 0})
    assert replace(made, said=(), exit_codes={}) == replace(CLIENT, said=(), exit_codes={})
    assert made.said == (*CLIENT.said, "a warning of the generator")
    assert made.exit_codes == {"load-r1-master": 0}


@pytest.mark.parametrize("missing", [-4, -3, -2, -1])
def test_a_result_of_which_a_line_is_missing_is_no_result(missing: int) -> None:
    lines = list(LOG)
    del lines[missing]
    assert taken(lines)[0].whole is None


def test_a_result_that_was_changed_on_its_way_is_no_result() -> None:
    lines = list(LOG)
    lines[-1] = json.dumps({**json.loads(lines[-1]), "sha256": "0" * 64})
    assert taken(lines)[0].whole is None
    lines = [line.replace('"data": "eJ', '"data": "AA') for line in LOG]
    assert taken(lines)[0].whole is None


def test_a_log_that_is_read_again_tells_nothing_twice() -> None:
    reader, told = taken(LOG[:3])
    reader.again()
    for line in LOG:
        reader.take(line)
    reader.again()
    for line in LOG[:2]:
        reader.take(line)
    assert told == [loads.second(0), loads.second(1)]
    assert reader.said == ["a warning of the generator"]
    assert reader.whole is not None


@pytest.mark.parametrize("line", ["{", "{}", "[1]", '{"load": "other"}', "123", "\x00"])
def test_a_line_that_is_no_figure_is_kept_as_what_was_said(line: str) -> None:
    assert taken([line])[0].said == [line.strip()]


def test_a_generator_that_was_ended_is_told_as_far_as_it_came_with_every_worker_lost() -> None:
    made = generator.client(taken(LOG[:4])[0], PLAN, {})
    assert [worker.lost for worker in made.workers] == [True, True]
    assert made.seconds == (loads.second(0), loads.second(1))
    assert (made.expected_workers, made.journeys, made.endpoints) == (2, (), ())
    assert "ended before it had told its result" in made.said[0]


def test_a_generator_that_never_began_is_nobody_s_verdict() -> None:
    with pytest.raises(NoGenerator, match="It said: no such module") as refused:
        generator.client(taken(["no such module"])[0], PLAN, {})
    assert refused.value.exit_code == 3


class FakeKube(Kube):
    """A cluster in which a generator's pods come and go as a test says."""

    def __init__(self, log: Sequence[str] = LOG, *, waiting: str = "", breaks_at: int = 0) -> None:
        self.log, self.waiting, self.breaks_at = list(log), waiting, breaks_at
        self.applied: list[str] = []
        self.deleted: list[str] = []
        self.executed: list[Sequence[str]] = []
        self.reads = 0

    def apply(self, objects: Any) -> None:
        self.applied += [f"{item['kind']} {item['metadata']['name']}" for item in objects]

    def delete(self, kind: str, name: str, *, namespace: str | None = None, api_version: str = "v1") -> bool:
        assert namespace == "load"
        self.deleted.append(f"{kind} {name}")
        return True

    def list(self, kind: str, **_: Any) -> Sequence[dict[str, Any]]:
        assert kind == "Pod"
        return [self._pod(MASTER, "master"), *(self._pod(f"load-r1-worker-{number}", "worker") for number in range(PLAN.workers))]

    def get(self, kind: str, name: str, **_: Any) -> dict[str, Any] | None:
        return self._pod(name, "master")

    def _pod(self, name: str, part: str) -> dict[str, Any]:
        state = {"waiting": {"reason": self.waiting, "message": "no"}} if self.waiting else {"terminated": {"exitCode": 0}}
        status = {"phase": "Pending" if self.waiting else "Succeeded", "containerStatuses": [{"state": state}]}
        return {"metadata": {"name": name, "labels": {"app.kubernetes.io/component": part}}, "status": status}

    def log_lines(self, pod: str, *, follow: bool = False, **_: Any) -> Generator[bytes]:
        assert pod == MASTER
        self.reads += 1
        for number, line in enumerate(self.log):
            if self.breaks_at and self.reads == 1 and number == self.breaks_at:
                raise KubeError("the connection broke")
            yield line.encode()

    def execute(self, pod: str, argv: Sequence[str], **_: Any) -> str:
        self.executed.append(argv)
        return "12\n"


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Helm was told, which is another test's business."""
    told: dict[str, Any] = {}

    def template(chart: Path, *, values: dict[str, Any], **_: Any) -> list[dict[str, Any]]:
        told.update(values)
        return [{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"load-{values['run']}-master"}}]

    monkeypatch.setattr(helm, "template", template)
    return told


def run(kube: Kube, folder: Path, **more: Any) -> tuple[Client, list[Second]]:
    told: list[Second] = []
    made = generator.in_cluster(
        kube,
        Settings(ROOT, folder, "test"),
        helm_program=Path("helm"),
        image="image",
        run="r1",
        order="{}",
        plan=PLAN,
        folder=folder,
        on_second=told.append,
        phase=Phase("load"),
        **more,
    )
    return made, told


def test_a_generator_runs_on_the_nodes_that_were_asked_for(rendered: dict[str, Any], tmp_path: Path) -> None:
    run(FakeKube(), tmp_path, nodes={"slipway.dev/pool": "load"})
    assert rendered["nodeSelector"] == {"slipway.dev/pool": "load"}


def test_jobs_are_made_read_and_removed_and_their_log_is_kept(rendered: dict[str, Any], tmp_path: Path) -> None:
    kube = FakeKube()
    made, told = run(kube, tmp_path)
    assert made.seconds == CLIENT.seconds
    assert len(told) == 2
    assert made.exit_codes == {MASTER: 0, "load-r1-worker-0": 0, "load-r1-worker-1": 0}
    assert kube.applied == ["Namespace load", "Job load-r1-master"]
    assert kube.deleted == ["Job load-r1-master"]
    assert (rendered["run"], rendered["workers"], rendered["order"]) == ("r1", PLAN.workers, "{}")
    assert rendered["deadlineSeconds"] > PLAN.seconds + PLAN.drain
    assert rendered["nodeSelector"] == {}
    kept = (tmp_path / generator.LOG).read_text().splitlines()
    assert kept == [line for line in LOG if '"piece"' not in line]
    assert (tmp_path / generator.ORDER).read_text() == "{}"


@pytest.mark.usefixtures("rendered")
def test_a_log_whose_connection_breaks_is_taken_up_again_and_no_second_is_told_twice(tmp_path: Path) -> None:
    kube = FakeKube(breaks_at=3)
    made, told = run(kube, tmp_path)
    assert made.seconds == CLIENT.seconds
    assert told == [loads.second(0), loads.second(1)]


class Cut(FakeKube):
    """A cluster whose API server is away once the log has begun: for so many looks at the pod, or for good."""

    def __init__(self, looks: int) -> None:
        super().__init__(breaks_at=3)
        self.looks = looks

    def get(self, kind: str, name: str, **more: Any) -> dict[str, Any] | None:
        self.looks -= 1
        if self.looks >= 0:
            raise ConnectionError("refused")
        seen = super().get(kind, name, **more)
        assert seen
        return {**seen, "status": {**seen["status"], "phase": "Running"}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock()
    monkeypatch.setattr(waiting, "SystemClock", lambda: made)
    return made


@pytest.mark.usefixtures("rendered")
def test_an_api_server_that_comes_back_is_waited_for_with_a_pause_between_looks(tmp_path: Path, clock: FakeClock) -> None:
    made, told = run(Cut(looks=20), tmp_path)
    assert made.seconds == CLIENT.seconds
    assert told == [loads.second(0), loads.second(1)]
    assert 10 < sum(clock.slept) < 20


@pytest.mark.usefixtures("rendered")
def test_an_api_server_that_stays_away_ends_a_test_whose_workers_are_lost_then(tmp_path: Path, clock: FakeClock) -> None:
    class Gone(Cut):
        """Its log cannot be read a second time either."""

        def log_lines(self, pod: str, *, follow: bool = False, **more: Any) -> Generator[bytes]:
            if self.reads:
                raise KubeError("refused")
            yield from super().log_lines(pod, follow=follow, **more)

    made, _ = run(Gone(looks=10_000), tmp_path)
    assert all(worker.lost for worker in made.workers)
    assert sum(clock.slept) < 60 + generator.END_TIMEOUT + 10


@pytest.mark.usefixtures("rendered")
def test_a_log_that_cannot_be_read_while_its_pod_runs_is_not_asked_for_without_a_pause(tmp_path: Path, clock: FakeClock) -> None:
    class Mute(Cut):
        """Its log is never there."""

        def log_lines(self, pod: str, *, follow: bool = False, **_: Any) -> Generator[bytes]:
            self.reads += 1
            if self.reads == 100:
                self.log = [BEGIN]
                yield BEGIN.encode()
            raise KubeError("no log")

    kube = Mute(looks=0)
    run(kube, tmp_path)
    assert sum(clock.slept) > kube.reads / 2


@pytest.mark.usefixtures("rendered")
def test_a_generator_that_no_node_takes_is_told_in_the_scheduler_s_words(tmp_path: Path, clock: FakeClock) -> None:
    class Nowhere(FakeKube):
        def _pod(self, name: str, part: str) -> dict[str, Any]:
            said = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
            condition = {"type": "PodScheduled", "status": "False", "message": said}
            labels = {"app.kubernetes.io/component": part}
            return {"metadata": {"name": name, "labels": labels}, "status": {"phase": "Pending", "conditions": [condition]}}

    with pytest.raises(NoGenerator, match="no node takes it: 0/1 nodes are available: 1 node"):
        run(Nowhere(), tmp_path)


@pytest.mark.usefixtures("rendered")
def test_a_master_that_was_ended_leaves_a_test_without_workers(tmp_path: Path) -> None:
    made, _ = run(FakeKube(LOG[:3]), tmp_path)
    assert all(worker.lost for worker in made.workers)


@pytest.mark.usefixtures("rendered")
def test_an_image_that_cannot_be_had_is_the_environment_s_trouble_and_nothing_stays(tmp_path: Path) -> None:
    kube = FakeKube(waiting="ImagePullBackOff")
    with pytest.raises(NoGenerator, match="ImagePullBackOff") as refused:
        run(kube, tmp_path)
    assert refused.value.exit_code == 3
    assert kube.deleted == ["Job load-r1-master"]


def test_orders_of_a_test_are_removed_by_the_ids_of_their_requests_and_counted() -> None:
    kube = FakeKube()
    assert data.remove_orders(kube, "stage", "load-r1-") == 12
    (words,) = kube.executed
    assert "starts_with(request_id, 'load-r1-')" in words[-1]


@pytest.mark.parametrize("prefix", ["", "load-", "load--", "load-a'b-", "orders-r1-", "load-r1", "load-r1-%"])
def test_only_what_a_test_made_can_be_removed(prefix: str) -> None:
    kube = FakeKube()
    with pytest.raises(ValueError, match="nothing that a test"):
        data.remove_orders(kube, "stage", prefix)
    assert not kube.executed


def test_orders_that_cannot_be_removed_are_not_counted_as_removed() -> None:
    class Away(FakeKube):
        def execute(self, pod: str, argv: Sequence[str], **_: Any) -> str:
            raise KubeError("no pod")

    assert data.remove_orders(Away(), "stage", "load-r1-") is None
