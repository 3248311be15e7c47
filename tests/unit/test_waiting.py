from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from slipway import waiting
from slipway.errors import WaitFailed, WaitTimeout
from slipway.waiting import Failed, Pending, Ready, stays, wait_for
from tests.unit.fakes import FakeClock

Seen = Ready[str] | Pending | Failed


def probe(*answers: Seen) -> Callable[[], Seen]:
    """Gives one answer after the other, then the last one for ever."""
    rest = list(answers)
    return lambda: rest.pop(0) if len(rest) > 1 else rest[0]


def test_waiting_gives_what_the_probe_found() -> None:
    assert wait_for("pods", probe(Pending("none"), Ready("three")), timeout=10, clock=FakeClock()) == "three"


def test_what_is_ready_at_once_is_not_waited_for() -> None:
    clock = FakeClock()
    wait_for("pods", probe(Ready("three")), timeout=10, clock=clock)
    assert clock.slept == []


def test_a_timeout_names_what_was_waited_for_the_last_reason_and_the_hint() -> None:
    with pytest.raises(WaitTimeout) as caught:
        wait_for("commit abc in dev", probe(Pending("first"), Pending("last")), timeout=3, hint="Look.", clock=FakeClock())
    assert str(caught.value) == "commit abc in dev: not within 3 s; last seen: last\nLook."


def test_a_timeout_comes_at_its_deadline_and_not_after_it() -> None:
    clock = FakeClock()
    with pytest.raises(WaitTimeout):
        wait_for("pods", probe(Pending("none")), timeout=7, clock=clock)
    assert clock.time == pytest.approx(107)


def test_the_probe_is_asked_once_more_at_the_deadline() -> None:
    clock = FakeClock()
    answer = wait_for("pods", lambda: Ready("in time") if clock.now() >= 105 else Pending("none"), timeout=5, clock=clock)
    assert answer == "in time"


def test_a_failure_ends_the_wait_at_once() -> None:
    clock = FakeClock()
    with pytest.raises(WaitFailed, match=r"^image: it was deleted$"):
        wait_for("image", probe(Failed("it was deleted")), timeout=99, clock=clock)
    assert clock.slept == []


def test_looks_become_rarer_but_never_rarer_than_a_second() -> None:
    clock = FakeClock()
    with pytest.raises(WaitTimeout):
        wait_for("pods", probe(Pending("none")), timeout=60, clock=clock)
    assert clock.slept[0] == 0.05
    assert clock.slept[:5] == sorted(clock.slept[:5])
    assert max(clock.slept) == 1.0


def test_each_new_reason_is_told_once() -> None:
    told: list[str] = []
    answers = probe(Pending("a"), Pending("a"), Pending("b"), Pending("a"), Ready("now"))
    wait_for("pods", answers, timeout=9, on_change=told.append, clock=FakeClock())
    assert told == ["a", "b", "a"]


def test_tolerated_exceptions_mean_not_yet_and_are_the_reason_in_the_error() -> None:
    def refuse() -> Seen:
        raise ConnectionRefusedError("nobody there\nsecond line")

    with pytest.raises(WaitTimeout, match=r"last seen: ConnectionRefusedError: nobody there$"):
        wait_for("server", refuse, timeout=1, tolerate=(ConnectionError,), clock=FakeClock())


def test_other_exceptions_are_bugs_and_pass_through() -> None:
    def break_down() -> Seen:
        raise KeyError("x")

    with pytest.raises(KeyError):
        wait_for("server", break_down, timeout=1, tolerate=(ConnectionError,), clock=FakeClock())


def test_a_wait_that_is_called_off_ends_at_once_in_whatever_thread() -> None:
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            wait_for("never", probe(Pending("none")), timeout=60)
        except WaitFailed as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    started = time.monotonic()
    thread.start()
    waiting.call_off()
    try:
        thread.join(timeout=5)
    finally:
        waiting.resume()
    assert raised
    assert time.monotonic() - started < 2


def test_long_work_that_asks_whether_to_go_on_is_ended_too() -> None:
    waiting.go_on()
    waiting.call_off()
    try:
        with pytest.raises(WaitFailed, match="interrupted"):
            waiting.go_on()
    finally:
        waiting.resume()


def test_after_resume_waiting_works_again() -> None:
    waiting.call_off()
    waiting.resume()
    assert wait_for("pods", probe(Pending("none"), Ready("three")), timeout=5) == "three"


def test_what_stays_ready_is_looked_at_for_the_whole_time() -> None:
    clock = FakeClock()
    stays("prod", probe(Ready("v1")), seconds=3, clock=clock)
    assert clock.time == pytest.approx(103)


def test_what_stops_being_ready_does_not_stay() -> None:
    seen: Iterator[Seen] = iter([Ready("v1"), Ready("v1"), Pending("v2 runs")])
    with pytest.raises(WaitFailed, match="prod: did not stay so for 3 s: v2 runs"):
        stays("prod", lambda: next(seen), seconds=3, clock=FakeClock())
