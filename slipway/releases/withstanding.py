"""A lock that passed a load test where releases are tried: said once, in a signed commit, for the policy to ask for."""

from __future__ import annotations

from slipway import gitops, locks
from slipway.access import Access
from slipway.errors import SlipwayError
from slipway.locks import LoadResult
from slipway.releases import state


def withstood(access: Access, result: LoadResult, *, triggered_by: str = "") -> gitops.Published:
    """The commit that says that a lock passed a load test; one that says so already is enough.

    The Git server asks for the same: a lock that was there before, and that its environment still runs, whole.

    Args:
        access: An instance, as the pipeline.
        result: What was found.
        triggered_by: On whose behalf the load test ran.

    Raises:
        SlipwayError: The lock does not exist, or something else was seen running.
        PushRefused: The Git server's rules forbid it.
    """

    def edit(there: gitops.There) -> gitops.Commit:
        lock = state.read(there).lock(result.lock)
        if lock is None or not locks.passed(lock, [result], state.gate(access.settings).after):
            raise SlipwayError(
                f"the load test {result.run} does not count for {result.release}: {result.environment} did not run its lock, "
                f"exactly. Run it again: ./invoke load --env {state.gate(access.settings).after}."
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
