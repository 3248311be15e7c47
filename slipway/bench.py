"""Benchmarks of `up`: where its seconds go, beside a floor measured in the same run on the same machine."""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from slipway import cluster, credentials, down, engine, gitops, gitserver, kind, recipes, registry, up
from slipway.applications import API_VERSION
from slipway.errors import SlipwayError, UsageError
from slipway.kube import NOT_YET, Kube, Object, describe, rollout
from slipway.progress import Progress
from slipway.settings import Settings, load
from slipway.steps import run_steps
from slipway.waiting import Failed, Pending, Ready, wait_for

if TYPE_CHECKING:
    from rich.console import Console

INSTANCE = "bench"

PODS_TIMEOUT = 300.0


@dataclass(frozen=True)
class Row:
    """One thing measured: the median of its seconds over the runs, and each of them."""

    name: str
    seconds: float
    runs: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """A benchmark's result.

    Attributes:
        title: What was measured.
        rows: Its parts; they may overlap in time.
        total: All of it.
        floor: The least that the same result costs without Slipway.
        ratio: Total to floor, both medians.
        note: What the floor is.
    """

    title: str
    rows: tuple[Row, ...]
    total: Row
    floor: Row
    ratio: float
    note: str


def bench_up(*, runs: int, progress: Progress) -> Report:
    """A warm `up`, phase by phase, beside the bare cluster with the same manifests.

    Everything is built or pulled before the first measurement.

    Raises:
        UsageError: There is nothing to measure in so few runs.
    """
    if runs < 1:
        raise UsageError(f"{runs} runs measure nothing: give --runs 1 or more")
    settings = load(INSTANCE)
    phases: list[Mapping[str, float]] = []
    totals: list[float] = []
    floors: list[float] = []
    again: list[float] = []
    try:
        up.up(settings, progress=progress)  # fills the caches
        for _ in range(runs):
            with progress.showing():
                down.down(settings, purge=False, progress=progress)
            objects: list[Object] = []
            made = up.up(settings, progress=Progress(progress.console), record=objects.extend)
            totals.append(made.seconds)
            phases.append(made.phases)
            again.append(up.up(settings, progress=Progress(progress.console)).seconds)
            objects += _rendered(settings)
            _remove_cluster(settings)
            with progress.showing(), progress.phase("floor"):
                floors.append(_floor(settings, objects, made.source))
    finally:
        with progress.showing():
            down.down(settings, purge=False, progress=progress)
    rows = [_row(name, [run.get(name, 0.0) for run in phases]) for name in dict.fromkeys(name for run in phases for name in run)]
    rows.append(_row("up again, nothing to do", again))
    total, floor = _row("warm up", totals), _row("floor", floors)
    note = "kind create with the same image and images preloaded, one apply of the same manifests, every pod ready"
    return Report("warm up", tuple(rows), total, floor, round(total.seconds / floor.seconds, 2), note)


def bench_cold(*, progress: Progress) -> Report:
    """Everything that `up` builds, from nothing: no artefact, no compiler cache, no image.

    Go's downloaded modules are kept, and so is BuildKit's cache of single steps, which may be other people's too.
    The images are removed from the engine first, and are there again afterwards, built anew.
    """
    usual = load(INSTANCE)
    found = engine.connect(usual, progress=progress)
    with tempfile.TemporaryDirectory(prefix="slipway-cold-", dir=usual.home) as folder:
        settings = replace(usual, home=Path(folder))
        os.environ["GOCACHE"] = str(Path(folder) / "go-build")  # this process ends with the benchmark
        with progress.showing():
            with progress.phase("removing images"):
                found.remove_ours()
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            run_steps(recipes.plan(settings, found, "build").steps, progress)
            total = _row("cold build", [time.monotonic() - started])
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    floor = _row("floor", [processor / len(os.sched_getaffinity(0))])
    rows = tuple(_row(name, [seconds]) for name, seconds in progress.timings.items())
    note = "the processor time of compilers and package tools, spread over every core without a gap"
    return Report("cold build", rows, total, floor, round(total.seconds / floor.seconds, 2), note)


def show(report: Report, console: Console) -> None:
    """Print a report for a person: the longest parts first."""
    console.print(f"\n{report.title}, seconds (median of {len(report.total.runs)})\n")
    for row in sorted(report.rows, key=lambda row: row.seconds, reverse=True):
        if row.seconds >= _WORTH_SHOWING:
            console.print(
                f"  {row.name:<32}{row.seconds:8.1f}  {'#' * round(40 * row.seconds / report.total.seconds)}", markup=False
            )
    console.print(f"\n  {'total':<32}{report.total.seconds:8.1f}", markup=False)
    console.print(f"  {'floor':<32}{report.floor.seconds:8.1f}  {report.note}", markup=False)
    console.print(f"  {'ratio':<32}{report.ratio:8.2f}", markup=False)


# Seconds; what takes less explains nothing.
_WORTH_SHOWING = 0.5


def _row(name: str, seconds: Sequence[float]) -> Row:
    return Row(name, round(statistics.median(seconds), 1), tuple(round(one, 1) for one in seconds))


def _remove_cluster(settings: Settings) -> None:
    """Remove the node alone; the folder keeps what the floor is made from."""
    found = engine.find(settings)
    if found:
        cluster.remove(settings, found)


def _rendered(settings: Settings) -> list[Object]:
    """What Argo CD applies: the manifests in the instance's GitOps repositories."""
    found = engine.connect(settings)
    node = cluster.find(settings, found)
    if node is None:
        raise SlipwayError(f"instance {settings.instance!r} went away during the benchmark. Run it again.")
    secrets = credentials.keep(settings)
    objects: list[Object] = []
    for repository in sorted({environment.repository for environment in settings.environments.values()}):
        remote = gitserver.remote(repository, port=node.http_port, user="pipeline", secrets=secrets)
        for (environment, _), entry in sorted(gitops.read(remote)[1].items()):
            objects += [{**item, "metadata": {**item["metadata"], "namespace": environment}} for item in entry.manifests]
    return objects


def _floor(settings: Settings, objects: Sequence[Object], source: str) -> float:
    """Seconds that the bare tools need until the same pods are ready."""
    found = engine.connect(settings)
    plan = recipes.plan(settings, found, source)
    there = registry.find(found)
    kubeconfig = settings.folder / "kubeconfig-floor"
    started = time.monotonic()
    kind.create(
        plan.tool("kind"),
        name=settings.instance,
        image=plan.image("node"),
        config=settings.folder / "kind.yaml",
        kubeconfig=kubeconfig,
        env=found.environment,
    )
    if there:
        cluster.trust_registry(found.container(settings.node), registry=there.name, mirror=there.inner_url)
    kube = Kube(kubeconfig, settings.context)
    # Without its own objects Argo CD delivers nothing: what it would deliver is applied like the rest.
    plain = [item for item in objects if item["apiVersion"] != API_VERSION]
    kube.apply(plain)
    for item in plain:
        if item["kind"] in ("Deployment", "StatefulSet"):
            wait_for(describe(item), partial(_rolled_out, kube, item), timeout=PODS_TIMEOUT, tolerate=NOT_YET)
    return time.monotonic() - started


def _rolled_out(kube: Kube, item: Object) -> Ready[Object] | Pending | Failed:
    meta = item["metadata"]
    return rollout(kube.get(item["kind"], meta["name"], namespace=meta["namespace"], api_version="apps/v1"))
