"""A push to the application's repository: the facts of each reference, for the policy to judge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from slipway import locks, policy
from slipway.policy import Policy, Push, Refusal
from slipway.receive import entries
from slipway.receive.bare import ZERO, Bare

_HEADS, _TAGS = "refs/heads/", "refs/tags/"

# How notes name the commit that they are on, however many folders git spreads them over.
_NOTED = re.compile(r"[0-9a-f/]{40,}")

_STATES = ("passed", "failed")


@dataclass(frozen=True)
class Application:
    """The application's repository with its neighbours.

    Attributes:
        policy: The policy.
        app: The repository.
        other: The GitOps repositories, by name.
    """

    policy: Policy
    app: Bare
    other: Callable[[str], Bare]

    def judge(self, update: tuple[str, str, str], *, user: str, options: Mapping[str, str]) -> tuple[Refusal, ...]:
        """Every rule that forbids one reference's change: old object, new object, name."""
        old, new, reference = update
        refusals = policy.judge_push(self.policy, self.facts(update, user=user, options=options))
        if reference == policy.RESULTS and new != ZERO and not refusals:
            return self._results(old, new)
        return refusals

    def facts(self, update: tuple[str, str, str], *, user: str, options: Mapping[str, str]) -> Push:
        """What is so about a push of one reference."""
        old, new, reference = ("" if word == ZERO else word for word in update)
        begun = Push("app", user, reference, old, new, options=options)
        if not new or not reference.startswith(_HEADS):
            forward = bool(old and new) and self.app.contains(new, old)
            return Push("app", user, reference, old, new, fast_forward=forward, options=options)
        if not old:
            return self._creation(begun)
        merged = self._merged(old, new)
        return Push(
            "app",
            user,
            reference,
            old,
            new,
            fast_forward=self.app.contains(new, old),
            merged=merged,
            merge_of=self._branches_with(merged) if merged else (),
            merge_clean=bool(merged) and self.app.merged(old, merged) == self.app.tree(new),
            merge_passed=bool(merged) and passed(self.app, merged),
            prod=self._prod(),
            options=options,
        )

    def _creation(self, begun: Push) -> Push:
        found = policy.line(self.policy, begun.reference.removeprefix(_HEADS))
        if found is None or not found.release(begun.reference.removeprefix(_HEADS)):
            return begun
        tags = self.app.references(_TAGS)
        here = tuple(name.removeprefix(_TAGS) for name, commit in tags.items() if commit == begun.new)
        return Push(
            begun.repository,
            begun.user,
            begun.reference,
            begun.old,
            begun.new,
            based_on=(*self._branches_with(begun.new), *here),
            tags=tuple(name.removeprefix(_TAGS) for name in tags),
            releases=self._releases(),
            prod=self._prod(),
            options=begun.options,
        )

    def _merged(self, old: str, new: str) -> str:
        parents = self.app.run("rev-list", "--max-count=1", "--parents", new, "--").stdout.split()[1:]
        return parents[1] if len(parents) == 2 and parents[0] == old else ""

    def _branches_with(self, commit: str) -> tuple[str, ...]:
        listed = self.app.run("for-each-ref", "--format=%(refname)", f"--contains={commit}", _HEADS, check=False).stdout
        return tuple(name.removeprefix(_HEADS) for name in listed.split())

    def _guarded(self) -> list[tuple[str, Bare, str]]:
        """Each environment that needs approval, its repository and the newest commit there."""
        found = ((name, self.other(self.policy.environments[name].repository)) for name in self.policy.approvals)
        return [(name, bare, bare.resolve(policy.RECORDS)) for name, bare in found]

    def _releases(self) -> tuple[str, ...]:
        branches = [name.removeprefix(_HEADS) for name in self.app.references(_HEADS)]
        lines = [(policy.line(self.policy, branch), branch) for branch in branches]
        named = [found.release(branch) for found, branch in lines if found]
        locked = [path.split("/")[1] for _, bare, tip in self._guarded() for path in bare.blobs(tip, f"{locks.RELEASES}/")]
        return tuple(sorted({*filter(None, named), *locked}))

    def _prod(self) -> tuple[policy.Released, ...]:
        found: set[policy.Released] = set()
        for name, bare, tip in self._guarded():
            blobs = bare.blobs(tip, f"envs/{name}/", f"{locks.RELEASES}/")
            files = bare.files(tip, [path for path in blobs if path.endswith(("/record.yaml", "/lock.yaml"))])
            known = {}
            for path, content in files.items():
                if path.startswith(f"{locks.RELEASES}/"):
                    lock = locks.parse_lock(path, content)
                    known[lock.hash] = lock.commit
            for path, content in files.items():
                if path.startswith("envs/"):
                    record = entries.parse(path, content)
                    if record.release:
                        found.add(policy.Released(record.release, known.get(record.lock, record.source_commit)))
        return tuple(sorted(found, key=lambda each: (each.release, each.commit)))

    def _results(self, old: str, new: str) -> tuple[Refusal, ...]:
        for commit in self.app.added(old, new):
            parent = self.app.resolve(f"{commit}^") if commit != new or old != ZERO else ""
            changed = self.app.changed(parent, commit)
            contents = self.app.files(commit, [one.path for one in changed if one.kind != "D"])
            for one in changed:
                noted = one.path.replace("/", "")
                if not _NOTED.fullmatch(one.path) or len(noted) != 40 or not _result(contents.get(one.path, b"")):
                    allowed = 'a note {"state": "passed" or "failed", "run": ..., "branch": ...} on a commit'
                    return (Refusal("results", f"{one.path} is not how a run ended", allowed),)
        return ()


def passed(app: Bare, commit: str) -> bool:
    """Whether a commit passed the pipeline, as the pipeline noted it."""
    try:
        return json.loads(app.note(commit, policy.RESULTS) or "{}").get("state") == "passed"
    except (ValueError, AttributeError):
        return False


def _result(content: bytes) -> bool:
    try:
        told = json.loads(content)
    except ValueError:
        return False
    return (
        isinstance(told, dict)
        and told.get("state") in _STATES
        and all(isinstance(told.get(key, ""), str) for key in ("run", "branch"))
    )
