"""Changing what Git records, as the pipeline does, and waiting until it runs."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from slipway import (
    access,
    applications,
    cluster,
    credentials,
    engine,
    git,
    gitops,
    gitserver,
    promotion,
    records,
    shell,
    versions,
)
from slipway.kube import NOT_YET, rollout
from slipway.progress import Phase
from slipway.records import Entry
from slipway.waiting import Failed, Pending, Ready, wait_for
from tests.e2e.conftest import Instance

# What a record's values say of which version runs where; the rest is the service's own files.
IDENTITY = ("service", "environment", "tier", "image", "version", "commit")

# Polling is hours away, so whatever comes within this time came by webhook.
ARRIVAL_TIMEOUT = 90.0


def remote(instance: Instance, repository: str, *, user: str = "pipeline") -> git.Remote:
    """A repository of the instance, as one of its users."""
    node = cluster.find(instance.settings, engine.connect(instance.settings))
    assert node
    return gitserver.remote(repository, port=node.http_port, user=user, secrets=credentials.keep(instance.settings))


def read(instance: Instance, repository: str) -> tuple[str, Mapping[tuple[str, str], Entry]]:
    """The newest commit of a GitOps repository, and its entries."""
    return gitops.read(remote(instance, repository))


def entry(instance: Instance, environment: str, service: str) -> Entry:
    """What Git records of a service in an environment."""
    return read(instance, instance.settings.environment(environment).repository)[1][environment, service]


def change(
    instance: Instance,
    environment: str,
    services: str | Collection[str],
    values: Mapping[str, Any],
    *,
    digest: str = "",
) -> str:
    """The commit in which services of an environment before stage run with other values, or another image, all at once.

    The values are a feature branch's, as the Git server wants it, and asked for with its push; the pipeline is told not to
    run for it.
    """
    pipeline, branch = access.open(instance.settings), f"feature/test-{secrets.token_hex(4)}"
    chosen = [services] if isinstance(services, str) else list(services)
    had = {service: entry(instance, environment, service) for service in chosen}
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        git.clone(remote(instance, "app", user="developer"), tree, branch="develop")
        for service, found in had.items():
            told = {name: value for name, value in {**found.values, **values}.items() if name not in IDENTITY}
            _write(tree / "services" / service / "envs" / f"{environment}.yaml", told.pop("config", {}))
            _write(tree / "services" / service / "helm" / f"{environment}-values.yaml", told)
        git.stage(tree, ["."])
        commit = git.commit(tree, "Run otherwise", identity=git.Identity("developer", "developer@example"))
        _push_quietly(tree, remote(instance, "app", user="developer"), f"{commit}:refs/heads/{branch}", environment)
    pipeline.fetch()
    wanted = [
        replace(
            found.record,
            source_commit=commit,
            branch=branch,
            inputs="",
            version=f"0.1.0-{versions.slug(branch)}.1" if digest else found.record.version,
            digest=digest or found.record.digest,
            release="",
            lock="",
        )
        for found in had.values()
    ]
    done = gitops.change(
        pipeline.records(environment),
        lambda _: promotion.render(pipeline, wanted),
        reason="Test",
        trailers={"Kind": "request", "Triggered-By": "developer"},
        identity=pipeline.identity,
        key=pipeline.key,
    )
    assert done.made
    return done.commit


def _write(file: Path, values: Mapping[str, Any]) -> None:
    file.write_bytes(records.dump([values]))


def _push_quietly(tree: Path, to: git.Remote, spec: str, environment: str) -> None:
    words = ["git", "-C", tree, "push", "--quiet", "-o", "ci.skip", "-o", f"deploy={environment}", to.url, spec]
    shell.run(words, env=git.environment(to), timeout=60)


def restore(instance: Instance, environment: str, commit: str) -> None:
    """Return when an environment runs again what it did at a commit of its repository."""
    pipeline = access.open(instance.settings)
    repository = instance.settings.environment(environment).repository
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        git.clone(remote(instance, repository), tree, branch=gitops.BRANCH)
        git.export(tree, commit, ["envs"], Path(folder, "then"))
        then = {key: found for key, found in records.entries(Path(folder, "then")).items() if key[0] == environment}
    now = read(instance, repository)[1]
    back = tuple(found for key, found in then.items() if now[key].files != found.files)
    change = promotion.Change(
        environment, "rollback", "develop", entries=back, how="rollback", restores=commit, triggered_by="developer"
    )
    if back:
        promotion.deploy(pipeline, change, phase=Phase("restore"))


def wait_delivered(instance: Instance, environment: str, services: Collection[str], commit: str) -> None:
    """Return when these services of an environment run what a commit says, with every pod ready."""

    def probe(service: str) -> Ready[Any] | Pending | Failed:
        found = {app.environment: app for app in applications.applications(instance.kube) if app.service == service}
        judged = applications.delivered(found.get(environment), commit)
        if not isinstance(judged, Ready):
            return judged
        kind = "StatefulSet" if service in instance.settings.stores else "Deployment"
        return rollout(instance.kube.get(kind, service, namespace=environment, api_version="apps/v1"))

    for service in services:
        wait_for(
            f"{service} in {environment} to run commit {commit[:9]}",
            lambda service=service: probe(service),
            timeout=ARRIVAL_TIMEOUT,
            tolerate=NOT_YET,
        )
