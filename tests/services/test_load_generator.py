"""The load generator itself, in its own environment, against a small shop on the loopback interface."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import textwrap
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from slipway import settings, shell
from slipway.bench_load import ceiling
from slipway.load import generator, plan, profiles
from slipway.load.evidence import merged
from slipway.load.model import KEEP_ALIVE, NEW_CONNECTION, SLOW, Asked, Client, Plan, Second
from slipway.load.model import Phase as PlanPhase
from slipway.progress import Phase
from slipway.settings import ROOT
from tests.services.shopping import Shop, shop

SERVICES = ("cart", "catalog", "orders", "storefront")
STANDARD = profiles.find(ROOT / profiles.FILE, "smoke")

# Journeys per second; seconds that count.
RATE, SECONDS = 12.0, 4.0


@pytest.fixture
def small() -> Generator[Shop]:
    with shop() as opened:
        yield opened


def planned(*more: PlanPhase, **changes: Any) -> Plan:
    """A short plan."""
    phases = (PlanPhase("warm-up", 1.0, RATE, RATE, counted=False), PlanPhase("plateau", SECONDS, RATE, RATE, counted=True))
    made = plan.make(STANDARD, Asked(streams={KEEP_ALIVE: 1.0}))
    return replace(made, **{"phases": (*phases, *more), "think": 0.1, **changes})


@dataclass
class Sent:
    """What a test sent, and what was told of it meanwhile."""

    client: Client
    seconds: list[Second]


def send(url: str, folder: Path, made: Plan, *, on_second: object = None) -> Sent:
    told: list[Second] = []

    def hear(second: Second) -> None:
        told.append(second)
        if callable(on_second):
            on_second(second)

    order = plan.order(made, "20260101-000000-test", dict.fromkeys(SERVICES, url), hosts={})
    client = generator.on_host(
        settings.load(), run="r1", order=order, plan=made, folder=folder, on_second=hear, phase=Phase("load")
    )
    return Sent(client, told)


def test_every_customer_comes_is_served_and_leaves_nothing(small: Shop, tmp_path: Path) -> None:
    client = send(small.url, tmp_path, planned(streams={KEEP_ALIVE: 0.6, NEW_CONNECTION: 0.3, SLOW: 0.1}, drain=40.0)).client
    journeys = client.journeys
    assert sum(one.planned for one in journeys) == sum(one.started for one in journeys) == sum(one.ok for one in journeys) > 30
    assert [worker.lost for worker in client.workers] == [False]
    assert set(client.exit_codes.values()) == {0}
    # Each request went out once, with an id of its own; and Locust counted as many.
    assert len(small.ids) == len(set(small.ids)) == sum(client.sent.values()) == sum(client.answered.values())
    assert all(re.fullmatch(r"load-20260101-000000-test-[\w-]+", one) for one in small.ids)
    assert client.locust.requests == len(small.ids)
    assert set(client.sampled) <= set(small.ids)
    assert client.sampled
    assert client.orders_accepted == len(small.orders)
    assert len(small.emptied) == client.carts == client.removed["carts"]
    streams = {stream.name: stream for stream in client.streams}
    assert sum(second.requests for second in client.seconds) == sum(stream.requests for stream in client.streams)
    assert set(streams) == {KEEP_ALIVE, NEW_CONNECTION, SLOW}
    assert client.stale == 0
    assert not any(stream.failures for stream in client.streams)
    assert sum(one.ok for one in client.seconds) == sum(one.ok for one in journeys)
    # New connections are new each time, and kept ones are kept.
    fresh = streams[NEW_CONNECTION].requests + streams[SLOW].requests
    assert fresh < small.connections < fresh + (len(small.ids) - fresh) / 2


def test_what_a_slow_sender_takes_for_itself_is_nobody_s_latency(small: Shop, tmp_path: Path) -> None:
    client = send(small.url, tmp_path, planned(streams={SLOW: 1.0}, weights={"search": 1.0}, drain=120.0)).client
    assert [worker.lost for worker in client.workers] == [False], client.said
    assert sum(one.ok for one in client.journeys) == sum(one.planned for one in client.journeys) > 30
    # Three seconds for each of the two requests of a journey: the customer's own time. If they were in a request's latency, none
    # could have less; a machine that is busy may add to many of them, and not to all.
    assert min(one.p50 or 0 for one in client.journeys if one.ok) > 6
    assert min(merged(client.endpoints)) < 2.9


def test_a_stall_is_charged_for_everybody_who_came_meanwhile(small: Shop, tmp_path: Path) -> None:
    frozen: list[float] = []

    def freeze(second: Second) -> None:
        if second.phase == "plateau" and not frozen:
            frozen.append(second.at)
            small.freeze(3.0)

    made = planned(PlanPhase("more", 5.0, RATE, RATE, counted=True))
    client = send(small.url, tmp_path, made, on_second=freeze).client
    assert sum(one.started for one in client.journeys) == sum(one.planned for one in client.journeys)
    slow = sum(count for one in client.endpoints for bound, count in one.histogram if bound > 0.5)
    # About thirty came in two and a half seconds of it; a closed load would have had one slow answer for each of its users.
    assert slow > RATE
    assert max(one.maximum or 0 for one in client.endpoints) > 2


def test_a_closed_client_would_hide_the_stall_that_ours_shows(small: Shop, tmp_path: Path) -> None:
    frozen: list[float] = []

    def freeze(second: Second) -> None:
        if second.phase == "plateau" and not frozen:
            frozen.append(second.at)
            small.freeze(3.0)

    # So long that the few users of a closed client are less than one of a hundred of its requests.
    client = send(small.url, tmp_path, planned(PlanPhase("more", 20.0, RATE, RATE, counted=True)), on_second=freeze).client
    closed = client.closed
    assert frozen
    assert closed
    assert max(one.p99 or 0 for one in client.endpoints) > 2
    assert closed.p99 is not None
    assert closed.p99 < 0.5
    # It saw the stall, but hardly ever: each of its users had one slow answer, and left the rest out.
    assert closed.maximum is not None
    assert closed.maximum > 2
    assert closed.users == 4
    assert closed.left_out > RATE
    assert closed.requests + closed.left_out == sum(one.requests for one in client.endpoints)
    # Locust's own users would be closed as well; what it counted here is what was really sent, so the stall is in it.
    assert client.locust.p99 is not None
    assert client.locust.p99 > 1
    stages = {one.name: one for one in client.phases}
    assert set(stages) == {"warm-up", "plateau", "more"}
    assert (stages["plateau"].p99 or 0) > 2 > (stages["more"].p95 or 9)
    assert sum(one.requests for one in client.phases if one.name != "warm-up") == sum(one.requests for one in client.endpoints)


def test_kept_connections_that_the_server_closed_while_they_were_idle_are_counted(small: Shop, tmp_path: Path) -> None:
    small.forgetful = True
    client = send(small.url, tmp_path, planned()).client
    assert client.stale > 5
    assert not any(stream.failures for stream in client.streams)


def test_a_failing_shop_fails_its_customers_and_nothing_is_asked_again(small: Shop, tmp_path: Path) -> None:
    small.broken, small.dropped = 5, 7
    client = send(small.url, tmp_path, planned()).client
    assert [worker.lost for worker in client.workers] == [False], client.said
    errors = {error for one in client.endpoints for error in one.errors}
    assert "status 500" in errors
    assert len(errors) in (2, 3)
    journeys = client.journeys
    assert sum(one.failed for one in journeys) > 0
    assert sum(one.planned for one in journeys) == sum(one.ok + one.failed for one in journeys)
    assert len(small.ids) == len(set(small.ids)) == sum(client.sent.values()) > sum(client.answered.values())


def test_what_the_gateway_answers_for_a_service_is_no_service_s_answer(small: Shop, tmp_path: Path) -> None:
    small.unreached = 5
    client = send(small.url, tmp_path, planned(streams={KEEP_ALIVE: 0.8, SLOW: 0.2}, drain=40.0)).client
    assert len(small.unserved) > 5
    assert sum(client.sent.values()) - sum(client.answered.values()) == len(small.unserved)
    assert client.sampled
    assert not small.unserved & set(client.sampled)
    assert {error for one in client.endpoints for error in one.errors} == {"the gateway: no answer"}
    assert all(stream.failures for stream in client.streams)


@pytest.mark.parametrize(
    ("careless", "journey", "said"),
    [("lines", "cart", "the cart does not hold what was put into it"), ("quantities", "checkout", "the order is not for what")],
)
def test_a_shop_that_loses_something_on_the_way_is_noticed(
    small: Shop, tmp_path: Path, careless: str, journey: str, said: str
) -> None:
    small.careless = careless
    client = send(small.url, tmp_path, planned(weights={journey: 1.0}, drain=40.0)).client
    [made] = client.journeys
    assert made.failed > made.started / 3  # a customer who wants one of each gets it
    assert all(error.startswith(said) for one in client.endpoints for error in one.errors)
    with shop() as good:
        fine = send(good.url, tmp_path, planned(weights={journey: 1.0}, drain=40.0)).client
    assert not any(one.failed for one in fine.journeys)


def test_a_shop_that_is_not_there_is_told_by_every_customer(tmp_path: Path) -> None:
    with shop() as closed:
        url = closed.url
    client = send(url, tmp_path, planned()).client
    assert sum(one.failed for one in client.journeys) == sum(one.planned for one in client.journeys) > 0
    assert sum(client.answered.values()) == 0
    assert client.sampled == ()


def test_an_answer_that_lacks_what_has_to_be_there_ends_its_journey_and_nothing_else(small: Shop, tmp_path: Path) -> None:
    small.nameless = True
    client = send(small.url, tmp_path, planned()).client
    by_name = {one.name: one for one in client.journeys}
    assert by_name["browse"].failed == by_name["browse"].planned > 0
    assert by_name["checkout"].ok == by_name["checkout"].planned
    assert [one for one in client.said if re.fullmatch(r"[0-9]+ journeys \(browse\) broke on an answer: KeyError: 'id'", one)]
    assert [(worker.lost, worker.unfinished) for worker in client.workers] == [(False, 0)]
    assert sum(one.unfinished for one in client.journeys) == 0


def test_a_shop_that_hangs_from_the_begin_holds_nobody_up_and_loses_no_worker(small: Shop, tmp_path: Path) -> None:
    small.hung = {"GET", "PUT", "POST", "DELETE"}
    client = send(small.url, tmp_path, planned(patience=1.0)).client
    assert [worker.lost for worker in client.workers] == [False]
    assert set(client.exit_codes.values()) == {0}
    assert sum(one.failed for one in client.journeys) == sum(one.planned for one in client.journeys) > 30
    # Orders that were asked for when the test was prepared may be there as well.
    assert client.orders_unsure > 0


def test_carts_that_cannot_be_removed_hold_nobody_up_and_lose_no_worker(small: Shop, tmp_path: Path) -> None:
    small.hung = {"DELETE"}
    client = send(small.url, tmp_path, planned(weights={"cart": 1.0}, drain=40.0)).client
    assert [worker.lost for worker in client.workers] == [False]
    assert sum(one.ok for one in client.journeys) == sum(one.planned for one in client.journeys) > 30
    assert (client.carts > 30, client.removed["carts"]) == (True, 0)
    # Eight are asked at a time, until three have not answered: one that hangs is not waited for by every cart.
    assert client.sent["cart"] < 12


def test_an_order_whose_customer_was_ended_may_be_there(small: Shop, tmp_path: Path) -> None:
    small.hung = {"POST"}
    made = planned(weights={"checkout": 1.0}, patience=60.0, drain=4.0)
    client = send(small.url, tmp_path, made).client
    left = sum(one.unfinished for one in client.journeys)
    assert left > 30
    assert [worker.unfinished for worker in client.workers] == [left]
    assert client.orders_accepted == 0
    # Each of them asked for one, but for those that had not come so far; and those that prepared the test did besides.
    assert client.orders_unsure > left / 2


def test_connections_are_watched_when_a_process_has_very_many(small: Shop) -> None:
    """`select` refuses descriptors above 1023; a generator of thousands of customers has them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 1200:
        pytest.skip(f"this process may have {most} descriptors, and not more than 1023 at a time")
    code = """
        import gevent.monkey; gevent.monkey.patch_all()
        import os, resource, sys
        resource.setrlimit(resource.RLIMIT_NOFILE, (1200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
        from generator.connections import Pool
        client = Pool(concurrency=10, connection_timeout=5, network_timeout=5).get_client(sys.argv[1])
        for number in range(3):
            answer = client.get("/products", headers={"X-Request-ID": str(number)})
            answer.read()
            print(answer.status_code)
            answer.release()
    """
    program = generator.python(settings.load(), Phase("environment"))
    words = [program, "-c", textwrap.dedent(code), small.url]
    result = shell.run(words, cwd=ROOT / "loadtests", check=False, timeout=60)
    assert (result.code, result.stdout.split()) == (0, ["200"] * 3), result.stderr
    assert small.connections == 1


