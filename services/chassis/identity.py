"""Which service this is, which build of it, and where it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN = "unknown"

# The header in which a caller says whom it means. Addresses of pods are given out again: a name that was looked up a moment ago,
# or a connection that is kept, may lead to another service, or to that of another environment.
MEANT_FOR = "Meant-For"


@dataclass(frozen=True)
class Identity:
    """What `/version` answers and every log line carries."""

    service: str
    environment: str = UNKNOWN
    version: str = UNKNOWN
    commit: str = UNKNOWN
    digest: str = UNKNOWN

    @property
    def address(self) -> str:
        """What callers say when they mean this one."""
        return addressed(self.service, self.environment)

    @property
    def faults_allowed(self) -> bool:
        """Whether faults may be injected: never in prod, nor where nobody said which environment it is."""
        return self.environment not in ("prod", UNKNOWN)


def addressed(service: str, environment: str) -> str:
    """What a caller says that means this service of this environment."""
    return f"{service}.{environment}"


def identify(service: str, *, environ: Mapping[str, str] = os.environ) -> Identity:
    """The identity as the image (version, commit) and the chart (environment, digest) tell it."""

    def told(name: str, otherwise: str = UNKNOWN) -> str:
        return environ.get(f"SLIPWAY_{name}") or otherwise

    return Identity(told("SERVICE", service), told("ENVIRONMENT"), told("VERSION"), told("COMMIT"), told("DIGEST"))
