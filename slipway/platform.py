"""The platform's parts that come from local charts alone: storage, gateway, monitoring."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway import helm, names
from slipway.errors import UsageError
from slipway.kube import Object, secret
from slipway.settings import Settings

STORAGE = "local-path-storage"

# Their Go modules bring no pages: those are made by other tools, and only upstream's images have them.
_WITHOUT_PAGES = ("argocd", "prometheus")

_REMOTE_WRITE = "remote-write"
_URL = "SLIPWAY_REMOTE_WRITE_URL"
_USER = "SLIPWAY_REMOTE_WRITE_USER"
_PASSWORD_FILE = "SLIPWAY_REMOTE_WRITE_PASSWORD_FILE"  # noqa: S105 - the name of a setting
_TOKEN_FILE = "SLIPWAY_REMOTE_WRITE_TOKEN_FILE"  # noqa: S105 - the name of a setting


@dataclass(frozen=True)
class RemoteWrite:
    """A third party's observability service that gets a copy of every sample.

    Attributes:
        url: Where it takes them.
        auth: "none", "basic" or "bearer".
        secret: What it wants to see, by the key of the Secret.
    """

    url: str
    auth: str
    secret: Mapping[str, str]


def remote_write(environ: Mapping[str, str] = os.environ) -> RemoteWrite | None:
    """The third party's service that the environment names, or None.

    Raises:
        UsageError: Its settings contradict each other, or a file they name cannot be read.
    """
    url = environ.get(_URL)
    if not url:
        if given := [name for name in (_USER, _PASSWORD_FILE, _TOKEN_FILE) if environ.get(name)]:
            raise UsageError(f"{given[0]} is set, but {_URL} is not: say where to send, or unset it.")
        return None
    if not re.fullmatch(r"https?://[^/@\s]+(/\S*)?", url):
        raise UsageError(f"{_URL} must be an http or https address without a user or password, which have settings of their own.")
    if environ.get(_PASSWORD_FILE) and not environ.get(_USER):
        raise UsageError(f"{_PASSWORD_FILE} is set, but {_USER} is not: say whose password it is, or unset it.")
    if environ.get(_TOKEN_FILE) and environ.get(_USER):
        raise UsageError(f"{_TOKEN_FILE} and {_USER} are both set: choose a bearer token or a user and password.")
    if token := environ.get(_TOKEN_FILE):
        return RemoteWrite(url, "bearer", {"token": _content(_TOKEN_FILE, token)})
    if user := environ.get(_USER):
        password = _content(_PASSWORD_FILE, environ.get(_PASSWORD_FILE, ""))
        return RemoteWrite(url, "basic", {"username": user, "password": password})
    return RemoteWrite(url, "none", {})


def _content(setting: str, file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise UsageError(f"{setting} names {file or 'no file'}, which cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{setting} names {file}, which is not text.") from error


def storage(settings: Settings, *, image: str, helper: str, helm_program: Path) -> Sequence[Object]:
    """The objects of the default storage class: folders of the node."""
    values = {"image": image, "helperImage": helper}
    return [_namespace(STORAGE), *_render(settings, "local-path", STORAGE, values, helm_program)]


def gateway(settings: Settings, *, image: str, source: str, repositories: Sequence[str], helm_program: Path) -> Sequence[Object]:
    """The objects of the gateway: the one door from the host to everything in the cluster.

    Args:
        settings: The instance's.
        image: The reference of the image with nginx in it.
        source: Where the images of the platform come from, "pull" or "build".
        repositories: The names of the Git repositories.
        helm_program: Helm, which renders the chart.
    """
    values = {
        "image": image,
        "nodePort": names.GATEWAY_NODE_PORT,
        "environments": [*settings.environments, names.LOCAL],
        "withoutPages": {name: settings.versions["versions"][name] if source == "build" else "" for name in _WITHOUT_PAGES},
        "repositories": [*repositories],
    }
    return _render(settings, "gateway", names.SYSTEM, values, helm_program)


def monitoring(
    settings: Settings, *, images: Mapping[str, str], port: int, remote: RemoteWrite | None, helm_program: Path
) -> Sequence[Object]:
    """The objects of Prometheus, Alertmanager and kube-state-metrics.

    Args:
        settings: The instance's.
        images: References, by the names prometheus, alertmanager and kube-state-metrics.
        port: The instance's port on the host, for the links in alerts.
        remote: A third party's service that gets a copy of every sample.
        helm_program: Helm, which renders the chart.
    """
    values: dict[str, Any] = {
        "images": {
            "prometheus": images["prometheus"],
            "alertmanager": images["alertmanager"],
            "kubeStateMetrics": images["kube-state-metrics"],
        },
        "environments": [*settings.environments, names.LOCAL],
        "externalLabels": {"cluster": settings.instance},
        "urls": {name: names.url(name, port=port) for name in ("prometheus", "alertmanager")},
    }
    objects = [_namespace(names.MONITORING)]
    if remote:
        named = _REMOTE_WRITE if remote.secret else ""
        values["remoteWrite"] = {"url": remote.url, "auth": remote.auth, "secret": named}
        if remote.secret:
            objects.append(secret(_REMOTE_WRITE, names.MONITORING, remote.secret))
    return [*objects, *_render(settings, "monitoring", names.MONITORING, values, helm_program)]


def _render(settings: Settings, chart: str, namespace: str, values: Mapping[str, Any], program: Path) -> list[dict[str, Any]]:
    return helm.template(
        settings.root / "charts" / chart,
        helm=program,
        release=chart,
        namespace=namespace,
        values=values,
        kubernetes=settings.versions["versions"]["kubernetes"],
    )


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {names.OWNER_LABEL: names.OWNER}}}
