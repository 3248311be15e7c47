"""Profiles of load tests, and the plans that are made of them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from loadtests.generator import order as generator_order
from slipway.errors import UsageError
from slipway.load import plan, profiles
from slipway.load.model import Asked, Host, Phase
from slipway.settings import ROOT
from tests.unit import loads

WHOLE = """
weights: {browse: 3, checkout: 1}
streams: {keep-alive: 1}
think: 0.5
patience: 10
drain: 15
profiles:
  smoke:
    description: Short.
    workers: 1
    phases:
      - {name: warm-up, seconds: 5, rate: 2}
      - {name: ramp, seconds: 5, rate: 6, ramp: true}
      - {name: plateau, seconds: 40, rate: 6, counted: true}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "profiles.yaml"


def test_a_phase_stands_at_its_rate_or_comes_to_it_from_the_one_before(file: Path) -> None:
    file.write_text(WHOLE)
    assert profiles.find(file, "smoke").phases == (
        Phase("warm-up", 5.0, 2.0, 2.0, counted=False),
        Phase("ramp", 5.0, 2.0, 6.0, counted=False),
        Phase("plateau", 40.0, 6.0, 6.0, counted=True),
    )


def test_shares_add_up_to_one(file: Path) -> None:
    file.write_text(WHOLE)
    assert profiles.find(file, "smoke").weights == {"browse": 0.75, "checkout": 0.25}


@pytest.mark.parametrize(
    ("had", "has", "line", "why"),
    [
        ("seconds: 40", "seconds: 0", 14, "0 is less than or equal to the minimum of 0"),
        ("seconds: 40", "second: 40", 14, "'second' was unexpected|'seconds' is a required"),
        (", counted: true", "", 11, "does not contain"),
        ("browse: 3", "brows: 3", 2, "'brows' was unexpected"),
        ("{browse: 3, checkout: 1}", "{browse: 0}", 2, "at least one has to be more than 0"),
        ("rate: 2", "rate: 0", 12, "nobody would come"),
        ("name: ramp", "name: warm-up", 13, "two phases 'warm-up'"),
        ("name: ramp", "name: drain", 13, "should not be valid"),
        ("workers: 1", "workers: 0", 10, "less than the minimum"),
        ("keep-alive: 1", "keep-alive: .nan", 3, "no number"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_line(file: Path, had: str, has: str, line: int, why: str) -> None:
    assert had in WHOLE
    file.write_text(WHOLE.replace(had, has))
    with pytest.raises(UsageError) as refused:
        profiles.load(file)
    assert f"{file}:{line}:" in str(refused.value)
    assert re.search(why, str(refused.value))


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(file: Path) -> None:
    file.write_text(WHOLE)
    with pytest.raises(UsageError, match="'smok'; valid: smoke"):
        profiles.find(file, "smok")


def test_the_checkout_has_every_profile_and_each_counts_something() -> None:
    found = profiles.load(ROOT / profiles.FILE)
    assert set(found) == {"smoke", "average", "stress", "spike", "steady", "soak", "breakpoint"}
    assert sum(phase.seconds for phase in found["smoke"].phases) <= 60
    assert max(phase.end_rate for phase in found["smoke"].phases) <= 10


def test_the_generator_knows_every_journey_and_every_stream_that_a_profile_may_name() -> None:
    # Read, not imported: the generator's own libraries are not here.
    text = (ROOT / "loadtests" / "generator" / "journeys.py").read_text()
    table = text.partition("JOURNEYS: Mapping")[2].partition("}")[0]
    assert tuple(re.findall(r'"(\w+)": \w+', table)) == profiles.JOURNEYS
    named = re.search(r"^KEEP_ALIVE, NEW_CONNECTION, SLOW = (.*)$", (ROOT / "loadtests/generator/asking.py").read_text(), re.M)
    assert named
    assert tuple(re.findall(r'"([\w-]+)"', named[1])) == profiles.STREAMS


def test_phases_that_count_follow_each_other(file: Path) -> None:
    whole = yaml.safe_load(WHOLE)
    first, *_ = whole["profiles"]["smoke"]["phases"]
    more = [{**first, "name": "between"}, {**first, "name": "again", "counted": True}]
    whole["profiles"]["smoke"]["phases"] += more
    file.write_text(yaml.safe_dump(whole))
    with pytest.raises(UsageError, match="phases that count follow each other, and 'between' between them does not count"):
        profiles.load(file)


def made(file: Path, **asked: object) -> plan.Plan:
    file.write_text(WHOLE)
    return plan.make(profiles.find(file, "smoke"), replace(Asked(), **asked))  # type: ignore[arg-type]


def test_a_rate_scales_every_phase_to_it_as_the_highest(file: Path) -> None:
    assert [(one.begin_rate, one.end_rate) for one in made(file, rate=12.0).phases] == [(4, 4), (4, 12), (12, 12)]


def test_a_duration_stretches_what_counts_and_nothing_else(file: Path) -> None:
    assert [one.seconds for one in made(file, duration=10.0).phases] == [5, 5, 10]


def test_a_plan_waits_longer_for_slow_senders(file: Path) -> None:
    quick, slow = made(file), made(file, streams={"keep-alive": 1.0, "slow": 1.0})
    assert slow.drain == quick.drain + plan.SLOWEST
    assert slow.streams == {"keep-alive": 0.5, "slow": 0.5}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"rate": -1.0}, "--rate is -1"),
        ({"rate": math.nan}, "--rate is nan; it has to be a number above 0"),
        ({"rate": math.inf}, "--rate is inf"),
        ({"duration": -1.0}, "--duration"),
        ({"duration": math.inf}, "--duration is inf"),
        ({"workers": -1}, "--workers is -1"),
        ({"workers": 101}, "100 are the most"),
        ({"streams": {"slo": 1.0}}, "no stream slo; valid"),
    ],
)
def test_what_cannot_be_planned_is_refused(file: Path, asked: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        made(file, **asked)


@pytest.mark.parametrize(
    ("given", "labels"),
    [("", {}), ("slipway.dev/pool=load", {"slipway.dev/pool": "load"}), ("load=", {"load": ""})],
)
def test_a_node_is_named_by_its_label(given: str, labels: dict[str, str]) -> None:
    assert plan.nodes(Asked(nodes=given)) == labels


@pytest.mark.parametrize("given", ["load", "=load", "a b=c", "a=b=c", "a=b,c=d"])
def test_what_is_no_label_of_a_node_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="it has to be KEY=VALUE"):
        plan.nodes(Asked(nodes=given))
    with pytest.raises(UsageError, match="sends from this host"):
        plan.nodes(Asked(nodes="a=b", local=True))


