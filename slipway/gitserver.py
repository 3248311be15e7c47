"""The instance's Git server: its objects, its rules, its addresses inside the cluster and on the host."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import urllib3
import yaml

from slipway import git, helm, names
from slipway.credentials import Secrets
from slipway.kube import Object
from slipway.settings import Settings
from slipway.waiting import Pending, Ready

APP = "app"
BRANCH = "main"

SECRET = "git-users"  # noqa: S105 the name of the Secret, not its content

# Where those who want to know of a push of records listen: Argo CD, and the controller that makes its applications.
LISTENERS = (
    f"http://argocd-server.{names.ARGOCD}.svc.cluster.local/api/webhook",
    f"http://argocd-applicationset-controller.{names.ARGOCD}.svc.cluster.local:7000/api/webhook",
)


def repositories(settings: Settings) -> tuple[str, ...]:
    """The names of all repositories: the application's first, then the tiers'."""
    return (APP, *dict.fromkeys(env.repository for env in settings.environments.values()))


def remote(repository: str, *, port: int, user: str, secrets: Secrets) -> git.Remote:
    """A repository as a user reaches it from the host.

    Args:
        repository: Its name.
        port: The instance's port on the host.
        user: Who asks: a role's name.
        secrets: The instance's.
    """
    return git.Remote(f"{names.url('git', port=port)}/{repository}.git", user, secrets.passwords[user])


def rules(settings: Settings) -> dict[str, Any]:
    """What each repository takes from whom, as the Git server's hook reads it."""
    data = yaml.safe_load((settings.cluster / "git" / "rules.yaml").read_text())
    made: dict[str, Any] = {}
    for repository in repositories(settings):
        environments = "|".join(env.name for env in settings.environments.values() if env.repository == repository)
        rule = data[APP] if repository == APP else data["gitops"]
        made[repository] = {
            **rule,
            "paths": [pattern.replace("{environments}", environments) for pattern in rule["paths"]],
            "push": [role.name for role in settings.roles.values() if repository in role.push],
        }
    return made


def files(settings: Settings, *, listeners: Iterable[str] = LISTENERS) -> dict[str, str]:
    """The Git server's own files by name, as they lie in its pod."""
    folder = settings.cluster / "git"
    hooks = {
        "base": names.GIT,
        "branch": BRANCH,
        "secret": "/etc/git-secrets/webhook",
        "listeners": {name: list(listeners) for name in repositories(settings) if name != APP},
        "log": "/proc/1/fd/2",
    }
    return {
        "start": (folder / "start.sh").read_text(),
        "nginx.conf": (folder / "nginx.conf").read_text(),
        "pre-receive": (folder / "hooks" / "pre_receive.py").read_text(),
        "post-receive": (folder / "hooks" / "post_receive.py").read_text(),
        "rules.json": json.dumps(rules(settings), indent=1),
        "hooks.json": json.dumps(hooks, indent=1),
    }


def manifests(settings: Settings, *, image: str, helm_program: Path, secrets: Secrets) -> list[Object]:
    """The Git server's objects.

    Args:
        settings: The instance's.
        image: The reference of the Git server's image.
        helm_program: Helm, which renders the chart.
        secrets: The instance's.
    """
    values = {
        "image": image,
        "secret": SECRET,
        "files": files(settings),
        "env": {"REPOSITORIES": " ".join(repositories(settings))},
    }
    rendered = helm.template(
        settings.root / "charts" / "git-server",
        helm=helm_program,
        release="git",
        namespace=names.SYSTEM,
        values=values,
        kubernetes=settings.versions["versions"]["kubernetes"],
    )
    return [_secret(secrets), *rendered]


def _secret(secrets: Secrets) -> Object:
    content = {"htpasswd": secrets.htpasswd_file, "webhook": secrets.webhook}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": names.SYSTEM, "labels": {names.OWNER_LABEL: names.OWNER}},
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in content.items()},
    }


def answers(port: int) -> Ready[None] | Pending:
    """Whether the Git server answers through the gateway; looks once."""
    url = f"http://127.0.0.1:{port}/healthz"
    # A connection that is kept may lead for ever to a pod that got the address of one that is gone: each look makes its own.
    try:
        with urllib3.PoolManager(retries=False, timeout=2.0) as fresh:
            seen = fresh.request("GET", url, headers={"Host": names.host_name("git")})
    except urllib3.exceptions.HTTPError as error:
        return Pending(f"port {port} does not answer: {type(error).__name__}")
    return Ready(None) if seen.status == 200 else Pending(f"it answers {seen.status}")
