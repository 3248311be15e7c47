"""`explain`: what runs of a service, where it comes from and by whom, and what its next promotion lacks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from slipway import access, git, gitops, history, locks, policy, promotion, versions
from slipway.access import Access
from slipway.errors import UsageError
from slipway.explain.shown import show
from slipway.explain.told import Explained, Held, Next, Running, Source
from slipway.gitops import CHART, Record
from slipway.kube import NOT_YET
from slipway.receive import holding
from slipway.receive.bare import Bare
from slipway.settings import Settings

__all__ = ["Explained", "Held", "Next", "Running", "Source", "explain", "running", "show"]


def explain(settings: Settings, service: str, environment: str) -> Explained:
    """What runs of a service in an environment, from the repositories and the cluster; nothing is changed.

    Raises:
        UsageError: There is no such environment or service, nothing of it was delivered, or the instance does not run.
    """
    settings.environment(environment)
    reader = access.open(settings, history.READER)
    if environment not in reader.environments:
        raise UsageError(f"{settings.instance} has no {environment}. It has {', '.join(reader.environments)}.")
    reader.fetch()
    with history.mirrored(reader.records(environment)) as at:
        changes = history.read(at, environment, signers=reader.secrets.signers_file)
        bare, tip = Bare(at), git.resolve(at, gitops.REFERENCE) or ""
        left = holding.left(bare, tip, environment, service)
        record = history.records(changes).get(service)
        approved_by = _approvers(bare, tip, record.lock) if record and record.lock else ()
    past = settings.command(f"history {environment}")
    if record is not None and record.retired:
        gone = f"since commit {record.source_commit[:9]}, which has no services/{service} any more"
        back = f"since {record.version} was taken back, before which it had never run there"
        how = back if record.withdrawn else gone
        raise UsageError(f"{service} is retired in {environment} {how}. `{past}` lists what came.")
    if record is None:
        settings.service(service)
        raise UsageError(f"{environment} runs nothing of {service} yet. `{past}` lists what came.")
    brought = next((change for change in changes if any(step.service == service for step in change.steps)), None)
    following = _next(reader, record) if record.chart == CHART else None
    return Explained(
        service,
        environment,
        record,
        brought,
        approved_by,
        _source(reader.mirror, record.source_commit),
        _running(reader, record),
        tuple(Held(one.record.version, one.record.branch, one.record.release, one.commit) for one in left),
        following,
        _command(reader, record, following),
    )


def _approvers(bare: Bare, commit: str, lock: str) -> tuple[str, ...]:
    """Who approved a lock, whatever brought it: a rollback brings back what was approved before it was promoted first."""
    files = bare.files(commit, bare.blobs(commit, locks.APPROVALS))
    found = (locks.parse_approval(path, content) for path, content in files.items())
    return tuple(sorted({one.by for one in found if one.lock == lock}))


def _source(mirror: Path, commit: str) -> Source | None:
    if git.resolve(mirror, commit) is None:
        return None
    found = git.log(mirror, commit, limit=1)[0]
    return Source(found.sha, found.author, found.time, found.subject)


def _running(reader: Access, record: Record) -> tuple[Running, ...] | None:
    try:
        pods = reader.kube.list("Pod", namespace=record.environment, labels=f"app.kubernetes.io/name={record.service}")
    except NOT_YET:
        return None
    return running(pods, record.service)


def running(pods: Iterable[Mapping[str, Any]], container: str) -> tuple[Running, ...]:
    """Which images a container of these pods runs, by digest; pods on their way out do not count.

    Args:
        pods: The pods.
        container: The container's name.
    """
    found: dict[str, list[bool]] = {}
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        for status in (pod.get("status") or {}).get("containerStatuses") or []:
            if status["name"] == container and status.get("imageID"):
                found.setdefault(status["imageID"].rpartition("@")[2], []).append(bool(status.get("ready")))
    return tuple(Running(digest, len(ready), sum(ready)) for digest, ready in sorted(found.items()))


def _next(reader: Access, record: Record) -> Next | None:
    order = reader.environments
    position = order.index(record.environment) + 1
    if position == len(order):
        return None
    name = order[position]
    rules = reader.settings.policy
    line = policy.line(rules, record.branch)
    reach = line.reach.get(name, "refused") if line else "refused"
    # Of a release only those environments speak that run it as one.
    wanted = replace(record, environment=name, **({} if name in rules.approvals else {"release": "", "lock": ""}))
    change = promotion.Change(
        environment=name,
        kind="promotion",
        records=(wanted,),
        how="request" if reach == "refused" else reach,
        promoted_from=record.environment,
        triggered_by=reader.user,
    )
    with tempfile.TemporaryDirectory(prefix="slipway-explain-") as folder:
        tree = Path(folder, "tree")
        git.clone(reader.records(name), tree, branch=gitops.BRANCH)
        there = gitops.There(tree, git.resolve(tree, "HEAD") or "")
        facts = promotion.facts(reader, change, wanted, there)
    beside = there.get(wanted.key)
    same = beside is not None and _artifact(beside.record) == _artifact(wanted)
    return Next(name, reach, same, facts, policy.judge_deploy(rules, facts))


def _artifact(record: Record) -> tuple[str, ...]:
    return record.image, record.digest, record.chart, record.chart_version, record.inputs


def _command(reader: Access, record: Record, following: Next | None) -> str:
    """What brings the artifact on, as it is typed."""
    settings, tags = reader.settings, [name.removeprefix("refs/tags/") for name in git.local_refs(reader.mirror, "refs/tags")]
    if record.chart == CHART and following and following.there:
        return settings.command(f"explain {record.service} --env {following.environment}")
    if following:
        return _onwards(settings, record, following, tags)
    if record.chart == CHART and record.release and record.release not in tags:
        return settings.command(f"release.finish {record.release.removeprefix('v')}")
    return settings.command(f"history {record.environment}")


def _onwards(settings: Settings, record: Record, following: Next, tags: Iterable[str]) -> str:
    refused, to = {refusal.rule for refusal in following.refusals}, following.environment
    gate = settings.policy.approvals.get(to)
    may = [user for user in gate.approvers if user not in following.facts.authors] if gate else []
    if "branches" in refused:
        return _another_branch(settings, record.branch, tags)
    if refused & {"held", "origin", "lock", "stage-first"} or (following.how == "automatic" and not refused):
        return settings.command(f"push {record.branch} --to {to}" if "held" in refused else f"push {record.branch}")
    if "load" in refused and gate:
        return settings.command(f"load --env {gate.after} --release {record.release.removeprefix('v')}")
    if refused & {"approval", "four-eyes"} and may:
        return settings.command(f"approve {record.release} --user {may[0]}")
    if refused:
        return settings.command(f"diff {record.environment} {to}") if "order" in refused else "./invoke policy"
    return settings.command(f"promote {to} --release {record.release}" if gate else f"promote {to} --service {record.service}")


def _another_branch(settings: Settings, branch: str, tags: Iterable[str]) -> str:
    """What takes a branch to one that gets further."""
    rules = settings.policy
    line = policy.line(rules, branch)
    if line and any(line.name in other.takes and not line.releases for other in rules.lines):
        return settings.command(f"merge {branch}")
    if any(other.cut_from == branch for other in rules.lines):
        last = versions.newest(tags)
        return settings.command(f"release.cut {last.next_minor if last else '0.1.0'}")
    return "./invoke policy"
