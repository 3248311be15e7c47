"""Argo CD's own installation manifest: from the Go module that the build uses, or downloaded; the same bytes either way."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import urllib3
import yaml

from slipway import shell, tools
from slipway.errors import PinMismatch, SlipwayError
from slipway.settings import Settings

_MODULE = "github.com/argoproj/argo-cd/v3"

_DOWNLOAD_TIMEOUT = 60.0

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def install_manifest(settings: Settings, source: str) -> list[dict[str, Any]]:
    """The objects that upstream installs.

    Args:
        settings: Where the pins and the cache are.
        source: "build" takes the manifest from the Go module, "pull" downloads it; a cached one serves both.

    Raises:
        PinMismatch: The manifest is not the one that cluster/versions.toml names.
        SlipwayError: It cannot be had from there.
    """
    pin = settings.versions["argocd"]["sha256"]
    cached = settings.cache / "argocd" / f"install-{pin[:16]}.json"
    if cached.is_file():
        return json.loads(cached.read_text())
    content = _from_module(settings) if source == "build" else _from_network(settings)
    found = hashlib.sha256(content).hexdigest()
    if found != pin:
        raise PinMismatch(
            f"Argo CD's install.yaml has the sum {found}, but cluster/versions.toml says {pin}.\n"
            "Nothing was installed from it. When the version was changed on purpose, correct `argocd.sha256` there."
        )
    objects = [item for item in yaml.load_all(content, Loader=_Loader) if item]
    cached.parent.mkdir(parents=True, exist_ok=True)
    # Parsing the upstream file takes longer than everything else done with it.
    new = cached.with_suffix(".new")
    new.write_text(json.dumps(objects))
    new.replace(cached)
    return objects


def _from_module(settings: Settings) -> bytes:
    version = settings.versions["versions"]["argocd"]
    argv = ["go", "mod", "download", "-json", f"{_MODULE}@v{version}"]
    told = shell.run(argv, cwd=settings.cluster / "go" / "platform", hint="Install Go, or use --source=pull.").stdout
    return (Path(json.loads(told)["Dir"]) / "manifests" / "install.yaml").read_bytes()


def _from_network(settings: Settings) -> bytes:
    url = tools.mirrored(settings.versions["argocd"]["manifest"])
    try:
        answer = urllib3.request("GET", url, timeout=_DOWNLOAD_TIMEOUT, retries=3)
    except urllib3.exceptions.HTTPError as error:
        raise SlipwayError(f"{url} cannot be reached: {error}\nUse --source=build where there is no internet.") from error
    if answer.status != 200:
        raise SlipwayError(
            f"{url} answers {answer.status}.\nUse --source=build, or correct `argocd.manifest` in cluster/versions.toml."
        )
    return answer.data
