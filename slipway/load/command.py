"""What `./invoke load` does: a test, its report beside it, and the word to the pipeline when a release has passed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slipway import access
from slipway.errors import SlipwayError
from slipway.kube import NOT_YET
from slipway.load import compare, keeping, kept, report, running, show
from slipway.load.answers import Comparison
from slipway.load.model import ENVIRONMENT_CODE, Asked, Run
from slipway.progress import Progress
from slipway.releases import Uncounted
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


class Unwritten(SlipwayError):
    """A report could not be written: no verdict on what was tested."""

    exit_code = ENVIRONMENT_CODE


@dataclass(frozen=True)
class Made:
    """A test, and what was made of it.

    Attributes:
        run: The test.
        folder: Where everything about it lies.
        report: The page.
        recorded: The commit that tells the pipeline that this release passed; empty when it does not count for one.
        unrecorded: Why the pipeline could not be told of one that would count; empty when it could.
        uncounted: Why it counts for no release, where the policy asks for one that does.
    """

    run: Run
    folder: Path
    report: Path
    recorded: str = ""
    unrecorded: str = ""
    uncounted: str = ""

    @property
    def code(self) -> int:
        """What the command exits with: what was to be told to the pipeline, and was not, is no passed test for anybody."""
        return self.run.code or (ENVIRONMENT_CODE if self.unrecorded else 0)


def load(settings: Settings, asked: Asked, *, progress: Progress) -> Made:
    """A load test, judged, kept and reported.

    Raises:
        SlipwayError: What is asked for is not there, or cannot be tested: no verdict then, and exit code 3.
    """
    try:
        return _load(settings, asked, progress)
    except SlipwayError as error:
        if error.exit_code == ENVIRONMENT_CODE:
            raise
        # Its own code would be that of a failed test, or of an invalid one.
        raise running.Environmental(str(error)) from error
    except OSError as error:
        raise running.Environmental(f"{error.filename or 'a file'}: {error.strerror or error}. Make room, or mend it.") from error


def _load(settings: Settings, asked: Asked, progress: Progress) -> Made:
    run = running.run(settings, asked, progress)
    folder = keeping.folder(settings, run.id)
    with progress.phase("report") as phase:
        page = write(settings, run)
        phase.say(str(page))
    recorded = unrecorded = uncounted = ""
    if run.code == 0:
        with progress.phase("tell the pipeline", quiet_when_skipped=True) as phase:
            try:
                published = keeping.record(access.open(settings), run, user=asked.user)
            except Uncounted as why:
                phase.skipped, uncounted = True, str(why) if settings.policy.load == "required" else ""
            except (SlipwayError, *NOT_YET, OSError) as error:  # the test itself is none the worse, and is shown
                unrecorded = str(error)
                phase.fail(unrecorded)
            else:
                recorded = published.commit if published else ""
                phase.skipped = not recorded
                phase.say(f"{run.target.release} withstood it, says {recorded[:9]}" if recorded else "")
    return Made(run, folder, page, recorded, unrecorded, uncounted)


def show_made(made: Made, console: Console) -> None:
    """Print a test for a person: what came of it, and where everything about it lies."""
    show.show(made.run, console, made.report)
    if made.recorded:
        console.print(f"The pipeline knows that {made.run.target.release} passed ({made.recorded[:9]}).", markup=False)
    if made.uncounted:
        console.print(f"No release passes by it: {made.uncounted}.", markup=False)
    if made.unrecorded:
        console.print(f"The pipeline does not know that {made.run.target.release} passed: {made.unrecorded}", markup=False)
        console.print("Run the test again when it answers.", markup=False)


@dataclass(frozen=True)
class Compared:
    """A comparison, and where its page lies."""

    comparison: Comparison
    report: Path

    @property
    def code(self) -> int:
        """What the command exits with."""
        return self.comparison.code


def compared(settings: Settings, first: str, second: str, asked: Asked, *, runs: int, progress: Progress) -> Compared:
    """Whether the second release does better or worse than the first under load.

    Args:
        settings: The instance's.
        first: The release that is the measure, or runs of it that are kept, with commas between.
        second: The other one, likewise.
        asked: The load, where it is made.
        runs: Of each release, and of the first one against itself; 0 for as many as it usually takes.
        progress: Shows how it goes.

    Raises:
        SlipwayError: There is nothing to compare, a release could not be put in place, or the environment could not be tested:
            no answer then, and exit code 3.
    """
    try:
        if kept.named(first, second):
            told = kept.compare(settings, first, second)
        else:
            told = compare.compare(settings, first, second, asked, progress, runs=runs or compare.RUNS, user=asked.user)
        return Compared(told, _pages(settings, told))
    except SlipwayError as error:
        if error.exit_code == ENVIRONMENT_CODE:
            raise
        raise running.Environmental(str(error)) from error
    except (*NOT_YET, OSError) as error:
        raise running.Environmental(
            f"the comparison could not be made ({type(error).__name__}: {' '.join(str(error).split())[:300]}). "
            f"The runs that were made are kept. `{settings.command('status')}` looks further."
        ) from error


def _pages(settings: Settings, told: Comparison) -> Path:
    """The page of a comparison; those of its runs show it from now on."""
    try:
        page = kept.keep(settings, told)
        for ran in told.runs:
            write(settings, keeping.read(settings, ran.id))
    except OSError as error:
        raise Unwritten(
            f"the page of the comparison cannot be written: {error.strerror}. The runs themselves are kept."
        ) from error
    return page


def show_compared(made: Compared, console: Console) -> None:
    """Print a comparison for a person."""
    show.show_comparison(made.comparison, console, made.report)


def write(settings: Settings, run: Run) -> Path:
    """The page of a run; with its picture and its JUnit file it lies beside it.

    Raises:
        Unwritten: They cannot be.
    """
    folder = keeping.folder(settings, run.id)
    try:
        return report.write(settings, run, folder, kept.of(settings, run.id))
    except OSError as error:
        raise Unwritten(f"the report in {folder} cannot be written: {error.strerror}. The run itself is kept.") from error


def again(settings: Settings, run: str) -> Made:
    """The report of a run that is kept, made anew.

    Raises:
        UsageError: There is no such run.
    """
    found = keeping.read(settings, run)
    return Made(found, keeping.folder(settings, found.id), write(settings, found))


def runs(settings: Settings) -> Sequence[keeping.Kept]:
    """Every run that is kept, the newest first."""
    return keeping.every(settings)
