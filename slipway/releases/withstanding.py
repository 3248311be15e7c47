"""A lock that passed a load test where releases are tried: said once, in a signed commit, for the policy to ask for."""

from __future__ import annotations

from collections.abc import Mapping

from slipway import git, gitops, locks
from slipway.access import Access
from slipway.errors import SlipwayError
from slipway.locks import LoadResult
from slipway.releases import state


class Uncounted(SlipwayError):
    """A load test that passed, and proves nothing of a release; the message says why."""


def withstood(access: Access, result: LoadResult, *, rules: Mapping[str, str], triggered_by: str = "") -> gitops.Published:
    """The commit that says that a lock passed a load test; one that says so already is enough.

    The Git server asks for the same: a lock that was there before, and that its environment still runs, whole.

    Args:
        access: An instance, as the pipeline.
        result: What was found.
        rules: What Git calls the contents of the files that the test was planned and judged by, by path. They have to be the
            release's own, which somebody reviewed: whoever lowers a limit on their own machine has tested for themselves alone.
        triggered_by: On whose behalf the load test ran.

    Raises:
        SlipwayError: The lock does not exist, or something else was seen running.
        Uncounted: The rules are not the release's.
        PushRefused: The Git server's rules forbid it.
    """
    mirror = gitops.patiently(access.app, access.fetch)

    def edit(there: gitops.There) -> gitops.Commit:
        lock = state.read(there).lock(result.lock)
        if lock is None or not locks.passed(lock, [result], state.gate(access.settings).after):
            raise SlipwayError(
                f"the load test {result.run} does not count for {result.release}: {result.environment} did not run its lock, "
                f"exactly. Run it again: {access.settings.command(f'load --env {state.gate(access.settings).after}')}."
            )
        others = [path for path, content in rules.items() if git.content(mirror, lock.commit, path) != content]
        if others:
            raise Uncounted(
                f"{' and '.join(others)} here is not what commit {lock.commit[:9]} of the release has. Test by its own, "
                "or bring yours to its branch first"
            )
        known = locks.passed(lock, locks.load_results(there.folder), result.environment)
        return gitops.Commit() if known else gitops.Commit(files=result.files)

    return gitops.change(
        access.records(result.environment),
        edit,
        reason=f"Say that {result.release} passed a load test in {result.environment}",
        trailers={
            "Kind": "load",
            "Environment": result.environment,
            "Release": result.release,
            "Lock": result.lock,
            "Triggered-By": triggered_by or access.user,
            "Run": result.run,
        },
        identity=access.identity,
        key=access.key,
    )
