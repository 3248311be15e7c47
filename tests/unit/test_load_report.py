"""The page, the picture, the JUnit file and the terminal's table of a load test."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from slipway.errors import UsageError
from slipway.load import charts, compare, courses, figures, junit, picture, report, show
from slipway.load.model import Check, Run, Series, Verdict
from slipway.load.statistics import BETTER, UNKNOWN, WORSE
from slipway.settings import load
from tests.unit import loadruns

SETTINGS = load()
SCENES = {
    "pass": loadruns.run(),
    "fail": loadruns.run(slow=5, failures=3),
    "invalid": loadruns.run(lost=True),
}


@pytest.mark.parametrize("outcome", SCENES)
def test_the_verdict_stands_first_with_every_reason_and_its_source(outcome: str) -> None:
    run = SCENES[outcome]
    page = report.page(SETTINGS, run)
    header = page[page.index("<header") : page.index("</header>")]
    assert f"{outcome.capitalize()}</h1>" in header
    assert header.count("from <code>") == len(run.verdict.reasons)


def test_a_page_asks_nobody_for_anything_and_runs_nothing_but_its_own() -> None:
    page = report.page(SETTINGS, SCENES["fail"])
    assert "default-src &#39;none&#39;" in page
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert not re.search(r"@import|url\(", page)


def test_what_others_wrote_is_shown_as_text() -> None:
    page = report.page(SETTINGS, SCENES["fail"])
    assert "<b>no</b> stock" not in page
    assert "&lt;b&gt;no&lt;/b&gt; stock &amp; no answer" in page
    run = replace(SCENES["pass"], client=replace(SCENES["pass"].client, said=("</script><script>alert(1)</script>",)))
    odd = replace(run, client=replace(run.client, seconds=(replace(run.client.seconds[0], phase="</script>"),)))
    assert report.page(SETTINGS, odd).count("</script>") == 2


def test_the_page_of_an_hour_is_bearable() -> None:
    assert len(report.page(SETTINGS, loadruns.run(seconds=3600)).encode()) < 1_500_000


def test_a_long_test_is_thinned_without_losing_its_worst_second_or_a_failure() -> None:
    run = loadruns.run(seconds=3600, failures=7)
    seconds, thin = run.client.seconds, courses.thinned(run.client.seconds)
    assert len(thin) <= 600
    assert max(one.p99 or 0 for one in thin) == max(one.p99 or 0 for one in seconds)
    assert sum(one.failures for one in thin) == sum(one.failures for one in seconds) == 7


def test_nothing_measured_is_told_and_never_drawn_as_zero() -> None:
    run = SCENES["pass"]
    silent = tuple(replace(one, p50=None, p95=None, p99=None) for one in run.client.seconds)
    empty = replace(run, client=replace(run.client, seconds=silent, endpoints=()), books=replace(run.books, order_rows=None))
    page = report.page(SETTINGS, empty)
    assert "No request was sent in a phase that counts." in page
    assert "nobody knows" in page
    assert 'class="line p99" d=' not in page


def test_every_query_is_named_on_the_page() -> None:
    run = SCENES["pass"]
    page = report.page(SETTINGS, run)
    assert f"{len({(one.name, one.query) for one in run.server.series})} queries to Prometheus" in page


def test_the_picture_for_a_pull_request_is_a_png_of_one_size(tmp_path: Path) -> None:
    file = report.write(SETTINGS, SCENES["pass"], tmp_path)
    assert file.read_text().startswith("<!doctype html>")
    made = (tmp_path / report.PICTURE).read_bytes()
    assert made.startswith(b"\x89PNG")
    assert int.from_bytes(made[16:20]) == 2 * (1120 + 32)


def test_beside_every_page_lies_what_machines_read(tmp_path: Path) -> None:
    report.write(SETTINGS, SCENES["fail"], tmp_path)
    assert (tmp_path / report.JUNIT).read_text() == junit.junit(SCENES["fail"])


@pytest.mark.parametrize("outcome", SCENES)
def test_junit_never_lets_a_run_that_did_not_pass_look_well(outcome: str) -> None:
    run = SCENES[outcome]
    suite = ElementTree.fromstring(junit.junit(run))
    failures, errors = suite.findall("testcase/failure"), suite.findall("testcase/error")
    assert (len(failures), len(errors)) == (int(suite.attrib["failures"]), int(suite.attrib["errors"]))
    assert len(suite.findall("testcase")) == int(suite.attrib["tests"]) == len(run.verdict.checked) + 1
    assert bool(errors) == (outcome == "invalid")
    assert bool(failures or errors) == (outcome != "pass")


def test_junit_of_a_verdict_without_any_look_is_an_error() -> None:
    suite = ElementTree.fromstring(junit.junit(replace(SCENES["pass"], verdict=Verdict("invalid", (), ()))))
    assert suite.findall("testcase/error")


def _printed(run: Run) -> str:
    console = Console(file=io.StringIO(), width=160)
    show.show(run, console, Path("/somewhere/report.html"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("outcome", SCENES)
def test_the_terminal_ends_with_the_verdict_its_reasons_and_where_the_report_lies(outcome: str) -> None:
    said = _printed(SCENES[outcome])
    assert said.startswith(outcome.upper())
    assert said.rstrip().endswith("Report  /somewhere/report.html")
    assert "POST /api/orders" in said
    assert not SCENES[outcome].verdict.reasons or SCENES[outcome].verdict.reasons[0].said[:40] in said


def _series(slow: float, runs: int = 5) -> list[tuple[str, str, Run]]:
    placed: list[str] = []
    number = iter(range(1, 100))

    def drive(release: str) -> Run:
        assert placed[-1] == release
        return loadruns.run(next(number), slow=slow if release == "v0.3.0" else 1.0, release=release)

    return compare.series("v0.2.0", "v0.3.0", runs, placed.append, drive)


def test_runs_are_made_in_turns_after_the_first_release_has_met_itself() -> None:
    made = [(release, part) for release, part, _ in _series(1.0, 2)]
    alone, first, second = ("v0.2.0", "calibration"), ("v0.2.0", "comparison"), ("v0.3.0", "comparison")
    assert made == [alone, alone, second, first, second, first]


@pytest.mark.parametrize(("slow", "answer"), [(5.0, WORSE), (0.3, BETTER), (1.0, UNKNOWN)])
def test_a_release_is_told_from_another_one(slow: float, answer: str) -> None:
    told = compare.judge("v0.2.0", "v0.3.0", _series(slow))
    assert told.answer == answer
    page = report.compared_page(SETTINGS, told)
    assert f"{answer.capitalize()}</h1>" in page
    assert len(told.runs) == 15


def test_runs_that_are_invalid_do_not_count_and_too_few_tell_nothing() -> None:
    made = _series(5.0)
    spoilt = [(release, part, replace(run, verdict=Verdict("invalid", (), ()))) for release, part, run in made]
    told = compare.judge("v0.2.0", "v0.3.0", [*made[:8], *spoilt[8:]])
    assert told.answer == UNKNOWN
    assert "5 of each are the least" in told.why
    assert sum(not ran.used for ran in told.runs) == 7


def test_only_like_is_compared_with_like_and_the_difference_is_told() -> None:
    run = loadruns.run()
    other = replace(run, comparable="fedc", plan=replace(run.plan, workers=7, think=3.0))
    with pytest.raises(UsageError, match=r"think 0\.1 and 3\.0; workers 2 and 7"):
        compare.alike([run, other])
    with pytest.raises(UsageError, match="no run to compare"):
        compare.judge("a", "b", [])


def test_a_restart_that_only_prometheus_saw_is_on_the_timeline() -> None:
    run = SCENES["pass"]
    begin = run.client.began
    series = Series("restarts", "orders", "1", "q", ((begin, 0.0), (begin + 20, 0.0), (begin + 22, 1.0), (begin + 40, 1.0)))
    seen = replace(run, server=replace(run.server, series=(series,)))
    assert "orders: a container was restarted, 22 s after the begin" in picture.timeline(seen)
    assert "restarted" not in picture.timeline(run)


def test_no_share_of_the_requests_took_longer_than_the_longest() -> None:
    run = SCENES["pass"]
    short = tuple(replace(one, maximum=0.004) for one in run.client.endpoints)
    for row in figures.rows(replace(run, client=replace(run.client, endpoints=short))):
        assert max(value for value in row.shares if value is not None) == 0.004


def test_what_was_seen_is_told_in_the_unit_of_what_is_allowed() -> None:
    run = SCENES["pass"]
    checks = (
        Check("threshold", "cart p95 <= 0.25 s", 0.1234, ok=True),
        Check("threshold", "cart errors <= 0.01", 0.002, ok=True),
    )
    page = report.page(SETTINGS, replace(run, verdict=Verdict("pass", (), checks)))
    assert "<b>0.1234 s</b>" in page
    assert "<b>0.002</b>" in page


def test_times_of_an_axis_and_percentiles_that_are_near_one_another_stay_readable() -> None:
    near = replace(loadruns.run().client.endpoints[0], histogram=((0.004, 1), (0.9, 50), (0.95, 45), (1.0, 5)))
    run = replace(SCENES["pass"], client=replace(SCENES["pass"].client, endpoints=(near,)))
    for width in (420, 1120):
        words = [one for one in ElementTree.fromstring(charts.latencies(run, width=width)) if one.tag.endswith("text")]
        legends = [one.attrib["y"] for one in words if one.attrib["class"] == "legend"]
        assert len(set(legends)) == len(legends) == 3
        ticks = [float(one.attrib["x"]) for one in words if one.attrib["text-anchor"] == "middle"]
        assert all(after - before >= 46 for before, after in pairwise(ticks))


def test_dots_of_a_comparison_are_told_in_the_unit_of_their_number() -> None:
    told = {one.metric.name: one for one in compare.judge("v0.2.0", "v0.3.0", _series(1.0)).metrics}
    assert "cores" in charts.runs(told["processor time"], "v0.2.0", "v0.3.0")
    assert " ms<" in charts.runs(told["p50"], "v0.2.0", "v0.3.0")
    assert "0 %<" in charts.runs(told["failed requests"], "v0.2.0", "v0.3.0")
