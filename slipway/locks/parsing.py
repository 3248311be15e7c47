"""Locks, results and approvals as they are read from their files; what is not exactly one of them is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from slipway.errors import SlipwayError
from slipway.locks.documents import APPROVALS, PASSED, RELEASES, Approval, LoadResult, Lock, Locked, StageResult

_RELEASE = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_USER = re.compile(r"[a-z][a-z0-9-]*")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What is said of a lock; and that, or a lock.
Told = TypeVar("Told", StageResult, LoadResult, Approval)
Document = TypeVar("Document", Lock, StageResult, LoadResult, Approval)


class LockError(SlipwayError):
    """A file of a release or of an approval is not what it has to be."""


def read_locks(tree: Path) -> list[Lock]:
    """Every lock in a working tree of the GitOps repository of the prod tier, by release and hash.

    Raises:
        LockError: A file is not a lock, or lies where another lock belongs.
    """
    return [parse_lock(_name(tree, file), file.read_bytes()) for file in sorted(tree.glob(f"{RELEASES}/*/*/lock.yaml"))]


def stage_results(tree: Path) -> list[StageResult]:
    """Every stage result in a working tree.

    Raises:
        LockError: A file is not one, or lies where another one belongs.
    """
    return [parse_stage(_name(tree, file), file.read_bytes()) for file in sorted(tree.glob(f"{RELEASES}/*/*/stage.yaml"))]


def load_results(tree: Path) -> list[LoadResult]:
    """Every load test in a working tree that was passed.

    Raises:
        LockError: A file is not one, or lies where another one belongs.
    """
    return [parse_load(_name(tree, file), file.read_bytes()) for file in sorted(tree.glob(f"{RELEASES}/*/*/load.yaml"))]


def approvals(tree: Path) -> list[Approval]:
    """Every approval in a working tree.

    Raises:
        LockError: A file is not one, or lies where another one belongs.
    """
    return [parse_approval(_name(tree, file), file.read_bytes()) for file in sorted(tree.glob(f"{APPROVALS}/*/*.yaml"))]


def parse_lock(path: str, content: bytes) -> Lock:
    """The lock that a file at a path holds.

    Raises:
        LockError: It is none, or does not belong there.
    """
    told = _mapping(path, content, ("release", "version", "branch", "commit", "services"))
    told_services = told["services"]
    if not isinstance(told_services, dict) or not told_services:
        raise LockError(f"{path}: `services` has to name the artifact of every service.")
    names = tuple(field.name for field in fields(Locked) if field.name != "service")
    services: list[Locked] = []
    for name, item in sorted(told_services.items()):
        if not isinstance(item, dict) or set(item) != set(names):
            raise LockError(f"{path}: services.{name} has to say {', '.join(names)}, and nothing else.")
        services.append(Locked(str(name), **{key: _word(path, f"services.{name}.{key}", item[key]) for key in names}))
    lock = Lock(**_words(path, told, ("release", "version", "branch", "commit")), services=tuple(services))
    if not _RELEASE.fullmatch(lock.release):
        raise LockError(f"{path}: {lock.release!r} is no release; releases are called like v0.2.0.")
    return _at_home(path, lock)


def parse_stage(path: str, content: bytes) -> StageResult:
    """The stage result that a file at a path holds.

    Raises:
        LockError: It is none, or does not belong there.
    """
    plain = ("lock", "environment", "commit", "time")
    told = _mapping(path, content, (*plain, "digests"))
    words = _words(path, told, plain)
    return _of_lock(path, StageResult(release=_released(path), digests=_seen(path, told["digests"]), **words))


def parse_load(path: str, content: bytes) -> LoadResult:
    """The passed load test that a file at a path holds.

    Raises:
        LockError: It is none, or does not belong there.
    """
    plain = ("lock", "environment", "commit", "run", "profile", "time")
    told = _mapping(path, content, (*plain, "digests", "outcome"))
    if told["outcome"] != PASSED:
        raise LockError(f"{path}: `outcome` has to be {PASSED!r}: a load test that was not passed is not written down here.")
    words = _words(path, told, plain)
    if empty := [key for key in plain if not words[key]]:
        raise LockError(f"{path}: {empty[0]} has to say something.")
    return _of_lock(path, LoadResult(release=_released(path), digests=_seen(path, told["digests"]), **words))


def parse_approval(path: str, content: bytes) -> Approval:
    """The approval that a file at a path holds.

    Raises:
        LockError: It is none, or does not belong there.
    """
    plain = ("lock", "release", "by", "time")
    found = Approval(**_words(path, _mapping(path, content, plain), plain))
    if not _USER.fullmatch(found.by):
        raise LockError(f"{path}: {found.by!r} is no user.")
    return _of_lock(path, found)


def _released(path: str) -> str:
    """The release that a file in its folder belongs to."""
    parts = path.split("/")
    return parts[1] if len(parts) > 1 else ""


def _seen(path: str, digests: object) -> Mapping[str, str]:
    if not isinstance(digests, dict) or not digests:
        raise LockError(f"{path}: `digests` has to say what was seen running of every service.")
    told = cast("dict[object, object]", digests)
    return {str(name): _word(path, f"digests.{name}", digest) for name, digest in told.items()}


def _of_lock(path: str, found: Told) -> Told:
    if not _HASH.fullmatch(found.lock):
        raise LockError(f"{path}: {found.lock!r} is no lock; a lock is named by its full hash, sha256:<64 digits>.")
    return _at_home(path, found)


def _at_home(path: str, found: Document) -> Document:
    # What a folder is called is what people read: it may not say one thing and the file another.
    if path != found.path:
        raise LockError(f"{path}: what it says belongs into {found.path}.")
    return found


def _mapping(path: str, content: bytes, keys: Sequence[str]) -> Mapping[str, Any]:
    try:
        loaded = yaml.load(content.decode(), Loader=_Loader)  # noqa: S506 the loader is a safe one
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise LockError(f"{path} is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(loaded, dict) or set(loaded) != set(keys):
        raise LockError(f"{path} has to say {', '.join(keys)}, and nothing else.")
    return loaded


def _words(path: str, told: Mapping[str, Any], keys: Sequence[str]) -> dict[str, str]:
    return {key: _word(path, key, told[key]) for key in keys}


def _word(path: str, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise LockError(f"{path}: {key} has to be text, not {value!r}.")
    return value


def _name(tree: Path, file: Path) -> str:
    return file.relative_to(tree).as_posix()
