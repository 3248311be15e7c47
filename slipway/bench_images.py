"""How long a changed line takes to a digest in the registry, beside a floor: the same bytes archived, summed up and sent."""

from __future__ import annotations

import hashlib
import io
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slipway import archive, engine, images, oci, recipes, registry
from slipway.errors import SlipwayError, UsageError
from slipway.images import Built
from slipway.oci import Descriptor
from slipway.progress import Phase, Progress
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

VERSION = "0.0.0-bench"


@dataclass(frozen=True)
class Report:
    """What was measured, in seconds: every run by what was done, the median of each, and line to floor."""

    service: str
    medians: Mapping[str, float]
    runs: Mapping[str, Sequence[float]]
    ratio: float


def bench_images(settings: Settings, *, service: str, runs: int, progress: Progress) -> Report:
    """A service's image after one changed line, after another commit of the same files, and when there is nothing to do.

    The images of this benchmark are removed from the registry again.

    Args:
        settings: Which checkout.
        service: Which service.
        runs: How often each is done.
        progress: Shows how far it is.

    Raises:
        UsageError: There is no such service, or nothing to measure in so few runs.
        SlipwayError: No registry runs.
    """
    if runs < 1 or service not in settings.services:
        raise UsageError(f"{runs} runs of service {service!r}: give one run or more, and one of {', '.join(settings.services)}.")
    found = engine.connect(settings, progress=progress)
    beside = registry.find(found)
    if beside is None or beside.state != "running":
        raise SlipwayError("no registry runs: `./invoke up` starts it.")
    plan = next((one for one in (recipes.plan(settings, found, name) for name in ("build", "pull")) if _ready(one)), None)
    if plan is None:
        raise SlipwayError("the images that services stand on are not there: `./invoke up` makes them.")
    made: list[Built] = []
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder, progress.showing(), progress.phase(service) as phase:
        context = Path(folder) / "services"
        shutil.copytree(settings.root / "services", context, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        shutil.copyfile(settings.root / "services" / ".dockerignore", context / ".dockerignore")

        def build(commit: str = "0" * 40) -> Built:
            built = images.build_service(
                settings,
                found,
                beside,
                service=service,
                context=context,
                base=plan.image("python"),
                build_base=plan.image("python-build"),
                version=VERSION,
                commit=commit,
                phase=Phase(service),
            )
            made.append(built)
            return built

        def change(number: int) -> None:
            with (context / service / "main.py").open("a") as file:
                file.write(f"\n# {time.time_ns()} {number}\n")

        try:
            build()
            line = _timed(runs, phase, build, before=change)
            commit = _timed(runs, phase, lambda: build(hashlib.sha256(str(time.time_ns()).encode()).hexdigest()[:40]))
            nothing = _timed(runs, phase, build)
            floor = _timed(runs, phase, lambda: _floor(beside.name, service, context), before=change)
        finally:
            for built in made:
                oci.remove(built.reference)
    seconds = {"one changed line": line, "another commit": commit, "nothing changed": nothing, "floor": floor}
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    return Report(service, medians, seconds, round(medians["one changed line"] / medians["floor"], 1))


def _ready(plan: recipes.Plan) -> bool:
    return all(plan.engine.has_image(plan.image(name)) for name in ("python", "python-build"))


def _timed(
    runs: int, phase: Phase, do: Callable[[], object], *, before: Callable[[int], object] = lambda _: None
) -> Sequence[float]:
    seconds: list[float] = []
    for number in range(runs):
        phase.parts(number, runs)
        before(number)
        started = time.monotonic()
        do()
        seconds.append(round(time.monotonic() - started, 3))
    return seconds


def _floor(host: str, service: str, context: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as target:
        for name in engine.context_files(context):
            if name.partition("/")[0] in (service, images.SHARED):
                target.add(context / name, name)
    data = buffer.getvalue()
    described = Descriptor(archive.MEDIA_TYPE, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
    oci.put_blob(host, service, data, described)


def show(report: Report, console: Console) -> None:
    """Print a report for a person."""
    console.print(f"\n{report.service}: seconds to a digest in the registry (median of {len(report.runs['floor'])})\n")
    for name, seconds in report.medians.items():
        console.print(f"  {name:<20} {seconds:8.3f}")
    console.print(f"\nA changed line takes {report.ratio} times the floor: the same files archived, summed up and sent.")
