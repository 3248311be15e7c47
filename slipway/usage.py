"""What containers, pods and programs use of memory and processor, from two looks at each."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from slipway import engine
from slipway.engine import Engine


@dataclass(frozen=True)
class Use:
    """What one thing used.

    Attributes:
        memory: Bytes in use at the end, without file cache that could go at once.
        cores: Processor seconds per second, averaged over the window.
    """

    name: str
    memory: int
    cores: float


@dataclass(frozen=True)
class Size:
    """What one thing takes on disk, in bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Seen:
    """One look at memory (bytes), processor time (seconds so far) and the moment (seconds) that both are of."""

    memory: int
    processor: float
    moment: float


def working_set(memory: Mapping[str, Any]) -> int:
    """Bytes in use without file cache that could go at once, from what the engine says of a container; cgroup v1 or v2."""
    details = memory.get("stats", {})
    return int(memory["usage"]) - int(details.get("total_inactive_file", details.get("inactive_file", 0)))


def containers(found: Engine, names: Iterable[str]) -> dict[str, Seen]:
    """One look at each container of these names that runs."""
    seen: dict[str, Seen] = {}
    for name in names:
        container = found.container(name)
        if container is None or container.status != "running":
            continue
        with engine.asking(f"what {name} uses"):
            said: Any = container.stats(stream=False)
        processor = said["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
        seen[name] = Seen(working_set(said["memory_stats"]), processor, _moment(said["read"]))
    return seen


def rates(before: Mapping[str, Seen], after: Mapping[str, Seen]) -> tuple[Use, ...]:
    """What each used between two looks, most memory first; one that came meanwhile is counted from nothing."""
    uses: list[Use] = []
    for name, now in after.items():
        then = before.get(name)
        window = now.moment - then.moment if then else 0.0
        cores = max(0.0, (now.processor - then.processor) / window) if then and window > 0 else 0.0
        uses.append(Use(name, now.memory, round(cores, 4)))
    return tuple(sorted(uses, key=lambda use: use.memory, reverse=True))


def pods(summary: Mapping[str, Any]) -> dict[str, Seen]:
    """One look at each pod that the kubelet knows the use of."""
    named = {f"{pod['podRef']['namespace']}/{pod['podRef']['name']}": pod for pod in summary["pods"]}
    return {name: _look(pod) for name, pod in named.items() if "cpu" in pod and "memory" in pod}


def system(node: Mapping[str, Any]) -> tuple[Size, ...]:
    """The memory of what runs on a node beside the pods, from what the kubelet says of it."""
    # The sum of all pods is one of the parts that the kubelet tells of.
    parts = {part["name"]: _look(part).memory for part in node.get("systemContainers", ()) if "cpu" in part and "memory" in part}
    pods = parts.pop("pods", 0)
    parts["everything else"] = max(0, _look(node).memory - pods - sum(parts.values()))
    return largest([Size(name, memory) for name, memory in parts.items()])


def programs(found: Engine, name: str) -> dict[str, Seen]:
    """One look at what runs in a container, by program; empty where the engine runs on another machine."""
    container = found.container(name)
    with engine.asking(f"the processes of {name}"):
        listed: Any = container.top(ps_args="-eo pid,rss,comm") if container else {"Processes": []}
    moment, rows = time.monotonic(), listed["Processes"] or []
    counts = Counter(program for *_, program in rows)
    sums: dict[str, Seen] = {}
    for pid, kibibytes, program in rows:
        processor = _processor(int(pid), program)
        if processor is None:
            continue
        label = f"{program} ({counts[program]})" if counts[program] > 1 else program
        so_far = sums.get(label, Seen(0, 0.0, moment))
        sums[label] = Seen(so_far.memory + int(kibibytes) * 1024, so_far.processor + processor, moment)
    return sums


def _processor(pid: int, program: str) -> float | None:
    """Processor seconds of a process so far; None when it is gone, or not of this machine."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name stands in brackets and may hold anything, brackets too.
    named, _, rest = stat.partition("(")[2].rpartition(")")
    ticks = rest.split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") if named == program else None


def _look(told: Mapping[str, Any]) -> Seen:
    processor = told["cpu"].get("usageCoreNanoSeconds", 0) / 1e9
    return Seen(int(told["memory"].get("workingSetBytes", 0)), processor, _moment(told["cpu"]["time"]))


def _moment(text: str) -> float:
    """Seconds since 1970 of a moment as Go writes it, with up to nine decimals."""
    whole, _, decimals = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{decimals or 0}")


def by_namespace(pods: Iterable[Use]) -> tuple[Use, ...]:
    """What the pods of each namespace use together, most memory first."""
    sums: dict[str, Use] = {}
    for pod in pods:
        name = pod.name.partition("/")[0]
        before = sums.get(name, Use(name, 0, 0.0))
        sums[name] = Use(name, before.memory + pod.memory, round(before.cores + pod.cores, 4))
    return tuple(sorted(sums.values(), key=lambda use: use.memory, reverse=True))


def host_busy() -> float | None:
    """Processor seconds that the whole machine has worked so far; None where there is no such number."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0].split()
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, first[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def largest(sizes: Sequence[Size]) -> tuple[Size, ...]:
    """The same, the largest first."""
    return tuple(sorted(sizes, key=lambda size: size.bytes, reverse=True))
