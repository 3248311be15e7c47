"""Where a Docker engine may be: the places in which the docker command itself would look."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.dockerd import SOCKET


@dataclass(frozen=True)
class Address:
    """Where an engine would be.

    Attributes:
        url: Its address as Docker writes it; "" when whoever chose it names none.
        chosen: Who says so ("DOCKER_HOST", "the docker context colima"); "" for the places where engines usually are.
        environment: What makes the docker command find the same engine.
        tls: A folder with ca.pem, cert.pem and key.pem, when it wants them.
    """

    url: str
    chosen: str
    environment: Mapping[str, str]
    tls: Path | None = None

    @property
    def usual(self) -> bool:
        """Whether it is where this machine's own engine would be."""
        return self.url == f"unix://{SOCKET}"


def addresses(environ: Mapping[str, str] = os.environ) -> list[Address]:
    """Where an engine may be, the likeliest first; one only when the user has chosen it."""
    if url := environ.get("DOCKER_HOST"):
        tls = environ.get("DOCKER_CERT_PATH") if environ.get("DOCKER_TLS_VERIFY") else None
        return [Address(url, "DOCKER_HOST", {"DOCKER_HOST": url}, Path(tls) if tls else None)]
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
    context = environ.get("DOCKER_CONTEXT") or _json(config / "config.json").get("currentContext") or "default"
    if context != "default":
        return [_context(config / "contexts", context)]
    places = [SOCKET, home / ".docker" / "run" / "docker.sock"]
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        places.append(Path(runtime) / "docker.sock")
    return [Address(f"unix://{path}", "", {"DOCKER_HOST": f"unix://{path}"}) for path in places]


def _context(folder: Path, name: str) -> Address:
    key = hashlib.sha256(name.encode()).hexdigest()
    endpoints = _json(folder / "meta" / key / "meta.json").get("Endpoints") or {}
    tls = folder / "tls" / key / "docker"
    return Address(
        url=(endpoints.get("docker") or {}).get("Host") or "",
        chosen=f"the docker context {name}",
        environment={"DOCKER_CONTEXT": name},
        tls=tls if tls.is_dir() else None,
    )


def _json(file: Path) -> Mapping[str, Any]:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):  # not there, or not what Docker would write: the same as saying nothing
        return {}
