"""Git: arguments in, frozen results out; nobody's configuration is read, no credential is ever on a command line."""

from __future__ import annotations

import base64
import os
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from slipway import shell
from slipway.errors import CommandFailed, SlipwayError

ZERO = "0" * 40

# Commits are signed with SSH keys, and merges are tried without a working tree.
_HINT = "Install git 2.38 or newer, and ssh-keygen (Debian: openssh-client)."

# What a server answers when the branch moved between the read and the push; anything else is not cured by a retry.
_MOVED = re.compile(r"fetch first|non-fast-forward|stale info|cannot lock ref|incorrect old value|reference already exists")
# The same, when both pushes were judged at once: the reason then only says that the reference could not be updated.
_RACED = re.compile(r"cannot lock ref '[^']*': (is at \S+ but expected|reference already exists)")


class PushConflict(SlipwayError):
    """Somebody else pushed first: read the branch again and recompute."""


class PushRefused(SlipwayError):
    """The Git server refused a push; the message carries its reason."""


class MergeConflict(SlipwayError):
    """Two commits change the same lines; `paths` are the files in which they do."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        super().__init__(f"both sides change {', '.join(self.paths)}. Merge one into the other by hand, and push that.")


@dataclass(frozen=True)
class Identity:
    """Who a commit is by."""

    name: str
    email: str


@dataclass(frozen=True)
class Remote:
    """A repository on a server, and who asks.

    Attributes:
        url: Its address, without credentials.
        user: The user; empty for nobody.
        password: The user's password.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Commit:
    """One commit as the log tells it; `time` is in seconds since 1970."""

    sha: str
    parents: tuple[str, ...]
    author: str
    time: int
    subject: str
    trailers: Mapping[str, str]


def environment(remote: Remote | None = None, *, identity: Identity | None = None) -> dict[str, str]:
    """The environment in which git reads no one's configuration, asks nothing, and knows the credentials of one server."""
    config = [("safe.directory", "*"), ("advice.detachedHead", "false"), ("protocol.ext.allow", "never")]
    # A log has the lines that were asked for, and no other.
    config.append(("log.showSignature", "false"))
    # Nobody tidies up what is thrown away, and no process starts to find that out.
    config += [("gc.auto", "0"), ("maintenance.auto", "false"), ("receive.autogc", "false")]
    if remote:
        host = urlsplit(remote.url)
        config.append((f"http.{remote.url}.proxy", ""))
        if (host.hostname or "").endswith(".localhost") and host.port:
            config.append(("http.curloptResolve", f"{host.hostname}:{host.port}:127.0.0.1"))
        if remote.user:
            token = base64.b64encode(f"{remote.user}:{remote.password}".encode()).decode()
            config.append((f"http.{remote.url}.extraHeader", f"Authorization: Basic {token}"))
    variables = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "LC_ALL": "C",
        "GIT_CONFIG_COUNT": str(len(config)),
    }
    for number, (key, value) in enumerate(config):
        variables[f"GIT_CONFIG_KEY_{number}"], variables[f"GIT_CONFIG_VALUE_{number}"] = key, value
    if identity:
        for part in ("AUTHOR", "COMMITTER"):
            variables[f"GIT_{part}_NAME"], variables[f"GIT_{part}_EMAIL"] = identity.name, identity.email
    return variables


