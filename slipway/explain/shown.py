"""What is explained, for a person."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from slipway.explain.told import Explained, Held, Next, Source
from slipway.gitops import Record
from slipway.history import Change

if TYPE_CHECKING:
    from rich.console import Console

_SHORT = 12


def show(told: Explained, console: Console) -> None:
    """Print it for a person."""
    record, change = told.record, told.change
    console.print(f"{told.service} in {told.environment} runs {record.version}\n", markup=False)
    release = f"{record.release}, lock {_short(record.lock)}" if record.lock else record.release
    lines = {
        "image": f"{record.image}@{record.digest}",
        "pods": _pods(told),
        "chart": f"{record.chart} {record.chart_version}",
        "from": _from(record, told.source),
        "release": release or "-",
        "brought by": _brought(change) if change else "-",
        "for": (change.triggered_by or "nobody is named") if change else "-",
        "approved by": ", ".join(told.approved_by) or "-",
        "run": (change.run or "-") if change else "-",
    }
    for name, text in lines.items():
        console.print(f"  {name:<12}{text}", markup=False, style="yellow" if name == "pods" and not told.exact else "")
    for one in told.held:
        console.print(f"  {'held back':<12}{_held(one, told.environment)}", markup=False, style="yellow")
    if told.next:
        console.print(f"\n{_verdict(told.next, told.record)}", markup=False)
        for refusal in told.next.refusals if not told.next.there else ():
            console.print("".join(f"  {line}\n" for line in str(refusal).splitlines()), end="", markup=False, style="yellow")
    console.print(f"\nNext: {told.command}", markup=False)


def _pods(told: Explained) -> str:
    if told.running is None:
        return "the cluster does not answer"
    if not told.running:
        return "none runs"
    if told.exact:
        one = told.running[0]
        return f"{one.ready} of {one.pods} ready, each runs exactly this digest"
    return "NOT what Git says: " + ", ".join(f"{one.pods} run {_short(one.digest)}" for one in told.running)


def _from(record: Record, source: Source | None) -> str:
    where = f"{record.branch or 'no branch named'} at {record.source_commit[:_SHORT]}"
    return f"{where}: {source.subject} ({source.author}, {_when(source.time)})" if source else f"{where}, not in app.git"


def _brought(change: Change) -> str:
    origin = f" from {change.origin}" if change.origin else ""
    signed = f"signed by {change.signer}" if change.signer else f"signature: {change.signature}"
    return f"commit {change.commit[:_SHORT]}, {change.kind or 'of no kind'}{origin}, {_when(change.time)}, {signed}"


def _held(one: Held, environment: str) -> str:
    again = f"./invoke push {one.branch} --to {environment}"
    if one.release:
        again = f"./invoke promote {environment} --release {one.release}"
    return (
        f"{one.version} of {one.branch}, since {one.commit[:_SHORT]} rolled back: it comes again when somebody asks for it "
        f"({again}), and by itself only other content of a newer push"
    )


def _verdict(following: Next, record: Record) -> str:
    if following.there:
        return f"{following.environment} runs this artifact already."
    if following.refusals:
        return f"{following.environment} would refuse it:"
    how = {"automatic": f"by itself, with each push to {record.branch}", "request": "on request", "dispatch": "by dispatch"}
    return f"{following.environment} would take it {how[following.how]}."


def _when(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"


def _short(text: str) -> str:
    return text.removeprefix("sha256:")[:_SHORT]
