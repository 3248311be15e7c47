"""What lies beside prod's records, as facts: a lock, what stage says of it, and who approved it; and the files of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from slipway.records import dump

RELEASES, APPROVALS = "releases", "approvals"

# The only outcome of a load test that is written down: what is not there has not passed.
PASSED = "pass"

# How much of the hash a folder of a release is called by.
_SHORT = 12


@dataclass(frozen=True)
class Locked:
    """One service's artifact as a release has it; the names mean what they mean in a record."""

    service: str
    version: str
    image: str
    digest: str
    source_commit: str
    chart: str
    chart_version: str
    inputs: str


@dataclass(frozen=True)
class Lock:
    """A release and the artifacts of all its services.

    Attributes:
        release: The release's name ("v0.2.0").
        version: The version it was built as ("0.2.0-rc.3").
        branch: The branch it comes from.
        commit: The tip of that branch.
        services: The artifacts, by the name of the service.
    """

    release: str
    version: str
    branch: str
    commit: str
    services: tuple[Locked, ...]

    @property
    def hash(self) -> str:
        """What identifies it ("sha256:..."): the release and its artifacts, and nothing else."""
        told = json.dumps({"release": self.release, "services": self._services}, sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"

    @property
    def folder(self) -> str:
        """Where its files lie."""
        return _folder(self.release, self.hash)

    @property
    def path(self) -> str:
        """Its file."""
        return f"{self.folder}/lock.yaml"

    @property
    def files(self) -> dict[str, bytes]:
        """Its file by path; the same bytes for the same lock, always."""
        about = {"release": self.release, "version": self.version, "branch": self.branch, "commit": self.commit}
        return {self.path: dump([{**about, "services": self._services}])}

    @property
    def digests(self) -> dict[str, str]:
        """The image of each service, by digest."""
        return {one.service: one.digest for one in self.services}

    @property
    def _services(self) -> dict[str, dict[str, str]]:
        return {one.service: _without(asdict(one), "service") for one in sorted(self.services, key=lambda one: one.service)}


@dataclass(frozen=True)
class StageResult:
    """An environment ran exactly a lock.

    Attributes:
        release: The release that the lock is of.
        lock: The lock's hash.
        environment: Where it ran.
        commit: The commit of the GitOps repository that ran.
        digests: What was seen running, by service.
        time: When, in UTC.
    """

    release: str
    lock: str
    environment: str
    commit: str
    digests: Mapping[str, str]
    time: str

    @property
    def path(self) -> str:
        """Its file."""
        return f"{_folder(self.release, self.lock)}/stage.yaml"

    @property
    def files(self) -> dict[str, bytes]:
        """Its file by path."""
        return {self.path: dump([_without({**asdict(self), "digests": dict(self.digests)}, "release")])}


@dataclass(frozen=True)
class LoadResult:
    """A lock passed a load test in an environment that ran exactly it; what did not pass is written down nowhere here.

    Attributes:
        release: The release that the lock is of.
        lock: The lock's hash.
        environment: Where it ran.
        commit: The commit of the GitOps repository that ran.
        digests: What ran before and after the load, by service.
        run: The run of the load test.
        profile: What load it was ("smoke").
        time: When it began, in UTC.
    """

    release: str
    lock: str
    environment: str
    commit: str
    digests: Mapping[str, str]
    run: str
    profile: str
    time: str

    @property
    def path(self) -> str:
        """Its file."""
        return f"{_folder(self.release, self.lock)}/load.yaml"

    @property
    def files(self) -> dict[str, bytes]:
        """Its file by path."""
        told = {**asdict(self), "digests": dict(self.digests), "outcome": PASSED}
        return {self.path: dump([_without(told, "release")])}


@dataclass(frozen=True)
class Approval:
    """Somebody lets a lock into prod.

    Attributes:
        release: The release that the lock is of.
        lock: The lock's hash.
        by: The user.
        time: When, in UTC.
    """

    release: str
    lock: str
    by: str
    time: str

    @property
    def path(self) -> str:
        """Its file."""
        return f"{APPROVALS}/{self.lock.removeprefix('sha256:')}/{self.by}.yaml"

    @property
    def files(self) -> dict[str, bytes]:
        """Its file by path."""
        return {self.path: dump([asdict(self)])}


def _folder(release: str, lock: str) -> str:
    return f"{RELEASES}/{release}/{lock.removeprefix('sha256:')[:_SHORT]}"


def _without(told: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key != name}
