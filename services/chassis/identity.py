"""Which service this is, which build of it, and where it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Identity:
    """What `/version` answers and every log line carries."""

    service: str
    environment: str = UNKNOWN
    version: str = UNKNOWN
    commit: str = UNKNOWN
    digest: str = UNKNOWN

    @property
    def faults_allowed(self) -> bool:
        """Whether faults may be injected: never in prod, nor where nobody said which environment it is."""
        return self.environment not in ("prod", UNKNOWN)


def identify(service: str, *, environ: Mapping[str, str] = os.environ) -> Identity:
    """The identity as the image (version, commit) and the chart (environment, digest) tell it."""

    def told(name: str, otherwise: str = UNKNOWN) -> str:
        return environ.get(f"SLIPWAY_{name}") or otherwise

    return Identity(told("SERVICE", service), told("ENVIRONMENT"), told("VERSION"), told("COMMIT"), told("DIGEST"))
