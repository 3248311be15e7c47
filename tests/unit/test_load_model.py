"""Facts of a load test, as they are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.load import model, verdict, written
from slipway.load.model import Host, Phase, Plan, Run
from tests.unit import loads


def example() -> Run:
    """A run that passed, with every fact filled in."""
    seen = loads.changed()
    host = Host(2, 25_000_000_000, "A processor", "6.18", 1.25)
    return Run(
        id="20261123-022544-a0a9",
        time="2026-11-23T02:25:44Z",
        tools={"locust": "2.47.0"},
        host=host,
        plan=seen.plan,
        target=seen.target,
        client=seen.client,
        server=seen.server,
        pods=seen.pods,
        books=seen.books,
        verdict=verdict.judge(seen),
        comparable="0123456789abcdef",
        rules=loads.RULES,
    )


def test_a_run_that_was_kept_is_read_as_it_was() -> None:
    assert model.from_json(model.to_json(example())) == example()


@given(
    first=st.floats(allow_nan=False, allow_infinity=False),
    second=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    said=st.lists(st.text(), max_size=3),
)
def test_whatever_was_measured_is_read_to_its_last_digit(first: float, second: float | None, said: list[str]) -> None:
    run = example()
    seconds = (replace(run.client.seconds[0], at=first, p50=second, late_max=second),)
    kept = replace(run, client=replace(run.client, seconds=seconds, said=tuple(said)))
    assert model.from_json(model.to_json(kept)) == kept


def test_what_is_no_number_is_not_kept() -> None:
    run = example()
    with pytest.raises(ValueError, match="not JSON compliant"):
        model.to_json(replace(run, client=replace(run.client, began=float("nan"))))


def plan(*phases: Phase) -> Plan:
    return replace(loads.PLAN, phases=phases)


def test_planned_arrivals_follow_the_rate_over_ramps_and_parts_of_phases() -> None:
    made = plan(Phase("ramp", 10.0, 0.0, 10.0, counted=False), Phase("plateau", 20.0, 10.0, 10.0, counted=True))
    assert made.planned(0.0, 10.0) == pytest.approx(50.0)
    assert made.planned(5.0, 15.0) == pytest.approx(37.5 + 50.0)
    assert made.planned(-5.0, 100.0) == pytest.approx(sum(one.journeys for one in made.phases)) == 250.0
    assert made.counted == ((10.0, 30.0),)


@dataclass(frozen=True)
class Small:
    name: str
    share: float | None
    found: tuple[tuple[float, int], ...] = ()


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"name": "a"}, "found is missing, share is missing"),
        ({"name": "a", "share": 1.0, "found": [], "more": 1}, "more is unknown"),
        ({"name": 3, "share": 1.0, "found": []}, "Small.name has to be of the kind str, not 3"),
        ({"name": "a", "share": "much", "found": []}, "Small.share has to be of the kind float"),
        ({"name": "a", "share": True, "found": []}, "Small.share has to be of the kind float"),
        ({"name": "a", "share": 1.0, "found": [[1.0]]}, r"Small.found\[0\] has to hold 2 values, not 1"),
        ({"name": "a", "share": 1.0, "found": {}}, "Small.found has to be a list"),
        ([], "Small is not what it should be"),
    ],
)
def test_facts_that_are_not_whole_are_refused_with_the_place(told: object, why: str) -> None:
    with pytest.raises(written.NotThat, match=why):
        written.read(Small, told)


def test_a_whole_number_may_stand_for_seconds_and_nothing_for_what_was_not_measured() -> None:
    assert written.read(Small, {"name": "a", "share": None, "found": [[1, 2]]}) == Small("a", None, ((1.0, 2),))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (json.dumps({"schema": model.SCHEMA + 1, "run": {}}), "another version"),
        ("[]", "another version"),
        ("{", "no run"),
        (json.dumps({"schema": model.SCHEMA, "run": {}}), "run is not what it should be"),
    ],
)
def test_a_file_that_is_no_run_or_another_version_is_refused(text: str, why: str) -> None:
    with pytest.raises(written.NotThat, match=why):
        model.from_json(text)


@pytest.mark.parametrize(("outcome", "code"), [("pass", 0), ("fail", 1), ("invalid", 2), ("", 2), ("passed", 2)])
def test_a_verdict_that_nobody_knows_is_never_a_pass(outcome: str, code: int) -> None:
    run = example()
    assert replace(run, verdict=replace(run.verdict, outcome=outcome)).code == code
