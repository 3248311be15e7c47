"""Stage gets a release: its lock and all its records in one commit, and after it ran exactly that, the result in another one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import yaml

from slipway import git, gitops, locks, promotion, versions
from slipway.access import Access
from slipway.errors import SlipwayError
from slipway.gitops import Record
from slipway.kube import Object
from slipway.locks import Lock, StageResult
from slipway.progress import Phase
from slipway.promotion import KINDS, Change
from slipway.releases import state

# Labels of the pods of a service, as the chart sets them.
_SERVICE_LABEL = "app.kubernetes.io/name"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Staged:
    """A release that its environment runs.

    Attributes:
        environment: The environment.
        lock: What runs there.
        commit: The commit of the GitOps repository that it runs.
        result: The commit that says so.
        made: Whether anything had to be changed for it.
        changed: The services whose records changed.
    """

    environment: str
    lock: Lock
    commit: str
    result: str
    made: bool
    changed: tuple[str, ...]


def stage(
    access: Access,
    commit: str,
    branch: str,
    records: Sequence[Record],
    *,
    version: str,
    phase: Phase,
    run: str = "",
    triggered_by: str = "",
    how: Literal["automatic", "request", "dispatch"] = "automatic",
    wish: str = "",
) -> Staged:
    """The environment before prod, running a release as a commit of its branch makes it.

    An unhealthy one is taken back by the promotion, and no result is written: then nothing can send it on.

    Args:
        access: An instance, as the pipeline; the mirror of the application is up to date.
        commit: The commit of the branch.
        branch: The release's branch.
        records: All services: what was built for it, and for the rest what it takes over.
        version: The version that it was built as.
        phase: Told what is done and waited for.
        run: The run of the pipeline that it is part of.
        triggered_by: On whose behalf.
        how: How it came to be.
        wish: Of a request that no push made: the wish, as it was signed.

    Raises:
        Refused: The policy forbids it.
        PromotionFailed: The environment did not come to run it, and was taken back.
    """
    release = released_as(access, branch)
    filled = [replace(_charted(access, record), branch=branch, release=release) for record in records]
    lock = locks.of(filled, release=release, version=version, branch=branch, commit=commit)
    return bring(access, lock, filled, phase=phase, run=run, triggered_by=triggered_by, how=how, wish=wish)


def bring(
    access: Access,
    lock: Lock,
    records: Sequence[Record],
    *,
    phase: Phase,
    run: str = "",
    triggered_by: str = "",
    how: Literal["automatic", "request", "dispatch"] = "dispatch",
    wish: str = "",
) -> Staged:
    """The environment before prod, running a lock; doing it again changes nothing.

    Args:
        access: An instance, as the pipeline.
        lock: The lock.
        records: What of it shall run; every service that it names.
        phase: Told what is done and waited for.
        run: The run of the pipeline that it is part of.
        triggered_by: On whose behalf.
        how: How it came to be.
        wish: Of a request that no push made: the wish, as it was signed.

    Raises:
        Refused: The policy forbids it.
        PromotionFailed: The environment did not come to run it, and was taken back.
    """
    gitops.patiently(access.app, access.fetch)
    there = state.look(access)
    # The same artifacts are the same lock, however often they were built: the file says when that was first.
    lock = there.lock(lock.hash) or lock
    environment = state.gate(access.settings).after
    mine = tuple(replace(record, environment=environment, release=lock.release, lock=lock.hash) for record in records)
    change = Change(
        environment=environment,
        kind=KINDS[how],
        branch=lock.branch,
        records=(*mine, *there.ends(access, lock, environment)),
        how=how,
        release=lock.release,
        lock=lock.hash,
        triggered_by=triggered_by,
        wish=wish,
        files=lock.files,
        reason=f"Deploy {lock.release}",
    )
    done = promotion.deploy(access, change, phase=phase, run=run, fetched=True)
    result = _tell(access, environment, lock, done.commit, run=run, triggered_by=triggered_by)
    return Staged(environment, lock, done.commit, result.commit, done.made, done.changed)


def released_as(access: Access, branch: str) -> str:
    """The release that a branch makes: the one in its name, else the next one after the last tag."""
    named = next((found for line in access.settings.policy.lines if (found := line.release(branch))), "")
    if named:
        return named
    last = versions.newest(git.local_refs(access.mirror, state.TAGS))
    return f"v{last.next_minor if last else versions.Version(0, 1, 0)}"


def records_of(lock: Lock, environment: str) -> tuple[Record, ...]:
    """What an environment records when it runs a lock."""
    return tuple(
        Record(
            environment=environment,
            service=one.service,
            version=one.version,
            image=one.image,
            digest=one.digest,
            source_commit=one.source_commit,
            chart=one.chart,
            chart_version=one.chart_version,
            release=lock.release,
            branch=lock.branch,
            inputs=one.inputs,
            lock=lock.hash,
        )
        for one in lock.services
    )


def _charted(access: Access, record: Record) -> Record:
    """A record that says which version of its chart it is rendered with, as its source commit has it."""
    if record.chart_version:
        return record
    name = f"charts/{record.chart or gitops.CHART}"
    with access.source(record.source_commit, [name]) as source:
        about = yaml.safe_load((source.folder / name / "Chart.yaml").read_text())
    return replace(record, chart=about["name"], chart_version=about["version"])


def _tell(access: Access, environment: str, lock: Lock, commit: str, *, run: str, triggered_by: str) -> gitops.Published:
    seen = running(access.kube.list("Pod", namespace=environment), lock)
    result = StageResult(lock.release, lock.hash, environment, commit, seen, state.now())
    if not locks.passed(lock, [result], environment):
        wrong = ", ".join(name for name, digest in lock.digests.items() if seen.get(name) != digest)
        raise SlipwayError(
            f"{environment} was to run {lock.release}, and the pods of {wrong} run something else. So nothing says that it "
            f"succeeded, and it cannot go on. See `{access.settings.command('status')}`; then push to {lock.branch}, or run "
            f"`{access.settings.command(f'ci --ref {lock.branch}')}`."
        )

    def edit(there: gitops.There) -> gitops.Commit:
        known = locks.passed(lock, locks.stage_results(there.folder), environment)
        return gitops.Commit() if known else gitops.Commit(files=result.files)

    return gitops.change(
        access.records(environment),
        edit,
        reason=f"Say that {environment} runs {lock.release}",
        trailers={
            "Kind": "release",
            "Environment": environment,
            "Release": lock.release,
            "Lock": lock.hash,
            "Triggered-By": triggered_by or access.user,
            "Run": run,
        },
        identity=access.identity,
        key=access.key,
    )


def running(pods: Sequence[Object], lock: Lock) -> dict[str, str]:
    """What the containers of each service of a lock were started from; "" where they do not agree or there are none."""
    seen: dict[str, set[str]] = {one.service: set() for one in lock.services}
    for pod in pods:
        meta = pod["metadata"]
        service = (meta.get("labels") or {}).get(_SERVICE_LABEL, "")
        over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if service not in seen or over or meta.get("deletionTimestamp"):
            continue
        for container in (pod.get("status") or {}).get("containerStatuses") or []:
            found = _DIGEST.search(container.get("imageID", ""))
            seen[service].add(found[0] if found else "")
    return {service: next(iter(digests)) if len(digests) == 1 else "" for service, digests in seen.items()}
