#!/usr/bin/python3 -I
"""Write down who pushed what to the application, and tell whoever wants to know that references changed.

The push waits for the first, not for the second. The message has the shape of GitHub's push event, because that is what
Argo CD understands. Where it goes is data (SLIPWAY_HOOKS, else /etc/git-server/hooks.json):

    {"base": "http://git.example",        the address under which others know the repositories
     "branch": "main",                    the default branch
     "secret": "/path/of/the/secret",     what signs the message
     "listeners": {"records": ["http://.../api/webhook"]},    who wants to know of which repository
     "logged": ["app"],                   of which repositories every push is written down
     "log": "/proc/1/fd/2"}

The standard library is all there is here: this runs in the Git server, not where Slipway is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SETTINGS = "/etc/git-server/hooks.json"

ZERO = "0" * 40

# Who pushed what, a line for each reference, in the repository: the authors of a release are read from it.
PUSHES = Path("slipway", "pushes.jsonl")

# Argo CD looks at the union of the files: beyond this many commits it is told of one change with all of them.
MOST_COMMITS = 200

# Seconds for one attempt, and seconds of rest after each attempt that failed. A listener that is down longer
# than all of them together reads the repository itself when it is back.
TIMEOUT = 5.0
RESTS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)

_KINDS = {"A": "added", "M": "modified", "T": "modified", "D": "removed"}


def write_down(repository: str, changes: Sequence[tuple[str, str, str]], user: str, environ: Mapping[str, str]) -> None:
    """Add a line for each reference of a push to the log, all of them at once."""
    count = int(environ.get("GIT_PUSH_OPTION_COUNT") or 0)
    options = dict(environ[f"GIT_PUSH_OPTION_{number}"].partition("=")[::2] for number in range(count))
    about = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "user": user, "repository": repository}
    moved = [{"reference": name, "before": old, "after": new, "options": options} for old, new, name in changes]
    PUSHES.parent.mkdir(exist_ok=True)
    with PUSHES.open("ab", buffering=0) as sink:
        fcntl.flock(sink, fcntl.LOCK_EX)
        sink.write("".join(json.dumps({**about, **one}) + "\n" for one in moved).encode())
        os.fsync(sink.fileno())


def git(*arguments: str) -> str:
    """What git prints."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, errors="replace").stdout


def files(*arguments: str) -> dict[str, list[str]]:
    """The files that a diff adds, modifies and removes."""
    found: dict[str, list[str]] = {"added": [], "modified": [], "removed": []}
    how = ("-r", "-z", "--no-commit-id", "--name-status", "--no-renames", "--root", "--diff-merges=first-parent")
    words = iter(git("diff-tree", *how, *arguments).split("\0"))
    for kind in words:
        if kind:
            found[_KINDS.get(kind[0], "modified")].append(next(words))
    return found


