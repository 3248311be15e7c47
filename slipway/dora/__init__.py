"""`metrics`: deployment frequency, lead time, change failure rate and time to restore, from Git and what ran it when.

A deployment is a commit after which an environment runs something else: genesis, rollbacks and reverts are none. It failed
when a rollback or a revert took back what it brought. docs/decisions/0016-four-metrics.md says why it is counted so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from slipway import access, git, history, names, runs
from slipway.access import Access
from slipway.applications import API_VERSION, SERVICE_LABEL
from slipway.dora.counting import CLUSTER, GIT, RUN, Report, Row, Sample, measure
from slipway.dora.shown import show
from slipway.history import Change
from slipway.kube import NOT_YET, Object
from slipway.promotion import DELIVERY_TIMEOUT
from slipway.runs import Run
from slipway.settings import Settings

__all__ = ["CLUSTER", "GIT", "RUN", "Report", "Row", "Sample", "measure", "metrics", "ran", "show"]


def metrics(settings: Settings) -> Report:
    """The four metrics of every environment and every service.

    Raises:
        UsageError: The instance does not run.
    """
    reader = access.open(settings, history.READER)
    mirror, signers = reader.fetch(), reader.secrets.signers_file
    told: dict[str, tuple[Change, ...]] = {}
    for repository in dict.fromkeys(settings.environment(name).repository for name in reader.environments):
        with history.mirrored(reader.remote(repository)) as at:
            for name in reader.environments:
                if settings.environment(name).repository == repository:
                    told[name] = history.read(at, name, signers=signers)

    @cache
    def committed(commit: str) -> int | None:
        return git.log(mirror, commit, limit=1)[0].time if git.resolve(mirror, commit) else None

    when = ran({run.id: run for run in runs.every(settings)}, _applications(reader))
    return measure({name: told[name] for name in reader.environments}, committed, when, now=time.time())


def _applications(reader: Access) -> Sequence[Object]:
    try:
        return reader.kube.list("Application", namespace=names.ARGOCD, api_version=API_VERSION)
    except NOT_YET:
        return []


def ran(known: Mapping[str, Run], applications: Iterable[Object]) -> Callable[[Change], tuple[float, str]]:
    """What says when an environment ran a commit, and who says so.

    Args:
        known: The pipeline's runs, by name.
        applications: Argo CD's applications; each remembers its last few commits.
    """
    applied: dict[tuple[str, str], float] = {}
    for item in applications:
        labels, status = item["metadata"].get("labels") or {}, item.get("status") or {}
        past = [entry for entry in status.get("history") or [] if entry.get("revision") and entry.get("deployedAt")]
        for entry in past:
            moment = _seconds(entry["deployedAt"])
            if entry is past[-1]:
                moment = _healthy(status.get("health") or {}, moment)
            key = (labels.get(names.ENVIRONMENT_LABEL, ""), entry["revision"])
            if SERVICE_LABEL in labels:
                applied[key] = max(moment, applied.get(key, 0.0))

    def when(change: Change) -> tuple[float, str]:
        run = known.get(change.run)
        moment = _waited(run, change.environment) if run else None
        if moment is not None:
            return max(moment, change.time), RUN
        moment = applied.get((change.environment, change.commit))
        return (max(moment, change.time), CLUSTER) if moment else (change.time, GIT)

    return when


def _waited(run: Run, environment: str) -> float | None:
    """When a run had seen an environment run what it promoted."""
    passed = 0.0
    for stage in run.stages:
        passed += stage.seconds
        if stage.name == f"deploy {environment}" and stage.state == runs.PASSED:
            return run.begun + passed
    return None


def _healthy(health: Mapping[str, Any], deployed: float) -> float:
    """When what was deployed became healthy, as far as Argo CD still knows: each later change of health overwrites it."""
    if health.get("status") != "Healthy" or not health.get("lastTransitionTime"):
        return deployed
    moment = _seconds(health["lastTransitionTime"])
    return moment if deployed <= moment <= deployed + DELIVERY_TIMEOUT else deployed


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
