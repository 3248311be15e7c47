"""A shop that is to be at the end as it was at the begin, and a load that climbs until something gives way."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from slipway.load import climb, figures, lasting, profiles, show
from slipway.load import plan as planning
from slipway.load.evidence import Evidence
from slipway.load.model import FAIL, INVALID, Asked, Change, Phase, Plan, Run, Series, Stage
from slipway.load.verdict import judge
from slipway.settings import ROOT
from tests.unit import loadruns, loads


def planned(profile: str) -> Plan:
    return planning.make(profiles.find(ROOT / profiles.FILE, profile), Asked(profile=profile))


def spiked(after: float = 1.0, **more: object) -> Evidence:
    """A spike of which the phase after it is so many times as slow as the one before it."""
    client = replace(
        loads.CLIENT,
        phases=(
            Stage("before", 400, 0, 0.01, 0.05, 0.09),
            Stage("spike", 900, 0, 0.2, 0.9, 1.5),
            Stage("after", 700, 0, 0.01 * after, 0.05 * after, 0.09),
        ),
    )
    return replace(loads.GOOD, plan=planned("spike"), client=replace(client, **more))  # type: ignore[arg-type]


def test_after_a_crowd_everything_is_as_before_or_the_test_fails() -> None:
    well = list(lasting.findings(spiked(1.9)))
    assert [one.check.limit for one in well] == [
        "p50 of after <= 2 times that of before",
        "p95 of after <= 3 times that of before",
    ]
    assert all(one.check.ok for one in well)
    slow = list(lasting.findings(spiked(2.1)))
    assert [one.check.ok for one in slow] == [False, True]
    assert slow[0].reason
    assert "2.1 times that of before" in slow[0].reason.said
    seen = replace(spiked(9.0), plan=replace(loads.PLAN, phases=(*loads.PLAN.phases, *planned("spike").phases[1:])))
    rules = {reason.rule for reason in judge(seen).reasons}
    assert lasting.RULE in rules


def test_a_verdict_looks_at_it() -> None:
    phases = (
        Phase("before", 20, 8, 8, counted=True),
        Phase("crowd", 10, 16, 16, counted=True),
        Phase("after", 20, 8, 8, counted=True),
    )
    plan = replace(loads.PLAN, phases=phases)

    def outcome(after: float) -> str:
        client = replace(
            loads.CLIENT,
            phases=(Stage("before", 1, 0, 0.01, 0.05, 0.09), Stage("after", 1, 0, 0.01 * after, 0.05 * after, 0.09)),
            # As many as the plan makes.
            journeys=(replace(loads.CLIENT.journeys[0], planned=480, started=480, ok=480),),
            seconds=tuple(
                replace(one, started=480 if index == 0 else 0, ok=480 if index == 0 else 0)
                for index, one in enumerate(loads.CLIENT.seconds)
            ),
        )
        return judge(replace(loads.GOOD, plan=plan, client=client)).outcome

    assert (outcome(1.0), outcome(5.0)) == ("pass", FAIL)


def test_a_crowd_may_come_and_go_by_ramps() -> None:
    before, after = Phase("before", 30, 4, 4, counted=True), Phase("after", 30, 4, 4, counted=True)
    up, down = Phase("up", 10, 4, 16, counted=True), Phase("down", 10, 16, 4, counted=True)
    assert lasting.crowds([before, up, down, after]) == [(before, after)]
    assert lasting.crowds([before, replace(up, end_rate=4.0), after]) == []
    assert lasting.crowds([before, down, after]) == [(before, after)]
    assert lasting.crowds([before, replace(before, name="quieter", begin_rate=2, end_rate=2), after]) == []


def test_phases_that_nobody_measured_are_not_as_before() -> None:
    assert all(one.unsure for one in lasting.findings(spiked(phases=())))
    assert judge(spiked(phases=())).outcome == INVALID


@pytest.mark.parametrize("profile", ["smoke", "average", "stress", "steady", "breakpoint"])
def test_other_profiles_are_not_asked_to_last(profile: str) -> None:
    assert list(lasting.findings(replace(loads.GOOD, plan=planned(profile)))) == []


def test_while_something_is_changed_nothing_has_to_be_as_before() -> None:
    assert list(lasting.findings(replace(spiked(9.0), change=Change("rollout", 1, 2)))) == []


def soaked(*, later: float = 1.0, growth: float = 100.0, services: tuple[str, ...] = loads.SERVICES) -> Evidence:
    """An hour of which the end is so many times as slow, in which each pod's memory grew by so many bytes a second."""
    plan = planned("soak")
    begin, end = plan.counted[0]
    seconds = tuple(
        replace(loads.second(index), p95=0.02 * (later if index >= end - (end - begin) / 10 else 1.0))
        for index in range(int(end))
    )
    grown = tuple(Series("memory growth", name, "B/s", f"deriv of {name}", ((loads.BEGAN, growth),)) for name in services)
    return replace(
        loads.GOOD,
        plan=plan,
        client=replace(loads.CLIENT, seconds=seconds),
        server=replace(loads.SERVER, series=(*loads.SERVER.series, *grown)),
    )


