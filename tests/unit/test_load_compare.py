"""Two releases beside each other: in which order they are driven, what is made again, what is alike, and what is said of them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from slipway.errors import SlipwayError, UsageError
from slipway.load import Asked, charts, command, compare, keeping, kept, report, show
from slipway.load.alike import alike
from slipway.load.model import ENVIRONMENT_CODE, Pods, Reason, Run, Verdict
from slipway.load.statistics import BETTER, SAME, UNKNOWN, WORSE
from slipway.progress import Progress
from slipway.settings import ROOT, Settings, load
from tests.unit import loadruns, loads

SETTINGS = load()
LATE = Verdict("invalid", (Reason("late", "worker 1 started journeys 0.4 s late", {}, "client.workers"),), ())


def _series(slow: float, runs: int = 6) -> list[tuple[str, str, Run]]:
    placed: list[str] = []
    number = iter(range(1, 100))

    def drive(release: str) -> Run:
        assert placed[-1] == release
        return loadruns.run(next(number), slow=slow if release == "v0.3.0" else 1.0, release=release)

    return compare.series("v0.2.0", "v0.3.0", runs, placed.append, drive)


def test_runs_are_made_in_turns_after_the_first_release_has_met_itself() -> None:
    made = [(release, part) for release, part, _ in _series(1.0, 2)]
    alone, first, second = ("v0.2.0", "calibration"), ("v0.2.0", "comparison"), ("v0.3.0", "comparison")
    assert made == [alone, alone, second, first, first, second]


@pytest.mark.parametrize(("slow", "answer"), [(5.0, WORSE), (0.3, BETTER)])
def test_a_release_is_told_from_another_one(slow: float, answer: str) -> None:
    told = compare.judge("v0.2.0", "v0.3.0", _series(slow))
    assert told.answer == answer
    page = report.compared_page(SETTINGS, told)
    assert f"{answer.capitalize()}</h1>" in page
    assert len(told.runs) == 18


def test_runs_that_are_invalid_do_not_count_and_too_few_tell_nothing() -> None:
    made = _series(5.0)
    spoilt = [(release, part, replace(run, verdict=Verdict("invalid", (), ()))) for release, part, run in made]
    told = compare.judge("v0.2.0", "v0.3.0", [*made[:11], *spoilt[11:]])
    assert (told.answer, told.code) == (UNKNOWN, 2)
    assert "5 of each are the least" in told.why
    assert sum(not ran.used for ran in told.runs) == 7


def test_dots_of_a_comparison_are_told_in_the_unit_of_their_number() -> None:
    told = {one.metric.name: one for one in compare.judge("v0.2.0", "v0.3.0", _series(1.0)).metrics}
    assert "cores" in charts.runs(told["processor time"], "v0.2.0", "v0.3.0")
    assert " ms<" in charts.runs(told["p50"], "v0.2.0", "v0.3.0")
    assert "0 %<" in charts.runs(told["failed requests"], "v0.2.0", "v0.3.0")


def _driven(spoil: Callable[[int], bool], runs: int = 1) -> tuple[list[compare.Made], list[str], list[str]]:
    """What is made when some runs, by their number, are held up; where each release was placed; and what was said."""
    placed, said, numbers = list[str](), list[str](), iter(range(1, 100))

    def drive(release: str) -> Run:
        number = next(numbers)
        run = loadruns.run(number, release=release)
        return replace(run, verdict=LATE) if spoil(number) else run

    return compare.series("v1", "v2", runs, placed.append, drive, say=said.append), placed, said


def test_a_run_that_was_held_up_is_made_again_after_its_release_was_placed_anew() -> None:
    made, placed, said = _driven(lambda number: number == 2)
    assert [(release, part) for release, part, _ in made] == [
        ("v1", "calibration"),
        ("v2", "comparison"),
        ("v2", "comparison"),
        ("v1", "comparison"),
    ]
    assert placed == ["v2", "v1", "v2", "v1", "v2", "v1"]
    assert len(said) == 1
    assert "0.4 s late" in said[0]
    told = compare.judge("v1", "v2", made)
    assert [(ran.used, ran.why) for ran in told.runs] == [(True, ""), (False, LATE.reasons[0].said), (True, ""), (True, "")]


def test_a_run_is_made_three_times_at_most_and_one_that_is_void_for_another_reason_once() -> None:
    assert len(_driven(lambda _: True)[0]) == 9
    broken = Verdict("invalid", (Reason("prometheus", "it did not answer", {}, ""),), ())
    assert not compare.held_up(replace(loadruns.run(), verdict=broken))
    assert not compare.held_up(loadruns.run())


def test_a_release_is_placed_right_before_each_run_though_it_ran_last() -> None:
    _, placed, _ = _driven(lambda _: False, runs=2)
    # Alone, twice; second and first; first and second.
    assert placed == ["v2", "v1", "v2", "v1", "v2", "v1", "v2", "v1", "v2"]


def test_a_service_that_is_seldom_asked_and_three_times_slower_is_seen() -> None:
    def one(seed: int, slow: float) -> Run:
        run = loadruns.run(seed)
        endpoints = tuple(
            loadruns.endpoint(loadruns.drawn(seed), *place[:4], place[4] * (slow if place[0] == "orders" else 1.0))
            for place in loadruns.ENDPOINTS
        )
        return replace(run, client=replace(run.client, endpoints=endpoints))

    made = [("a", "calibration", one(seed, 1.0)) for seed in range(6)]
    made += [("a", "comparison", one(seed, 1.0)) for seed in range(6, 12)]
    made += [("b", "comparison", one(seed, 3.0)) for seed in range(12, 18)]
    told = compare.judge("a", "b", made)
    numbers = {metric.metric.name: metric for metric in told.metrics}
    assert numbers["p50 of orders"].answer == WORSE
    assert numbers["p50"].answer == UNKNOWN
    assert (told.answer, told.code) == (WORSE, 1)
    assert "p50 of orders" in told.why
    assert {"p95 of orders", "p50 of cart", "p95 of cart"} <= set(numbers)


@pytest.mark.parametrize(("answer", "code"), [(BETTER, 0), (SAME, 0), (WORSE, 1), (UNKNOWN, 2), ("?", 2)])
def test_a_machine_is_told_the_answer_by_the_exit_code(answer: str, code: int) -> None:
    told = replace(compare.judge("v1", "v2", _driven(lambda _: False)[0]), answer=answer)
    assert command.Compared(told, Path("page")).code == code


# --- only like is compared with like


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda run: replace(run, plan=replace(run.plan, workers=7, think=3.0)), r"think 0\.1 and 3\.0; workers 2 and 7"),
        (lambda run: replace(run, host=replace(run.host, model="another")), "processor a processor and another"),
        (lambda run: replace(run, tools={**run.tools, "locust": "9"}), "locust 2.47.0 and 9"),
        (lambda run: replace(run, tools={**run.tools, "generator": "load:2"}), "generator None and load:2"),
        (lambda run: replace(run, target=replace(run.target, sender="b")), "sent from its own cluster and b"),
        (lambda run: replace(run, change=None), "during promotion and nothing"),
        (lambda run: replace(run, pods=Pods(loads.pods()[1:], (), ())), "pods of cart 2 and 1"),
        (lambda run: replace(run, pods=replace(run.pods, limits={"cart": 0.5})), "limit of cart in cores None and 0.5"),
        (lambda run: replace(run, comparable="fedc"), "something that this version"),
    ],
)
def test_runs_that_were_made_in_different_ways_are_refused_and_the_difference_is_told(
    changed: Callable[[Run], Run], why: str
) -> None:
    run = loadruns.run()
    with pytest.raises(UsageError, match=why):
        alike([run, changed(run)])


def test_no_runs_are_nothing_to_compare() -> None:
    with pytest.raises(UsageError, match="no run to compare"):
        compare.judge("a", "b", [])


def test_a_release_may_bring_other_limits_along_which_is_told_and_not_refused() -> None:
    made = _driven(lambda _: False)[0]
    tight = [
        (release, part, replace(run, pods=replace(run.pods, limits={"cart": 0.5})) if release == "v2" else run)
        for release, part, run in made
    ]
    told = compare.judge("v1", "v2", tight)
    assert told.differs == ("limit of cart in cores None and 0.5",)
    assert "They differ in more than code: limit of cart in cores None and 0.5" in _page_of(told)
    assert "They differ in more than code" in _shown(told)
    # Within a release nothing may differ.
    with pytest.raises(UsageError, match="limit of cart"):
        compare.judge("v1", "v2", [*tight, ("v2", "comparison", loadruns.run(9, release="v2"))])


def _page_of(told: compare.Comparison) -> str:
    return report.compared_page(SETTINGS, told)


def _shown(told: compare.Comparison) -> str:
    console = Console(file=io.StringIO(), width=200)
    show.show_comparison(told, console, Path("/somewhere/page"))
    return console.file.getvalue()  # type: ignore[attr-defined]


# --- runs that are kept


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(ROOT, tmp_path, "test")


def _keep(settings: Settings, seeds: range, **more: object) -> str:
    """The names of runs that were kept, as the command line takes them."""
    made = [loadruns.run(seed, **more) for seed in seeds]  # type: ignore[arg-type]
    for run in made:
        keeping.keep(settings, run)
    return ",".join(run.id for run in made)


def compared(settings: Settings, first: str, second: str) -> command.Compared:
    return command.compared(settings, first, second, Asked(), runs=0, progress=Progress())


def test_runs_that_are_kept_are_compared_by_their_names(settings: Settings) -> None:
    first, second = _keep(settings, range(1, 7), release="v0.1.0"), _keep(settings, range(7, 13), release="v0.2.0", slow=5.0)
    made = compared(settings, first, second)
    assert (made.comparison.first, made.comparison.second, made.comparison.answer, made.code) == ("v0.1.0", "v0.2.0", WORSE, 1)
    assert {ran.id for ran in made.comparison.runs} == {*first.split(","), *second.split(",")}
    assert made.report.is_file()
    # Each of the runs' own pages has the comparison from now on, however often it is made again.
    for name in (first.split(",")[0], second.split(",")[3]):
        page = keeping.folder(settings, name) / report.FILE
        assert "v0.2.0 beside v0.1.0" in page.read_text()
        page.unlink()
        assert "v0.2.0 beside v0.1.0" in command.again(settings, name).report.read_text()
    assert kept.of(settings, "20260101-000000-0000") is None


def test_a_run_shows_the_comparison_that_was_made_last_however_old_the_others_in_it_are(settings: Settings) -> None:
    old, middle, new = (_keep(settings, range(seed, seed + 6), release=f"v0.{seed}.0") for seed in (1, 7, 13))
    compared(settings, middle, new)
    newest = compared(settings, old, new).comparison
    for file in keeping.folder(settings).glob(f"compare-*/{kept.FILE}"):
        os.utime(file, (2000.0, 2000.0) if file.parent.name == newest.id else (1000.0, 1000.0))
    assert newest.id < kept.of(settings, middle.split(",")[0]).id  # type: ignore[union-attr] - it was kept above
    assert kept.of(settings, new.split(",")[0]) == newest


def test_a_run_of_each_is_shown_beside_the_other_and_tells_nothing(settings: Settings) -> None:
    made = compared(settings, _keep(settings, range(1, 2)), _keep(settings, range(2, 3)))
    assert (made.comparison.answer, made.code) == (UNKNOWN, 2)
    assert (made.comparison.first, made.comparison.second) == ("v0.2.0 (a)", "v0.2.0 (b)")


@pytest.mark.parametrize(
    ("more", "why"),
    [({"workers": 3}, "workers 2 and 3"), ({"think": 9.0}, r"think 0\.1 and 9\.0")],
)
def test_kept_runs_that_are_not_alike_are_refused_with_what_differs(settings: Settings, more: dict[str, float], why: str) -> None:
    first, other = _keep(settings, range(1, 2)), loadruns.run(2)
    keeping.keep(settings, replace(other, plan=replace(other.plan, **more)))  # type: ignore[arg-type]
    with pytest.raises(SlipwayError, match=why) as caught:
        compared(settings, first, other.id)
    assert caught.value.exit_code == ENVIRONMENT_CODE


def test_kept_runs_of_other_sizes_of_a_service_are_refused_and_so_is_a_run_beside_itself(settings: Settings) -> None:
    first, other = _keep(settings, range(1, 2), release="v0.1.0"), loadruns.run(2)
    keeping.keep(settings, replace(other, pods=Pods(loads.pods()[1:], loads.pods(), ())))
    with pytest.raises(SlipwayError, match="pods of cart 2 and 1"):
        compared(settings, first, other.id)
    with pytest.raises(SlipwayError, match="with itself"):
        compared(settings, first, first)
    with pytest.raises(SlipwayError, match="several releases"):
        compared(settings, f"{first},{_keep(settings, range(3, 4), release='v0.9.0')}", _keep(settings, range(4, 5)))


def test_releases_are_no_names_of_runs() -> None:
    assert kept.named("20260101-000000-0a0f", "20260101-000000-0a0e,20260101-000000-0a0d")
    assert not kept.named("v0.1.0", "20260101-000000-0a0e")
    assert not kept.named("0.1.0", "v0.2.0")


def test_what_goes_wrong_is_the_environment_s_trouble_and_no_answer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("v9.9.9 never ran in stage")

    monkeypatch.setattr(compare, "compare", refuse)
    with pytest.raises(SlipwayError, match="never ran") as caught:
        compared(settings, "v0.1.0", "v9.9.9")
    assert caught.value.exit_code == ENVIRONMENT_CODE
