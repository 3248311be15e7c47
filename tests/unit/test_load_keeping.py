"""Runs of load tests are kept whole, found by name, and count for a release only when they are what they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.errors import UsageError
from slipway.load import keeping, plan, profiles, verdict
from slipway.load.model import FAIL, INVALID, Asked, Change, Host, Run
from slipway.releases import Uncounted
from slipway.settings import Settings, load
from tests.unit import loads

STANDARD = plan.make(profiles.find(load().root / profiles.FILE, "smoke"), Asked("stage", "smoke"))


def run(name: str = "20270115-080000-ab12", **more: object) -> Run:
    """A run that passed, of the profile as it stands."""
    made = Run(
        id=name,
        time="2027-01-15T08:00:00Z",
        tools={"locust": "2.47.0"},
        host=Host(2, 8 << 30, "a machine", "6.1", 0.5),
        plan=STANDARD,
        target=loads.TARGET,
        client=loads.CLIENT,
        server=loads.SERVER,
        pods=loads.GOOD.pods,
        books=loads.BOOKS,
        verdict=verdict.judge(loads.GOOD),
        comparable="0123456789abcdef",
        rules=loads.RULES,
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(load("h7"), home=tmp_path)


def test_a_run_comes_back_as_it_was_kept(settings: Settings) -> None:
    place = keeping.keep(settings, run())
    assert place == settings.folder / "load" / "20270115-080000-ab12"
    assert [file.name for file in place.iterdir()] == ["run.json"]
    assert keeping.read(settings, run().id) == run()
    keeping.keep(settings, run(comparable="other"))
    assert keeping.read(settings, run().id).comparable == "other"


def test_a_run_is_found_by_how_it_begins_and_the_last_one_by_that_word(settings: Settings) -> None:
    for name in ("20270115-080000-ab12", "20270115-090000-cd34", "20270116-080000-ef56"):
        keeping.keep(settings, run(name))
    assert keeping.read(settings, "20270116").id == "20270116-080000-ef56"
    assert keeping.read(settings, "last").id == "20270116-080000-ef56"
    assert keeping.every_id(settings) == ["20270116-080000-ef56", "20270115-090000-cd34", "20270115-080000-ab12"]
    for wrong in ("20270115", "2028", ""):
        with pytest.raises(UsageError, match="no run of a load test"):
            keeping.read(settings, wrong)


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", "a" * 65])
def test_what_is_no_name_is_no_run(settings: Settings, name: str) -> None:
    with pytest.raises(UsageError):
        keeping.folder(settings, name)
    with pytest.raises(UsageError):
        keeping.read(settings, name)


def test_a_run_that_cannot_be_read_is_told_and_hides_no_other(settings: Settings) -> None:
    keeping.keep(settings, run())
    broken = keeping.keep(settings, run("20270117-080000-0000"))
    (broken / "run.json").write_text('{"schema": 0}')
    first, second = keeping.every(settings)
    assert (first.run, "another version of Slipway" in first.trouble) == (None, True)
    assert (second.run, second.trouble) == (run(), "")
    assert keeping.every(replace(settings, instance="none")) == []


GATE = load().policy.approvals["prod"]


def test_a_passed_run_against_stage_of_a_releases_lock_counts(settings: Settings) -> None:
    assert keeping.objection(settings, run(), GATE) == ""
    told = keeping.result(run())
    assert (told.lock, told.release, told.environment, told.commit) == (loads.TARGET.lock, "v0.2.0", "stage", "e" * 40)
    assert (told.run, told.profile, dict(told.digests)) == (run().id, "smoke", loads.DIGESTS)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (run(verdict=replace(run().verdict, outcome=FAIL)), "its verdict is fail"),
        (run(verdict=replace(run().verdict, outcome=INVALID)), "its verdict is invalid"),
        (run(target=replace(loads.TARGET, local=True)), "on the host"),
        (run(target=replace(loads.TARGET, environment="qa")), "prod asks for one against stage"),
        (run(target=replace(loads.TARGET, lock="")), "no release's lock"),
        (run(target=replace(loads.TARGET, release="")), "no release's lock"),
        (run(change=Change("rollout", 0.0, 1.0)), "a rollout was driven while it ran"),
        (run(plan=replace(STANDARD, phases=STANDARD.phases[:1])), "not the profile smoke as it stands"),
        (run(plan=replace(STANDARD, weights={"browse": 1.0})), "not the profile smoke as it stands"),
    ],
)
def test_a_run_that_proves_less_does_not_count(settings: Settings, other: Run, why: str) -> None:
    assert why in keeping.objection(settings, other, GATE)


def test_a_run_against_what_no_gate_asks_about_counts_for_nothing_and_says_what_would(settings: Settings) -> None:
    access: Any = SimpleNamespace(settings=settings)
    with pytest.raises(Uncounted, match="it was against qa; prod asks for one against stage"):
        keeping.record(access, run(target=replace(loads.TARGET, environment="qa")))


def test_pods_that_do_not_agree_are_no_digest() -> None:
    other = replace(loads.pods()[0], digest="sha256:" + "9" * 64)
    mixed = replace(run(), pods=replace(run().pods, after=(*run().pods.after, other)))
    assert keeping.result(mixed).digests["cart"] == ""
