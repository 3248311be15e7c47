"""The judging of pushes, in the Git server: the hooks are thin, and import this from a zip of Slipway's own modules.

What is judged is data (rules.json): the policy, and where the tools lie. Facts come from the repositories, which lie side
by side, and from whom the server authenticated. Whatever cannot be judged is refused.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from slipway import policy
from slipway.policy import Policy, Refusal
from slipway.receive import changes, pushes
from slipway.receive.application import Application
from slipway.receive.bare import Bare, pushed_to
from slipway.receive.entries import Kitchen
from slipway.receive.scene import Ledger

# What of Slipway has to be in the zip.
MODULES = ("__init__", "errors", "versions", "policy", "shell", "git", "helm", "records", "locks", "wishes")


def judge(lines: Sequence[str], at: Path, environ: Mapping[str, str], rules: Mapping[str, Any]) -> Sequence[Refusal]:
    """Every rule that forbids a push.

    Args:
        lines: What git tells a pre-receive hook: old object, new object and name of each reference.
        at: The repository that the push goes to.
        environ: The hook's environment.
        rules: What is judged by, as `gitserver.rules` makes it.
    """
    name, user = at.name.removesuffix(".git"), environ.get("REMOTE_USER", "")
    known = policy.parse(rules["policy"])
    if not user:
        return [Refusal("identity", "the push carries no user", "a push over HTTP with a user name and a password")]
    repositories = {policy.APP, *(environment.repository for environment in known.environments.values())}
    if name not in repositories:
        return [Refusal("repository", f"no rule knows the repository {name}", f"one of {', '.join(sorted(repositories))}")]
    if name == policy.APP:
        rule = _application(known, at, environ, rules).judge
    else:
        rule = partial(changes.judge, _ledger(known, at, environ, rules))
    options = pushes.options(environ)
    return list(dict.fromkeys(refusal for line in lines for refusal in rule(_update(line), user=user, options=options)))


def _update(line: str) -> tuple[str, str, str]:
    old, new, reference = line.split(" ", 2)
    return old, new, reference


def _application(known: Policy, at: Path, environ: Mapping[str, str], rules: Mapping[str, Any]) -> Application:
    def other(name: str) -> Bare:
        return Bare(at.parent / f"{name}.git")

    return Application(known, pushed_to(at, environ, Path(rules["signers"])), other)


def _ledger(known: Policy, at: Path, environ: Mapping[str, str], rules: Mapping[str, Any]) -> Ledger:
    app = at.parent / f"{policy.APP}.git"
    tiers = {name: environment.tier for name, environment in known.environments.items()}

    @cache
    def log() -> Sequence[pushes.Pushed]:
        return pushes.read(app)

    return Ledger(
        at.name.removesuffix(".git"),
        known,
        pushed_to(at, environ, Path(rules["signers"])),
        Kitchen(Bare(app), Path(rules["helm"]), rules["kubernetes"], tiers, rules["images"]),
        log,
        lambda user: rules["address"].replace("{user}", user),
    )


def main(lines: Sequence[str], environ: Mapping[str, str], rules: Path) -> int:
    """0 when the push may land; else 1, with every rule that forbids it on standard error."""
    try:
        refusals = judge(lines, Path.cwd(), environ, json.loads(rules.read_text()))
    except Exception as error:  # a guard that cannot judge refuses
        print(f"REFUSED: the rules could not be applied ({type(error).__name__}: {error}).", file=sys.stderr)
        print("Allowed: nothing, until whoever runs this instance repairs it: ./invoke up.", file=sys.stderr)
        return 1
    if refusals:
        print(policy.text(refusals), file=sys.stderr)
    return 1 if refusals else 0
