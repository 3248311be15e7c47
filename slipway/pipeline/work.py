"""A run under way, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from slipway import runs
from slipway.access import Access
from slipway.artifacts import Artifact
from slipway.gitops import Record
from slipway.policy import Line


@dataclass(frozen=True)
class Outcome:
    """What came of a commit.

    Attributes:
        state: "passed", "failed" or "superseded".
        verdict: In one line, what came out.
        trouble: What went wrong, or what superseded it; empty for neither.
        version: The version that its builds have.
        built: The services that were built.
        taken: Services whose artifacts were there already, elsewhere than where they run now.
        deployed: The commit that each environment runs, where that is this one's doing.
        removed: Services that run and that the commit does not have, where it does not end them.
        retired: Services that it ended in an environment.
        away: Whether the Git server or Argo CD was away for too long, which says nothing about the commit.
    """

    state: str
    verdict: str = ""
    trouble: str = ""
    version: str = ""
    built: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    deployed: Mapping[str, str] = field(default_factory=dict[str, str])
    removed: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    away: bool = False


class Needless(Exception):
    """Nobody needs this run any more."""


@dataclass
class Work:
    """A run under way: what it was asked, and what it has found out so far."""

    access: Access
    commit: str
    branch: str
    requested: str
    triggered_by: str
    recorder: runs.Recorder
    line: Line | None = None
    targets: tuple[str, ...] = ()
    version: str = ""
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    running: dict[str, dict[str, Record]] = field(default_factory=dict[str, dict[str, Record]])
    former: dict[str, dict[str, Record]] = field(default_factory=dict[str, dict[str, Record]])
    surveyed: dict[str, Mapping[str, Artifact]] = field(default_factory=dict[str, Mapping[str, Artifact]])
    built: dict[str, Record] = field(default_factory=dict[str, Record])
    taken: set[str] = field(default_factory=set[str])
    deployed: dict[str, str] = field(default_factory=dict[str, str])
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    removed: tuple[str, ...] = ()
    ended: dict[str, tuple[Record, ...]] = field(default_factory=dict[str, tuple[Record, ...]])
    retired: set[str] = field(default_factory=set[str])
    wish: str = ""

    def outcome(self, state: str, trouble: str = "") -> Outcome:
        """What came of it."""
        parts = [
            f"{self.version}: {listed(sorted(self.built))} built" if self.built else "",
            f"{listed(sorted(self.taken))} taken as built before" if self.taken else "",
            f"{listed(self.deployed)} {'runs' if len(self.deployed) == 1 else 'run'} it" if self.deployed else "",
            f"{listed(sorted(self.retired))} retired" if self.retired else "",
            *(f"{name}: {why}" for name, why in self.skipped.items()),
            f"{listed(self.removed)} not in this commit, and left alone" if self.removed else "",
        ]
        verdict = "; ".join(part for part in parts if part) or ("nothing changed" if state == runs.PASSED else "")
        return Outcome(
            state,
            verdict,
            trouble,
            self.version,
            tuple(sorted(self.built)),
            tuple(sorted(self.taken)),
            self.deployed,
            self.removed,
            tuple(sorted(self.retired)),
        )

    def comes(self, environment: str) -> bool:
        """Whether it brings anything to an environment."""
        return environment == self.requested or self.by_itself(environment)

    def by_itself(self, environment: str) -> bool:
        """Whether its branch reaches an environment without being asked for."""
        return self.line is not None and self.line.reach.get(environment) == "automatic"

    @property
    def staged(self) -> str:
        """Where it brings a release; empty when it makes none."""
        gates = self.access.settings.policy.approvals.values() if self.line and self.line.releases else ()
        return next((gate.after for gate in gates if self.comes(gate.after)), "")


def listed(names: Iterable[str]) -> str:
    """Names, for a person."""
    return ", ".join(names)
