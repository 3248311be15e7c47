"""`logs`: what a service says, in one environment or in all, by kubectl."""

from __future__ import annotations

import threading
from pathlib import Path

from slipway import applications, names, shell
from slipway.errors import UsageError, unknown
from slipway.kube import Kube
from slipway.settings import Settings

# kubectl follows at most this many streams at once unless told otherwise, and then refuses.
_MOST_STREAMS = "20"


def logs(settings: Settings, *, kubectl: Path, service: str, environment: str | None, follow: bool, tail: int) -> int:
    """Print the log of a service and of its migrations; kubectl's exit code, the worst one of several environments.

    Args:
        settings: The instance.
        kubectl: The program.
        service: A service or a store: one of the checkout's, or any other that was delivered.
        environment: One environment; all of them by default.
        follow: Go on until interrupted.
        tail: Lines per pod to begin with.

    Raises:
        UsageError: There is no such service, environment or instance; the message lists the valid ones.
    """
    _check(settings, service)
    if environment and environment != names.LOCAL and environment not in settings.environments:
        raise unknown("environment", environment, [*settings.environments, names.LOCAL])
    chosen = [environment] if environment else [*settings.environments]
    if not settings.kubeconfig.is_file():
        raise UsageError(f"there is no instance {settings.instance!r}. Run `{settings.command('up')}` first.")
    selector = f"app.kubernetes.io/name in ({service}, {names.migration(service)})"
    codes: list[int] = []

    def one(name: str) -> None:
        argv = [kubectl, "--kubeconfig", settings.kubeconfig, "--context", settings.context, "--namespace", name, "logs"]
        argv += ["--selector", selector, "--prefix", f"--tail={tail}"]
        argv += ["--max-log-requests", _MOST_STREAMS, *(["--follow"] if follow else [])]
        codes.append(shell.interactive(argv))

    threads = [threading.Thread(target=one, args=[name]) for name in chosen]
    for thread in threads:
        thread.start()
        if not follow:
            thread.join()  # one environment after the other reads better than all mixed
    for thread in threads:
        thread.join()
    return max(codes)


def _check(settings: Settings, service: str) -> None:
    """Return when there is such a service: in the checkout, or in the instance, which may have got it from another branch."""
    if service in settings.delivered:
        return
    kube = Kube(settings.kubeconfig, settings.context)
    there = {app.service for app in applications.applications(kube) if not app.retired} if kube.healthy() else set[str]()
    if service not in there:
        raise unknown("service", service, {*settings.delivered, *there})


def exports(settings: Settings) -> dict[str, str]:
    """The environment variables that point kubectl and Slipway at this instance.

    Raises:
        UsageError: There is no such instance.
    """
    if not settings.kubeconfig.is_file():
        raise UsageError(f"there is no instance {settings.instance!r}. Run `{settings.command('up')}` first.")
    return {"KUBECONFIG": str(settings.kubeconfig), "SLIPWAY_INSTANCE": settings.instance}
