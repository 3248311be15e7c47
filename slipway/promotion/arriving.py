"""Waiting until an environment runs what a commit says, and saying why when it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from slipway import bundle, delivery, gitops
from slipway.access import Access
from slipway.applications import applications
from slipway.errors import CommandFailed, WaitFailed, WaitTimeout
from slipway.gitops import Entry, Published
from slipway.kube import NOT_YET, describe
from slipway.progress import Phase
from slipway.promotion.changes import NotRunning, Overtaken, Unseen
from slipway.waiting import Clock, Failed, Pending, Ready, wait_for

# Lines of what the cluster says of a failure.
_CAUSES = 5


def arrive(
    access: Access,
    environment: str,
    entries: Sequence[Entry],
    made: Published,
    *,
    phase: Phase,
    timeout: float,
    clock: Clock | None = None,
) -> Mapping[str, str]:
    """The digests that an environment runs, by service, once it runs exactly these entries.

    What somebody else changes meanwhile is not waited for any more; the rest is, before that is said.

    Args:
        access: An instance.
        environment: The environment.
        entries: What it shall run.
        made: The commit that says so.
        phase: Told what is waited for.
        timeout: Seconds until it has to.
        clock: Another clock, for tests.

    Raises:
        NotRunning: It cannot come to run them any more, or does not in time.
        Unseen: Argo CD has not looked at the commit in time.
        Overtaken: A later commit says something else of them, or of some of them while the rest runs.
    """
    remote = access.records(environment)
    services = [entry.record.service for entry in entries]
    touched = partial(gitops.touched, remote, entries)
    commits = dict.fromkeys(services, made.commit) if made.made else gitops.patiently(remote, touched, clock=clock)
    known: dict[str, gitops.Since] = {}
    ours, hopeless = tuple(entries), ""

    def overtaken() -> Overtaken:
        theirs = ", ".join(entry.record.service for entry in entries if entry not in ours)
        return Overtaken(f"{environment} got a newer commit for {theirs} than {made.commit[:9]}; that one counts.")

    def after(commit: str, revision: str) -> bool:
        nonlocal ours
        if not revision or (made.made and revision == made.before):
            return False
        had = known.get(commit)
        if had is None or revision not in had.every:
            try:
                had = known[commit] = gitops.since(remote, commit)
            except CommandFailed as error:
                if not gitops.away(error):
                    raise
                return False
        if revision in had.later:
            there = had.there
            ours = tuple(entry for entry in ours if there.get(entry.record.key) == entry)
            if not ours:
                raise overtaken()
        return revision in had.later

    def probe() -> Ready[Mapping[str, str]] | Pending | Failed:
        nonlocal hopeless
        watched, hopeless = ours, ""
        seen = delivery.exactly(access.kube, environment, watched, commits, after=after)
        if len(ours) < len(watched):  # it was judged with what is somebody else's
            return Pending(str(overtaken()))
        hopeless = seen.why if isinstance(seen, Failed) else ""
        return seen

    what = f"{environment} to run {', '.join(services)} as commit {made.commit[:9]} says"
    try:
        digests = wait_for(what, probe, timeout=timeout, tolerate=NOT_YET, on_change=phase.say, clock=clock)
    except WaitFailed as error:
        if not hopeless:  # the whole command is being ended
            raise
        raise NotRunning(hopeless, never=_never(access, environment, ours, commits, after)) from error
    except WaitTimeout as error:
        waited = {entry.record.service: commits[entry.record.service] for entry in ours}
        if not _looked_at(access, environment, waited, after):
            raise Unseen(str(error)) from error
        raise NotRunning(str(error), never=_never(access, environment, ours, commits, after)) from error
    if len(ours) < len(entries):
        raise overtaken()
    return digests


def _looked_at(access: Access, environment: str, commits: Mapping[str, str], after: Callable[[str, str], bool]) -> bool:
    """Whether Argo CD has begun with every one of these commits, or with one after it."""
    try:
        apps = {app.service: app for app in applications(access.kube) if app.environment == environment}
    except NOT_YET:
        return False
    return all(
        service in apps and (commit in (apps[service].revision, apps[service].applied) or after(commit, apps[service].revision))
        for service, commit in commits.items()
    )


def _never(
    access: Access, environment: str, entries: Sequence[Entry], commits: Mapping[str, str], after: Callable[[str, str], bool]
) -> Sequence[Entry]:
    """What of these entries has never come to run; nothing where the cluster does not say."""
    try:
        return [
            one for one in entries if not delivery.came(access.kube, environment, one, commits[one.record.service], after=after)
        ]
    except NOT_YET:
        return ()


def causes(access: Access, environment: str, services: Sequence[str]) -> Sequence[str]:
    """What is wrong with the pods and migrations of services, in plain words."""
    try:
        pods = access.kube.list("Pod", namespace=environment)
        jobs = access.kube.list("Job", namespace=environment, api_version="batch/v1")
    except NOT_YET:
        return ()
    label = "app.kubernetes.io/name"
    own = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(label) in services]
    migrations = [job for job in jobs if job["metadata"]["name"].startswith(tuple(f"{name}-migrate-" for name in services))]
    found = [f"{describe(job)} {why}" for job in migrations if (why := bundle.job_trouble(job, pods))]
    found += [f"{describe(pod)}: {why}" for pod in own if (why := bundle.pod_trouble(pod))]
    return [f"  {line}" for line in found[:_CAUSES]]
