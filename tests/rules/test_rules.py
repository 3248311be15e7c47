"""Every alert fires when it should, and does not when it should not: promtool runs the files beside this one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway import shell
from slipway.settings import ROOT
from tests.programs import program

RULES = sorted((ROOT / "charts" / "monitoring" / "rules").glob("*.yaml"))
TESTS = sorted(Path(__file__).parent.glob("*.yaml"))

each_file = pytest.mark.parametrize("file", TESTS, ids=lambda path: path.stem)


def rules_in(file: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


ALERTS: Mapping[str, dict[str, Any]] = {rule["alert"]: rule for file in RULES for rule in rules_in(file) if "alert" in rule}
RECORDS = [rule["record"] for file in RULES for rule in rules_in(file) if "record" in rule]

each_alert = pytest.mark.parametrize("alert", ALERTS)

CASES: Sequence[dict[str, Any]] = [
    {**case, "test": test["name"]}
    for file in TESTS
    for test in yaml.safe_load(file.read_text())["tests"]
    for case in test.get("promql_expr_test", [])
]


def cases_of(alert: str, *, fires: bool) -> list[dict[str, Any]]:
    """The expectations that this alert fires, or that it does not."""
    return [case for case in CASES if f'alertname="{alert}"' in case["expr"] and bool(case.get("exp_samples")) == fires]


def labels_of(sample: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', sample))


@each_file
def test_promtool_agrees(file: Path) -> None:
    shell.run([program("promtool"), "test", "rules", file])


def test_prometheus_takes_the_rules_without_a_warning() -> None:
    shell.run([program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *RULES])


def test_every_file_of_rules_is_tested_under_its_own_name() -> None:
    assert [path.name for path in TESTS] == [path.name for path in RULES]
    for file in TESTS:
        (tested,) = yaml.safe_load(file.read_text())["rule_files"]
        assert (file.parent / tested).resolve() in RULES


@each_alert
def test_an_alert_is_proved_to_fire(alert: str) -> None:
    found = cases_of(alert, fires=True)
    assert found, f"no test in tests/rules expects {alert} to fire"
    firing = [labels_of(sample["labels"]) for case in found for sample in case["exp_samples"]]
    assert {"alertname": alert, "alertstate": "firing"}.items() <= firing[0].items()


@each_alert
def test_an_alert_is_proved_not_to_fire_without_reason(alert: str) -> None:
    quiet = [case for case in cases_of(alert, fires=False) if case["test"].startswith(f"{alert} does not fire")]
    assert quiet, f"no test in tests/rules is called '{alert} does not fire ...' and expects silence"


@each_alert
def test_an_alert_says_how_bad_it_is_what_is_the_matter_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["description"]) > 60


@each_alert
def test_an_alert_speaks_only_of_labels_that_it_has(alert: str) -> None:
    spoken = set(re.findall(r"\$labels\.(\w+)", " ".join(ALERTS[alert]["annotations"].values())))
    samples = [labels_of(sample["labels"]) for case in cases_of(alert, fires=True) for sample in case["exp_samples"]]
    for sample in samples:
        assert spoken <= set(sample), f"{spoken - set(sample)} would be empty"


def test_no_two_alerts_have_one_name() -> None:
    names = [rule["alert"] for file in RULES for rule in rules_in(file) if "alert" in rule]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_proved_directly_or_by_an_alert_that_stands_on_it(record: str) -> None:
    by_test = any(record in case["expr"] for case in CASES)
    by_alert = any(record in rule["expr"] for rule in ALERTS.values())
    assert by_test or by_alert
