"""What a closed client would have sent of the requests that fell due."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.generator import order
from loadtests.generator.closed import Closed, users
from slipway.load import plan
from slipway.load.model import Phase
from tests.unit import loads


def test_a_user_that_waits_leaves_its_turn_out_and_the_others_take_theirs() -> None:
    closed = Closed(2)
    assert [closed.send(), closed.send(), closed.send(), closed.send()] == [0, 1, None, None]
    closed.answered(1)
    assert [closed.send(), closed.send(), closed.send()] == [None, 1, None]
    closed.answered(0)
    closed.answered(1)
    assert closed.send() == 1


@pytest.mark.parametrize(("rate", "workers", "number"), [(6.0, 1, 2), (12.0, 1, 4), (12.0, 2, 2), (0.1, 4, 1), (120.0, 2, 18)])
def test_there_is_one_user_for_ten_requests_a_second_of_all_workers(
    tmp_path: Path, rate: float, workers: int, number: int
) -> None:
    phases = (Phase("ramp", 5, 0, rate, counted=False), Phase("plateau", 5, rate, rate, counted=True))
    file = tmp_path / "order.json"
    file.write_text(plan.order(replace(loads.PLAN, phases=phases, workers=workers), "r1", {}, hosts={}))
    assert users(order.read(file)) == number
