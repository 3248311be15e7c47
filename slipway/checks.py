"""What `./invoke test` runs: each part with its seconds, a report for machines, its output in a file, and one summary."""

from __future__ import annotations

import dataclasses
import re
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

from slipway import machine, requirements, shell, toolbox
from slipway.errors import SlipwayError, unknown
from slipway.progress import Phase, Progress
from slipway.settings import ROOT, load

REPORTS = ROOT / "build" / "reports"

TIER_1 = ("lint", "unit", "delivery", "charts", "services", "rules", "e2e")
PARTS = (*TIER_1, "long")

# Where a part's tests are, and which of them; those of a cluster that take their time are marked, and stand beside the others.
PLACES: Mapping[str, tuple[str, ...]] = {
    "e2e": ("tests/e2e", "-m", "not long"),
    "long": ("tests/long", "tests/e2e", "-m", "long"),
}

# A cluster is not worth its minutes while the code is known to be wrong.
GATES = {"e2e": ("lint", "unit", "delivery")}

# Their tests start thousands of short programs and repositories: each core has its tests, and their files lie in memory
# where there is room. Bytes.
PARALLEL = ("delivery",)
ROOM = 2 * machine.GIB

# Seconds. The last two may have to build every image first, and those of the services their stores and environments; the
# delivery's tests start thousands of processes.
DEFAULT_TIMEOUT = 1200.0
TIMEOUTS = {"delivery": 2700.0, "services": 2400.0, "e2e": 5400.0, "long": 10800.0}

# Seconds that pytest gets to take down what its fixtures made, when it is told to end.
GRACE = 120.0

PYTHON = sys.executable
WORKFLOWS = tuple(str(path.relative_to(ROOT)) for path in sorted((ROOT / ".github" / "workflows").glob("*.y*ml")))
LINTERS: Mapping[str, tuple[str, ...]] = {
    "format": (PYTHON, "-m", "ruff", "format", "--check", "--quiet", "."),
    "ruff": (PYTHON, "-m", "ruff", "check", "--quiet", "."),
    "types": (PYTHON, "-m", "pyright", "--pythonpath", PYTHON),
    "layers": (PYTHON, str(ROOT / ".venv" / "bin" / "lint-imports"), "--no-cache", "--no-logo"),
    # What it would find in a step's shell and Python is the business of the tasks; other programs on the PATH change nothing.
    "workflows": ("actionlint", "-no-color", "-shellcheck=", "-pyflakes=", *WORKFLOWS),
}

# pytest's exit code when it found nothing to run.
_NO_TESTS = 5

# A line of `pytest -v`: the test, and once it has ended, how much of the whole is done; in parallel that comes first.
_TEST_LINE = re.compile(
    r"^(?:\[gw\d+\] \[ *(\d+)%\] [A-Z]+ )?(\S+::.*?)(?: (?:PASSED|FAILED|SKIPPED|ERROR|XFAIL).*\[ *(\d+)%\])? ?$", re.MULTILINE
)


@dataclass(frozen=True)
class Outcome:
    """How one part ended.

    Attributes:
        part: Its name.
        state: "passed", "failed" or "not run".
        passed: How many checks or tests passed.
        failed: How many failed, or could not be judged.
        skipped: How many were skipped.
        seconds: How long it took.
        line: Its closing line.
        log: Where its output is kept.
    """

    part: str
    state: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    line: str = ""
    log: Path | None = None


def run(parts: Sequence[str], *, only: str = "", keep: bool = False) -> int:
    """The exit code of running these parts, one after the other; one that fails does not keep the next from running.

    Args:
        parts: Their names, in order.
        only: An expression for pytest's -k.
        keep: Leave the instances that tests make.

    Raises:
        UsageError: There is no such part.
    """
    for part in parts:
        if part not in PARTS:
            raise unknown("part of the tests", part, PARTS)
    REPORTS.mkdir(parents=True, exist_ok=True)
    progress = Progress()
    outcomes: list[Outcome] = []
    requirements.install_for_tests(ROOT)
    with progress.showing():
        for part in parts:
            outcomes.append(_run_part(part, outcomes, progress, only=only, keep=keep))
    for outcome in outcomes:
        if outcome.state == "failed" and outcome.log:
            _show_failure(outcome.log)
    _summarise(outcomes)
    return 0 if all(outcome.state == "passed" for outcome in outcomes) else 1


def format_all() -> int:
    """The exit code of formatting the checkout's Python, and mending what ruff can mend."""
    requirements.install_for_tests(ROOT)
    fixed = shell.interactive([PYTHON, "-m", "ruff", "check", "--fix", "--quiet", "."], cwd=ROOT)
    return shell.interactive([PYTHON, "-m", "ruff", "format", "."], cwd=ROOT) or fixed


def _run_part(part: str, before: Sequence[Outcome], progress: Progress, *, only: str, keep: bool) -> Outcome:
    red = [outcome.part for outcome in before if outcome.part in GATES.get(part, ()) and outcome.state != "passed"]
    if red:
        why = f"not run, because {' and '.join(red)} failed"
        progress.note(f"- {part}: {why}")
        return Outcome(part, "not run", line=why)
    log = REPORTS / f"{part}.log"
    log.write_bytes(b"")
    with progress.phase(part) as phase:
        outcome = _lint(phase, log) if part == "lint" else _pytest(part, phase, log, only=only, keep=keep)
        (phase.say if outcome.state == "passed" else phase.fail)(outcome.line)
    return dataclasses.replace(outcome, seconds=progress.timings[part])


