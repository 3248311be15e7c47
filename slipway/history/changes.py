"""What one commit of a GitOps repository changed of an environment."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from slipway.gitops import Record


@dataclass(frozen=True)
class Step:
    """What one commit changed of one service; `before` or `after` is None where there is no record."""

    service: str
    before: Record | None
    after: Record | None

    @property
    def parts(self) -> tuple[str, ...]:
        """What makes the service run anew: "image", "chart", "configuration"; nothing when only its names changed."""
        if not self.before or not self.after:
            return ("image", "chart", "configuration")
        one, other = self.before, self.after
        pairs = {
            "image": (one.digest, other.digest),
            "chart": ((one.chart, one.chart_version), (other.chart, other.chart_version)),
            "configuration": (one.config, other.config),
        }
        return tuple(name for name, (was, now) in pairs.items() if was != now)

    @property
    def words(self) -> str:
        """From which version to which, for a person."""
        if not self.after:
            return "removed"
        if self.after.retired:
            return f"{self.after.version} -> retired"
        if not self.before:
            return f"-> {self.after.version}"
        if self.before.version != self.after.version:
            return f"{self.before.version} -> {self.after.version}"
        return f"{self.after.version} ({', '.join(self.parts) or 'names only'})"


@dataclass(frozen=True)
class Change:
    """One commit of a GitOps repository, as far as it concerns one environment.

    Attributes:
        time: When it was made, in seconds since 1970.
        kind: "genesis", "deploy", "promotion", "release", "approval", "rollback" or "revert"; empty when it does not say.
        steps: What it changed of each service.
        branches: The branches of the application that its records came from.
        sources: The commits of the application that they came from.
        origin: The environment it was promoted from.
        lock: The release's lock, whole.
        restores: The commit whose state it brought back.
        signer: Whose key signed it; empty when nobody known did.
        signature: "good", "bad", "none" or "unknown" (by a key of nobody here, or nothing could check it).
    """

    commit: str
    time: int
    kind: str
    environment: str
    subject: str
    author: str
    steps: tuple[Step, ...]
    branches: tuple[str, ...]
    sources: tuple[str, ...]
    origin: str
    release: str
    lock: str
    triggered_by: str
    approved_by: str
    run: str
    restores: str
    signer: str
    signature: str

    @property
    def rolled(self) -> tuple[Step, ...]:
        """The steps after which something else runs."""
        return tuple(step for step in self.steps if step.parts)

    def as_dict(self) -> dict[str, Any]:
        """The same, for machines."""
        steps = [{**asdict(step), "parts": list(step.parts)} for step in self.steps]
        return {**asdict(self), "at": datetime.fromtimestamp(self.time, UTC).isoformat(), "steps": steps}
