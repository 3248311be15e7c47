"""The four metrics, counted from real Git histories and from what ran them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import cli
from slipway import dora, history, runs
from slipway.dora import Report, Row, Sample
from slipway.history import Change
from slipway.runs import Run, Stage
from tests.unit.deliveries import BEGIN, MINUTE, Deliveries, commit, digest, record

DAY = 86400


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    return Deliveries(tmp_path / "gitops", monkeypatch)


def told(made: Deliveries, environment: str = "prod") -> tuple[Change, ...]:
    return history.read(made.at, environment, signers="")


def version(letter: str, service: str = "catalog", environment: str = "prod", **more: Any) -> Any:
    said = {"version": f"0.2.0-{letter}", "digest": digest(letter), "source_commit": commit(letter), **more}
    return record(environment, service, **said)


def by_git(change: Change) -> tuple[float, str]:
    return change.time, dora.GIT


def measured(
    made: Deliveries,
    *,
    now: float = BEGIN + DAY,
    committed: Callable[[str], int | None] = lambda _: BEGIN,
    when: Callable[[Change], tuple[float, str]] = by_git,
) -> dict[str, Row]:
    report = dora.measure({"prod": told(made)}, committed, when, now=now)
    return {row.service: row for row in report.rows}


def test_nothing_is_claimed_from_nothing(made: Deliveries) -> None:
    made.begin(record("prod"))
    row = measured(made)["catalog"]
    nothing = Sample(None, None, 0)
    assert (row.deployments, row.per_day, row.lead, row.failed, row.failure_rate, row.restore) == (
        0,
        None,
        nothing,
        0,
        None,
        nothing,
    )
    assert dora.measure({"prod": ()}, lambda _: 0, by_git, now=BEGIN).rows[0].watched == 0
    printed = shown(dora.measure({"prod": told(made)}, lambda _: 0, by_git, now=BEGIN + DAY))
    assert [line.split() for line in printed.splitlines()[1:3]] == [
        ["prod", "all", "0", "n/a", "n/a", "n/a", "n/a"],
        ["prod", "catalog", "0", "n/a", "n/a", "n/a", "n/a"],
    ]
    assert "nothing has been deployed yet" in printed


def test_deployments_are_counted_by_what_they_roll(made: Deliveries) -> None:
    made.begin(record("prod"), record("prod", "cart"))
    made.change(version("b"), version("b", "cart"), Kind="promotion")
    made.change(version("d"), Kind="promotion")
    made.change(version("d", release="v0.2.0"), Kind="promotion")  # nothing but a name
    rows = measured(made, now=BEGIN + 2 * DAY)
    assert {name: (row.deployments, row.per_day) for name, row in rows.items()} == {
        "": (2, 1.0),
        "cart": (1, 0.5),
        "catalog": (2, 1.0),
    }


def test_no_frequency_is_told_of_less_than_a_day(made: Deliveries) -> None:
    made.begin(record("prod"))
    made.change(version("b"), Kind="promotion")
    row = measured(made, now=BEGIN + DAY - 1)["catalog"]
    assert (row.deployments, row.per_day) == (1, None)
    assert "1 in 24.0 h" in shown(Report((row,), {}))


def test_lead_time_goes_from_the_source_commit_to_when_it_ran(made: Deliveries) -> None:
    made.begin(record("prod"), record("prod", "cart"))
    made.change(version("b"), version("d", "cart"), Kind="promotion")
    made.change(version("f"), Kind="promotion")
    times = {commit("b"): BEGIN + 20, commit("d"): BEGIN + 40}
    rows = measured(made, committed=times.get, when=lambda change: (change.time + 10, dora.RUN))
    assert rows["catalog"].lead == Sample(50.0, 50.0, 1)  # of the second one nobody knows
    assert rows["cart"].lead == Sample(30.0, 30.0, 1)
    assert rows[""].lead == Sample(40.0, 50.0, 2)


def test_services_from_one_commit_are_one_sample(made: Deliveries) -> None:
    made.begin(record("prod"), record("prod", "cart"))
    made.change(version("b"), version("b", "cart"), Kind="promotion")
    assert measured(made)[""].lead.samples == 1


def test_a_deployment_that_is_taken_back_failed_once_however_it_was_taken_back(made: Deliveries) -> None:
    first = made.begin(record("prod"), record("prod", "cart"))
    made.change(version("b"), version("b", "cart"), Kind="promotion")
    made.change(version("d"), Kind="promotion")
    made.change(version("b"), Kind="revert", Restores=first)
    made.change(version("f"), Kind="promotion")
    made.change(record("prod"), record("prod", "cart"), Kind="rollback", Restores=first, after=10 * MINUTE)
    rows = measured(made, when=lambda change: (change.time + 5, dora.CLUSTER))
    assert (rows[""].deployments, rows[""].failed, rows[""].failure_rate) == (3, 2, 0.667)
    assert rows[""].restore == Sample(335.0, 605.0, 2)
    assert (rows["cart"].deployments, rows["cart"].failed) == (1, 1)
    assert rows["cart"].restore == Sample(13 * MINUTE + 5.0, 13 * MINUTE + 5.0, 1)


def deployed_twice(made: Deliveries) -> None:
    made.begin(record("prod"))
    made.change(version("b"), Kind="promotion")
    made.change(version("d"), Kind="promotion")


def failed(made: Deliveries) -> list[tuple[int, int, Sample]]:
    return [(row.deployments, row.failed, row.restore) for row in measured(made).values()]


def test_a_rollback_that_is_taken_back_as_unhealthy_counts_as_if_it_had_never_come(made: Deliveries) -> None:
    deployed_twice(made)
    made.change(version("b"), Kind="rollback")
    made.change(version("d"), Kind="revert")
    assert failed(made) == [(2, 0, Sample(None, None, 0))] * 2
    made.change(version("b"), Kind="rollback")
    assert failed(made) == [(2, 1, Sample(3 * MINUTE, 3 * MINUTE, 1))] * 2


def test_what_a_later_rollback_brings_back_has_not_failed(made: Deliveries) -> None:
    deployed_twice(made)
    made.change(version("b"), Kind="rollback")
    made.change(record("prod"), Kind="rollback")
    assert failed(made) == [(2, 2, Sample(2 * MINUTE, 3 * MINUTE, 2))] * 2
    made.change(version("b"), Kind="rollback")
    assert failed(made) == [(2, 1, Sample(MINUTE, MINUTE, 1))] * 2
    made.change(version("d"), Kind="rollback")
    assert failed(made) == [(2, 0, Sample(None, None, 0))] * 2
    made.change(version("b"), Kind="revert")  # it does not become healthy, so the rollback before it stands
    assert failed(made) == [(2, 1, Sample(MINUTE, MINUTE, 1))] * 2


def test_what_a_rollback_goes_back_over_is_neither_failed_nor_there_to_fail(made: Deliveries) -> None:
    deployed_twice(made)
    made.change(version("f"), Kind="promotion")
    made.change(version("b"), Kind="rollback")
    assert failed(made) == [(3, 1, Sample(MINUTE, MINUTE, 1))] * 2
    made.change(version("d"), Kind="rollback")  # of three deployments the last one alone was bad
    assert failed(made) == [(3, 1, Sample(MINUTE, MINUTE, 1))] * 2
    made.change(version("e"), Kind="promotion")
    made.change(version("f"), Kind="rollback")  # and in the end it was the new one
    assert failed(made) == [(4, 1, Sample(MINUTE, MINUTE, 1))] * 2


def test_what_failed_stays_failed_though_the_same_is_deployed_again(made: Deliveries) -> None:
    made.begin(record("prod"))
    made.change(version("b"), Kind="promotion")
    made.change(record("prod"), Kind="rollback")
    made.change(version("b"), Kind="promotion")
    made.change(version("d"), Kind="promotion")
    made.change(version("b"), Kind="rollback")
    assert [row[:2] for row in failed(made)] == [(3, 2)] * 2


def test_a_rollback_of_what_was_there_from_the_beginning_is_no_failure(made: Deliveries) -> None:
    made.begin(version("b"))
    made.change(record("prod"), Kind="rollback")
    row = measured(made)["catalog"]
    assert (row.deployments, row.failed, row.failure_rate) == (0, 0, None)


def test_who_waited_for_it_says_when_it_ran_then_argo_cd_then_the_commit_itself(made: Deliveries) -> None:
    made.begin(record("prod"))
    made.change(version("b"), Kind="promotion", Run="run-1")
    newest, genesis = told(made)
    stages = (Stage("test", runs.PASSED, 7.0), Stage("deploy qa", runs.PASSED, 5.0), Stage("deploy prod", runs.PASSED, 4.0))
    run = Run("run-1", "develop", commit("b"), "developer", begun=newest.time - 10.0, stages=stages)
    applications = [application("prod", (genesis.commit, "2027-01-15T08:00:30Z"), (newest.commit, "2027-01-15T08:01:02Z"))]
    assert dora.ran({"run-1": run}, applications)(newest) == (newest.time + 6.0, dora.RUN)
    assert dora.ran({}, applications)(newest) == (newest.time + 9.0, dora.CLUSTER)  # healthy seven seconds later
    assert dora.ran({}, applications)(genesis) == (genesis.time + 30.0, dora.CLUSTER)
    assert dora.ran({}, [application("qa", (newest.commit, "2027-01-15T08:01:02Z"))])(newest) == (newest.time, dora.GIT)


def test_a_pod_that_restarts_later_does_not_move_when_it_ran(made: Deliveries) -> None:
    made.begin(record("prod"))
    made.change(version("b"), Kind="promotion")
    newest = told(made)[0]
    deployed = newest.commit, "2027-01-15T08:01:02Z"
    for healthy, seconds in (("2027-01-15T08:05:02Z", 242.0), ("2027-01-15T08:05:03Z", 2.0), ("2027-01-18T08:00:00Z", 2.0)):
        assert dora.ran({}, [application("prod", deployed, healthy=healthy)])(newest) == (newest.time + seconds, dora.CLUSTER)


def test_a_run_that_did_not_see_it_run_does_not_say_when(made: Deliveries) -> None:
    made.begin(record("prod"))
    made.change(version("b"), Kind="promotion", Run="run-1")
    newest = told(made)[0]
    for stages in ((Stage("deploy prod", runs.FAILED, 4.0),), (Stage("deploy qa", runs.PASSED, 4.0),)):
        run = Run("run-1", "develop", commit("b"), "developer", begun=newest.time - 10.0, stages=stages)
        assert dora.ran({"run-1": run}, [])(newest) == (newest.time, dora.GIT)


def application(environment: str, *applied: tuple[str, str], healthy: str = "2027-01-15T08:01:09Z") -> Mapping[str, Any]:
    labels = {"slipway.dev/environment": environment, "slipway.dev/service": "catalog"}
    past = [{"revision": revision, "deployedAt": when} for revision, when in applied]
    health = {"status": "Healthy", "lastTransitionTime": healthy}
    return {"metadata": {"name": f"catalog-{environment}", "labels": labels}, "status": {"history": past, "health": health}}


def shown(report: Report) -> str:
    written = io.StringIO()
    dora.show(report, Console(file=written, width=120, soft_wrap=True))
    return written.getvalue()


def test_a_person_reads_medians_with_how_many_they_are_of(made: Deliveries, capsys: pytest.CaptureFixture[str]) -> None:
    made.begin(record("prod"))
    made.change(version("b"), Kind="promotion")
    made.change(record("prod"), Kind="rollback", after=3 * MINUTE)
    report = dora.measure({"prod": told(made)}, lambda _: BEGIN, by_git, now=BEGIN + DAY)
    printed = shown(report)
    assert max(map(len, printed.splitlines())) <= 120
    assert " ".join(printed.splitlines()[2].split()) == "prod catalog 1 1 a day 60 s (1) 100% (1 of 1) 3.0 min (1)"
    assert "2 by the GitOps commit alone" in printed
    cli.answer(report, json=True)
    told_to_machines = json.loads(capsys.readouterr().out)
    assert told_to_machines["rows"][1]["lead"] == {"median": 60.0, "longest": 60.0, "samples": 1}
    assert told_to_machines["sources"] == {"run": 0, "cluster": 0, "git": 2}