def _git(
    arguments: Sequence[str],
    *,
    at: Path | None = None,
    remote: Remote | None = None,
    identity: Identity | None = None,
    stdin: str | None = None,
    check: bool = True,
    stdout: Path | None = None,
    timeout: float = 120.0,
) -> shell.Result:
    where = ["-C", str(at)] if at else []
    # A git hook that calls us would hand down its own repository and index: they must not win over -C.
    given = [name for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX") if name in os.environ]
    unset = ["env", *(word for name in given for word in ("-u", name))] if given else []
    return shell.run(
        [*unset, "git", *where, *arguments],
        env=environment(remote, identity=identity),
        stdin=stdin,
        check=check,
        hint=_HINT,
        stdout=stdout,
        timeout=timeout,
    )


def resolve(at: Path, revision: str) -> str | None:
    """The full name of the commit that a revision means in a repository, or None when it means none."""
    found = _git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"], at=at, check=False)
    return found.stdout.strip() or None


def top_level(at: Path) -> Path | None:
    """The working tree that a folder belongs to, or None when it belongs to none."""
    found = _git(["rev-parse", "--show-toplevel"], at=at, check=False)
    return Path(found.stdout.strip()) if found.code == 0 and found.stdout.strip() else None


def branch(at: Path) -> str:
    """The branch that is checked out in a working tree; "" when none is."""
    return _git(["symbolic-ref", "--quiet", "--short", "HEAD"], at=at, check=False).stdout.strip()


def dirty(at: Path) -> bool:
    """Whether a working tree differs from its last commit, files that git ignores aside."""
    return bool(_git(["--no-optional-locks", "status", "--porcelain", "--untracked-files=normal"], at=at).stdout.strip())


def shallow(at: Path) -> bool:
    """Whether a repository lacks the older part of its history."""
    return _git(["rev-parse", "--is-shallow-repository"], at=at).stdout.strip() == "true"


def refs(remote: Remote) -> dict[str, str]:
    """The references of a repository on a server, with the objects they name; empty when it is empty.

    Raises:
        CommandFailed: It does not answer, or refuses the user.
    """
    lines = _git(["ls-remote", "--refs", "--quiet", remote.url], remote=remote, timeout=30.0).stdout.splitlines()
    return {name: sha for sha, name in (line.split("\t", 1) for line in lines)}


def init(at: Path, *, branch: str) -> None:
    """Make an empty repository with a working tree whose first branch has that name."""
    _git(["init", "--quiet", f"--initial-branch={branch}", str(at)])


def clone(remote: Remote, at: Path, *, branch: str, depth: int | None = None) -> None:
    """Make a working tree of one branch at a path that does not exist yet.

    Raises:
        CommandFailed: There is no such branch, or the server does not answer.
    """
    shallow = [f"--depth={depth}"] if depth else []
    argv = ["clone", "--quiet", "--single-branch", "--no-tags", *shallow, f"--branch={branch}", remote.url, str(at)]
    _git(argv, remote=remote)


def mirror(remote: Remote, at: Path) -> None:
    """Make a bare repository hold what the server has now: branches, tags and notes, and none that it has not.

    Raises:
        CommandFailed: The server does not answer, or refuses the user.
    """
    if not (at / "HEAD").is_file():
        _git(["init", "--quiet", "--bare", str(at)])
    kinds = [f"+refs/{kind}/*:refs/{kind}/*" for kind in ("heads", "tags", "notes")]
    # A server that was seeded from a shallow checkout says so; without the option its branches would be left out.
    _git(
        ["fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--update-shallow", remote.url, *kinds],
        at=at,
        remote=remote,
    )


def contains(at: Path, commit: str, ancestor: str) -> bool:
    """Whether a commit is the other one, or comes after it; no, when the repository lacks either."""
    return _git(["merge-base", "--is-ancestor", ancestor, commit], at=at, check=False).code == 0


def count(at: Path, commit: str, *, without: str = "") -> int:
    """How many commits a commit has behind it, itself included, apart from those that another revision has too."""
    return int(_git(["rev-list", "--count", commit, *([f"^{without}"] if without else []), "--"], at=at).stdout)


def history(at: Path, commit: str, *, without: str = "") -> frozenset[str]:
    """A commit and all that it has behind it, apart from those that another revision has too."""
    return frozenset(_git(["rev-list", commit, *([f"^{without}"] if without else []), "--"], at=at).stdout.split())


def local_refs(at: Path, pattern: str) -> dict[str, str]:
    """The references of a repository here below a prefix such as refs/tags, with the commits they name."""
    form = "%(refname)%09%(objectname)%09%(*objectname)"
    lines = _git(["for-each-ref", f"--format={form}", pattern], at=at).stdout.splitlines()
    return {name: peeled or sha for name, sha, peeled in (line.split("\t") for line in lines)}


def stage(at: Path, paths: Iterable[str]) -> bool:
    """Whether anything differs from the last commit, after these paths went into the index."""
    _git(["add", "--all", "--", *paths], at=at)
    return _git(["diff", "--cached", "--quiet"], at=at, check=False).code != 0


def commit(at: Path, message: str, *, identity: Identity, key: Path | None = None) -> str:
    """The commit made of what is staged.

    Args:
        at: The working tree.
        message: What it says of itself.
        identity: Who it is by.
        key: The private SSH key that signs it; unsigned without one.
    """
    sign = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key}"] if key else []
    how = ["--gpg-sign"] if key else []
    _git([*sign, "commit", "--quiet", "--no-verify", *how, "--file=-"], at=at, identity=identity, stdin=message)
    return resolve(at, "HEAD") or ""