def test_what_only_time_shows_is_a_limit_of_a_long_test() -> None:
    good = list(lasting.findings(soaked()))
    assert [one.check.limit for one in good] == [
        "p95 in the last tenth of plateau <= 1.5 times that in the first",
        *(f"memory of {name} <= +1 MB a minute" for name in loads.SERVICES),
    ]
    assert all(one.check.ok for one in good)
    assert [one.check.ok for one in lasting.findings(soaked(later=1.6))] == [False, True, True, True]
    leaking = list(lasting.findings(soaked(growth=20_000.0)))
    assert [one.check.ok for one in leaking] == [True, False, False, False]
    assert leaking[1].reason
    assert (leaking[1].check.seen, leaking[1].reason.source) == (pytest.approx(1.2), "deriv of cart")


def test_memory_that_nobody_looked_at_is_no_memory_that_stayed() -> None:
    assert [one.unsure for one in lasting.findings(soaked(services=("cart", "orders")))] == [False, False, False, True]


# --- until something gives way


def climbing(good: int, bad: int) -> Run:
    seconds = [loads.second(10 + number, planned=number, started=number, requests=3 * number) for number in range(1, good + 1)]
    seconds += [loads.second(10 + good + number, p95=0.7) for number in range(bad)]
    run = loadruns.run()
    phases = (Phase("warm-up", 10, 2, 2, counted=False), Phase("plateau", 40, 0, 40, counted=True))
    return replace(run, plan=replace(run.plan, phases=phases), client=replace(run.client, seconds=tuple(seconds)))


def test_where_a_load_that_climbs_became_too_much_is_told() -> None:
    said = climb.said(climbing(10, 5))
    assert said.startswith(
        "24 requests a second (8 journeys a second) were borne well; then 5 of 100 requests took longer than 0.70 s"
    )
    assert climb.said(climbing(10, 0)) == "nowhere: 24 requests a second were still borne well"
    assert climb.said(climbing(0, 5)).startswith("nobody knows: already at the begin")


def test_terminal_and_report_answer_where_it_did() -> None:
    for run, value in ((climbing(10, 5), "24/s"), (climbing(10, 0), "nowhere"), (climbing(0, 5), "nobody knows")):
        console = Console(file=io.StringIO(), width=200)
        show.show(run, console)
        assert f"Gave way  {climb.said(run)}" in console.file.getvalue()  # type: ignore[attr-defined]
        [figure] = [one for one in figures.great(run, (None, None, None)) if one.name == "Gave way"]
        assert (figure.value, figure.more) == (value, climb.said(run))
    assert "Gave way" not in {one.name for one in figures.great(loadruns.run(), (None, None, None))}


def test_a_load_that_does_not_climb_has_no_such_place() -> None:
    assert climb.said(loadruns.run()) == ""
    assert climb.climbs(replace(loadruns.run(), plan=planned("breakpoint")))
    assert not climb.climbs(replace(loadruns.run(), plan=planned("average")))
