"""What an instance costs while nobody uses it: memory, processor and disk, beside the budgets, with what takes the most."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway import cluster, disk, engine, registry, usage
from slipway.errors import SlipwayError, UsageError
from slipway.kube import Kube
from slipway.progress import Progress
from slipway.settings import Settings
from slipway.usage import Size, Use

if TYPE_CHECKING:
    from rich.console import Console

# What an idle instance may take: bytes, cores, bytes.
MEMORY_BUDGET = 3.5 * 1024**3
CORES_BUDGET = 0.4
DISK_BUDGET = 6e9

# The kubelet looks at its pods every ten to twenty seconds: a shorter window would end where it began.
_SHORTEST, _LONGEST = 30, 3600

# The share of the machine that others may use before a result is called noisy.
_QUIET = 0.15
_SHOWN = 12


@dataclass(frozen=True)
class Report:
    """An idle instance.

    Attributes:
        seconds: The window over which the processor was watched.
        containers: Its containers in the engine; together they are all of its memory and processor.
        namespaces: The pods by namespace, most memory first.
        pods: Each pod, most memory first.
        system: What runs on the node beside the pods, by memory alone: not every node tells the processor time of these.
        programs: Everything on the node by program, with how many of each; pages that processes share count for each of them.
            Empty where the engine runs on another machine.
        disk: What the instance adds to the machine.
        apart: What building keeps for the next time, and what no pin names any more: not in the budget.
        host_cores: How many cores of the machine were busy on average, with everything else that runs; None when unknown.
        machine_cores: How many there are.
    """

    instance: str
    seconds: float
    memory: int
    memory_budget: int
    cores: float
    cores_budget: float
    disk_bytes: int
    disk_budget: int
    containers: tuple[Use, ...]
    namespaces: tuple[Use, ...]
    pods: tuple[Use, ...]
    system: tuple[Size, ...]
    programs: tuple[Use, ...]
    disk: tuple[Size, ...]
    apart: tuple[Size, ...]
    host_cores: float | None
    machine_cores: int


def bench_idle(settings: Settings, *, seconds: int, progress: Progress) -> Report:
    """What a running instance takes; it is only read.

    Args:
        settings: Which instance.
        seconds: How long to watch the processor.
        progress: Shows that it watches.

    Raises:
        UsageError: The window is too short or too long to say anything.
        SlipwayError: The instance does not run.
    """
    if not _SHORTEST <= seconds <= _LONGEST:
        raise UsageError(f"{seconds} seconds cannot be measured: give --seconds from {_SHORTEST} to {_LONGEST}")
    found = engine.find(settings)
    node = cluster.find(settings, found) if found else None
    if found is None or node is None or node.state != "running":
        raise SlipwayError(f"instance {settings.instance!r} does not run. `{settings.command('up')}` makes it.")
    kube = Kube(settings.kubeconfig, settings.context)
    names = (settings.node, registry.CONTAINER)
    with progress.showing(), progress.phase("watching") as phase:
        phase.say(f"{seconds} s")
        busy, began = usage.host_busy(), time.monotonic()
        before = usage.containers(found, names), usage.pods(kube.usage(settings.node)), usage.programs(found, settings.node)
        time.sleep(seconds)  # the window is what is measured
        containers, summary = usage.rates(before[0], usage.containers(found, names)), kube.usage(settings.node)
        pods, programs = usage.rates(before[1], usage.pods(summary)), usage.rates(before[2], usage.programs(found, settings.node))
        window, after = time.monotonic() - began, usage.host_busy()
    with progress.showing(), progress.phase("weighing"):
        on_disk, apart = disk.weigh(settings, found, node.facts.source if node.facts else "build")
    return Report(
        instance=settings.instance,
        seconds=round(window, 1),
        memory=sum(use.memory for use in containers),
        memory_budget=int(MEMORY_BUDGET),
        cores=round(sum(use.cores for use in containers), 3),
        cores_budget=CORES_BUDGET,
        disk_bytes=sum(size.bytes for size in on_disk),
        disk_budget=int(DISK_BUDGET),
        containers=containers,
        namespaces=usage.by_namespace(pods),
        pods=pods,
        system=usage.system(summary["node"]),
        programs=programs,
        disk=on_disk,
        apart=apart,
        host_cores=round((after - busy) / window, 2) if busy is not None and after is not None else None,
        machine_cores=int(found.info["NCPU"]),
    )


def show(report: Report, console: Console) -> None:
    """Print a report for a person: the three sums beside their budgets, then what takes the most."""

    def line(name: str, *columns: str) -> None:
        console.print(f"  {name:<60}{''.join(f'{column:>12}' for column in columns)}", markup=False)

    console.print(f"\n{report.instance}, idle, over {report.seconds:g} s\n", markup=False)
    line("", "used", "budget", "")
    line("memory", _mib(report.memory), _mib(report.memory_budget), _over(report.memory, report.memory_budget))
    line("processor", f"{report.cores:.3f} core", f"{report.cores_budget:g} core", _over(report.cores, report.cores_budget))
    line("disk", _mb(report.disk_bytes), _mb(report.disk_budget), _over(report.disk_bytes, report.disk_budget))
    if report.host_cores is not None:
        console.print(f"\nThe whole machine kept {report.host_cores:g} of {report.machine_cores} cores busy.", markup=False)
        if report.host_cores - report.cores > _QUIET * report.machine_cores:
            console.print("Other work ran: processor time is dearer and probes come late. Measure again when it is quiet.")
    for title, uses in (
        ("container", report.containers),
        ("namespace", report.namespaces),
        ("pod", report.pods[:_SHOWN]),
        ("pod, by processor", sorted(report.pods, key=_cores, reverse=True)[:_SHOWN]),
        ("program, by processor", sorted(report.programs, key=_cores, reverse=True)[:_SHOWN]),
    ):
        console.print("")
        line(title, "memory", "core")
        for use in uses:
            line(use.name, _mib(use.memory), f"{use.cores:.3f}")
    for title, sizes, unit in (
        ("memory beside the pods", report.system, _mib),
        ("on disk", report.disk, _mb),
        ("on disk, not in the budget", report.apart, _mb),
    ):
        console.print("")
        line(title)
        for size in sizes:
            line(size.name, unit(size.bytes))


def _cores(use: Use) -> float:
    return use.cores


def _over(used: float, budget: float) -> str:
    return "over" if used > budget else ""


def _mib(number: float) -> str:
    return f"{number / 1024**2:.0f} MiB"


def _mb(number: float) -> str:
    return f"{number / 1e6:.0f} MB"
