"""Load tests in full: what is good passes every time, what differs is found, and a change costs no customer anything."""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from slipway.load import compare, written
from slipway.load.answers import Comparison
from slipway.load.model import FAIL, INVALID, PASS, Run
from slipway.load.statistics import BETTER, SAME, UNKNOWN, WORSE
from tests.e2e import delivering, developing, loading, train
from tests.e2e.conftest import Instance, fetch
from tests.long.lent import own_or_lent

NAME = "long-load"

# Times that what is good has to pass.
REPEATS = 10

# Rolls until one of them loses a request, when draining is off.
CONTROLS = 4

# Of a comparison: runs of each side, and seconds of each; and of one by the command, seconds until it is over: eighteen runs with
# a promotion or two before each, some of them made again.
RUNS, SECONDS = 6, 15
COMPARED_TIMEOUT = 5400.0

# Milliseconds that every answer of the slower release's catalog takes longer: several times as much as without.
SLOWER = 30

UNDRAINED = {"drain": {"seconds": 0, "timeout": 1}}

ROLL = ("--during", "rollout", "--env", "dev", "--rate", "3", "--duration", "90")


@pytest.fixture(scope="module")
def instance(request: pytest.FixtureRequest) -> Generator[Instance]:
    """An instance of these tests, or the one that they are lent; it ends as it began."""
    with own_or_lent(request, NAME) as made:
        yield made


@pytest.mark.parametrize("time", range(1, REPEATS + 1))
def test_what_is_good_passes_every_time(instance: Instance, time: int) -> None:
    made = loading.trusted(lambda: loading.load(instance))
    assert (made.verdict.outcome, made.code) == (PASS, 0), f"time {time}: {made.why}"


@pytest.mark.parametrize("most", [1, 2], ids=["one-of-two", "both"])
def test_a_test_whose_workers_are_killed_is_invalid(instance: Instance, most: int) -> None:
    words = ("--env", "dev", "--profile", "stress", "--rate", "4")
    made = loading.meanwhile(instance, *words, do=lambda run: loading.kill_workers(instance, run, most=most))
    assert (made.verdict.outcome, made.code) == (INVALID, 2), made.why
    assert "workers-lost" in made.rules
    assert made.run.client.expected_workers == 2
    assert made.run.client.ended < made.run.client.began + made.run.plan.seconds - 60


def test_a_release_against_itself_is_neither_better_nor_worse(instance: Instance) -> None:
    told = _compare(instance, {})
    assert told.answer in (SAME, UNKNOWN), told.why


def test_a_fifth_more_time_for_every_answer_is_found(instance: Instance) -> None:
    # A fifth of what they take, or the least that can be asked for: one of four or five, two of ten (milliseconds).
    told = _compare(instance, {"catalog": 1, "cart": 1, "orders": 1, "storefront": 2})
    assert told.answer == WORSE, told.why
    assert BETTER not in {one.answer for one in told.metrics}


def test_a_roll_out_without_draining_fails_the_test_that_a_draining_one_passes(instance: Instance) -> None:
    made = loading.trusted(lambda: loading.load(instance, *ROLL))
    assert made.verdict.outcome == PASS, made.why
    before, _ = delivering.read(instance, "gitops-nonprod")
    had = delivering.entry(instance, "dev", "catalog").values["config"]
    values = {**UNDRAINED, "config": {**had, "drain_seconds": 0, "finish_seconds": 1}}
    try:
        commit = delivering.change(instance, "dev", "catalog", values)
        delivering.wait_delivered(instance, "dev", ["catalog"], commit)
        outcomes: list[str] = []
        while FAIL not in outcomes and len(outcomes) < CONTROLS:
            made = loading.trusted(lambda: loading.load(instance, *ROLL))
            outcomes.append(made.verdict.outcome)
        assert outcomes[-1] == FAIL, outcomes
        assert sum(stream.failures for stream in made.run.client.streams) > 0
    finally:
        delivering.restore(instance, "dev", before)


