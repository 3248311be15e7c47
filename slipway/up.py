"""`up`: from whatever there is to a whole instance, by steps that each do only what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slipway import agent, bundle, cluster, credentials, doctor, engine, genesis, instance, kind, platform, pull
from slipway.assembly import Assembly
from slipway.dev import tilt
from slipway.errors import PhaseFailed, UsageError, unknown
from slipway.kube import Object
from slipway.progress import Progress
from slipway.settings import SOURCES, Settings, command
from slipway.steps import run_steps

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_PROFILE = "full"

# Seconds; a phase that took less had nothing to do.
_WORTH_TELLING = 0.05


@dataclass(frozen=True)
class Made:
    """What `up` made, or found whole.

    Attributes:
        urls: Every address on the host, by what answers there.
        kubeconfig: The cluster admin's.
        secrets: The file with the passwords of this instance.
        seconds: How long it took.
        phases: How long each phase took, in seconds; several run at a time.
    """

    instance: str
    profile: str
    source: str
    urls: Mapping[str, str]
    kubeconfig: str
    secrets: str
    seconds: float
    phases: Mapping[str, float]


def up(
    settings: Settings,
    *,
    source: str = "auto",
    profile: str | None = None,
    progress: Progress,
    record: Callable[[Sequence[Object]], None] | None = None,
    with_tilt: bool = False,
) -> Made:
    """The instance, whole: made, repaired or found as it should be.

    Args:
        settings: Which instance.
        source: Where images come from: "auto", "pull" or "build".
        profile: What it holds; what it holds already, or "full", by default.
        progress: Where the phases are shown.
        record: Told every object of the platform that was applied, secrets included.
        with_tilt: Begin to compile Tilt for `dev` when all else is done, in the background.

    Raises:
        UsageError: A name is not valid, or the instance was made with another profile or source, or its passwords are gone.
        ToolMissing: Tilt is asked for, and cannot be compiled here.
        Unfit: The machine cannot run it; the message has the numbers.
        PhaseFailed: A phase failed; the message says what was waited for and where the evidence is.
    """
    if source not in SOURCES:
        raise unknown("source", source, SOURCES)
    if profile:
        settings.profile(profile)
    if with_tilt:
        tilt.require(settings)
    remote = platform.remote_write()
    started = time.monotonic()
    with instance.locked(settings, "up"), progress.showing():
        running = engine.find(settings)
        had = _had(settings, running)
        wanted, chosen = _agreed(settings, had, profile, source)
        doctor.require(settings, profile=wanted, source=chosen.source, progress=progress)
        found = engine.connect(settings, progress=progress)
        if running is None and (had := _had(settings, found)):  # an engine that stood still could not be asked before
            wanted, chosen = _agreed(settings, had, profile, source)
        if source == "auto" and not had:
            progress.note(f"source: {chosen.source}, because {chosen.why}")
        begun = genesis.origin(settings)
        if begun.dirty and not had:
            progress.note("uncommitted changes are not delivered: an instance begins with the last commit")
        work = Assembly(settings, found, wanted, chosen.source, remote, commit=begun.commit, fresh=not had)
        try:
            run_steps(work.steps(), progress)
        except PhaseFailed as failure:
            raise _with_evidence(work, failure) from failure
    if record:
        record(work.applied)
    if with_tilt:
        log = tilt.start(settings)
        progress.note(f"Tilt is compiled in the background, which {log} tells of" if log else "Tilt is there already")
    facts = instance.Facts(wanted, chosen.source)
    return Made(
        instance=settings.instance,
        profile=wanted,
        source=chosen.source,
        urls=instance.urls(settings, facts, work.node.http_port),
        kubeconfig=str(settings.kubeconfig),
        secrets=str(credentials.file(settings)),
        seconds=round(time.monotonic() - started, 1),
        phases={name: round(seconds, 1) for name, seconds in progress.timings.items() if seconds >= _WORTH_TELLING},
    )


def _had(settings: Settings, found: engine.Engine | None) -> instance.Facts | None:
    """What the instance was made as; None when it is not there, or not whole.

    Raises:
        UsageError: It is there without its passwords. With new ones its stores would let nobody in.
    """
    node = cluster.find(settings, found) if found else None
    had, kept = node.facts if node else None, credentials.file(settings)
    if had and not kept.is_file():
        raise UsageError(
            f"instance {settings.instance!r} is there, and its passwords are not: {kept} is gone, or it was made with another "
            f"SLIPWAY_HOME. Name that one, or begin anew without the data that it holds: `{settings.command('down')}`, then "
            f"`{settings.command('up')}`."
        )
    return had


def _agreed(settings: Settings, had: instance.Facts | None, profile: str | None, source: str) -> tuple[str, pull.Choice]:
    """The profile and the source: what the instance was made with, else what was asked for."""
    if had is None:
        return profile or DEFAULT_PROFILE, pull.choose(source, settings)
    for what, has, asked in (("profile", had.profile, profile or had.profile), ("source", had.source, source)):
        if asked not in (has, "auto"):
            raise UsageError(
                f"instance {settings.instance!r} has the {what} {has}. Run `{settings.command('down')}` first to make it "
                f"with the {what} {asked}, or give the other one a name: ./invoke up --name NAME --{what} {asked}"
            )
    return had.profile, pull.choose(had.source, settings)


def _with_evidence(work: Assembly, failure: PhaseFailed) -> PhaseFailed:
    settings = work.settings
    folder = bundle.new_folder(settings)
    made = settings.kubeconfig.is_file() and work.kube.healthy()

    def node_logs(target: Path) -> None:
        if work.engine.container(settings.node):
            kind.export_logs(work.plan.tool("kind"), name=settings.instance, folder=target, env=work.engine.environment)
        if said := agent.said(settings, work.engine):
            (folder / "runner.log").write_text(said)

    causes = bundle.collect(
        folder,
        work.kube if made else None,
        waited_for=str(failure),
        node_logs=node_logs,
    )
    listed = "\n".join(["Likely causes:", *(f"  {cause}" for cause in causes)]) if causes else ""
    up, down = settings.command("up"), settings.command("down")
    again = f"`{up}` goes on from here once the cause is mended; `{down}` removes what there is."
    return PhaseFailed(failure.phase, failure.cause, bundle=folder, hint="\n".join(line for line in (listed, again) if line))


def show(made: Made, console: Console) -> None:
    """Print it for a person: the addresses, and what to do next."""
    console.print(f"\n{made.instance} is ready after {made.seconds:.0f} s.\n")
    width = max(map(len, made.urls))
    for name, url in made.urls.items():
        console.print(f"  {name:<{width}}  {url}", markup=False)
    console.print(f"\n  users developer, lead and pipeline; passwords: {made.secrets}", markup=False)
    console.print(f"\nNext: {command('status', made.instance)}", markup=False)