def _lint(phase: Phase, log: Path) -> Outcome:
    suite = ElementTree.Element("testsuite", name="lint", tests=str(len(LINTERS)))
    failed: list[str] = []
    with log.open("w") as sink:
        for done, (name, argv) in enumerate(LINTERS.items()):
            phase.parts(done, len(LINTERS))
            phase.say(name)
            result = _judge(argv, phase)
            said = f"{result.stdout}{result.stderr}"
            sink.write(f"== {name}\n{said}\n")
            case = ElementTree.SubElement(suite, "testcase", classname="lint", name=name)
            if result.code:
                failed.append(name)
                ElementTree.SubElement(case, "failure", message=f"exit code {result.code}").text = said
    suite.set("failures", str(len(failed)))
    ElementTree.ElementTree(suite).write(REPORTS / "lint.xml", encoding="unicode", xml_declaration=True)
    passed = len(LINTERS) - len(failed)
    line = f"{passed} passed, {len(failed)} failed" + (f" ({', '.join(failed)})" if failed else "")
    return Outcome("lint", "failed" if failed else "passed", passed, len(failed), line=line, log=log)


def _judge(argv: Sequence[str], phase: Phase) -> shell.Result:
    """What a linter says. One that is not there and cannot be had has not passed, and the others have their say."""
    try:
        program = toolbox.actionlint(load(), phase=phase) if argv[0] == "actionlint" else argv[0]
        return shell.run([program, *argv[1:]], cwd=ROOT, check=False, timeout=DEFAULT_TIMEOUT)
    except SlipwayError as error:
        return shell.Result(error.exit_code, "", f"{error}\n")


def _pytest(part: str, phase: Phase, log: Path, *, only: str, keep: bool) -> Outcome:
    report = REPORTS / f"{part}.xml"
    report.unlink(missing_ok=True)
    argv = [PYTHON, "-m", "pytest", *PLACES.get(part, (f"tests/{part}",))]
    argv += ["-v", "-rfEs", f"--junitxml={report}", "-o", f"junit_suite_name={part}"]
    argv += ["-k", only] if only else []
    argv += ["--keep-instances"] if keep and part in GATES else []
    argv += ["-n", "auto", "--dist", "worksteal"] if part in PARALLEL else []
    with _following(log, phase), _temporary(part) as env:
        timeout = TIMEOUTS.get(part, DEFAULT_TIMEOUT)
        result = shell.run(argv, cwd=ROOT, env=env, check=False, timeout=timeout, stdout=log, grace=GRACE)
    with log.open("a") as sink:
        sink.write(result.stderr)
    counts = _counts(report)
    line = "no test was found" if result.code == _NO_TESTS else _closing_line(log.read_text(errors="replace"))
    failed = counts["errors"] + counts["failures"]
    return Outcome(
        part=part,
        state="failed" if result.code else "passed",
        passed=counts["tests"] - failed - counts["skipped"],
        failed=failed or (1 if result.code else 0),
        skipped=counts["skipped"],
        line=line,
        log=log,
    )


@contextmanager
def _temporary(part: str) -> Generator[Mapping[str, str]]:
    place = machine.in_memory(ROOM) if part in PARALLEL else None
    if place is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="slipway-", dir=place) as folder:
        yield {"TMPDIR": folder}


@contextmanager
def _following(log: Path, phase: Phase) -> Generator[None]:
    """Show the test under way, as the log grows, while this block runs."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(0.5):
            seen = _TEST_LINE.findall(_end_of(log))
            if seen:
                phase.say(seen[-1][1].rpartition("::")[2].strip())
                done = [int(first or last) for first, _, last in seen if first or last]
                phase.parts(done[-1] if done else phase.done, 100)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return file.read().decode(errors="replace")


def _counts(report: Path) -> dict[str, int]:
    names = ("tests", "failures", "errors", "skipped")
    if not report.is_file():
        return dict.fromkeys(names, 0)
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))  # noqa: S314 - pytest wrote it a moment ago
    return {name: sum(int(suite.get(name, "0")) for suite in suites) for name in names}


def _closing_line(output: str) -> str:
    found = re.findall(r"^=+ (.+ in [\d.]+s.*?) =+$", output, re.MULTILINE)
    return found[-1] if found else "it did not come to an end"


def _show_failure(log: Path) -> None:
    text = log.read_text(errors="replace")
    # pytest lists every test first; what matters begins where it tells of the first that failed.
    starts = [match.start() for match in re.finditer(r"^=+ (?:ERRORS|FAILURES) =+$", text, re.MULTILINE)]
    print(f"\n-- {log.relative_to(ROOT)}\n{text[min(starts, default=0) :].strip()}")


def _summarise(outcomes: Sequence[Outcome]) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("PART", "STATE", "PASSED", "FAILED", "SKIPPED", "SECONDS", "CLOSING LINE"):
        table.add_column(column, justify="right" if column in ("PASSED", "FAILED", "SKIPPED", "SECONDS") else "left")
    styles = {"passed": "green", "failed": "red", "not run": "yellow"}
    for outcome in outcomes:
        numbers = (f"{outcome.passed}", f"{outcome.failed}", f"{outcome.skipped}", f"{outcome.seconds:.1f}")
        table.add_row(outcome.part, f"[{styles[outcome.state]}]{outcome.state}[/]", *numbers, outcome.line)
    print()
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
    print(f"\nReports: {REPORTS.relative_to(ROOT)}")
    skipped = sum(outcome.skipped for outcome in outcomes)
    passed, failed = (sum(getattr(outcome, name) for outcome in outcomes) for name in ("passed", "failed"))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