def test_customers_notice_nothing_of_a_rollback_and_of_a_promotion(instance: Instance) -> None:
    version = developing.next_release(instance)
    instance.invoke("release.cut", version, timeout=developing.RUN_TIMEOUT)
    for kind, release in (("rollback", ""), ("promotion", f"v{version}")):
        asked = ("--release", release) if release else ()
        made = loading.load(instance, "--during", kind, "--env", "stage", "--rate", "3", *asked)
        assert (made.verdict.outcome, made.code) == (PASS, 0), f"{kind}: {made.why}"
        assert made.run.change
        assert made.run.change.kind == kind
        assert sum(stream.failures for stream in made.run.client.streams) == 0
        assert made.run.books.order_rows is not None
        assert made.run.books.order_rows >= made.run.client.orders_accepted > 0


def test_the_command_tells_a_slower_release_from_the_one_before_it(instance: Instance, tmp_path: Path) -> None:
    good = _cut(instance, tmp_path / "good", 0)
    try:
        slower = _cut(instance, tmp_path / "slower", SLOWER)
        before = delivering.entry(instance, "stage", "catalog").record
        words = ("--rate", str(loading.RATE), "--duration", str(SECONDS), "--json")
        result = instance.invoke("load.compare", good, slower, *words, check=False, timeout=COMPARED_TIMEOUT)
        assert result.code in (1, 2), result.stderr
        told = json.loads(result.stdout)
        said = written.read(Comparison, told["comparison"])
        assert (said.answer, result.code) == (WORSE, 1), said.why
        assert {ran.release for ran in said.runs} == {good, slower}
        answers = {one.metric.name: one.answer for one in said.metrics}
        assert answers["p50 of catalog"] == WORSE
        assert BETTER not in answers.values()
        # What ran before runs again, and the page is where it says, with every run's own page beside it.
        assert delivering.entry(instance, "stage", "catalog").record == before
        page = Path(told["report"])
        assert all((page.parent.parent / ran.id / "report.html").is_file() for ran in said.runs)
        # The runs that were kept say the same by themselves, but for the calibration.
        sides = [
            ",".join(ran.id for ran in said.runs if (ran.release, ran.part) == (name, "comparison")) for name in (good, slower)
        ]
        again = instance.invoke("load.compare", *sides, "--json", check=False)
        assert again.code == 1, again.stdout + again.stderr
    finally:
        _change(instance, tmp_path / "back", 0)


def _change(instance: Instance, folder: Path, milliseconds: int) -> None:
    """Merge a change to develop by which stage's catalog answers so much later."""
    branch = f"feature/slower-{milliseconds}-{secrets.token_hex(3)}"
    work = developing.Workspace.clone(instance, folder)
    work.configure("catalog", "stage", {"faults": [{"latency_ms": milliseconds}] if milliseconds else []})
    work.commit(f"Answer {milliseconds} ms later")
    train.passed(instance, work.push(branch), branch)
    instance.invoke("merge", branch, timeout=train.FOLLOWED)
    train.passed(instance, developing.Workspace.clone(instance, folder.with_name(f"{folder.name}-merged")).head, "develop")


def _cut(instance: Instance, folder: Path, milliseconds: int) -> str:
    """A release, cut and in stage, whose catalog answers so much later there."""
    _change(instance, folder, milliseconds)
    version = developing.next_release(instance)
    instance.invoke("release.cut", version, timeout=developing.RUN_TIMEOUT)
    return f"v{version}"


def _compare(instance: Instance, slower: dict[str, int]) -> Comparison:
    """What is said of dev as it is beside dev whose services take some milliseconds longer, in turns."""
    words = ("--env", "dev", "--rate", str(loading.RATE), "--duration", str(SECONDS))

    def place(name: str) -> None:
        for service in instance.settings.services:
            latency = slower.get(service, 0) if name == "slower" else 0
            faults: list[dict[str, Any]] = [{"latency_ms": latency}] if latency else []
            url = f"{instance.url(service, 'dev')}/admin/faults"
            assert fetch(url, method="PUT", body={"faults": faults}).status == 200

    def drive(_: str) -> Run:
        return loading.trusted(lambda: loading.load(instance, *words)).run

    with ExitStack() as last:
        last.callback(place, "as it is")
        return compare.judge("as it is", "slower", compare.series("as it is", "slower", RUNS, place, drive))
