"""The page, the picture, the JUnit file and the terminal's table of a load test."""

from __future__ import annotations

import html
import io
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from slipway.load import books, charts, courses, figures, junit, measuring, picture, report, show
from slipway.load.model import Check, Closed, Phase, Rollout, Run, Series, Stage, Verdict
from slipway.settings import load
from tests.unit import loadruns, loads, scraped

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


def test_a_long_test_that_fails_all_the_time_does_not_fail_more_often_a_second_than_it_did() -> None:
    seconds = [replace(one, failures=1, failed=2) for one in loadruns.run(seconds=3600).client.seconds]
    assert {(one.failures, one.failed) for one in courses.thinned(seconds)} == {(1, 2)}


def test_nothing_measured_is_told_and_never_drawn_as_zero() -> None:
    run = SCENES["pass"]
    silent = tuple(replace(one, p50=None, p95=None, p99=None) for one in run.client.seconds)
    empty = replace(run, client=replace(run.client, seconds=silent, endpoints=()), books=replace(run.books, order_rows=None))
    page = report.page(SETTINGS, empty)
    assert "No request was sent in a phase that counts." in page
    assert "nobody knows" in page
    assert 'class="line p99" d=' not in page


def test_every_question_that_is_asked_about_a_run_stands_on_its_page() -> None:
    with scraped.scraped() as (server, prometheus):
        services = loads.SERVICES
        asked = measuring.Asked("stage", services, frozenset(services), scraped.BEGAN, scraped.ENDED, scraped.ENDED + 7)
        seen = measuring.measure(prometheus, replace(asked, limits=dict.fromkeys(services, 0.5)))
        books.served(prometheus, "stage", scraped.BEGAN, scraped.ENDED)
        questions = {re.sub(r"\[[0-9]+ms\]$", "", query) for query in server.asked}
    page = html.unescape(report.page(SETTINGS, replace(SCENES["pass"], server=seen)))
    assert len(questions) > 15
    assert [question for question in questions if question not in page] == []
    assert books.question(SCENES["pass"].id) in page


def test_every_great_number_names_what_it_is_from() -> None:
    page = report.page(SETTINGS, SCENES["pass"])
    shown = re.findall(r"<dd class=\"\w*\"([^>]*)>", page.partition('<dl class="figures">')[2].partition("</dl>")[0])
    assert len(shown) == 8
    assert all(re.fullmatch(r' title="from [^"]{10,}"', one) for one in shown), shown


def test_what_was_driven_through_the_environment_is_on_the_page_the_picture_and_the_terminal() -> None:
    run = replace(
        SCENES["pass"], pods=replace(SCENES["pass"].pods, rollouts=(Rollout(loads.BEGAN + 27, "cart", "cart-2 started"),))
    )
    said = "promotion from 25 s to 35 s after the begin; 1 pod started"
    assert report.page(SETTINGS, run).count(said) >= 3
    assert 'class="change"' in picture.timeline(run)
    assert f"Meanwhile  {said}" in _printed(run)
    calm = replace(run, change=None)
    assert 'class="change"' not in picture.timeline(calm)
    assert "Meanwhile" not in _printed(calm)


def test_what_a_closed_client_would_have_told_stands_beside_and_is_called_that() -> None:
    run = SCENES["pass"]
    closed = Closed(2, 700, 31, 0, 0.009, 0.018, 0.0412, 2.9)
    page = report.page(SETTINGS, replace(run, client=replace(run.client, closed=closed, stale=17)))
    assert "What a closed client would have told" in page
    assert "2 such users, one for every ten requests a second, would have left 31 of these requests out" in page
    assert "41.2 ms" in page
    assert "17 kept connections were found closed" in page
    assert "a closed client, from when sent" not in report.page(SETTINGS, run)


def test_phases_are_told_one_by_one() -> None:
    run = replace(
        SCENES["pass"],
        plan=replace(loads.PLAN, phases=(*loads.PLAN.phases, Phase("step 2", 10, 12, 12, counted=True))),
        client=replace(
            SCENES["pass"].client,
            phases=(Stage("plateau", 800, 0, 0.011, 0.055, 0.099), Stage("step 2", 300, 7, 0.0123, 0.0567, 0.0987)),
        ),
    )
    said = _printed(run)
    assert re.search(r"step 2 +12 +300 +7 +12.3 ms +56.7 ms +98.7 ms", said)
    assert "warm-up" not in said
    page = report.page(SETTINGS, run)
    assert "56.7 ms" in page
    assert "(does not count)" in page
    assert "PHASE" not in _printed(SCENES["pass"])


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