def test_a_request_is_given_up_when_the_customer_s_patience_is(small: Shop, tmp_path: Path) -> None:
    small.freeze(60)
    client = send(small.url, tmp_path, planned(patience=1.0)).client
    assert {error for one in client.endpoints for error in one.errors} == {"no answer within 1 s"}
    assert sum(one.unfinished for one in client.journeys) == 0


@pytest.mark.parametrize(
    ("workers", "number", "said"), [(2, signal.SIGKILL, "has said nothing for 6 s"), (1, signal.SIGTERM, "went before its end")]
)
def test_a_worker_that_is_ended_is_lost_and_the_test_with_it(
    small: Shop, tmp_path: Path, workers: int, number: int, said: str
) -> None:
    killed: list[int] = []

    def kill(second: Second) -> None:
        if second.phase == "plateau" and not killed:
            killed.append(_worker(tmp_path))
            os.kill(killed[0], number)

    made = planned(PlanPhase("more", 60, 1, 1, counted=True), workers=workers)
    sent = send(small.url, tmp_path, made, on_second=kill)
    assert killed
    assert sorted(worker.lost for worker in sent.client.workers) == [*[False] * (workers - 1), True]
    # What it had told before is in the books.
    assert sum(one.started for one in sent.client.journeys) > 0
    assert any(sent.client.exit_codes.values())
    assert any(said in one for one in sent.client.said)
    # It ended then, and not with its plan.
    assert sent.client.ended - sent.client.began < 40


def _worker(folder: Path) -> int:
    """The process id of one of the generator's workers: a child of the one that was started in a folder."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"locust" in words and (place / "cwd").readlink() == folder:
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                if b"locust" in (Path("/proc") / str(parent) / "cmdline").read_bytes().split(b"\0"):
                    return int(place.name)
        except OSError:  # it ended meanwhile
            continue
    raise AssertionError("no worker runs")


def test_the_benchmark_drives_it_to_a_server_that_does_nothing_and_every_customer_is_served() -> None:
    with ceiling.server() as port:
        made = ceiling.step(settings.load(), f"http://127.0.0.1:{port}", 10.0, Phase("step"))
    assert made.requests > 10
    assert 0 < made.cpu < 1.2


def test_the_generator_s_code_is_typed() -> None:
    program = generator.python(settings.load(), Phase("environment"))
    words = [sys.executable, "-m", "pyright", "-p", ROOT / "loadtests" / "pyrightconfig.json", "--pythonpath", program]
    result = shell.run(words, cwd=ROOT, check=False, timeout=300)
    assert result.code == 0, result.stdout
