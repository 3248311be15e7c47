"""The runner's container: beside the node, kept running by the engine, and holding nothing but the pipeline's own credentials.

It runs the installed Slipway, copied into it, never anything from a branch. What it knows lies in a folder of the
instance's state, and its runs lie where the host reads them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slipway import credentials, foreign, images, names, roles, runs
from slipway.credentials import Secrets, write_private
from slipway.engine import Container, Engine, EngineError, asking
from slipway.errors import UsageError
from slipway.progress import Phase
from slipway.settings import Settings
from slipway.waiting import Clock, Failed, Pending, Ready, wait_for

USER = "pipeline"

# Seconds.
START_TIMEOUT = 60.0
REMOVE_TIMEOUT = 60.0
# The runner looks once a second; when it has not said so for this long, something keeps it from looking.
SILENT_AFTER = 90.0
# A run that is told to end may have a push under way.
_GRACE = 20

# Where the installed Slipway lies in the container, and what belongs to it.
_CODE = "/opt/slipway"
_PARTS = ("slipway", "cluster", "pyproject.toml", "requirements.txt", "requirements-dev.txt", foreign.RECIPE.as_posix())
_OWN = "/etc/slipway"
_HOME = "/home/runner"
_HELM = "/usr/local/bin/helm"

# Files whose change means another container.
_KEY_LABEL = "slipway.dev/runner"
_ALWAYS: Any = {"Name": "unless-stopped"}

_BEAT = "beat.json"


@dataclass(frozen=True)
class Beat:
    """What the runner last said of itself.

    Attributes:
        time: When, in seconds since 1970.
        run: The run under way; "" for none.
        trouble: What keeps it from looking for pushes; "" for nothing.
        queued: How many runs wait.
    """

    time: float
    run: str = ""
    trouble: str = ""
    queued: int = 0


def container(settings: Settings) -> str:
    """The name of the runner's container."""
    return f"{settings.instance}-runner"


def folder(settings: Settings) -> Path:
    """Where the runner keeps what it knows; in the container, that is the instance's whole state."""
    return settings.folder / "runner"


def ensure(settings: Settings, engine: Engine, *, image: str, helm: Path, secrets: Secrets, phase: Phase) -> None:
    """See to it that the runner runs, as the installed Slipway is, and looks for pushes.

    Args:
        settings: The instance's.
        engine: Where it runs.
        image: The engine's name of its image.
        helm: Helm, as the host has it.
        secrets: The instance's, of which the runner gets the pipeline's.
        phase: Told what is waited for.

    Raises:
        UsageError: Somebody else's container has its name.
        EngineError: Its container cannot be made or started.
        WaitTimeout: It does not look for pushes.
    """
    _give(settings, secrets)
    content = pack(settings, helm)
    identity = engine.image_id(image)
    if identity is None:
        raise EngineError(f"the engine does not hold {image}. Run `{settings.command('up')}` again.")
    options = _options(settings, engine)
    key = hashlib.sha256(content + json.dumps([identity, options], sort_keys=True, default=str).encode()).hexdigest()[:16]
    found = _own(settings, engine)
    # One that never ran may lack what is copied into it; what is paused, or says nothing any more, will not go on by itself.
    if found and (found.status in ("created", "paused") or found.labels.get(_KEY_LABEL) != key or _hangs(settings, engine)):
        _end(settings, engine)
        found = None
    running, since = found is not None and found.status == "running", time.time()
    if running:
        since -= SILENT_AFTER
    else:
        with asking("the runner's container"):
            if found is None:
                labels = {names.OWNER_LABEL: names.OWNER, names.INSTANCE_LABEL: settings.instance, _KEY_LABEL: key}
                found = engine.client.containers.create(image, name=container(settings), labels=labels, **options)
                found.put_archive("/", content)
            engine.start(found)
    # One that runs may not have noticed yet that what it had trouble with is mended.
    wait_for(
        "the runner to look for pushes",
        lambda: _looks(settings, engine, since=since),
        timeout=START_TIMEOUT,
        on_change=phase.say,
        hint=f"Look at `docker logs {container(settings)}`.",
    )
    if running:
        phase.skip("it runs")
    else:
        phase.say("looks for pushes")


