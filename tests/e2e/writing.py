"""Somebody's hand in a GitOps repository, with whatever key they have; and somebody whose own policy allows everything."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway import access, credentials, git, gitops, promotion, records, shell
from slipway.access import Access
from slipway.errors import SlipwayError
from slipway.progress import Phase
from slipway.promotion import Change, deploying
from slipway.settings import ROOT, load
from tests.e2e import delivering
from tests.e2e.conftest import Instance

FILES = ("record", "values", "manifests")


@dataclass
class Tree:
    """A working tree of a GitOps repository in somebody's hands."""

    instance: Instance
    folder: Path
    repository: str

    @classmethod
    def clone(cls, instance: Instance, folder: Path, repository: str) -> Tree:
        """A fresh one."""
        git.clone(delivering.remote(instance, repository), folder, branch=gitops.BRANCH)
        return cls(instance, folder, repository)

    def read(self, name: str) -> Any:
        """The documents of a file."""
        return list(yaml.safe_load_all((self.folder / name).read_text()))

    def write(self, name: str, documents: Any) -> None:
        """Let a file hold these documents."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(records.dump(documents))

    def say(self, environment: str, service: str, old: str, new: str) -> None:
        """Let a record, and all that follows from it, say something in another's place."""
        for name in FILES:
            file = self.folder / f"envs/{environment}/{service}/{name}.yaml"
            file.write_text(file.read_text().replace(old, new))

    def push(
        self, user: str, *, trailers: Mapping[str, str] | None = None, signed: bool = True, by: str = "", merging: bool = False
    ) -> str:
        """What the Git server said when it refused a commit, or a merge, of everything that was changed; "" when it took it."""
        before = git.resolve(self.folder, "HEAD") or ""
        git.stage(self.folder, ["."])
        told = "".join(f"{name}: {value}\n" for name, value in (trailers or {}).items())
        author = by or user
        key = credentials.signing_key(self.instance.settings, author) if signed else None
        identity = git.Identity(author, f"{author}@slipway.localhost")
        made = git.commit(self.folder, f"Try\n\n{told}", identity=identity, key=key)
        if merging:
            words = ["commit-tree", f"{made}^{{tree}}", "-p", before, "-p", made, "-m", "Merge"]
            made = shell.run(["git", "-C", self.folder, *words], env=git.environment(identity=identity)).stdout.strip()
        try:
            git.push(self.folder, delivering.remote(self.instance, self.repository, user=user), {gitops.REFERENCE: made})
        except git.PushRefused as refusal:
            return str(refusal)
        return ""


def rules(said: str) -> set[str]:
    """The rules that a refusal names."""
    return set(re.findall(r"REFUSED by rule '([a-z -]+)'", said))


def unjudging(instance: Instance, folder: Path) -> Access:
    """The instance, as the pipeline of somebody whose own policy lets everything go everywhere, and asks for no approval."""
    data = yaml.safe_load((ROOT / "cluster" / "policy.yaml").read_text())
    data["approvals"] = {}
    for preset in data["presets"].values():
        for branch in preset["branches"]:
            branch["reach"] = dict.fromkeys(data["environments"], "automatic")
    file = folder / "policy.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    environ = {**os.environ, **instance.environ, "SLIPWAY_POLICY": str(file)}
    return access.open(load(instance.settings.instance, environ=environ))


def refusal(pipeline: Access, change: Change) -> str:
    """What the Git server, and nobody before it, says against a change: the tasks that make it ask nobody."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SlipwayError, match="refused the push of pipeline") as caught:
        for asked in ("judge", "untraced"):
            patch.setattr(deploying, asked, lambda *_: ())
        promotion.deploy(pipeline, change, phase=Phase("try"))
    return str(caught.value)
