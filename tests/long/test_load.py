"""Load tests in full: what is good passes every time, what differs is found, and a change costs no customer anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any

import pytest

from slipway.load import compare
from slipway.load.model import FAIL, INVALID, PASS, Run
from slipway.load.statistics import BETTER, UNKNOWN, WORSE, Comparison
from tests.e2e import developing, ledger, loading
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

# Of a comparison: runs of each side, and seconds of each.
RUNS, SECONDS = 5, 15

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
    assert told.answer == UNKNOWN, told.why


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
        made = loading.trusted(lambda: loading.load(instance, *ROLL))
        assert (made.verdict.outcome, made.code) == (PASS, 0), f"test {number}, after {sent.total()} requests: {made.why}"
        for stream in made.run.client.streams:
            assert stream.failures == 0, f"{stream.name}: {stream.errors}"
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