def test_the_chart_makes_as_many_workers_as_may_be_asked_for() -> None:
    schema = json.loads((ROOT / "charts" / "load" / "values.schema.json").read_text())
    assert schema["properties"]["workers"]["maximum"] == plan.MOST_WORKERS


def test_a_run_is_called_by_its_time_and_fits_into_the_ids_that_services_take() -> None:
    name = plan.identify(datetime(2026, 11, 23, 2, 5, 7, tzinfo=UTC))
    assert re.fullmatch(r"20261123-020507-[0-9a-f]{4}", name)
    cart = f"load-{name}-000123"
    assert re.fullmatch(r"[A-Za-z0-9_-]{16,64}", cart)  # services/cart/main.py
    assert re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", f"{cart}-first-99-4-2")  # services/chassis/context.py


def test_the_order_says_the_same_to_the_generator_as_the_plan_to_us(tmp_path: Path) -> None:
    text = plan.order(loads.PLAN, "r1", {"catalog": "http://catalog"}, hosts={"catalog": "c"}, keep=True)
    (tmp_path / "order.json").write_text(text)
    told = generator_order.read(tmp_path / "order.json")
    assert (told.run, told.keep, told.seconds) == ("r1", True, loads.PLAN.seconds)
    assert [vars(phase) for phase in told.phases] == [vars(phase) for phase in loads.PLAN.phases]
    assert told.prefix == "load-r1-"
    assert told.each == plan.each(loads.PLAN) == 4
    assert plan.each(replace(loads.PLAN, phases=loads.PLAN.phases[:1])) == 1
    for name in ("seed", "workers", "weights", "streams", "think", "patience", "drain"):
        assert getattr(told, name) == getattr(loads.PLAN, name)


def test_the_generators_phase_and_the_plans_have_the_same_fields_and_sums() -> None:
    ramp = Phase("ramp", 7.0, 2.0, 6.0, counted=True)
    theirs = generator_order.Phase(**asdict(ramp))
    assert asdict(theirs) == asdict(ramp)
    assert theirs.journeys == ramp.journeys == 28.0
    assert replace(loads.PLAN, phases=(ramp,)).planned(0, 7.0) == pytest.approx(28.0)


HOST, TOOLS = Host(2, 8, "a processor", "6.12", 0.5), {"generator": "load:1", "locust": "2.47.0", "python": "3.13"}


def test_runs_are_comparable_whatever_ran_there_and_not_when_they_were_sent_otherwise() -> None:
    same = plan.comparable(loads.PLAN, loads.TARGET, HOST, TOOLS)
    later, python = replace(HOST, load=1.5, kernel="6.13"), {**TOOLS, "python": "3.14"}
    assert same == plan.comparable(replace(loads.PLAN, seed=9), replace(loads.TARGET, lock="", commit="f" * 40), later, python)
    others = [
        plan.comparable(replace(loads.PLAN, think=9.0), loads.TARGET, HOST, TOOLS),
        plan.comparable(replace(loads.PLAN, streams={"slow": 1.0}), loads.TARGET, HOST, TOOLS),
        plan.comparable(loads.PLAN, replace(loads.TARGET, local=True), HOST, TOOLS),
        plan.comparable(loads.PLAN, replace(loads.TARGET, sender="other"), HOST, TOOLS),
        plan.comparable(loads.PLAN, loads.TARGET, replace(HOST, cores=4), TOOLS),
        plan.comparable(loads.PLAN, loads.TARGET, replace(HOST, model="another"), TOOLS),
        plan.comparable(loads.PLAN, loads.TARGET, HOST, {**TOOLS, "generator": "load:2"}),
        plan.comparable(loads.PLAN, loads.TARGET, HOST, {**TOOLS, "locust": "2.48.0"}),
    ]
    assert same not in others
    assert len(set(others)) == len(others)
    assert json.loads(plan.order(loads.PLAN, "r", {}, hosts={}))["seed"] == loads.PLAN.seed
