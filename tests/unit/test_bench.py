"""The arithmetic of the benchmarks, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from slipway import bench, down, up
from slipway.errors import SlipwayError, UsageError
from slipway.kube import Object
from slipway.settings import Settings
from tests.unit.fakes import Screen


class Runs:
    """What each `up` takes, in order; and what is done around it."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, ups: Sequence[tuple[float, Mapping[str, float]]], floors: Sequence[float]
    ):
        self.ups, self.floors = iter(ups), iter(floors)
        self.happened: list[str] = []
        self.applied: list[list[str]] = []
        monkeypatch.setattr(up, "up", self._up)
        monkeypatch.setattr(down, "down", lambda *_, **__: self.happened.append("down"))
        monkeypatch.setattr(bench, "_rendered", lambda _: [{"kind": "Deployment", "metadata": {"name": "catalog"}}])
        monkeypatch.setattr(bench, "_remove_cluster", lambda _: self.happened.append("remove node"))
        monkeypatch.setattr(bench, "_floor", self._floor)

    def _up(self, settings: Settings, *, progress: Any, record: Callable[[Sequence[Object]], None] | None = None) -> up.Made:
        assert settings.instance == "bench"
        del progress
        self.happened.append("up")
        seconds, phases = next(self.ups)
        if seconds < 0:
            raise SlipwayError("no room")
        if record:
            record([{"kind": "Deployment", "metadata": {"name": "prometheus"}}])
        return up.Made("bench", "full", "build", {}, "", "", seconds, phases)

    def _floor(self, _: Settings, objects: Sequence[Object], source: str) -> float:
        assert source == "build"
        self.happened.append("floor")
        self.applied.append([item["metadata"]["name"] for item in objects])
        return next(self.floors)


WARM_UP = (500.0, {"programs": 400.0})


def test_a_report_has_the_median_of_every_phase_and_the_ratio_of_the_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    ups = [
        WARM_UP,
        (60.0, {"cluster": 30.0, "delivery": 20.0}),
        (2.0, {}),
        (90.0, {"cluster": 50.0, "delivery": 22.0, "monitoring": 0.3}),
        (4.0, {}),
        (70.0, {"cluster": 31.0, "delivery": 60.0}),
        (3.0, {}),
    ]
    runs = Runs(monkeypatch, ups, [40.0, 30.0, 35.0])
    report = bench.bench_up(runs=3, progress=Screen().progress)
    rows = {row.name: row for row in report.rows}
    assert rows["cluster"] == bench.Row("cluster", 31.0, (30.0, 50.0, 31.0))
    assert rows["delivery"].seconds == 22.0
    assert rows["monitoring"] == bench.Row("monitoring", 0.0, (0.0, 0.3, 0.0))
    assert rows["up again, nothing to do"] == bench.Row("up again, nothing to do", 3.0, (2.0, 4.0, 3.0))
    assert (report.total.seconds, report.floor.seconds, report.ratio) == (70.0, 35.0, 2.0)
    assert "programs" not in rows
    assert runs.happened == ["up", *(["down", "up", "up", "remove node", "floor"] * 3), "down"]


def test_the_floor_applies_the_platforms_objects_and_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, [WARM_UP, (60.0, {"cluster": 30.0}), (2.0, {})], [30.0])
    bench.bench_up(runs=1, progress=Screen().progress)
    assert runs.applied == [["prometheus", "catalog"]]


def test_a_benchmark_that_fails_leaves_no_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, [(-1.0, {})], [])
    with pytest.raises(SlipwayError, match="no room"):
        bench.bench_up(runs=1, progress=Screen().progress)
    assert runs.happened == ["up", "down"]


def test_no_run_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, [], [])
    with pytest.raises(UsageError, match="0 runs measure nothing"):
        bench.bench_up(runs=0, progress=Screen().progress)
    assert runs.happened == []


def test_a_report_shows_the_longest_parts_first_and_leaves_out_what_explains_nothing() -> None:
    def row(name: str, seconds: float) -> bench.Row:
        return bench.Row(name, seconds, (seconds,))

    screen = Screen()
    rows = (row("delivery", 20.0), row("cluster", 40.0), row("machine", 0.1))
    bench.show(bench.Report("warm up", rows, row("warm up", 80.0), row("floor", 40.0), 2.0, "bare kind"), screen.progress.console)
    lines = [line.split() for line in screen.lines if line]
    assert lines[0] == ["warm", "up,", "seconds", "(median", "of", "1)"]
    assert lines[1:] == [
        ["cluster", "40.0", "#" * 20],
        ["delivery", "20.0", "#" * 10],
        ["total", "80.0"],
        ["floor", "40.0", "bare", "kind"],
        ["ratio", "2.00"],
    ]