def describe(sha: str, changed: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """One commit as a push event tells it."""
    name, email, when, message = git("show", "--no-patch", "--format=%an%x00%ae%x00%cI%x00%B", sha).split("\0", 3)
    author = {"name": name, "email": email, "username": name}
    return {
        "id": sha,
        "message": message.strip(),
        "timestamp": when,
        "author": author,
        "committer": author,
        "distinct": True,
        **changed,
    }


def commits(old: str, new: str) -> list[dict[str, Any]]:
    """The commits that a reference got, oldest first, each with its files; one that stands for all when they are many."""
    if new == ZERO:
        return []
    new = git("rev-parse", f"{new}^{{commit}}").strip()  # a tag may be an object of its own
    if old == ZERO:
        return [describe(new, files(git("hash-object", "-t", "tree", os.devnull).strip(), new))]
    added = git("rev-list", "--reverse", f"--max-count={MOST_COMMITS + 1}", f"{old}..{new}").split()
    if not added or len(added) > MOST_COMMITS:
        return [describe(new, files(old, new))]
    return [describe(sha, files(sha)) for sha in added]


def payload(settings: Mapping[str, Any], change: tuple[str, str, str], *, repository: str, user: str) -> dict[str, Any]:
    """The push event of one reference (old commit, new commit, name), in GitHub's shape."""
    old, new, reference = change
    listed, branch = commits(old, new), settings["branch"]
    page = f"{settings['base']}/{repository}"
    return {
        "ref": reference,
        "before": old,
        "after": new,
        "created": old == ZERO,
        "deleted": new == ZERO,
        "forced": False,
        "compare": f"{page}/compare/{old[:12]}...{new[:12]}",
        "commits": listed,
        "head_commit": listed[-1] if listed else None,
        "pusher": {"name": user},
        "sender": {"login": user},
        "repository": {
            "id": 1,
            "name": repository,
            "full_name": repository,
            "owner": {"name": "slipway", "login": "slipway"},
            "html_url": page,
            "url": page,
            "clone_url": f"{page}.git",
            "default_branch": branch,
            "master_branch": branch,
        },
    }


def send(listener: str, body: bytes, secret: bytes, *, rests: Sequence[float] = RESTS, timeout: float = TIMEOUT) -> str:
    """How a listener answered at last, for the log; a refusal is final, silence and a server's error are not."""
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest(),
    }
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    said = ""
    for attempt, rest in enumerate((*rests, None), start=1):
        try:
            request = urllib.request.Request(listener, data=body, headers=headers)  # noqa: S310 the address is our own setting
            with direct.open(request, timeout=timeout) as answer:
                return f"{answer.status} at attempt {attempt}"
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.read(200).decode(errors='replace').strip()}"
            if error.code < 500:
                return f"refused: {said}"
        except OSError as error:
            said = f"{type(error).__name__}: {error}"
        if rest is not None:
            time.sleep(rest)
    return f"given up after {len(rests) + 1} attempts: {said}"


def deliver(settings: Mapping[str, Any], listeners: Sequence[str], events: Sequence[Mapping[str, Any]]) -> None:
    """Send every event to every listener, side by side, and log how each ended."""
    secret = Path(settings["secret"]).read_bytes().strip()

    def work(listener: str) -> None:
        for event in events:
            started = time.monotonic()
            outcome = send(listener, json.dumps(event).encode(), secret)
            what = f"{event['repository']['name']} {event['ref']} {event['after'][:12]}"
            print(f"webhook {what} -> {listener}: {outcome} ({time.monotonic() - started:.2f} s)", flush=True)

    threads = [threading.Thread(target=work, args=(listener,)) for listener in listeners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def detach(log: str) -> bool:
    """Whether this is the process that stays behind: its own session, nothing of the push held open, output to the log."""
    sys.stdout.flush()
    if os.fork():
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        sink = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError:
        sink = os.open(os.devnull, os.O_WRONLY)
    for source, target in ((nothing, 0), (sink, 1), (sink, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    return True


def main(lines: Sequence[str], environ: Mapping[str, str]) -> int:
    """Always 0: the push has happened."""
    try:
        settings = json.loads(Path(environ.get("SLIPWAY_HOOKS") or SETTINGS).read_text())
        repository = Path.cwd().name.removesuffix(".git")
        user = environ.get("REMOTE_USER", "")
        changes = [(old, new, reference) for old, new, reference in (line.split() for line in lines)]
        if repository in settings["logged"]:
            write_down(repository, changes, user, environ)
    except Exception as error:  # the push has happened: nothing here may fail it
        print(f"The push was not written down, and nobody was told: {type(error).__name__}: {error}", file=sys.stderr)
        return 0
    listeners = settings["listeners"].get(repository, [])
    if not listeners or not detach(settings["log"]):
        return 0
    try:
        deliver(settings, listeners, [payload(settings, change, repository=repository, user=user) for change in changes])
    except Exception as error:  # the push has happened: nothing here may fail it
        print(f"webhook {repository}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read().splitlines(), os.environ))
