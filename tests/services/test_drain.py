"""Going away without losing a request, and costing nothing while nothing happens."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path

from slipway import ports, waiting
from slipway.waiting import Pending, Ready
from tests.services.routes import a_route
from tests.services.running import Answer, Running, Surroundings, exchange, running
from tests.services.surroundings import memory_requested


def draining(process: Running) -> None:
    def probe() -> Ready[None] | Pending:
        return Ready(None) if any(line["message"] == "draining" for line in process.log()) else Pending("it does not drain yet")

    waiting.wait_for("the service to drain", probe, timeout=10, tolerate=(ValueError,))


def test_readiness_turns_false_at_once_and_open_connections_are_served_to_the_last(
    service: str, surroundings: Surroundings, folder: Path
) -> None:
    with running(service, folder, surroundings, config={"drain_seconds": 20}) as process:
        route = a_route(process)
        with contextlib.closing(process.connect()) as first, contextlib.closing(process.connect()) as second:
            assert [exchange(connection, "/healthz").status for connection in (first, second)] == [200, 200]
            process.signal()
            draining(process)
            unready, late = exchange(first, "/readyz"), exchange(second, route.path)
        assert (unready.status, "going away" in unready.json["detail"]) == (503, True)
        assert (late.status, late.headers["connection"]) == (route.status, "close")
        assert process.ended() == 0


def test_a_request_under_way_is_answered(service: str, surroundings: Surroundings, folder: Path) -> None:
    with running(service, folder, surroundings, config={"drain_seconds": 0}) as process:
        route = a_route(process)
        process.arm({"route": route.pattern, "latency_ms": 1500})
        answers: list[Answer] = []
        caller = threading.Thread(target=lambda: answers.append(process.ask(route.path)))
        caller.start()

        def under_way() -> Ready[None] | Pending:
            text = process.ask("/metrics").body.decode()
            return Ready(None) if "\nhttp_requests_in_flight 2.0\n" in text else Pending("it is not under way")

        waiting.wait_for("the slow request to be under way", under_way, timeout=5)
        process.signal()
        caller.join(timeout=30)
        assert [answer.status for answer in answers] == [route.status]
        assert process.ended() == 0


def test_callers_that_keep_their_connections_lose_nothing(service: str, surroundings: Surroundings, folder: Path) -> None:
    """As behind a proxy: each caller goes elsewhere once it is told `Connection: close`, and until then comes back."""
    with running(service, folder, surroundings, config={"drain_seconds": 20}) as process:
        route = a_route(process)
        warm, answered, lost = threading.Barrier(9), [0] * 8, list[str]()

        def call(number: int) -> None:
            with contextlib.closing(process.connect()) as connection:
                try:
                    for turn in range(5000):
                        answer = exchange(connection, route.path)
                        if answer.status != route.status:
                            lost.append(f"status {answer.status}")
                        answered[number] += 1
                        if turn == 20:
                            warm.wait(timeout=30)
                        if answer.headers.get("connection") == "close":
                            return
                    lost.append("it was never told to go elsewhere")
                except (OSError, threading.BrokenBarrierError) as error:
                    lost.append(repr(error))

        callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for caller in callers:
            caller.start()
        warm.wait(timeout=30)
        process.signal()
        for caller in callers:
            caller.join(timeout=60)
        assert lost == []
        assert min(answered) > 20
        assert process.ended() == 0


def test_idle_connections_do_not_hold_it_for_longer_than_it_was_told(
    service: str, surroundings: Surroundings, folder: Path
) -> None:
    with running(service, folder, surroundings, config={"drain_seconds": 0.5}) as process:
        with contextlib.closing(process.connect()) as idle:
            assert exchange(idle, "/healthz").status == 200
            process.signal()
            assert process.ended() == 0
        assert process.log()[-1]["connections_closed"] == 1


def test_a_second_signal_ends_the_waiting(service: str, surroundings: Surroundings, folder: Path) -> None:
    patient = running(service, folder, surroundings, config={"drain_seconds": 300})
    with patient as process, contextlib.closing(process.connect()) as idle:
        assert exchange(idle, "/healthz").status == 200
        process.signal()
        draining(process)
        process.signal()
        assert process.ended() == 0


def test_ctrl_c_ends_it_without_waiting(service: str, surroundings: Surroundings, folder: Path) -> None:
    patient = running(service, folder, surroundings, config={"drain_seconds": 300})
    with patient as process, contextlib.closing(process.connect()) as idle:
        assert exchange(idle, "/healthz").status == 200
        process.signal(signal.SIGINT)
        assert process.ended() == 0


def test_who_came_just_before_ctrl_c_is_still_heard(service: str, surroundings: Surroundings, folder: Path) -> None:
    with running(service, folder, surroundings) as process, contextlib.closing(process.connect()) as silent:
        silent.connect()
        assert process.ask("/healthz").status == 200  # came later, so the first one was let in
        process.signal(signal.SIGINT)

        def closed() -> Ready[None] | Pending:
            try:
                with contextlib.closing(process.connect()) as late:
                    late.connect()
            except OSError:
                return Ready(None)
            return Pending("it still lets callers in")

        waiting.wait_for("the port to be closed", closed, timeout=10)
        assert exchange(silent, "/healthz").status == 200
        assert process.ended() == 0


def test_it_sleeps_while_nothing_happens(service: str, surroundings: Surroundings, folder: Path) -> None:
    with running(service, folder, surroundings) as process:
        status = Path(f"/proc/{process.pid}/status")

        def wake_ups() -> int:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            return int(lines["voluntary_ctxt_switches"])

        before = wake_ups()

        def quiet() -> Ready[None] | Pending:
            woken = wake_ups() - before
            return Ready(None) if woken <= 8 else Pending(f"it woke up {woken} times")

        waiting.stays(f"{ports.LOOPBACK}:{process.port} at rest", quiet, seconds=3)


def test_it_takes_no_more_memory_than_it_asks_the_cluster_for(dev: Running) -> None:
    text = dev.ask("/metrics").body.decode()
    (resident,) = (float(line.split()[1]) for line in text.splitlines() if line.startswith("process_resident_memory_bytes"))
    assert resident < memory_requested(dev.service)
