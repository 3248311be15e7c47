"""The instance's Git server: its objects, its rules, its addresses inside the cluster and on the host."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from slipway import credentials, git, helm, names, receive
from slipway.credentials import Secrets
from slipway.kube import Object, secret
from slipway.settings import Settings

APP = "app"
BRANCH = "main"

SECRET = "git-users"  # noqa: S105 the name of the Secret, not its content

# Its key with the public keys of all who may sign, and where the pod finds it.
SIGNERS = "allowed_signers"
SECRETS = "/etc/git-secrets"

# What the hooks run, and the code that they import.
TOOLS = "/opt/tools"
CODE = "slipway.zip"

# The oldest time that a zip knows: the bytes must not depend on when they were packed.
_EPOCH = (1980, 1, 1, 0, 0, 0)

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
    """What the Git server judges pushes by: the policy, and where its tools lie.

    Raises:
        UsageError: The policy is none: better refused here than in the server.
    """
    data = yaml.safe_load(settings.policy_file.read_text()) if settings.policy else {}
    return {
        "policy": data,
        "helm": f"{TOOLS}/helm",
        "kubernetes": settings.versions["versions"]["kubernetes"],
        "signers": f"{SECRETS}/{SIGNERS}",
        "address": credentials.address("{user}"),
        "images": f"localhost:{{port}}/services/{settings.instance}/{{service}}",
    }


def code() -> bytes:
    """The modules of Slipway that judge in the Git server, as a zip whose bytes depend on them alone."""
    package = Path(__file__).parent
    places = [package / name for name in (*receive.MODULES, "receive")]
    modules = [
        module for place in places for module in (sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")])
    ]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for module in modules:
            about = zipfile.ZipInfo(module.relative_to(package.parent).as_posix(), _EPOCH)
            archive.writestr(about, module.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def files(settings: Settings, *, listeners: Iterable[str] = LISTENERS) -> dict[str, str]:
    """The Git server's own files by name, as they lie in its pod."""
    folder = settings.cluster / "git"
    hooks = {
        "base": names.GIT,
        "branch": BRANCH,
        "secret": f"{SECRETS}/webhook",
        "logged": [APP],
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


def manifests(settings: Settings, *, image: str, tools_image: str, helm_program: Path, secrets: Secrets) -> list[Object]:
    """The Git server's objects.

    Args:
        settings: The instance's.
        image: The reference of the Git server's image.
        tools_image: The reference of an image with Helm in it: Argo CD's. The hooks render records with it.
        helm_program: Helm, which renders the chart.
        secrets: The instance's.
    """
    values = {
        "image": image,
        "secret": SECRET,
        "files": files(settings),
        "binaryFiles": {CODE: base64.b64encode(code()).decode()},
        "tool": {"image": tools_image},
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
    told = {"htpasswd": secrets.htpasswd_file, "webhook": secrets.webhook, SIGNERS: secrets.signers_file}
    return [secret(SECRET, names.SYSTEM, told), *rendered]
