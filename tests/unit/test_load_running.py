"""A load test as it is shown while it runs, and what it stands in."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from slipway import gitops
from slipway.access import Access
from slipway.errors import UsageError
from slipway.load import around, figures, report, running, show
from slipway.load.model import Asked
from slipway.progress import Phase
from slipway.records import Entry, Record
from slipway.settings import ROOT, Settings
from tests.unit import loadruns, loads
from tests.unit.fakes import Screen

SETTINGS = Settings(ROOT, Path("/nowhere"), "test")
ADDRESSES = {service: f"http://{service}.example" for service in SETTINGS.services}


def test_the_live_line_tells_pace_failures_percentiles_the_phase_and_the_time_left() -> None:
    phase = Phase("load")
    teller = running.Teller(loads.PLAN, phase)
    teller.tell(loads.second(0, failures=2))
    assert phase.detail == "warm-up: 24/s, 2 failed, p50 p95 p99 10 20 50 ms, 2 under way, 49 s left"
    teller.tell(loads.second(20, failures=1, p50=None, p95=None, p99=None, requests=0))
    assert phase.detail == "plateau: 0/s, 3 failed, p50 p95 p99 - - - ms, 2 under way, 29 s left"
    assert (phase.done, phase.total) == (21, 50)


def test_the_closing_line_tells_what_came_of_it_all() -> None:
    phase = Phase("load")
    client = loads.changed().client
    running.Teller(loads.PLAN, phase).close(client)
    planned = sum(journey.planned for journey in client.journeys)
    assert phase.detail.startswith(f"{planned} of {planned} journeys well, 0 of ")


def test_an_instance_that_is_not_there_is_the_environment_s_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise UsageError("there is no instance 'test'. `./invoke up` makes it.")

    monkeypatch.setattr(running.access, "open", none)
    with pytest.raises(running.Environmental, match="there is no instance") as refused:
        running.run(replace(SETTINGS, home=tmp_path), Asked(), Screen().progress)
    assert refused.value.exit_code == 3


def test_a_profile_that_is_not_there_is_the_user_s_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="valid: average"):
        running.run(replace(SETTINGS, home=tmp_path), Asked(profile="smok"), Screen().progress)


class FakeAccess(Access):
    """An instance with every environment."""

    def __init__(self) -> None:
        object.__setattr__(self, "settings", SETTINGS)
        object.__setattr__(self, "port", 8080)

    @property
    def environments(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("dev", "stage")

    def remote(self, repository: str) -> Any:
        return None


def records(monkeypatch: pytest.MonkeyPatch, *, leave_out: str = "", **more: Mapping[str, str]) -> None:
    made = {
        ("stage", service): Entry(_record(service, more.get(service, {})), {}, ())
        for service in SETTINGS.services
        if service != leave_out
    }
    monkeypatch.setattr(gitops, "read", lambda _: ("e" * 40, made))


def _record(service: str, more: Mapping[str, str]) -> Record:
    made = Record("stage", service, "0.2.0", f"registry/{service}", f"sha256:{service}", "c" * 40)
    return replace(made, **{"release": "v0.2.0", "lock": "sha256:1", **more})


@pytest.mark.parametrize("given", ["", "0.2.0", "v0.2.0"])
def test_what_must_run_is_what_git_says(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    records(monkeypatch)
    found = around.target(FakeAccess(), Asked(release=given), ADDRESSES)
    assert (found.release, found.lock, found.commit, found.local) == ("v0.2.0", "sha256:1", "e" * 40, False)
    assert found.digests == {service: f"sha256:{service}" for service in SETTINGS.services}
    assert found.addresses == ADDRESSES


@pytest.mark.parametrize("during", ["promotion", "rollback"])
def test_a_release_that_is_to_come_need_not_run_yet(monkeypatch: pytest.MonkeyPatch, during: str) -> None:
    records(monkeypatch)
    assert around.target(FakeAccess(), Asked(release="v0.3.0", during=during), ADDRESSES).release == "v0.2.0"


def test_services_of_different_locks_are_no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    records(monkeypatch, catalog={"lock": "sha256:2", "release": ""})
    found = around.target(FakeAccess(), Asked(), ADDRESSES)
    assert (found.release, found.lock) == ("", "")


@pytest.mark.parametrize("asked", [Asked(local=True), Asked(sender="other"), Asked()])
def test_where_the_load_came_from_is_kept(monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    records(monkeypatch)
    found = around.target(FakeAccess(), asked, ADDRESSES)
    assert (found.local, found.sender) == (asked.local, asked.sender)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked(release="v0.3.0"), "stage runs v0.2.0, not v0.3.0. Promote"),
        (Asked(release="v0.3.0", during="rollout"), "stage runs v0.2.0, not v0.3.0. Promote"),
        (Asked(environment="qa"), "has no environment 'qa'; it has dev, stage"),
    ],
)
def test_what_does_not_run_there_is_the_environment_s_trouble(monkeypatch: pytest.MonkeyPatch, asked: Asked, why: str) -> None:
    records(monkeypatch)
    with pytest.raises(around.NothingThere, match=why) as refused:
        around.target(FakeAccess(), asked, ADDRESSES)
    assert refused.value.exit_code == 3


def test_a_service_that_was_never_brought_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    records(monkeypatch, leave_out="orders")
    with pytest.raises(around.NothingThere, match="nothing of orders was brought to stage"):
        around.target(FakeAccess(), Asked(), ADDRESSES)


def test_an_environment_that_nobody_knows_is_the_user_s_mistake() -> None:
    with pytest.raises(UsageError, match="no environment 'stag'"):
        around.target(FakeAccess(), Asked(environment="stag"), ADDRESSES)


REMAINS = [
    ({"carts": 100, "orders": 100}, ""),
    ({}, ""),
    ({"carts": 100, "orders": None}, "nobody could remove the orders; all begin with load-20270115-080001-0001"),
    ({"carts": 98, "orders": 0}, "98 of 100 carts were removed, and 0 of 100 orders were removed; all begin with load-"),
]


@pytest.mark.parametrize(("removed", "said"), REMAINS)
def test_test_data_that_are_still_there_are_told_in_the_table_and_on_the_page(removed: dict[str, int | None], said: str) -> None:
    run = loadruns.run()
    run = replace(run, client=replace(run.client, removed=removed))
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as captured:
        show.show(run, console)
    page = report.page(SETTINGS, run)
    assert figures.left(run).startswith(said) if said else figures.left(run) == ""
    assert (figures.left(run) in captured.get(), "Test data are left in stage" in captured.get()) == (True, bool(said))
    assert (figures.left(run) in page, "Left behind" in page) == (True, bool(said))


def test_a_load_from_another_cluster_is_told_in_the_table_and_on_the_page() -> None:
    run = loadruns.run()
    run = replace(run, target=replace(run.target, sender="second"))
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as captured:
        show.show(run, console)
    assert "in the cluster of second: customers came through the gateway" in captured.get()
    assert "sent from the cluster of <b>second</b>" in report.page(SETTINGS, run)


def test_the_machine_and_the_tools_are_told() -> None:
    assert around.host().cores >= 1
    told = around.tools(SETTINGS, "slipway/load:1")
    assert told["locust"].startswith("2.")
    assert told["generator"] == "slipway/load:1"
