"""A repository of the Git server as a hook reads it: facts out of Git, nothing of anybody's word."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path

from slipway import git, shell
from slipway.errors import SlipwayError

ZERO = git.ZERO

# What a push has sent lies apart until it is accepted: git tells its hook where, and only this repository's git may know.
_QUARANTINE = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH", "GIT_SHALLOW_FILE")

_ORDINARY = "100644"

_TIMEOUT = 60.0


@dataclass(frozen=True)
class Changed:
    """A file that a commit changes.

    Attributes:
        path: Its path.
        kind: A (added), M (changed), D (removed) or T (another kind of file).
        mode: What kind of file it is now.
        old: The blob it was; zeros for none.
        new: The blob it is; zeros for none.
    """

    path: str
    kind: str
    mode: str
    old: str
    new: str

    @property
    def ordinary(self) -> bool:
        """Whether it is a plain file: no link, no program, no repository of its own."""
        return self.kind == "D" or self.mode == _ORDINARY


@dataclass(frozen=True)
class Told:
    """What a commit says of itself, and how far that can be believed.

    Attributes:
        parents: Its parents.
        author: The author's address.
        committer: The committer's address.
        signature: What git finds: "G" for a good one, of somebody known.
        signer: Whose key signed it, as an address.
        trailers: Name and value, in order; a name may come twice.
    """

    parents: tuple[str, ...]
    author: str
    committer: str
    signature: str
    signer: str
    trailers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Past:
    """One change of a file in its history.

    Attributes:
        old: The blob it was; zeros for none.
        new: The blob it became.
        trailer: The Kind of the commit that changed it.
        commit: That commit.
        parent: The commit before it; "" for none.
        time: When it was made, in seconds since 1970.
    """

    old: str
    new: str
    trailer: str
    commit: str = ""
    parent: str = ""
    time: int = 0


@dataclass(frozen=True)
class Bare:
    """A bare repository; of the one that a push goes to, with what the push has sent.

    Attributes:
        folder: Where it lies.
        environ: The variables by which git sees what a push has sent.
        signers: The file that says whose commits which key signs.
    """

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    signers: Path = Path(os.devnull)

    @cached_property
    def _trees(self) -> dict[str, dict[str, str]]:
        """The files of each commit that was looked at: many rules ask for the same ones."""
        return {}

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        """What each blob holds that was read."""
        return {}

    def run(self, *words: str, check: bool = True, stdin: str | None = None, stdout: Path | None = None) -> shell.Result:
        """What git did, here and with nobody's configuration."""
        unset = [word for name in (*_QUARANTINE, "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE") for word in ("-u", name)]
        given = [f"{name}={value}" for name, value in self.environ.items()]
        argv = ["env", *unset, *given, "git", f"--git-dir={self.folder}", *words]
        return shell.run(argv, env=git.environment(), check=check, stdin=stdin, stdout=stdout, timeout=_TIMEOUT)

    def resolve(self, revision: str) -> str:
        """The commit that a revision means; "" when it means none."""
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        return self.run(*words, check=False).stdout.strip()

    def contains(self, commit: str, ancestor: str) -> bool:
        """Whether a commit is the other one, or comes after it; no, when either is not there."""
        if not commit or not ancestor:
            return False
        return self.run("merge-base", "--is-ancestor", ancestor, commit, check=False).code == 0

    def references(self, prefix: str) -> dict[str, str]:
        """The references below a prefix, with the commits they name."""
        form = "%(refname)%09%(objectname)%09%(*objectname)"
        lines = self.run("for-each-ref", f"--format={form}", prefix).stdout.splitlines()
        return {name: peeled or sha for name, sha, peeled in (line.split("\t") for line in lines)}

    def added(self, old: str, new: str) -> list[str]:
        """The commits that a reference gets, the oldest first."""
        span = [new] if old == ZERO else [new, f"^{old}"]
        return self.run("rev-list", "--reverse", "--topo-order", *span, "--").stdout.split()

    def changed(self, parent: str, commit: str) -> list[Changed]:
        """What a commit changes; everything it has, when it has no parent."""
        since = parent or self.run("hash-object", "-t", "tree", "--stdin", stdin="").stdout.strip()
        words = iter(self.run("diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", since, commit).stdout.split("\0"))
        found: list[Changed] = []
        for word in words:
            if word:
                _, mode, old, new, kind = word.removeprefix(":").split(" ")
                found.append(Changed(next(words), kind[0], mode, old, new))
        return found

    def past(self, commit: str, path: str) -> list[Past]:
        """Every change of a file, the oldest first."""
        form = "%x1e%H%x1f%P%x1f%ct%x1f%(trailers:key=Kind,valueonly,separator=%x2C)"
        words = ("log", "--reverse", "--root", "--raw", "--no-abbrev", "--no-renames", f"--format={form}", commit, "--", path)
        found: list[Past] = []
        for part in self.run(*words).stdout.split("\x1e")[1:]:
            said, _, about = part.partition("\n")
            sha, parents, time, kind = said.split("\x1f")
            _, _, old, new, *_ = about.strip().split(" ")
            found.append(Past(old, new, kind, sha, parents.partition(" ")[0], int(time)))
        return found

    def last(self, commit: str, folder: str) -> str:
        """The last commit that changed anything below a folder; "" when none did."""
        return self.run("log", "--max-count=1", "--format=%H", commit, "--", folder).stdout.strip()

    def told(self, commit: str) -> Told:
        """What a commit says of itself, its signature checked against the keys of this server's users."""
        settings = ("gpg.format=ssh", f"gpg.ssh.allowedSignersFile={self.signers}", "gpg.program=false", "gpg.x509.program=false")
        words = [word for setting in settings for word in ("-c", setting)]
        form = "%P%x1f%ae%x1f%ce%x1f%G?%x1f%GS%x1f%(trailers:only,unfold)"
        said = self.run(*words, "log", "--max-count=1", f"--format={form}", commit, "--").stdout
        parents, author, committer, signature, signer, trailers = said.split("\x1f")
        pairs = tuple(
            (name, value.strip()) for name, _, value in (line.partition(": ") for line in trailers.splitlines()) if value
        )
        return Told(tuple(parents.split()), author, committer, signature, signer, pairs)

    def blobs(self, commit: str, *paths: str) -> dict[str, str]:
        """The files below these paths, as a commit has them, with their blobs."""
        if not commit:
            return {}
        if commit not in self._trees:
            listed = self.run("ls-tree", "-r", "-z", commit, "--").stdout.split("\0")
            parts = (line.split("\t", 1) for line in listed if line)
            self._trees[commit] = {path: about.split(" ")[2] for about, path in parts}
        below = tuple(f"{path.rstrip('/')}/" for path in paths)
        found = self._trees[commit]
        return {path: sha for path, sha in found.items() if not paths or f"{path}/".startswith(below)}

    def files(self, commit: str, paths: Iterable[str]) -> dict[str, bytes]:
        """The content of these files, as a commit has them; those that it lacks are left out."""
        there = self.blobs(commit) if (wanted := sorted(paths)) else {}
        blobs = {path: there[path] for path in wanted if path in there}
        contents = self.contents(blobs.values())
        return {path: contents[sha] for path, sha in blobs.items()}

    def contents(self, blobs: Iterable[str]) -> dict[str, bytes]:
        """What these blobs hold."""
        wanted = set(blobs)
        self._read(wanted - set(self._contents))
        return {sha: self._contents[sha] for sha in wanted}

    def _read(self, blobs: Iterable[str]) -> None:
        wanted = sorted(blobs)
        if not wanted:
            return
        with tempfile.TemporaryDirectory(prefix="slipway-blobs-") as folder:
            taken = Path(folder, "batch")
            self.run("cat-file", "--batch", stdin="".join(f"{sha}\n" for sha in wanted), stdout=taken)
            rest = BytesIO(taken.read_bytes())
        for sha in wanted:
            _, _, size = rest.readline().split()
            self._contents[sha] = rest.read(int(size))
            rest.read(1)

    def export(self, commit: str, paths: Sequence[str], into: Path) -> None:
        """Write these paths, as a commit has them, below a folder."""
        there = [path for path in paths if self.blobs(commit, path)]
        if not there:
            raise SlipwayError(f"commit {commit[:9]} has none of {', '.join(paths)}")
        packed = into.with_name(f"{into.name}.tar")
        self.run("archive", "--format=tar", f"--output={packed}", commit, "--", *there)
        with tarfile.open(packed) as archive:
            archive.extractall(into, filter="data")
        packed.unlink()

    def merged(self, ours: str, theirs: str) -> str:
        """The tree of a merge without conflicts; "" when they conflict."""
        done = self.run("merge-tree", "--write-tree", "--no-messages", ours, theirs, check=False)
        return done.stdout.split()[0] if done.code == 0 and done.stdout else ""

    def tree(self, commit: str) -> str:
        """The tree of a commit."""
        return self.run("rev-parse", "--verify", f"{commit}^{{tree}}").stdout.strip()

    def note(self, commit: str, reference: str) -> str:
        """What a note says of a commit; "" when there is none."""
        if not self.resolve(reference):
            return ""
        return self.run("notes", f"--ref={reference}", "show", commit, check=False).stdout


@cache
def blob(content: bytes) -> str:
    """The blob that a content makes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def pushed_to(folder: Path, environ: Mapping[str, str], signers: Path) -> Bare:
    """The repository that a push goes to, with what it has sent."""
    return Bare(folder, {name: environ[name] for name in _QUARANTINE if environ.get(name)}, signers)