def merge(at: Path, into: str, brought: str, message: str, *, identity: Identity) -> str:
    """The commit that merges one commit into another, made without a working tree; no reference changes.

    Args:
        at: The repository that has both.
        into: The first parent, in full.
        brought: The second one, in full.
        message: What it says of itself.
        identity: Who it is by.

    Raises:
        MergeConflict: They do not merge without a person.
        CommandFailed: The repository lacks one of them, or they have nothing in common.
    """
    argv = ["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", into, brought]
    tried = _git(argv, at=at, check=False)
    tree, *paths = tried.stdout.rstrip("\0").split("\0")
    if tried.code == 1 and paths:
        raise MergeConflict(paths)
    if tried.code:
        raise CommandFailed(["git", *argv], tried.code, tried.stdout + tried.stderr, hint=_HINT)
    return _git(["commit-tree", tree, "-p", into, "-p", brought], at=at, identity=identity, stdin=message).stdout.strip()


def note(at: Path, commit: str, *, kind: str) -> str:
    """What the notes of a kind (refs/notes/KIND) say of a commit; empty when they say nothing."""
    return _git(["notes", f"--ref={kind}", "show", commit], at=at, check=False).stdout


def add_note(at: Path, commit: str, text: str, *, kind: str, identity: Identity) -> str:
    """The commit of the notes of a kind (refs/notes/KIND), after they say this, and nothing else, of a commit."""
    _git(["notes", f"--ref={kind}", "add", "--force", "--file=-", commit], at=at, identity=identity, stdin=text)
    return resolve(at, f"refs/notes/{kind}") or ""


def push(
    at: Path, remote: Remote, updates: Mapping[str, str], *, only_new: bool = False, options: Mapping[str, str] | None = None
) -> None:
    """Make references on the server name these commits, all of them or none.

    Args:
        at: The repository that has the commits.
        remote: Where they go.
        updates: Commit by full reference name, such as refs/heads/main; an empty one removes the reference.
        only_new: Refuse to touch a reference that exists.
        options: What the server is told with it, by name.

    Raises:
        PushConflict: A reference on the server is not an ancestor of its commit, or exists and `only_new`.
        PushRefused: The server's rules forbid it; the message carries them.
        CommandFailed: The server does not answer.
    """
    leases = [f"--force-with-lease={name}:" for name in updates] if only_new else []
    specs = [f"{sha}:{name}" for name, sha in updates.items()]
    told = [f"--push-option={name}={value}" for name, value in (options or {}).items()]
    argv = ["push", "--porcelain", "--atomic", "--no-verify", *told, *leases, remote.url, *specs]
    result = _git(argv, at=at, remote=remote, check=False)
    if result.code == 0:
        return
    rejected = [line for line in result.stdout.splitlines() if line.startswith("!")]
    reasons = " ".join(line.split("\t", 2)[-1] for line in rejected)
    if _MOVED.search(reasons) or _RACED.search(result.stderr):
        raise PushConflict(f"{remote.url}: another push came first ({reasons}). Read the branch again and repeat.")
    if rejected:
        said = [line.removeprefix("remote:").strip() for line in result.stderr.splitlines() if line.startswith("remote:")]
        raise PushRefused(
            "\n".join([f"{remote.url} refused the push of {remote.user or 'nobody'}:", *filter(None, said or [reasons])])
        )
    raise CommandFailed(
        ["git", *argv], result.code, result.stdout + result.stderr, hint="Is the Git server up? See ./invoke status."
    )


