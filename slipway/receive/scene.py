"""One commit of a push to a GitOps repository: what it holds, what it changes and what it says of itself, read once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from slipway import locks, policy
from slipway.policy import Policy
from slipway.receive import entries, pushes
from slipway.receive.bare import Bare, Changed, Told
from slipway.receive.entries import Kitchen
from slipway.records import Record

PLACES = {
    "record": re.compile(r"envs/(?P<environment>[a-z][a-z0-9-]*)/(?P<service>[a-z][a-z0-9-]*)/(record|values|manifests)[.]yaml"),
    "lock": re.compile(rf"{locks.RELEASES}/v[0-9]+[.][0-9]+[.][0-9]+/[0-9a-f]+/lock[.]yaml"),
    "stage": re.compile(rf"{locks.RELEASES}/v[0-9]+[.][0-9]+[.][0-9]+/[0-9a-f]+/stage[.]yaml"),
    "load": re.compile(rf"{locks.RELEASES}/v[0-9]+[.][0-9]+[.][0-9]+/[0-9a-f]+/load[.]yaml"),
    "approval": re.compile(rf"{locks.APPROVALS}/[0-9a-f]{{64}}/[a-z][a-z0-9-]*[.]yaml"),
}

# The names of a refusal that are given; more of them would not help anybody.
_MOST_NAMED = 5


@dataclass(frozen=True)
class Ledger:
    """A GitOps repository, and what its commits are judged by.

    Attributes:
        name: The repository's name.
        policy: The policy.
        here: The repository, with what the push has sent.
        kitchen: What records are made with.
        log: Every push to the application's repository.
        address: The address that a user's commits bear.
    """

    name: str
    policy: Policy
    here: Bare
    kitchen: Kitchen
    log: Callable[[], Sequence[pushes.Pushed]]
    address: Callable[[str], str]

    @property
    def environments(self) -> tuple[str, ...]:
        """The environments whose records lie here."""
        return tuple(name for name, known in self.policy.environments.items() if known.repository == self.name)

    @property
    def keeps_releases(self) -> bool:
        """Whether locks and approvals lie here: beside the records of an environment that needs approval."""
        return any(name in self.policy.approvals for name in self.environments)


@dataclass(frozen=True)
class Scene:
    """One commit of a push.

    Attributes:
        ledger: Where it goes.
        commit: The commit.
        user: Who pushes it.
        first: Whether the repository was empty.
    """

    ledger: Ledger
    commit: str
    user: str
    first: bool

    @cached_property
    def told(self) -> Told:
        """What it says of itself."""
        return self.ledger.here.told(self.commit)

    @cached_property
    def parent(self) -> str:
        """The commit before it; "" for the first one."""
        return self.told.parents[0] if self.told.parents else ""

    @cached_property
    def changed(self) -> Sequence[Changed]:
        """What it changes."""
        return self.ledger.here.changed(self.parent, self.commit)

    @cached_property
    def before(self) -> Mapping[str, str]:
        """Every file of the commit before it."""
        return self.ledger.here.blobs(self.parent)

    @cached_property
    def after(self) -> Mapping[str, str]:
        """Every file it has."""
        return self.ledger.here.blobs(self.commit)

    @cached_property
    def trailers(self) -> Mapping[str, str]:
        """What it claims, by name."""
        return dict(self.told.trailers)

    @property
    def kind(self) -> str:
        """What it says it is."""
        return self.trailers.get("Kind", "")

    @property
    def approves(self) -> bool:
        """Whether it adds approvals by the user who pushes it, and nothing else."""
        place = re.compile(rf"{locks.APPROVALS}/[0-9a-f]+/{re.escape(self.user)}[.]yaml")
        return bool(self.changed) and all(one.kind == "A" and place.fullmatch(one.path) for one in self.changed)

    def place(self, path: str) -> str:
        """What a file is, by where it lies: record, lock, stage, load, approval; "" when it can lie nowhere here."""
        found = next((place for place, pattern in PLACES.items() if pattern.fullmatch(path)), "")
        if found == "record":
            named = PLACES["record"].fullmatch(path)
            return found if named and named["environment"] in self.ledger.environments else ""
        return found if self.ledger.keeps_releases else ""

    def _read(self, commit: str, place: str) -> dict[str, bytes]:
        there = self.after if commit == self.commit else self.before
        return self.ledger.here.files(commit, [path for path in there if PLACES[place].fullmatch(path)]) if commit else {}

    @cached_property
    def locks(self) -> Mapping[str, locks.Lock]:
        """Every lock that it holds, by hash."""
        found = (locks.parse_lock(path, content) for path, content in self._read(self.commit, "lock").items())
        return {lock.hash: lock for lock in found}

    @cached_property
    def known_locks(self) -> Mapping[str, locks.Lock]:
        """The locks that were there before it."""
        return {known: lock for known, lock in self.locks.items() if lock.path in self.before}

    @cached_property
    def results(self) -> Sequence[locks.StageResult]:
        """The stage results that were there before it."""
        return [locks.parse_stage(path, content) for path, content in self._read(self.parent, "stage").items()]

    @cached_property
    def loads(self) -> Sequence[locks.LoadResult]:
        """The load tests that were passed before it."""
        return [locks.parse_load(path, content) for path, content in self._read(self.parent, "load").items()]

    @cached_property
    def approvals(self) -> Sequence[locks.Approval]:
        """The approvals that were there before it."""
        return [locks.parse_approval(path, content) for path, content in self._read(self.parent, "approval").items()]

    def authors(self, lock: locks.Lock) -> tuple[str, ...]:
        """Who pushed what a lock is made of; of a branch that lives on, only what prod does not have yet."""
        app, found = self.ledger.kitchen.app, policy.line(self.ledger.policy, lock.branch)
        own = bool(found and found.release(lock.branch))
        ran = set() if own else {one.commit for one in self._in_prod() if one.hash != lock.hash}
        return pushes.authors(
            self.ledger.log(), lock.branch, lock.commit, known=lambda commit: any(app.contains(had, commit) for had in ran)
        )

    def _in_prod(self) -> list[locks.Lock]:
        names = [name for name in self.ledger.policy.approvals if name in self.ledger.environments]
        hashes = {record.lock for name in names for record in self.running(name).values()}
        return [lock for known, lock in self.known_locks.items() if known in hashes]

    def running(self, environment: str) -> Mapping[str, Record]:
        """What an environment ran before this commit, by service."""
        paths = [path for path in self.before if path.startswith(f"envs/{environment}/") and path.endswith("/record.yaml")]
        read = (entries.parse(path, content) for path, content in self.ledger.here.files(self.parent, paths).items())
        return {record.service: record for record in read}


def key(path: str) -> tuple[str, str]:
    """The environment and the service that a file of a record belongs to."""
    _, environment, service, _ = path.split("/")
    return environment, service


def names(environment: str, service: str) -> list[str]:
    """The three files of a record."""
    return [f"{entries.folder(environment, service)}/{name}.yaml" for name in entries.FILES]


def paths(record: Record) -> list[str]:
    """The three files of a record."""
    return names(record.environment, record.service)


def is_commit(text: str) -> bool:
    """Whether a text is the full name of a commit."""
    return re.fullmatch(r"[0-9a-f]{40}", text) is not None


def some(named: Sequence[str]) -> str:
    """Names as a refusal lists them."""
    return ", ".join(named[:_MOST_NAMED]) + (" and others" if len(named) > _MOST_NAMED else "")
