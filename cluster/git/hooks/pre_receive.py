#!/usr/bin/python3 -I
"""Decide whether a push may land: who pushes, to which references, and what it changes.

The rules are data (SLIPWAY_RULES, else /etc/git-server/rules.json), rendered from cluster/policy.yaml:

    {"app": {"push": ["developer"],               who may push at all
             "references": ["refs/heads/.*"],     which references there may be
             "removable": ["refs/heads/feature/.*"],
             "linear": false,                     whether merges are refused
             "paths": [".*"]}}                    which files there may be

Each pattern is a regular expression for the whole text. A refusal names the rule and what would be allowed.
The standard library is all there is here: this runs in the Git server, not where Slipway is installed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RULES = "/etc/git-server/rules.json"

ZERO = "0" * 40

# The files of a refusal that are named; more of them would not help anybody.
MOST_NAMED = 5


class Refused(Exception):
    """A push breaks a rule; the arguments are the rule, what is wrong, and what would be allowed."""

    def __init__(self, rule: str, wrong: str, allowed: str) -> None:
        self.rule, self.wrong, self.allowed = rule, wrong, allowed
        super().__init__(f"{wrong} (rule: {rule})")


def git(*arguments: str) -> str:
    """What git prints."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Whether the whole text is one that a pattern describes."""
    return any(re.fullmatch(pattern, text) for pattern in patterns)


def judge_pusher(repository: str, rules: Mapping[str, Any], user: str) -> None:
    """Refuse who may not push to this repository at all."""
    if repository not in rules:
        raise Refused("repository", f"no rule knows the repository {repository}", f"one of {', '.join(sorted(rules))}")
    allowed = rules[repository]["push"]
    if not user:
        raise Refused("identity", "the push carries no user", "a push over HTTP with a user name and a password")
    if user not in allowed:
        raise Refused("push", f"{user} may not push to {repository}", f"a push by {' or '.join(allowed)}")


def judge_update(rule: Mapping[str, Any], old: str, new: str, reference: str) -> None:
    """Refuse one reference's change that the repository's rule does not allow."""
    if not matches(reference, rule["references"]):
        raise Refused("references", f"{reference} cannot be pushed here", f"references like {' '.join(rule['references'])}")
    if new == ZERO:
        if not matches(reference, rule["removable"]):
            removable = " ".join(rule["removable"])
            raise Refused("removable", f"{reference} is never deleted", f"deleting {removable}" if removable else "no deletion")
        return
    if old != ZERO and not is_ancestor(old, new):
        allowed = "a push that adds to it: fetch, put your work on top, push again"
        raise Refused("history", f"{reference} would lose commits that it has ({old[:9]})", allowed)
    span = [new] if old == ZERO else [f"{old}..{new}"]
    if rule["linear"]:
        merges = git("rev-list", "--min-parents=2", "--max-count=1", *span).split()
        if merges:
            raise Refused("linear", f"{merges[0][:9]} is a merge", "one commit after the other")
    strangers = [path for path in changed(old, new) if not matches(path, rule["paths"])]
    if strangers:
        named = ", ".join(strangers[:MOST_NAMED]) + (" and others" if len(strangers) > MOST_NAMED else "")
        raise Refused("paths", f"{named} cannot be in this repository", f"files like {' '.join(rule['paths'])}")


def is_ancestor(old: str, new: str) -> bool:
    """Whether a commit contains another one's history."""
    return subprocess.run(["git", "merge-base", "--is-ancestor", old, new], capture_output=True, check=False).returncode == 0


def changed(old: str, new: str) -> list[str]:
    """The files that any commit of a push adds, changes or removes: a file that comes and goes within a push counts."""
    if old == ZERO:
        return [name for name in git("ls-tree", "-r", "-z", "--name-only", new).split("\0") if name]
    listed = git("log", "--format=", "--name-only", "--no-renames", "-z", "-m", f"{old}..{new}")
    return sorted({name.strip("\n") for name in listed.split("\0") if name.strip("\n")})


def main(lines: Sequence[str], environ: Mapping[str, str]) -> int:
    """0 when the push may land, 1 with the reason on standard error when it may not."""
    repository = Path.cwd().name.removesuffix(".git")
    try:
        rules = json.loads(Path(environ.get("SLIPWAY_RULES") or RULES).read_text())
        judge_pusher(repository, rules, environ.get("REMOTE_USER", ""))
        for line in lines:
            judge_update(rules[repository], *line.split())
    except Refused as refusal:
        print(f"REFUSED by rule {refusal.rule!r}: {refusal.wrong}.\nAllowed: {refusal.allowed}.", file=sys.stderr)
        return 1
    except Exception as error:  # a guard that cannot judge refuses
        print(f"REFUSED: the rules could not be applied ({type(error).__name__}: {error}).", file=sys.stderr)
        print("Allowed: nothing, until whoever runs this instance repairs it: ./invoke up.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read().splitlines(), os.environ))
