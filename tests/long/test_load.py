"""Load tests in full: what is good passes every time, what differs is found, and a change costs no customer anything."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from slipway.load import compare, written
from slipway.load.answers import Comparison
from slipway.load.model import FAIL, INVALID, PASS, Run
from slipway.load.statistics import BETTER, SAME, UNKNOWN, WORSE
from tests.e2e import delivering, developing, ledger, loading, train
from tests.e2e.conftest import Instance, fetch
from tests.long.lent import own_or_lent

NAME = "long-load"

# Times that what is good has to pass.
REPEATS = 10

# What roll-outs have to cost no customer: requests that none of them may fail (by the rule of three that is less than one in ten
# thousand, 19 times of 20), and roll-outs of each service meanwhile. Tests until there are so many: each sends about 2500.
REQUESTS, ROLLS, MOST_TESTS = 30_000, 3, 30

# Roll-outs without draining, and how many of them a test has to notice.
CONTROLS, NOTICED = 10, 9

# Of a comparison: runs of each side, and seconds of each; and of one by the command, seconds until it is over: eighteen runs with
# a promotion or two before each, some of them made again.
RUNS, SECONDS = 6, 15
COMPARED_TIMEOUT = 5400.0

# Milliseconds that every answer of the slower release's catalog takes longer: several times as much as without.
SLOWER = 30

ROLL = ("--during", "rollout", "--env", "dev", "--rate", "8", "--duration", "120")


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


def test_a_service_that_is_killed_fails_by_its_restart_and_not_by_the_books(instance: Instance) -> None:
    def kill(_: str) -> None:
        [pod] = ledger.pods_of(instance, "dev", "cart")
        loading.kill(instance, "dev", str(pod["metadata"]["name"]), "KILL")

    words = ("--env", "dev", "--rate", str(loading.RATE), "--duration", "30")
    made = loading.trusted(lambda: loading.meanwhile(instance, *words, do=kill))
    assert (made.verdict.outcome, made.code) == (FAIL, 1), made.why
    assert "cart restarts is 1" in made.why


def test_roll_outs_of_every_service_lose_not_one_of_thirty_thousand_requests(
    instance: Instance, record_property: Callable[[str, object], None]
) -> None:
    sent, rolls = Counter[str](), Counter[str]()
    for number in range(1, MOST_TESTS + 1):
        made = loading.trusted(lambda: loading.load(instance, *ROLL), each=loading.lossless)
        assert (made.verdict.outcome, made.code) == (PASS, 0), f"test {number}, after {sent.total()} requests: {made.why}"
        for stream in made.run.client.streams:
            sent[stream.name] += stream.requests
        rolls.update({rolled.service for rolled in made.run.pods.rollouts})
        if sent.total() >= REQUESTS and min(rolls[service] for service in instance.settings.services) >= ROLLS:
            break
    record_property("requests", dict(sent))
    record_property("roll-outs", dict(rolls))
    assert sent.total() >= REQUESTS, sent
    assert all(rolls[service] >= ROLLS for service in instance.settings.services), rolls
    assert min(sent.values()) > REQUESTS / 20, f"every kind of connection has to have its share: {sent}"


def test_roll_outs_without_draining_are_noticed(instance: Instance, record_property: Callable[[str, object], None]) -> None:
    outcomes: list[str] = []
    with loading.undrained(instance, "dev", "storefront"):
        for _ in range(CONTROLS):
            made = loading.trusted(lambda: loading.load(instance, *ROLL))
            failed = sum(stream.failures for stream in made.run.client.streams)
            outcomes.append(made.verdict.outcome if failed else f"{made.verdict.outcome}, and nobody's request failed")
    record_property("outcomes", outcomes)
    assert outcomes.count(FAIL) >= NOTICED, outcomes


def test_customers_notice_nothing_of_a_rollback_and_of_a_promotion(instance: Instance, tmp_path: Path) -> None:
    # It has to differ from the one before, or no pod would be replaced.
    new = _cut(instance, tmp_path / "new", 1)
    for kind, release in (("rollback", ""), ("promotion", new)):
        asked = ("--release", release) if release else ()
        made = loading.load(instance, "--during", kind, "--env", "stage", "--rate", "3", *asked)
        loading.lossless(made)
        assert (made.verdict.outcome, made.code) == (PASS, 0), f"{kind}: {made.why}"
        assert made.run.change
        assert made.run.change.kind == kind
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