def remove(settings: Settings, engine: Engine, *, clock: Clock | None = None) -> bool:
    """Whether there was a runner, or anything that it had started; all of it is gone now, whatever state it was in.

    Raises:
        WaitTimeout: The engine cannot end it; the message carries the engine's reason.
    """
    had = False

    def gone() -> Ready[None] | Pending:
        nonlocal had
        try:
            left = engine.labelled(names.INSTANCE_LABEL, settings.instance)
            for one in left:
                had = True
                with asking("the runner's container"):
                    one.remove(force=True, v=True)
        except EngineError as error:
            return Pending(str(error))
        return Ready(None) if not left else Pending("it is ending")

    wait_for("the runner to end", gone, timeout=REMOVE_TIMEOUT, hint=f"Run `{settings.command('down')}` again.", clock=clock)
    return had


def beat(settings: Settings) -> Beat | None:
    """What the runner last said of itself; None when it never said anything."""
    file = folder(settings) / _BEAT
    return _read(file) if file.is_file() else None


def write_beat(at: Path, told: Beat) -> None:
    """Keep what the runner says of itself, in the instance's folder as the runner sees it."""
    fresh = at / f".{_BEAT}.new"
    fresh.write_text(json.dumps(asdict(told)) + "\n")
    fresh.replace(at / _BEAT)


def trouble(settings: Settings, engine: Engine, *, now: float | None = None) -> str:
    """What is wrong with the runner, and what to do; "" when nothing is."""
    found, up = engine.container(container(settings)), settings.command("up")
    if found is None:
        return f"there is none; pushes wait until `{up}` has made it"
    if found.status != "running":
        return f"it is {found.status}; pushes wait until `{up}` has started it"
    told = beat(settings)
    if told is None:
        return f"it has not looked for pushes yet; look at `docker logs {container(settings)}`"
    if (silent := (time.time() if now is None else now) - told.time) > SILENT_AFTER:
        return f"it has said nothing for {silent:.0f} s; `{up}` makes it anew"
    return told.trouble


def said(settings: Settings, engine: Engine, *, lines: int = 500) -> str:
    """The last lines that the runner's container printed; "" when there is none."""
    found = engine.container(container(settings))
    if found is None:
        return ""
    with asking("what the runner says"):
        return b"".join(found.logs(tail=lines, stream=True, follow=False)).decode(errors="replace")


def pack(settings: Settings, helm: Path) -> bytes:
    """What is copied into the container, as an archive whose bytes depend on its content alone."""
    files: dict[str, tuple[bytes, int]] = {}
    for part in _PARTS:
        at = settings.root / part
        for file in sorted(at.rglob("*")) if at.is_dir() else [at]:
            if file.is_file() and "__pycache__" not in file.parts:
                mode = 0o755 if os.access(file, os.X_OK) else 0o644
                files[f"{_CODE}/{file.relative_to(settings.root).as_posix()}"] = file.read_bytes(), mode
    for variable, file in _own_files(settings).items():
        files[f"{_OWN}/{variable.lower()}"] = file.read_bytes(), 0o644
    if text := images.pip_settings():
        files["/etc/pip.conf"] = text.encode(), 0o644
    user, group = _user()
    # Not every program runs for a user that the system does not know.
    files["/etc/passwd"] = f"root:x:0:0:root:/root:/bin/sh\nrunner:x:{user}:{group}::{_HOME}:/bin/sh\n".encode(), 0o644
    if not helm.is_relative_to(settings.home) and _linux():  # the user's own, which the container cannot see otherwise
        files[_HELM] = helm.read_bytes(), 0o755
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        home = tarfile.TarInfo(_HOME.lstrip("/"))
        home.type, home.mode, home.uid, home.gid = tarfile.DIRTYPE, 0o700, user, group
        archive.addfile(home)
        for name, (data, mode) in files.items():
            info = tarfile.TarInfo(name.lstrip("/"))
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _give(settings: Settings, secrets: Secrets) -> None:
    """Write what the runner gets to know: the pipeline's kubeconfig, password and key, and nobody else's."""
    seen = _seen(settings)
    for place in (folder(settings), folder(settings) / "runs", runs.folder(settings), settings.cache, settings.home / "tools"):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file, content in (
        (roles.kubeconfig(seen, USER), roles.kubeconfig(settings, USER).read_text()),
        (credentials.file(seen), json.dumps(asdict(credentials.of(secrets, USER)), indent=2) + "\n"),
    ):
        if not file.is_file() or file.read_text() != content:
            write_private(file, content)


@dataclass(frozen=True)
class _Seen(Settings):
    """The settings as the container sees them, on the host: its instance's folder is the runner's."""

    @property
    def folder(self) -> Path:
        """Where the runner's state is on the host."""
        return super().folder / "runner"


def _seen(settings: Settings) -> Settings:
    return _Seen(settings.root, settings.home, settings.instance, settings.pins, settings.rules)