def export(at: Path, revision: str, paths: Sequence[str], into: Path) -> None:
    """Write these paths, as a commit has them, below a folder; the working tree does not matter.

    Raises:
        CommandFailed: The commit has no such path.
    """
    into.mkdir(parents=True, exist_ok=True)
    packed = into / ".export.tar"
    try:
        _git(["archive", "--format=tar", "--output", str(packed), revision, "--", *paths], at=at)
        with tarfile.open(fileobj=BytesIO(packed.read_bytes())) as archive:
            archive.extractall(into, filter="data")
    finally:
        packed.unlink(missing_ok=True)


def tree(at: Path, revision: str, path: str = "") -> tuple[str, ...]:
    """The paths of every file below a path, as a commit has them."""
    listed = _git(["ls-tree", "-r", "-z", "--name-only", revision, "--", *([path] if path else [])], at=at).stdout
    return tuple(str(PurePosixPath(name)) for name in listed.split("\0") if name)


def contents(at: Path, revision: str, *paths: str) -> dict[str, str]:
    """What names the content of every file below these paths as a commit has them, by path; none when it lacks the commit."""
    listed = _git(["ls-tree", "-r", "-z", "--full-tree", revision, "--", *paths], at=at, check=False).stdout
    pairs = (line.split("\t", 1) for line in listed.split("\0") if line)
    # The mode counts too: whether a file is a program, or a link.
    return {path: about for about, path in pairs}


def every(at: Path, revision: str, pattern: str) -> tuple[str, ...]:
    """What the files that a pattern names have held, in any commit that a revision has behind it; each content once."""
    argv = ["log", "--format=", "--raw", "--no-abbrev", "--no-renames", "--diff-merges=separate", revision, "--", pattern]
    # Each line tells modes and contents, before and after.
    names = {line.split()[3] for line in _git(argv, at=at).stdout.splitlines()} - {ZERO}
    told = _git(["cat-file", "--batch=%(objectsize)"], at=at, stdin="".join(f"{name}\n" for name in names)).stdout.encode()
    found: list[str] = []
    while told:
        size, _, told = told.partition(b"\n")
        found.append(told[: int(size)].decode())
        told = told[int(size) + 1 :]
    return tuple(found)


def content(at: Path, revision: str, path: str) -> str:
    """What names the content of a path as a commit has it: the same for the same content; empty when there is none."""
    return _git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}:{path}"], at=at, check=False).stdout.strip()


def hashed(file: Path) -> str:
    """What would name the content of a file, in whatever repository (see `content`)."""
    return _git(["hash-object", "--no-filters", "--", str(file.resolve())]).stdout.strip()


def log(at: Path, revision: str, *, paths: Sequence[str] = (), limit: int = 200) -> tuple[Commit, ...]:
    """The last commits, newest first, that touched any of the paths (any commit when there is none)."""
    form = "%H%x1f%P%x1f%an%x1f%ct%x1f%s%x1f%(trailers:only,unfold)%x1e"
    out = _git(["log", f"--max-count={limit}", f"--format={form}", revision, "--", *paths], at=at).stdout
    return tuple(_commit(entry.lstrip("\n")) for entry in out.split("\x1e") if entry.strip())


def _commit(entry: str) -> Commit:
    sha, parents, author, when, subject, trailers = entry.split("\x1f")
    pairs = (line.split(": ", 1) for line in trailers.splitlines() if ": " in line)
    return Commit(sha, tuple(parents.split()), author, int(when), subject, {key: value.strip() for key, value in pairs})
