"""The README's tour, typed as it is printed, in a fresh clone."""

from __future__ import annotations

import os
import re
from pathlib import Path

from slipway import git, shell
from slipway.settings import ROOT
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e import delivering, developing
from tests.e2e.conftest import Instance, fetch

# The clone makes its own Python environment first.
LINE_TIMEOUT = 600.0

# Seconds in which the pod before may still be asked over connections that were kept, and go away.
GREETING_TIMEOUT = 60.0

LINE = re.compile(r"\$ (?P<typed>.*?)(?:\s+# (?P<told>.*))?")
REFUSED = re.compile(r"refused by rule '(.+?)'")


def lines() -> list[tuple[str, str]]:
    """What is typed, with the rule that refuses it, or ""."""
    block = re.search(r"## The tour\n.*?```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block
    found = [LINE.fullmatch(line) for line in block[1].splitlines()]
    assert all(found)
    rules = [REFUSED.search(match["told"] or "") for match in found if match]
    return [(match["typed"], rule[1] if rule else "") for match, rule in zip(filter(None, found), rules, strict=True)]


def wait_greeted(instance: Instance, words: str) -> None:
    """Return once the front page of dev's storefront says these words."""
    url = instance.url("storefront", "dev")

    def probe() -> Ready[None] | Pending:
        page = fetch(url)
        heading = re.search(r"<h1[^>]*>.*?</h1>", page.body, re.DOTALL)
        return Ready(None) if words in page.body else Pending(f"{page.status}: {heading[0] if heading else 'no heading'}")

    wait_for(f"the page of dev to say {words!r}", probe, timeout=GREETING_TIMEOUT)


def test_the_tour_does_what_it_says_line_by_line(instance: Instance, tmp_path: Path) -> None:
    clone = tmp_path / "slipway"
    shell.run(["git", "clone", "--quiet", ROOT, clone], env=git.environment())
    remote = delivering.remote(instance, "app")
    taken = git.refs(remote)
    # The clone begins where the instance began, however far the checkout has gone since.
    start = delivering.entry(instance, "prod", "postgresql").record.source_commit
    shell.run(["git", "-C", clone, "checkout", "--quiet", "-B", "main", start], env=git.environment())
    version = "0.2.0" if "refs/heads/release/v0.2.0" not in taken else developing.next_release(instance)
    identity = {f"GIT_{who}_{what}": "tourist@example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    former = delivering.entry(instance, "prod", "catalog").record.release
    typed = lines()
    assert len(typed) == 10, "ten lines"
    assert sum(bool(rule) for _, rule in typed) == 2
    greeted = False
    for line, rule in typed:
        words = ["bash", "-c", line.replace("0.2.0", version)]
        done = shell.run(words, cwd=clone, env={**instance.environ, **identity}, check=False, timeout=LINE_TIMEOUT)
        said = f"$ {line}\n{done.stdout}\n{done.stderr}"
        if rule:
            assert done.code == 1, said
            assert f"rule '{rule}'" in done.stderr, said
            assert "Allowed: " in done.stderr, said
        else:
            assert done.code == 0, said
        if line == "./invoke push --to dev":
            wait_greeted(instance, "Hello from a feature branch")
            greeted = True
    assert greeted
    greeting = delivering.entry(instance, "qa", "catalog").record
    assert greeting.branch == "develop"
    for environment, release in (("stage", f"v{version}"), ("prod", former)):
        assert delivering.entry(instance, environment, "catalog").record.release == release
    assert os.environ.get("SLIPWAY_INSTANCE", "") != instance.settings.instance, "nobody's own instance was touched"
