"""`policy`: which branch reaches which environment, and who may do what, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from slipway.policy import Gate, Line, Policy, either
from slipway.settings import Settings

_STYLES = {"automatic": "green", "on request": "cyan", "refused": "dim"}


@dataclass(frozen=True)
class Branch:
    """One kind of branch.

    Attributes:
        name: As people write it.
        environments: How it reaches each environment, in words.
        made_by: Who may make such a branch.
        pushed_by: Who may push to it directly.
        merged_by: Who may land a merge on it.
        merges: What may be merged into it, in words; "" when nothing may.
        removed_by: Who may remove it.
    """

    name: str
    environments: Mapping[str, str]
    made_by: tuple[str, ...]
    pushed_by: tuple[str, ...]
    merged_by: tuple[str, ...]
    merges: str
    removed_by: tuple[str, ...]


@dataclass(frozen=True)
class Approval:
    """What an environment asks for before it takes a release."""

    environment: str
    after: str
    approved_by: tuple[str, ...]
    dispatched_by: tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """The policy, ready to be read.

    Attributes:
        file: Where it stands.
        preset: The one that counts.
        presets: All there are.
        options: What is switched on or off.
        environments: In the order of promotion.
        branches: The kinds of branches.
        approvals: The environments that need approval.
        tagged_by: Who may make the tag of a release.
        load: Whether a release has to pass a load test first: "off" or "required".
    """

    file: str
    preset: str
    presets: tuple[str, ...]
    options: Mapping[str, bool]
    environments: tuple[str, ...]
    branches: tuple[Branch, ...]
    approvals: tuple[Approval, ...]
    tagged_by: tuple[str, ...]
    load: str


def table(settings: Settings) -> Rules:
    """The policy of this checkout, in words.

    Raises:
        UsageError: The policy's file is no policy.
    """
    policy = settings.policy
    return Rules(
        str(settings.policy_file),
        policy.preset,
        policy.presets,
        policy.options,
        tuple(policy.environments),
        tuple(_branch(policy, line) for line in policy.lines),
        tuple(Approval(gate.environment, gate.after, gate.approvers, gate.dispatchers) for gate in policy.approvals.values()),
        policy.tags,
        policy.load,
    )


def _branch(policy: Policy, line: Line) -> Branch:
    return Branch(
        line.name,
        {name: _reach(line.reach[name], policy.approvals.get(name)) for name in policy.environments},
        line.create,
        line.push,
        line.merge,
        f"{either(line.takes)} {_CONDITIONS[line.condition]}" if line.merge and line.takes else "",
        line.push if line.removable else (),
    )


_CONDITIONS = {"passed": "whose commit passed the pipeline", "released": "at the commit that runs in prod"}


def _reach(reach: str, gate: Gate | None) -> str:
    if reach == "dispatch" and gate:
        return f"by dispatch after {gate.after}, approved by {either(gate.approvers)}"
    return "on request" if reach == "request" else reach


def show(seen: Rules, console: Console) -> None:
    """Print it for a person."""
    others = [name for name in seen.presets if name != seen.preset]
    told = [f"also there: {either(others)}"] if others else []
    told += [f"{name}: {'on' if on else 'off'}" for name, on in seen.options.items()]
    console.print(Text.assemble("preset ", (seen.preset, "bold"), (f"  {'; '.join(told)}", "dim")))
    console.print(Text(seen.file, "dim"))

    reach = _table(("BRANCH", *(name.upper() for name in seen.environments)))
    for branch in seen.branches:
        cells = (branch.environments[name] for name in seen.environments)
        reach.add_row(branch.name, *(Text(cell, _STYLES.get(cell, "yellow")) for cell in cells))
    console.print()
    console.print(reach)

    who = _table(("BRANCH", "MADE BY", "PUSHED BY", "MERGED BY", "REMOVED BY"))
    for branch in seen.branches:
        people = (branch.made_by, branch.pushed_by, branch.merged_by, branch.removed_by)
        who.add_row(branch.name, *(either(names) or "nobody" for names in people))
    console.print()
    console.print(who)

    console.print()
    for line in _sentences(seen):
        console.print(f"  {line}", markup=False, highlight=False)


def _sentences(seen: Rules) -> list[str]:
    """What no table holds."""
    said = [f"{branch.name} takes clean merges of {branch.merges}." for branch in seen.branches if branch.merges]
    for gate in seen.approvals:
        said.append(
            f"{gate.environment} takes a release's lock that succeeded in {gate.after}, approved by {either(gate.approved_by)}"
            f" who did not push to the release's branch; {either(gate.dispatched_by)} may send it."
        )
        asks = f"that has passed a load test in {gate.after}" if seen.load == "required" else "without a load test as well"
        said.append(f"{gate.environment} takes a lock {asks} (load: {seen.load}).")
    said.append(f"Tags vX.Y.Z are made by {either(seen.tagged_by) or 'nobody'}. Nothing is ever forced.")
    return said


def _table(columns: Sequence[str]) -> Table:
    made = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column)
    return made
