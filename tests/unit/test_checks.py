from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from slipway import checks, shell, toolbox
from slipway.errors import ToolMissing, UsageError
from slipway.settings import ROOT

REPORT = '<testsuites><testsuite tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"/></testsuites>'

Say = Callable[[list[str]], "tuple[int, str, Mapping[str, int]]"]


Machine = Callable[[Say], list[list[str]]]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Replaces every program: `say` gives its exit code, its output and what pytest's report counts."""
    monkeypatch.setattr(checks, "ROOT", tmp_path)
    monkeypatch.setattr(checks, "REPORTS", tmp_path / "build" / "reports")
    (tmp_path / ".venv").mkdir()
    for folder in (tmp_path, tmp_path / ".venv"):
        (folder / "requirements-dev.txt").write_text("lock")

    def replace(say: Say) -> list[list[str]]:
        ran: list[list[str]] = []

        def run(argv: list[object], *, stdout: Path | None = None, **_: object) -> shell.Result:
            words = [os.fspath(word) if isinstance(word, os.PathLike) else str(word) for word in argv]
            ran.append(words)
            code, said, counts = say(words)
            report = next((word.removeprefix("--junitxml=") for word in words if word.startswith("--junitxml=")), None)
            if report and counts:
                Path(report).write_text(REPORT.format(**{"failures": 0, "errors": 0, "skipped": 0, **counts}))
            if stdout:
                stdout.write_text(said)
                said = ""
            return shell.Result(code, said, "")

        monkeypatch.setattr(shell, "run", run)
        monkeypatch.setattr(toolbox, "actionlint", lambda *_, **__: Path("/tools/actionlint"))
        return ran

    return replace


def part_of(words: list[str]) -> str:
    return next((word.removeprefix("tests/") for word in words if word.startswith("tests/")), "lint")


def good(words: list[str]) -> tuple[int, str, Mapping[str, int]]:
    return 0, "===== 3 passed, 1 skipped in 0.12s =====\n", {"tests": 4, "skipped": 1}


def bad_in(*parts: str) -> Say:
    def say(words: list[str]) -> tuple[int, str, Mapping[str, int]]:
        if part_of(words) not in parts:
            return good(words)
        said = "tests/x.py::test_a PASSED\n==== FAILURES ====\nit broke\n===== 1 failed, 2 passed in 1.00s =====\n"
        return 1, said, {"tests": 3, "failures": 1}

    return say


