"""Load tests in full: what is good passes every time, what differs is found, and a change costs no customer anything."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import pytest

from slipway.load import compare
from slipway.load.model import FAIL, INVALID, PASS, Run
from slipway.load.statistics import BETTER, UNKNOWN, WORSE, Comparison
from tests.e2e import delivering, developing, loading
from tests.e2e.conftest import Instance, fetch
from tests.long.lent import own_or_lent

NAME = "long-load"

# Times that what is good has to pass.
REPEATS = 10

# Rolls until one of them loses a request, when draining is off.
CONTROLS = 4

# Of a comparison: runs of each side, and seconds of each.
RUNS, SECONDS = 5, 15

UNDRAINED = {"drain": {"seconds": 0, "timeout": 2}}

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
    assert told.answer == UNKNOWN, told.why


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
