"""Tilt, started for an instance: with its own kubeconfig, port and state, and nothing of the user's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from slipway import access, gateway, instance, names, ports, roles, shell
from slipway.access import Access
from slipway.dev import crashing, tilt
from slipway.dev.ground import prepare
from slipway.dev.told import ROLE
from slipway.errors import UsageError, unknown
from slipway.progress import Phase, Progress
from slipway.settings import Settings
from slipway.waiting import wait_for

# Tilt's own default, where it is free.
PREFERRED_PORT = 10350

# Seconds until `dev --ci` gives up: four images from an empty cache, on two cores, and their pods.
CI_TIMEOUT = 900.0

_PORTS = 1 << 16

# Seconds more, in which Tilt itself says what it waited for.
_LAST_WORDS = 30.0

# Seconds until a pod that is ready is answered for at its URL: kube-proxy and the gateway's resolver follow within a few.
_SERVED_TIMEOUT = 60.0


def run(
    settings: Settings,
    services: Sequence[str] = (),
    *,
    port: int = 0,
    ci: bool = False,
    timeout: float = 0.0,
    progress: Progress,
) -> int:
    """Run Tilt until it is interrupted, or with `ci` until everything is up; Tilt's exit code.

    Args:
        settings: The instance, which must run.
        services: The services to work on; all by default. The others run in `local` as they run in dev.
        port: Where its page listens on 127.0.0.1; a free port by default.
        ci: Bring everything up once, and end.
        timeout: Seconds that `ci` may take; CI_TIMEOUT by default.
        progress: Told what is done before Tilt speaks for itself.

    Raises:
        UsageError: There is no such service or instance, a number makes no sense, or Tilt runs for it already.
        ToolMissing: There is no Tilt, and none can be made.
        CommandFailed: `ci` did not end in time.
        NeverUp: `ci` found a service that does not come up.
        WaitTimeout: `ci` has brought up a service that does not answer at its URL.
    """
    for name in services:
        if name not in settings.services:
            raise unknown("service", name, settings.services)
    _sensible(port=port, ci=ci, timeout=timeout)
    found = access.open(settings, ROLE)
    with progress.phase("tilt") as phase:
        program = _program(settings, phase)
    with progress.phase("local") as phase:
        prepare(found, phase)
        phase.say(f"the Secrets of its stores are there; its images go to {found.registry.name}")
    chosen = port or ports.free_port(PREFERRED_PORT)
    page = f"http://{ports.LOOPBACK}:{chosen}"
    limit = (timeout or CI_TIMEOUT) if ci else 0.0
    environ = environment(found, program)
    watch = crashing.Watch(found.kube, lambda: crashing.deployed(program, environ, chosen))
    with instance.tilt(settings, page) as hold:
        for line in _where(found, page, ci=ci):
            progress.note(line)
        try:
            code = shell.interactive(
                command(program, found, services, port=chosen, limit=limit),
                env=environ,
                cwd=settings.root,
                timeout=limit + _LAST_WORDS if limit else None,
                hopeless=watch.hopeless if ci else None,
                # Whatever ends this process, Tilt stays known, and the only one.
                keep=[hold.descriptor],
                started=hold.share,
            )
        finally:
            progress.note(f"\nTilt has ended. What it made in `local` runs on; `{settings.command('dev --down')}` removes it.")
    watch.require()
    if ci and not code:
        with progress.phase("urls") as phase:
            _await_served(found, services or found.settings.services, phase)
    return code


def _await_served(found: Access, services: Sequence[str], phase: Phase) -> None:
    """Return once every service answers at its URL; Tilt has seen that its pod is ready, which the gateway hears of later."""
    for name in services:
        host = names.host_name(name, names.LOCAL)
        wait_for(
            f"{name} to answer in `{names.LOCAL}`",
            lambda host=host: gateway.answers(found.port, host, "/readyz"),
            timeout=_SERVED_TIMEOUT,
            hint=f"What it says: ./invoke logs {name} --env {names.LOCAL}",
            on_change=phase.say,
        )
    phase.say(names.url(names.FRONT, port=found.port, environment=names.LOCAL))


def alone(what: str, services: Sequence[str] = (), **flags: float) -> None:
    """Return when a flag stands alone.

    Args:
        what: The flag.
        services: Services that were named beside it.
        **flags: What other flags were given as; nothing, or 0, when they were not.

    Raises:
        UsageError: It does not, and so may not mean what whoever typed it takes it for.
    """
    if beside := [*services, *(f"--{name}" for name, given in flags.items() if given)]:
        raise UsageError(f"{what} is for the whole of `{names.LOCAL}`: leave {' and '.join(beside)} out.")


def _sensible(*, port: int, ci: bool, timeout: float) -> None:
    if timeout < 0:
        raise UsageError(f"--timeout={timeout:g} is over before it begins. Give seconds, or leave it out ({CI_TIMEOUT:g}).")
    if timeout and not ci:
        raise UsageError("--timeout is for --ci: otherwise `dev` runs until Ctrl-C. Leave one out, or add the other.")
    if port and not 0 < port < _PORTS:
        raise UsageError(f"--port={port} is no port. Give one from 1 to {_PORTS - 1}, or leave it out: a free one is found.")
    if port and not ports.free(port):
        raise UsageError(f"port {port} is taken. Give another --port, or leave it out: a free one is found.")


def command(program: Path, found: Access, services: Sequence[str], *, port: int, limit: float) -> list[str | Path]:
    """The words that start Tilt; with a limit in seconds it ends once everything is up."""
    words: list[str | Path] = [program, *(["ci", f"--timeout={limit:g}s"] if limit else ["up", "--stream"])]
    words += ["--file", found.settings.root / "Tiltfile", "--context", f"{found.settings.context}-{ROLE}"]
    words += ["--host", ports.LOOPBACK, "--port", str(port), "--web-mode=prod"]
    return [*words, "--", *services]


def environment(found: Access, program: Path) -> Mapping[str, str]:
    """What Tilt finds in its environment: this instance, its engine, and a home of its own; nobody is told of its use."""
    settings, home = found.settings, found.settings.folder / "dev"
    # pip and git, which tests of a service run, go by the user's own configuration on.
    kept = ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
    places = {name: str(home / name.lower()) for name in kept}
    for place in places.values():
        Path(place).mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        **found.engine.environment,
        **places,
        "TILT_DEV_DIR": str(home / "tilt"),
        "TILT_DISABLE_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        "KUBECONFIG": str(roles.kubeconfig(settings, ROLE)),
        "SLIPWAY_INSTANCE": settings.instance,
        "SLIPWAY_HOME": str(settings.home),
        "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def _program(settings: Settings, phase: Phase) -> Path:
    return tilt.get(settings, phase=phase)


def _where(found: Access, page: str, *, ci: bool) -> Sequence[str]:
    front = names.url(names.FRONT, port=found.port, environment=names.LOCAL)
    return () if ci else (f"the shop: {front}", f"tilt's page: {page}", "Ctrl-C ends Tilt; what runs in `local` stays.")
