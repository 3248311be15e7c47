"""Whether the generator's own processes can be trusted: they were there to the end, and neither too busy nor late."""

from __future__ import annotations

from collections.abc import Iterator

from slipway.load.evidence import Evidence, Found, found, known, named, nobody

# Share of one core that a worker may use: above it, what it measures is its own waiting. Load tools agree on it (k6's guide
# to large tests, Locust's warning at 90 %). Taken of 95 of 100 seconds, in the worst minute or so of those that count: one busy
# second is no trouble, a bad end of a long test is.
MOST_CPU = 0.8

# Seconds that 99 of 100 journeys may start late. Latency counts from when a journey was due, so this is what the generator
# itself adds to the figures: less than half of what p95 and p99 of a service may be (0.25 s).
MOST_LATE = 0.1

# Share of the tightest limit of a p50 that half of the journeys may start late: such a limit is three times what is usual, so
# that a machine which is busy takes no service over it.
MOST_OF_P50 = 1 / 3


def workers_lost(seen: Evidence) -> Iterator[Found]:
    """Every worker that should have sent did, to its end."""
    client = seen.client
    lost = sorted(worker.name for worker in client.workers if worker.lost)
    whole = len(client.workers) - len(lost)
    yield found(
        "workers-lost",
        f"{client.expected_workers} of {client.expected_workers} workers to the end",
        whole if client.expected_workers else None,
        whole == client.expected_workers and not lost,
        f"{whole} of {client.expected_workers} workers sent to the end"
        + (f"; lost: {named(lost)}" if lost else "")
        + ". What they had to send was not sent, or is not in the figures",
        source="client.workers",
        figures={"expected": client.expected_workers, "whole": whole},
    )
    bad = {name: code for name, code in sorted(client.exit_codes.items()) if code}
    # On the host they are one process to whoever started them, and its exit code is that of all.
    ended, processes = len(client.exit_codes), 1 if seen.target.local else client.expected_workers + 1
    yield found(
        "workers-lost",
        "every process of the generator ends with 0",
        max(client.exit_codes.values(), key=abs) if client.exit_codes else None,
        not bad and ended == processes,
        f"the generator failed: {named([f'{name} ended with {code}' for name, code in bad.items()])}"
        if bad
        else f"nobody knows how {processes - ended} of the generator's {processes} processes ended",
        source="client.exit_codes",
        figures={"ended": ended, "processes": processes, **bad},
    )


def generator_saturated(seen: Evidence) -> Iterator[Found]:
    """No worker was busy with itself."""
    return _each(
        seen,
        "generator-saturated",
        f"<= {MOST_CPU:g} of a core",
        MOST_CPU,
        ("cpu_p95", "cpu_max"),
        unknown="how busy worker {name} was",
        over="worker {name} used {value:.0%} of its core: what it measured is its own waiting. Use more workers, or a lower rate",
    )


def late(seen: Evidence) -> Iterator[Found]:
    """Journeys were started when they were due."""
    yield from _each(
        seen,
        "late",
        f"<= {MOST_LATE:g} s for 99 of 100",
        MOST_LATE,
        ("late_p99", "late_max"),
        unknown="how late worker {name} started journeys",
        over="worker {name} started journeys {value:.3f} s late (99 of 100), which is in all figures. "
        "The machine is too busy, or the rate too high for so few workers",
    )
    tightest = min((one.limit for one in seen.limits if one.measure == "p50"), default=None)
    if tightest is not None:
        yield from _each(
            seen,
            "late",
            f"<= {MOST_OF_P50 * tightest:.3g} s for half of them, a third of the tightest limit of a p50",
            MOST_OF_P50 * tightest,
            ("late_p50", "late_max"),
            unknown="how late worker {name} started journeys",
            over="worker {name} started half of its journeys {value:.3f} s late or more, which is in every p50. "
            "The machine is too busy, or the rate too high for so few workers",
        )


def _each(
    seen: Evidence, rule: str, limit: str, most: float, figures: tuple[str, str], *, unknown: str, over: str
) -> Iterator[Found]:
    """What a rule finds that no worker may be above a limit.

    Args:
        seen: What everybody saw.
        rule: The rule.
        limit: What is allowed, in words.
        most: The same, as a number.
        figures: Which of a worker's figures is judged, and which is told beside it.
        unknown: What nobody measured where there is no figure; `{name}` is the worker.
        over: What is wrong above the limit; `{name}` is the worker and `{value}` its figure.
    """
    for worker in seen.client.workers:
        told = {name: getattr(worker, name) for name in figures}
        value: float | None = told[figures[0]]
        yield found(
            rule,
            limit,
            value,
            value is not None and value <= most,
            f"nobody measured {unknown.format(name=worker.name)}"
            if value is None
            else over.format(name=worker.name, value=value),
            source=f"client.workers[].{figures[0]}",
            figures=known(**told),
        )
    if not seen.client.workers:
        yield nobody(rule, limit, "client.workers")