def test_every_part_runs_in_order_and_the_last_line_counts_all(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    ran = machine(good)
    assert checks.run(checks.TIER_1) == 0
    assert list(dict.fromkeys(map(part_of, ran))) == ["lint", "unit", "delivery", "charts", "services", "rules", "e2e"]
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"{len(checks.LINTERS) + 6 * 3} passed, 0 failed, 6 skipped"
    assert "3 passed, 1 skipped in 0.12s" in out
    assert "✓ unit" in err


def test_a_part_that_fails_does_not_keep_the_next_from_running(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    ran = machine(bad_in("charts"))
    assert checks.run(checks.TIER_1) == 1
    assert "e2e" in map(part_of, ran)
    out, err = capsys.readouterr()
    assert "✗ charts" in err
    assert "1 failed, 2 passed in 1.00s" in out
    assert f"{len(checks.LINTERS) + 5 * 3 + 2} passed, 1 failed, 5 skipped" in out.splitlines()


def test_the_output_of_a_part_that_failed_is_shown_from_its_first_failure(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(bad_in("unit"))
    checks.run(["unit"])
    out = capsys.readouterr().out
    assert "-- build/reports/unit.log\n==== FAILURES ====\nit broke" in out
    assert "test_a PASSED" not in out


@pytest.mark.parametrize("part", ["lint", "unit", "delivery"])
def test_no_cluster_is_made_for_code_that_is_known_to_be_wrong(
    part: str, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = machine(bad_in(part))
    assert checks.run(checks.TIER_1) == 1
    assert "e2e" not in map(part_of, ran)
    assert f"not run, because {part} failed" in capsys.readouterr().out


def test_the_cluster_tests_alone_run_whatever_else_is_wrong(machine: Machine) -> None:
    ran = machine(bad_in("lint", "unit"))
    assert checks.run(["e2e"]) == 0
    assert list(map(part_of, ran)) == ["e2e"]


def test_a_part_without_tests_has_failed(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(lambda words: (5, "===== no tests ran in 0.01s =====", {"tests": 0}))
    assert checks.run(["charts"]) == 1
    out = capsys.readouterr().out
    assert "no test was found" in out
    assert out.splitlines()[-1] == "0 passed, 1 failed"


def test_a_run_that_broke_off_has_failed_though_it_left_no_report(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(lambda words: (-9, "half a line", {}))
    assert checks.run(["unit"]) == 1
    out = capsys.readouterr().out
    assert "it did not come to an end" in out
    assert out.splitlines()[-1] == "0 passed, 1 failed"


def test_the_report_of_an_earlier_run_is_not_taken_for_this_one(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(good)
    checks.run(["unit"])
    machine(lambda words: (-9, "", {}))
    checks.run(["unit"])
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 1 failed"


def test_lint_names_what_failed_and_reports_it_for_machines(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(lambda words: (1, "wrong type", {}) if "pyright" in words else (0, "", {}))
    assert checks.run(["lint"]) == 1
    assert "(types)" in capsys.readouterr().out
    suite = ElementTree.parse(checks.REPORTS / "lint.xml").getroot()
    assert {case.get("name"): len(case) for case in suite} == {"format": 0, "ruff": 0, "types": 1, "layers": 0, "workflows": 0}
    assert "wrong type" in (checks.REPORTS / "lint.log").read_text()


def test_lint_reads_every_workflow(machine: Machine) -> None:
    ran = machine(good)
    assert checks.run(["lint"]) == 0
    [words] = [words for words in ran if words[0] == "/tools/actionlint"]
    there = sorted((ROOT / ".github" / "workflows").iterdir())
    assert there and [ROOT / word for word in words if not word.startswith("-")][1:] == there


def test_a_linter_that_cannot_be_had_has_failed_and_the_others_have_their_say(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> Path:
        raise ToolMissing("there is no actionlint. Install Go.")

    ran = machine(lambda words: (1, "wrong type", {}) if "pyright" in words else (0, "", {}))
    monkeypatch.setattr(toolbox, "actionlint", missing)
    assert checks.run(["lint"]) == 1
    out = capsys.readouterr().out
    assert "(types, workflows)" in out and "Install Go." in out
    assert len(ran) == len(checks.LINTERS) - 1


def test_tests_can_be_picked_and_their_instances_kept(machine: Machine) -> None:
    ran = machine(good)
    checks.run(["e2e"], only="delivery", keep=True)
    [words] = ran
    assert words[words.index("-k") + 1] == "delivery"
    assert "--keep-instances" in words


def test_the_deliverys_tests_have_a_process_for_each_core_and_their_files_in_memory(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = machine(good)
    run, given = shell.run, list[Any]()

    def told(argv: list[str], *, env: Any = None, **more: Any) -> shell.Result:
        given.append(env and Path(env["TMPDIR"]).parent)
        return run(argv, **more)

    monkeypatch.setattr(shell, "run", told)
    monkeypatch.setattr(checks.machine, "in_memory", lambda _: tmp_path)
    checks.run(["unit", "delivery"])
    assert [[word in words for word in ("-n", "auto")] for words in ran] == [[False, False], [True, True]]
    assert given == [{}, tmp_path]
    monkeypatch.setattr(checks.machine, "in_memory", lambda _: None)
    checks.run(["delivery"])
    assert given[2:] == [{}]


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("tests/x.py::test_a", ("", "tests/x.py::test_a", "")),
        ("tests/x.py::test_a[b c] PASSED            [ 21%]", ("", "tests/x.py::test_a[b c]", "21")),
        ("[gw1] [  7%] PASSED tests/x.py::test_a[b c] ", ("7", "tests/x.py::test_a[b c]", "")),
    ],
)
def test_the_test_under_way_is_read_from_what_pytest_says(line: str, seen: tuple[str, str, str]) -> None:
    assert checks._TEST_LINE.findall(f"{line}\n") == [seen]  # pyright: ignore[reportPrivateUsage]


def test_what_tests_need_is_installed_at_their_first_use(machine: Machine) -> None:
    ran = machine(good)
    (checks.ROOT / ".venv" / "requirements-dev.txt").unlink()
    checks.run(["unit"])
    assert ran[0][1:] == ["-I", str(checks.ROOT / "bootstrap.py"), "requirements-dev.txt"]


def test_an_unknown_part_gets_the_valid_ones() -> None:
    with pytest.raises(UsageError, match=r"there is no part of the tests 'units'; valid: charts, delivery, e2e, lint"):
        checks.run(["units"])
