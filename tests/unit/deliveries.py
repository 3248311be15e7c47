"""GitOps repositories with a history, made with real git in a folder, as the pipeline makes them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import git, gitops
from slipway.gitops import Entry, Record
from tests.laying import lay

# When the first commit of a repository is made; every later one comes a minute after the one before.
BEGIN = 1_800_000_000
MINUTE = 60


def digest(letter: str) -> str:
    """A digest that can be told from others."""
    return f"sha256:{letter * 64}"


def commit(letter: str) -> str:
    """A commit that can be told from others."""
    return letter * 40


def record(environment: str, service: str = "catalog", **more: Any) -> Record:
    """A record of the first version, but for what is said of it."""
    first = Record(environment, service, "0.1.0", f"registry/{service}", digest("a"), commit("a"))
    told = {"chart_version": "0.1.0", "config": digest("c"), "branch": "main", "inputs": digest("e"), **more}
    return replace(first, **told)


def entry(made: Record, values: Mapping[str, Any] | None = None) -> Entry:
    """A record with values and manifests that follow from it."""
    told = {"replicas": 1, "config": {"log_level": "info"}, **(values or {})}
    full = {**told, "service": made.service, "environment": made.environment, "version": made.version}
    image = {"image": f"{made.image}@{made.digest}", "replicas": told["replicas"]}
    manifests = [
        {"kind": "ConfigMap", "metadata": {"name": made.service}, "data": told["config"]},
        {"kind": "Deployment", "metadata": {"name": made.service}, "spec": image},
    ]
    return Entry(made, full, manifests)


class Deliveries:
    """One GitOps repository and its clock.

    Args:
        folder: Where it is made.
        monkeypatch: Sets the time that git writes into commits.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.at = folder / "gitops.git"
        self.key = folder / "key"
        self.time = BEGIN
        self._monkeypatch = monkeypatch
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.at], check=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", self.key], check=True)

    @property
    def remote(self) -> git.Remote:
        """The repository."""
        return git.Remote(str(self.at))

    @property
    def signers(self) -> str:
        """Whose key it is, as lines that Git reads."""
        kind, key = self.key.with_suffix(".pub").read_text().split()[:2]
        return f'pipeline@slipway.localhost namespaces="git" {kind} {key}\n'

    def begin(self, *records: Record) -> str:
        """The first commit."""
        self._tick(0)
        made = gitops.begin(self.remote, [entry(one) for one in records], reason="Genesis", trailers={"Kind": "genesis"})
        assert made
        return made.commit

    def change(self, *records: Record, after: int = MINUTE, told: Mapping[str, str] | None = None, **trailers: str) -> str:
        """One more commit, with these trailers."""
        return self.write([entry(one) for one in records], after=after, told=told, **trailers)

    def write(
        self, entries: Iterable[Entry], *, after: int = MINUTE, told: Mapping[str, str] | None = None, **trailers: str
    ) -> str:
        """One more commit, of these entries."""
        self._tick(after)
        wanted = list(entries)
        said = {**(told or {}), **{name.replace("_", "-"): value for name, value in trailers.items()}}
        return gitops.change(self.remote, lambda _: wanted, reason="Change", trailers=said).commit

    def commit(self, files: Mapping[str, bytes | None], message: str, *, signed: bool = True, after: int = MINUTE) -> str:
        """One more commit of any files, signed with the pipeline's key; None removes a file."""
        self._tick(after)
        tree = self.at.parent / f"tree-{self.time}"
        git.clone(self.remote, tree, branch="main")
        lay(tree, files)
        git.stage(tree, ["."])
        made = git.commit(tree, message, identity=gitops.PIPELINE, key=self.key if signed else None)
        git.push(tree, self.remote, {gitops.REFERENCE: made})
        return made

    def _tick(self, seconds: int) -> None:
        self.time += seconds
        for part in ("AUTHOR", "COMMITTER"):
            self._monkeypatch.setenv(f"GIT_{part}_DATE", f"{self.time} +0000")
