"""What an instance remembers of itself; the URLs that follow; and who works on it."""

from __future__ import annotations

import fcntl
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from slipway import names
from slipway.errors import UsageError
from slipway.kube import Kube, Object
from slipway.settings import Settings

_PLATFORM = "platform"


@dataclass(frozen=True)
class Facts:
    """What `up` was told when it made the instance, and what it chose."""

    profile: str
    source: str


@contextmanager
def locked(settings: Settings, command: str) -> Generator[None]:
    """Keep other commands from changing the instance while this block runs; the lock goes with the process.

    Raises:
        UsageError: Another command is at it.
    """
    file = settings.home / "instances" / f"{settings.instance}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            opened.seek(0)
            raise UsageError(
                f"`{opened.read().strip() or 'another command'}` is working on instance {settings.instance!r}. "
                "Wait until it has ended, or end it with Ctrl-C."
            ) from None
        opened.truncate(0)
        opened.write(f"./invoke {command}")
        opened.flush()
        yield
        if not settings.folder.is_dir():  # what `down` removed needs no lock any more
            file.unlink(missing_ok=True)


def publish(kube: Kube, workloads: Iterable[Object]) -> None:
    """Keep in the cluster which workloads the platform consists of, so that a missing one is noticed."""
    listed = sorted(f"{item['kind']} {item['metadata']['namespace']}/{item['metadata']['name']}" for item in workloads)
    kube.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": _PLATFORM, "namespace": names.SYSTEM, "labels": {names.OWNER_LABEL: names.OWNER}},
                "data": {"workloads": "\n".join(listed)},
            }
        ]
    )


def expected(kube: Kube) -> frozenset[tuple[str, str, str]] | None:
    """Kind, namespace and name of each workload of the platform; None when `up` did not come that far yet."""
    found = kube.get("ConfigMap", _PLATFORM, namespace=names.SYSTEM)
    if found is None:
        return None
    lines = (line.partition(" ") for line in found["data"]["workloads"].splitlines())
    return frozenset((kind, *path.partition("/")[::2]) for kind, _, path in lines)


def urls(settings: Settings, facts: Facts, port: int) -> Mapping[str, str]:
    """Every URL that the instance answers on, by what is there; services as `service.environment`."""
    profile = settings.profile(facts.profile)
    parts = ("argocd", "git", *(("prometheus", "alertmanager") if profile.monitoring else ()))
    services = {
        f"{service}.{environment}": names.url(service, port=port, environment=environment)
        for environment in profile.environments
        for service in settings.services
    }
    return {**services, **{part: names.url(part, port=port) for part in parts}}
