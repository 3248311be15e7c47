"""What an instance remembers of itself; the URLs that follow; and who works on it."""

from __future__ import annotations

import fcntl
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from slipway import credentials, engine, held, machine, names
from slipway.errors import UsageError
from slipway.held import Hold
from slipway.kube import Kube, Object
from slipway.settings import Settings

_PLATFORM = "platform"

# Seconds that Tilt may take to end: it ends what it runs first.
TILT_TIMEOUT = 30.0


@dataclass(frozen=True)
class Facts:
    """What `up` was told when it made the instance, and what it chose."""

    profile: str
    source: str


@dataclass(frozen=True)
class Tilt:
    """The Tilt of an instance.

    Attributes:
        page: The URL of its page; empty when that is not known.
        pids: The process that started it, and its own.
    """

    page: str
    pids: tuple[int, ...] = ()


def made(settings: Settings) -> bool:
    """Whether this host keeps what an instance has once it was made: its passwords, or the way into its cluster."""
    return credentials.file(settings).is_file() or settings.kubeconfig.is_file()


def unseen(settings: Settings, found: engine.Engine | None) -> str:
    """Why an instance may be there although its node was not found, and what to do; "" when it is not.

    Args:
        settings: The instance's.
        found: The engine that was asked; None when none answers.
    """
    other = "name that one by DOCKER_HOST or `docker context use`."
    if found:
        elsewhere = found.container(settings.node) is None and _answers(settings)
        told = f"It answers, and the engine at {found.address.url} has no {settings.node}: another one runs it;"
        return f"{told} {other}" if elsewhere else ""
    if made(settings):
        told = f"It was made in a Docker engine, and none answers. {cure(settings)} If it was made in another one,"
        return f"{told} {other}"
    return engine.barred()


def cure(settings: Settings) -> str:
    """What to do when no engine answers."""
    return engine.refusal(machine.look()) or f"`{settings.command('up')}` starts one."


def _answers(settings: Settings) -> bool:
    try:
        return Kube(settings.kubeconfig, settings.context).healthy()
    except Exception:  # a kubeconfig that is none leads to no cluster
        return False


@contextmanager
def locked(settings: Settings, command: str) -> Generator[None]:
    """Keep other commands from changing the instance while this block runs; the lock goes with the process.

    Raises:
        UsageError: Another command is at it, or the state folder cannot be written.
    """
    file = settings.home / "instances" / f"{settings.instance}.lock"
    with _opened(settings, file) as opened:
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
        try:
            yield
        finally:
            if not settings.folder.is_dir():  # what `down` removed, or `up` never began, needs no lock any more
                file.unlink(missing_ok=True)


def _opened(settings: Settings, file: Path) -> IO[str]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("a+")
    except OSError as error:
        raise UsageError(
            f"the state folder {settings.home} cannot be written: {error.filename}: {error.strerror}. Make it your user's own "
            "(a command under sudo may have left it root's), or let SLIPWAY_HOME name another folder."
        ) from error


@contextmanager
def tilt(settings: Settings, page: str) -> Generator[Hold]:
    """Be the one Tilt of an instance while this block runs, and as long as any program that gets the descriptor.

    Args:
        settings: The instance's.
        page: The URL of its page.

    Raises:
        UsageError: There is one already.
    """
    with ExitStack() as stack:
        try:
            hold = stack.enter_context(held.take(_tilt_file(settings), page=page))
        except held.Taken:
            there = find_tilt(settings)
            raise UsageError(
                f"Tilt runs for instance {settings.instance!r} already{f': {there.page}' if there and there.page else ''}. "
                f"End it with Ctrl-C where it runs, or by `{settings.command('dev --down')}`."
            ) from None
        yield hold


def find_tilt(settings: Settings) -> Tilt | None:
    """The Tilt that runs for an instance, or None."""
    found = held.find(_tilt_file(settings))
    return Tilt(str(found.said.get("page", "")), found.pids) if found else None


def end_tilt(settings: Settings) -> bool:
    """Whether there was a Tilt of this instance; it has ended now, in time or not.

    Raises:
        WaitTimeout: Nothing ends it.
    """
    return held.end(_tilt_file(settings), "Tilt", patience=TILT_TIMEOUT)


def _tilt_file(settings: Settings) -> Path:
    return settings.folder / "dev" / "tilt.json"


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
    """The URLs that a person opens, by what is there: each environment's front door, then the platform's parts."""
    profile = settings.profile(facts.profile)
    parts = ("argocd", "git", *(("prometheus", "alertmanager") if profile.monitoring else ()))
    doors = {name: url for name, url in service_urls(settings, facts, port).items() if name.startswith(f"{names.FRONT}.")}
    return {**doors, **{part: names.url(part, port=port) for part in parts}}


def service_urls(settings: Settings, facts: Facts, port: int) -> Mapping[str, str]:
    """The URL of every service in every environment, as `service.environment`."""
    return {
        f"{service}.{environment}": names.url(service, port=port, environment=environment)
        for environment in settings.profile(facts.profile).environments
        for service in settings.services
    }