def _options(settings: Settings, engine: Engine) -> dict[str, Any]:
    user, group = _user()
    rootless = any("rootless" in str(one) for one in engine.info.get("SecurityOptions") or ())
    socket = _socket(engine)
    variables = {
        "SLIPWAY_HOME": str(settings.home),
        "SLIPWAY_INSTANCE": settings.instance,
        "PYTHONPATH": _CODE,
        "HOME": _HOME,
        "DOCKER_HOST": f"unix://{socket}" if socket else engine.address.url,
        **images.proxies(os.environ),
        **{variable: f"{_OWN}/{variable.lower()}" for variable in _own_files(settings)},
    }
    # Everything lies under the same path as on the host, so that a path means the same in both.
    mounts = {
        str(folder(settings)): str(settings.folder),
        str(runs.folder(settings)): str(runs.folder(settings)),
        str(settings.cache): str(settings.cache),
        str(settings.home / "tools"): str(settings.home / "tools"),
        **({str(socket): str(socket)} if socket else {}),
    }
    return {
        "user": "0:0" if rootless else f"{user}:{group}",
        "group_add": [socket.stat().st_gid] if socket and socket.exists() else [],
        "environment": variables,
        "volumes": {source: {"bind": target, "mode": "rw"} for source, target in mounts.items()},
        # The gateway, the API server and the registry listen on the host's own 127.0.0.1.
        "network_mode": "host",
        "restart_policy": _ALWAYS,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": "2g",
        "log_config": {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}},
    }


def _socket(engine: Engine) -> Path | None:
    """The engine's socket, as its own machine has it; None when it is asked over a network."""
    if not engine.address.url.startswith("unix://"):
        if engine.address.tls or not engine.address.url.startswith("tcp://"):
            raise EngineError(
                f"the runner cannot reach the engine at {engine.address.url}: it needs a socket, or plain TCP. "
                "Use an engine of this machine."
            )
        return None
    # In a desktop's virtual machine the socket lies in its usual place, wherever the host has it.
    return Path(engine.address.url.removeprefix("unix://") if _linux() else "/var/run/docker.sock")


def _own_files(settings: Settings) -> Mapping[str, Path]:
    """Files of the user's own that the settings name, by the variable that names them."""
    found = {
        "SLIPWAY_PINS": settings.pins if settings.own_pins else None,
        "SLIPWAY_POLICY": settings.rules,
        images.CA_BUNDLE: images.ca_bundle(),
    }
    return {variable: file for variable, file in found.items() if file}


def _user() -> tuple[int, int]:
    # Whatever the runner writes belongs to who may remove it.
    return os.getuid(), os.getgid()


def _linux() -> bool:
    return sys.platform == "linux"


def _own(settings: Settings, engine: Engine) -> Container | None:
    """The runner's container, running or not; None when there is none.

    Raises:
        UsageError: Somebody else's container has its name.
    """
    found = engine.container(container(settings))
    labels = {names.OWNER_LABEL: names.OWNER, names.INSTANCE_LABEL: settings.instance}
    if found is not None and not labels.items() <= found.labels.items():
        raise UsageError(f"container {container(settings)} is not Slipway's: choose another --name")
    return found


def _end(settings: Settings, engine: Engine) -> None:
    found = _own(settings, engine)
    if found is not None:
        with asking("the runner's container"):
            if found.status == "running":
                found.stop(timeout=_GRACE)
            found.remove(force=True, v=True)


def _hangs(settings: Settings, engine: Engine) -> bool:
    """Whether it runs, and has for long been as silent as one that is stuck."""
    since, told = engine.running_since(container(settings)), beat(settings)
    return since is not None and time.time() - max(since, told.time if told else 0.0) > SILENT_AFTER


def _looks(settings: Settings, engine: Engine, *, since: float) -> Ready[None] | Pending | Failed:
    found = engine.container(container(settings))
    if found is None:
        return Failed("its container was removed")
    told = beat(settings)
    if told and told.time >= since:
        return Pending(told.trouble) if told.trouble else Ready(None)
    restarts = int(found.attrs.get("RestartCount") or 0)
    if restarts > 2 or found.status in ("exited", "dead"):
        return Failed(f"it ends as soon as it starts: {said(settings, engine, lines=5).strip()}")
    return Pending("it has not said so yet")


def _read(file: Path) -> Beat | None:
    try:
        return Beat(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


__all__ = ["Beat", "beat", "container", "ensure", "folder", "pack", "remove", "said", "trouble", "write_beat"]
