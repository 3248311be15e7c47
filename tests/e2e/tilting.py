"""A developer in the inner loop: a clone of the checkout, `./invoke dev` running in it, and what the namespace `local` serves."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError

from slipway import git, names, shell
from slipway.settings import ROOT
from slipway.waiting import Failed, Pending, Ready, wait_for
from tests.e2e.conftest import Instance, Reply, fetch

# Seconds. The first start may have to build Tilt and four images; a save is served within a second or two on an idle machine.
START_TIMEOUT = 1500.0
SAVE_TIMEOUT = 90.0
REBUILD_TIMEOUT = 240.0
END_TIMEOUT = 60.0

T = TypeVar("T")

# A shell makes programs in its background ignore Ctrl-C, and so all that they start; these words undo that.
_HEEDING = ("env", "--default-signal=INT")


@dataclass(frozen=True)
class Loop:
    """The inner loop of one clone.

    Attributes:
        instance: The instance it works in.
        clone: The developer's working tree.
        stream: What Tilt has said so far, in a file.
    """

    instance: Instance
    clone: Path
    stream: Path

    def url(self, service: str) -> str:
        """Where a service of `local` answers."""
        front = next(iter(self.instance.json("urls").values()))
        return names.url(service, port=int(front.rpartition(":")[2].rstrip("/")), environment=names.LOCAL)

    def file(self, name: str) -> Path:
        """A file of the working tree."""
        return self.clone / name

    def replace(self, name: str, old: str, new: str) -> None:
        """Save a file with one text in the place of another."""
        file = self.file(name)
        had = file.read_text()
        assert old in had, f"{name} does not say {old!r}"
        file.write_text(had.replace(old, new, 1))

    def describe(self, service: str, text: str) -> None:
        """Save the service with another first line, which is what it says of itself at /openapi.json."""
        main = self.file(f"services/{service}/main.py")
        _, _, rest = main.read_text().partition("\n")
        main.write_text(f'"""{text}"""\n{rest}')

    def description(self, service: str) -> str:
        """What a service says of itself; how it refused when it did not say."""
        try:
            reply = fetch(f"{self.url(service)}/openapi.json")
        except (URLError, OSError) as error:
            return f"no answer: {error}"
        return reply.json["info"]["description"] if reply.status == 200 else f"{reply.status}: {reply.body}"

    def served(self, service: str, text: str, *, timeout: float = SAVE_TIMEOUT) -> None:
        """Return once the service says this of itself."""
        self.until(f"{service} to say {text!r}", lambda: self.description(service), lambda said: said == text, timeout=timeout)

    def until(self, what: str, ask: Callable[[], T], fits: Callable[[T], bool], *, timeout: float = SAVE_TIMEOUT) -> T:
        """What `ask` answered once it fits."""

        def probe() -> Ready[T] | Pending:
            seen = ask()
            return Ready(seen) if fits(seen) else Pending(str(seen)[-300:])

        return wait_for(what, probe, timeout=timeout, tolerate=(URLError, OSError), hint=f"The stream is {self.stream}.")

    def ask(self, service: str, path: str = "/") -> Reply:
        """What a service of `local` answers."""
        return fetch(f"{self.url(service)}{path}")

    def said(self) -> str:
        """What Tilt has said so far."""
        return self.stream.read_text(errors="replace")

    def says(self, text: str, *, after: int = 0, timeout: float = SAVE_TIMEOUT) -> None:
        """Return once the stream has a text in it, behind so many characters."""
        self.until(f"the stream to say {text!r}", lambda: self.said()[after:], lambda said: text in said, timeout=timeout)

    def pods(self) -> Mapping[str, tuple[str, int]]:
        """The pod of each service of `local`, by the service: its uid, and how often its containers were restarted."""
        found: dict[str, tuple[str, int]] = {}
        for pod in self.instance.kube.list("Pod", namespace=names.LOCAL):
            name = (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/name", "")
            if name in self.instance.settings.services and not pod["metadata"].get("deletionTimestamp"):
                restarts = sum(status["restartCount"] for status in pod["status"].get("containerStatuses") or [])
                found[name] = pod["metadata"]["uid"], restarts
        return found

    def written(self) -> Mapping[str, Any]:
        """The generation of every workload of `local`: what a second writer would change."""
        return {
            f"{kind}/{item['metadata']['name']}": item["metadata"]["generation"]
            for kind in ("Deployment", "StatefulSet")
            for item in self.instance.kube.list(kind, namespace=names.LOCAL, api_version="apps/v1")
        }

    def reset(self) -> None:
        """Give every file of the working tree back what is committed, and return once that is served."""
        committed = {service: self._committed(service) for service in self.instance.settings.services}
        shell.run(["git", "-C", self.clone, "checkout", "--quiet", "."], env=git.environment())
        shell.run(["git", "-C", self.clone, "clean", "--quiet", "-d", "--force", "services"], env=git.environment())
        for service, text in committed.items():
            self.served(service, text, timeout=REBUILD_TIMEOUT)

    def _committed(self, service: str) -> str:
        argv = ["git", "-C", self.clone, "show", f"HEAD:services/{service}/main.py"]
        return shell.run(argv, env=git.environment()).stdout.splitlines()[0].strip('"')


def clone(folder: Path) -> Path:
    """A clone of this checkout, with the same Python environment: making another takes half a minute and proves nothing here."""
    made = folder / "slipway"
    shell.run(["git", "clone", "--quiet", ROOT, made], env=git.environment())
    (made / ".venv").symlink_to(ROOT / ".venv", target_is_directory=True)
    return made


@contextmanager
def running(instance: Instance, where: Path, *words: str) -> Generator[Loop]:
    """`./invoke dev` in a clone, with every service of `local` serving; at the end it is interrupted as by Ctrl-C."""
    stream = where.parent / "stream.log"
    with stream.open("wb") as sink:
        process = subprocess.Popen(
            [*_HEEDING, "./invoke", "dev", *words],
            cwd=where,
            env={**os.environ, **instance.environ},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    loop = Loop(instance, where, stream)
    try:
        wait_for(
            "every service of local to serve",
            lambda: _serving(loop, process),
            timeout=START_TIMEOUT,
            hint=f"The stream is {stream}.",
        )
        yield loop
    finally:
        interrupt(process)


def interrupt(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a program that was interrupted; without a terminal it hands that on to what it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(timeout=END_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _serving(loop: Loop, process: subprocess.Popen[bytes]) -> Ready[None] | Pending | Failed:
    if process.poll() is not None:
        return Failed(f"dev ended with {process.returncode}:\n{loop.said()[-3000:]}")
    for service in loop.instance.settings.services:
        try:
            reply = loop.ask(service, "/readyz")
        except (URLError, OSError) as error:
            return Pending(f"{service}: {error}")
        if reply.status != 200:
            return Pending(f"{service}: {reply.status} {reply.body[:200]}")
    return Ready(None)
