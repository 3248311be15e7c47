from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from slipway import shell
from slipway.errors import PhaseFailed, SlipwayError, WaitFailed
from slipway.progress import Phase
from slipway.steps import Step, needed, run_steps
from slipway.waiting import Pending, Ready, wait_for
from tests.unit.fake_cluster import away
from tests.unit.fakes import Screen

Do = Callable[[Phase], None]
TOGETHER = 10.0  # seconds; far more than two threads need to meet


def noting(done: list[str], name: str) -> Do:
    def do(_: Phase) -> None:
        done.append(name)

    return do


def raising(error: BaseException) -> Do:
    def do(_: Phase) -> None:
        raise error

    return do


def names_of(steps: Sequence[Step]) -> list[str]:
    return [step.name for step in steps]


def test_steps_bring_those_that_they_need_and_no_others_in_the_order_of_the_whole() -> None:
    def step(name: str, *needs: str) -> Step:
        return Step(name, lambda _: None, needs)

    steps = [step("roof", "walls", "beams"), step("walls", "ground"), step("beams", "ground"), step("ground"), step("garden")]
    assert names_of(needed(steps, ["walls"])) == ["walls", "ground"]
    assert names_of(needed(steps, ["garden", "roof"])) == ["roof", "walls", "beams", "ground", "garden"]
    assert names_of(needed(steps, [])) == []
    with pytest.raises(KeyError, match="cellar"):
        needed(steps, ["cellar"])


def test_a_step_that_loses_the_api_server_has_failed_with_what_to_do(tmp_path: Path) -> None:
    def look(_: Phase) -> None:
        away(tmp_path).get("ConfigMap", "x")

    with pytest.raises(PhaseFailed, match=r"^first records: the API server does not answer .*\./invoke status"):
        run_steps([Step("first records", look)], Screen().progress)


def test_a_step_runs_after_all_that_it_needs() -> None:
    done: list[str] = []
    steps = [
        Step("roof", noting(done, "roof"), needs=("walls", "beams")),
        Step("walls", noting(done, "walls"), needs=("ground",)),
        Step("beams", noting(done, "beams")),
        Step("ground", noting(done, "ground")),
    ]
    run_steps(steps, Screen().progress)
    assert sorted(done) == ["beams", "ground", "roof", "walls"]
    assert done[-1] == "roof"
    assert done.index("ground") < done.index("walls")


def test_independent_steps_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=TOGETHER)

    def meet(_: Phase) -> None:
        meeting.wait()

    run_steps([Step("a", meet), Step("b", meet)], Screen().progress)


def test_a_step_starts_as_soon_as_what_it_needs_is_done_whatever_else_runs() -> None:
    started = threading.Event()

    def wait_for_the_other(_: Phase) -> None:
        assert started.wait(TOGETHER)

    steps = [
        Step("long", wait_for_the_other),
        Step("short", lambda _: None),
        Step("next", lambda _: started.set(), needs=("short",)),
    ]
    run_steps(steps, Screen().progress)


def test_steps_of_one_lane_run_one_after_the_other() -> None:
    inside = threading.Lock()
    collisions: list[str] = []

    def alone(_: Phase) -> None:
        if not inside.acquire(blocking=False):
            collisions.append("two at once")
            return
        threading.Event().wait(0.01)
        inside.release()

    run_steps([Step(f"compile {number}", alone, lane="compiler") for number in range(5)], Screen().progress)
    assert collisions == []


def test_a_failed_step_is_named_in_the_error_and_nothing_that_needs_it_runs() -> None:
    done: list[str] = []
    steps = [Step("cluster", raising(SlipwayError("no answer"))), Step("platform", noting(done, "platform"), needs=("cluster",))]
    with pytest.raises(PhaseFailed, match="cluster: no answer"):
        run_steps(steps, Screen().progress)
    assert done == []


def test_a_bug_in_a_step_passes_through_as_it_is() -> None:
    with pytest.raises(KeyError):
        run_steps([Step("cluster", raising(KeyError("x")))], Screen().progress)


def test_a_failure_ends_programs_and_waits_under_way_and_is_the_one_reported() -> None:
    running, waits = threading.Event(), threading.Event()

    def run_program(_: Phase) -> None:
        shell.run(["sh", "-c", "echo >&2; sleep 60"], on_line=lambda _: running.set())

    def look() -> Pending:
        waits.set()
        return Pending("not yet")

    def wait(_: Phase) -> None:
        wait_for("never", look, timeout=60)

    def fail(_: Phase) -> None:
        assert running.wait(TOGETHER)
        assert waits.wait(TOGETHER)
        raise SlipwayError("the cause")

    started = time.monotonic()
    with pytest.raises(PhaseFailed, match="fails: the cause"):
        run_steps([Step("runs", run_program), Step("waits", wait), Step("fails", fail)], Screen().progress)
    assert time.monotonic() - started < 10


def test_after_a_failure_programs_and_waits_work_again() -> None:
    with pytest.raises(PhaseFailed):
        run_steps([Step("fails", raising(WaitFailed("no")))], Screen().progress)
    assert shell.run(["true"], timeout=shell.DEFAULT_TIMEOUT + 1).code == 0
    answers = iter([Pending("not yet"), Ready("yes")])
    assert wait_for("it", lambda: next(answers), timeout=5) == "yes"


def test_an_interrupt_ends_everything_promptly_and_passes_through() -> None:
    def interrupted(_: Phase) -> None:
        shell.run(["sh", "-c", f"kill -INT {os.getpid()}; sleep 60"], timeout=3600)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_steps([Step("interrupted", interrupted), Step("later", lambda _: None, needs=("interrupted",))], Screen().progress)
    assert time.monotonic() - started < 10
    assert shell.run(["true"], timeout=shell.DEFAULT_TIMEOUT + 1).code == 0


def test_a_need_that_is_no_step_is_found_before_anything_runs() -> None:
    done: list[str] = []
    with pytest.raises(KeyError, match="clutser"):
        run_steps([Step("a", noting(done, "a")), Step("b", noting(done, "b"), needs=("clutser",))], Screen().progress)
    assert done == []


def test_no_steps_are_done_at_once() -> None:
    run_steps([], Screen().progress)
