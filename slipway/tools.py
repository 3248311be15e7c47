"""The programs that `up` needs on the host (kind, kubectl, helm): the user's own, or a release held to its sum.

SLIPWAY_DOWNLOAD_MIRROR=URL names a server to download from instead of upstream's. It has each file under its full upstream
name: https://get.helm.sh/helm-v3.19.5-linux-amd64.tar.gz is asked for as <URL>/get.helm.sh/helm-v3.19.5-linux-amd64.tar.gz.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import os
import re
import tarfile
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from slipway import machine, shell, waiting
from slipway.errors import PinMismatch, SlipwayError
from slipway.machine import Machine
from slipway.progress import Phase
from slipway.settings import Settings

MIRROR = "SLIPWAY_DOWNLOAD_MIRROR"

PROGRAM_TIMEOUT = 20.0
# Without a byte for this long, a download is given up.
SILENCE_TIMEOUT = 60.0

_CHUNK = 1 << 20

# How each tool says its version, and how much of it must be as pinned. kubectl may differ in its patch from the cluster;
# kind decides which node images work, Helm's output is compared byte by byte, and actionlint must find the same everywhere.
_ASK = {
    "kind": (["version"], 3),
    "kubectl": (["version", "--client"], 2),
    "helm": (["version", "--template", "{{.Version}}"], 3),
    "actionlint": (["-version"], 3),
    "tilt": (["version"], 3),
}


def version(settings: Settings, name: str) -> str:
    """The pinned version of a tool, without a leading v."""
    return str(settings.versions["versions"][_pins(settings, name)["pin"]])


def find_on_path(name: str, wanted: str) -> Path | None:
    """The first program of that name on the PATH that is of the right version, or None.

    Args:
        name: kind, kubectl or helm.
        wanted: The pinned version, without a leading v.
    """
    words, places = _ASK[name]
    for path in shell.which(name):
        with contextlib.suppress(SlipwayError, OSError):  # one that does not even start is none
            said = shell.run([path, *words], check=False, timeout=PROGRAM_TIMEOUT).stdout
            found = re.search(r"\bv?(\d+)\.(\d+)\.(\d+)", said)
            if found and list(found.groups())[:places] == wanted.split(".")[:places]:
                return path
    return None


def download(
    settings: Settings,
    name: str,
    *,
    target: Path,
    phase: Phase,
    facts: Machine | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """Where a tool of the pinned version now is: `target`, executable, its bytes those that the pins name.

    Args:
        settings: Where the pins are.
        name: kind, kubectl or helm.
        target: The file to write.
        phase: Told how far it is.
        facts: The machine it is for, when that is known already.
        environ: Where SLIPWAY_DOWNLOAD_MIRROR is looked up.

    Raises:
        PinMismatch: What was downloaded is something else. Nothing of it is kept.
        SlipwayError: It cannot be downloaded, or no sum is known for this kind of machine.
    """
    facts = facts or machine.look()
    pins, wanted = _pins(settings, name), version(settings, name)
    words = {"version": wanted, "system": facts.system, "architecture": facts.architecture}
    kind = f"{facts.system}/{facts.architecture}"
    by_hand = f"Install {name} {wanted} yourself, so that it is on the PATH, or use --source=build."
    if kind not in pins["sha256"]:
        raise SlipwayError(f"no sum of {name} {wanted} is known for {kind}. {by_hand}")
    url = pins["url"].format(**words)
    url = mirrored(url, environ=environ)
    phase.say(f"downloading {url}")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Two may download the same at once: each has a file of its own, and the last to end leaves it, the same.
    with tempfile.NamedTemporaryFile(prefix=f"{target.name}.", suffix=".part", dir=target.parent, delete=False) as made:
        fresh = Path(made.name)
    try:
        found = _fetch(url, fresh, phase, hint=by_hand)
        if found != pins["sha256"][kind]:
            raise PinMismatch(f"{url} has the sum {found}, and {name} {wanted} for {kind} has {pins['sha256'][kind]}. {by_hand}")
        if "member" in pins:
            _extract(fresh, pins["member"].format(**words))
        fresh.chmod(0o755)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    phase.say(f"{name} {wanted}, as pinned")
    return target


def mirrored(url: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """Where an upstream file is to be asked for: at the mirror, when there is one."""
    mirror, parts = environ.get(MIRROR, "").rstrip("/"), urlsplit(url)
    return f"{mirror}/{parts.netloc}{parts.path}" if mirror else url


def _fetch(url: str, file: Path, phase: Phase, *, hint: str) -> str:
    if urlsplit(url).scheme not in ("http", "https"):
        raise SlipwayError(f"{url} is no address to download from. Check {MIRROR}.")
    seen = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_TIMEOUT) as answer, file.open("wb") as sink:  # noqa: S310 - checked
            total = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(_CHUNK):
                waiting.go_on()
                seen.update(chunk)
                sink.write(chunk)
                phase.parts(sink.tell() // _CHUNK, total // _CHUNK)
    except http.client.InvalidURL as error:
        raise SlipwayError(f"{url!r} is no address to download from ({error}). Check {MIRROR}.") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SlipwayError(f"{url} cannot be downloaded: {getattr(error, 'reason', error)}. {hint}") from error
    return seen.hexdigest()


def _extract(archive: Path, member: str) -> None:
    # The sum has vouched for the archive; only the one file is read from it, into memory, wherever it says it belongs.
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as opened:
        try:
            found = opened.extractfile(member)
        except KeyError:
            found = None
        if found is None:
            raise PinMismatch(f"the archive holds no file {member}. Check the pins in cluster/versions.toml.")
        archive.write_bytes(found.read())


def _pins(settings: Settings, name: str) -> Mapping[str, Any]:
    return settings.versions["tools"][name]
