"""An environment's history, read from the log of its GitOps repository: trailers, signatures and the records themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from slipway import git, gitops, locks, shell
from slipway.errors import UsageError
from slipway.gitops import Record
from slipway.history.changes import Change, Step

# How git says what it found of a signature ("%G?"): anything else is one that cannot be told.
_SIGNATURES = {"G": "good", "B": "bad", "N": "none"}

_HASH = 8
_RECORD = "record.yaml"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@contextmanager
def mirrored(remote: git.Remote) -> Generator[Path]:
    """A repository with all its history, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="slipway-history-") as folder:
        git.mirror(remote, Path(folder, "mirror.git"))
        yield Path(folder, "mirror.git")


def read(
    at: Path, environment: str, *, signers: str, approvals: bool = False, revision: str = gitops.REFERENCE
) -> tuple[Change, ...]:
    """What a GitOps repository says of an environment, the newest first; nothing when it is empty.

    Args:
        at: The repository, with all its history.
        environment: The environment.
        signers: Whose key is which, as lines that Git reads.
        approvals: Whether approvals belong to it: only where they are needed.
        revision: Where the history ends.
    """
    if git.resolve(at, revision) is None:
        return ()
    commits = [_parse(text) for text in _log(at, revision, signers).split("\x1e")[1:]]
    prefix = f"envs/{environment}/"
    concern = (prefix, f"{locks.APPROVALS}/") if approvals else (prefix,)
    mine = [
        (head, trailers, [line for line in files if line[2].startswith(prefix)])
        for head, trailers, files in commits
        if environment in _words(trailers.get("Environment", "")) or any(path.startswith(concern) for *_, path in files)
    ]
    blobs = _blobs(at, {blob for *_, files in mine for old, new, path in files if path.endswith(_RECORD) for blob in (old, new)})
    return tuple(_change(environment, head, trailers, files, blobs) for head, trailers, files in mine)


def records(changes: Sequence[Change], *, commit: str = "") -> dict[str, Record]:
    """What an environment ran of each service after a commit, by telling its history again from the beginning.

    Args:
        changes: The history, the newest first.
        commit: One of its commits; the newest by default.

    Raises:
        UsageError: The history has no such commit.
    """
    told: dict[str, Record] = {}
    for change in reversed(changes):
        for step in change.steps:
            if step.after:
                told[step.service] = step.after
            else:
                told.pop(step.service, None)
        if change.commit == commit:
            return told
    if commit:
        raise UsageError(f"commit {commit[:_HASH]} is not in this history. `./invoke history ENV` lists it.")
    return told


def _log(at: Path, revision: str, signers: str) -> str:
    form = "%x1e%H%x1f%ct%x1f%an%x1f%s%x1f%G?%x1f%GS%x1f%(trailers:only,unfold)%x1f"
    with tempfile.NamedTemporaryFile("w", prefix="slipway-signers-") as known:
        known.write(signers)
        known.flush()
        check = ["-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={known.name}"]
        shape = ["--first-parent", "-m", "--raw", "--no-renames", "--no-abbrev", f"--format={form}"]
        return _git(at, [*check, "log", *shape, revision, "--"])


def _parse(text: str) -> tuple[list[str], dict[str, str], list[tuple[str, str, str]]]:
    """The head, the trailers and the files (blob before, blob after, path) of one commit in the log."""
    *head, trailers, files = text.split("\x1f")
    told: dict[str, str] = {}
    for name, _, value in (line.partition(": ") for line in trailers.splitlines()):
        told[name] = f"{told[name]}, {value.strip()}" if name in told else value.strip()
    lines = [line.split("\t", 1) for line in files.splitlines() if line.startswith(":")]
    return head, told, [(modes.split()[2], modes.split()[3], path) for modes, path in lines]


def _change(
    environment: str,
    head: Sequence[str],
    trailers: Mapping[str, str],
    files: Sequence[tuple[str, str, str]],
    blobs: Mapping[str, Record],
) -> Change:
    commit, when, author, subject, code, signer = head
    steps = [
        Step(path.split("/")[2], blobs.get(old), blobs.get(new))
        for old, new, path in files
        if path.count("/") == 3 and path.endswith(_RECORD)
    ]
    now = [step.after for step in steps if step.after]
    signature = _SIGNATURES.get(code, "unknown")
    return Change(
        commit=commit,
        time=int(when),
        kind=trailers.get("Kind", ""),
        environment=environment,
        subject=subject,
        author=author,
        steps=tuple(sorted(steps, key=lambda step: step.service)),
        branches=_each(record.branch for record in now) or _words(trailers.get("Branch", "")),
        sources=_each(record.source_commit for record in now) or _words(trailers.get("Source-Commit", "")),
        origin=trailers.get("Promoted-From", ""),
        release=trailers.get("Release", "") or ", ".join(_each(record.release for record in now)),
        lock=trailers.get("Lock", "") or ", ".join(_each(record.lock for record in now)),
        triggered_by=trailers.get("Triggered-By", ""),
        approved_by=trailers.get("Approved-By", ""),
        run=trailers.get("Run", ""),
        restores=trailers.get("Restores", ""),
        signer=signer.partition("@")[0] if signature == "good" else "",
        signature=signature,
    )


def _blobs(at: Path, names: Iterable[str]) -> dict[str, Record]:
    wanted = sorted(name for name in names if name.strip("0"))
    data = _git(at, ["cat-file", "--batch"], stdin="".join(f"{name}\n" for name in wanted)).encode() if wanted else b""
    known, found = {field.name for field in fields(Record)}, dict[str, Record]()
    for name in wanted:
        head, _, rest = data.partition(b"\n")
        size = int(head.split()[2])
        loaded: dict[str, Any] = yaml.load(rest[:size], Loader=_Loader)  # noqa: S506 the loader is a safe one
        found[name] = Record(**{key: value for key, value in loaded.items() if key in known})
        data = rest[size + 1 :]
    return found


def _git(at: Path, arguments: Sequence[str], *, stdin: str | None = None) -> str:
    place = at / ".git" if (at / ".git").exists() else at
    return shell.run(["git", f"--git-dir={place}", *arguments], env=git.environment(), stdin=stdin, timeout=120.0).stdout


def _each(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if name}))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)
