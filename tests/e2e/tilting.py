"""A developer in the inner loop: a clone of the checkout, `./invoke dev` running in it, and what the namespace `local` serves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError

from slipway import access, git, instance, kube, names, ports, roles, shell, toolbox
from slipway.dev import running as ours
from slipway.dev import tilt
from slipway.dev.told import ROLE
from slipway.kube import Object
from slipway.progress import Phase
from slipway.settings import ROOT
from slipway.waiting import Failed, Pending, Ready, wait_for
from tests.e2e.conftest import Instance, Reply, fetch

# Seconds. The first start may have to build Tilt and four images; a save is served within a second or two on an idle machine.
START_TIMEOUT = 1500.0
SAVE_TIMEOUT = 90.0
REBUILD_TIMEOUT = 240.0
END_TIMEOUT = 60.0

# Seconds between two saves of somebody who goes on working, and between two questions of somebody who looks all the time.
SAVE_PACE, ASK_PACE = 5.0, 0.2

T = TypeVar("T")

# Asks a service from within its pod, where it answers whether it is ready or not.
_ASK = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen("http://127.0.0.1:8000" + sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
print(answer.getcode(), answer.read().decode())
"""

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

    @cached_property
    def port(self) -> int:
        """The instance's port on the host."""
        return access.open(self.instance.settings, ROLE).port

    def url(self, service: str) -> str:
        """Where a service of `local` answers."""
        return names.url(service, port=self.port, environment=names.LOCAL)

    @property
    def page(self) -> str:
        """Where Tilt's page is."""
        there = instance.find_tilt(self.instance.settings)
        assert there, f"no Tilt runs:\n{self.said()[-2000:]}"
        return there.page

    def tilt(self, *words: str) -> str:
        """What Tilt's own command line says about the one that runs."""
        where = ["--host", ports.LOOPBACK, "--port", self.page.rpartition(":")[2]]
        return shell.run([program(self.instance), *words, *where], env=environment(self.instance), timeout=60).stdout

    def state(self, thing: str) -> str:
        """How Tilt's last update of a thing went, in Tilt's word: none, pending, in_progress, ok or error."""
        return json.loads(self.tilt("get", "uiresource", thing, "--output=json"))["status"]["updateStatus"]

    def settle(self) -> None:
        """Return once nothing is under way: Tilt has nothing to do, what it has deployed runs, and nobody else is left.

        A pod on its way out is asked for a moment longer, until every proxy has heard of it; its draining outlasts that.
        """
        quiet: list[int] = []

        def probe() -> Ready[None] | Pending:
            things = json.loads(self.tilt("get", "uiresources", "--output=json"))["items"]
            states = {one["metadata"]["name"]: (one.get("status") or {}).get("updateStatus") for one in things}
            busy = [name for name, state in states.items() if state in ("pending", "in_progress")]
            found = self.instance.kube.list("Deployment", namespace=names.LOCAL, api_version="apps/v1")
            busy += [one["metadata"]["name"] for one in found if not isinstance(kube.rollout(one), Ready)]
            pods = [pod["metadata"] for pod in self.instance.kube.list("Pod", namespace=names.LOCAL)]
            busy += [pod["name"] for pod in pods if pod.get("deletionTimestamp")]
            # What was just saved is noticed a moment later.
            quiet.append(1) if not busy else quiet.clear()
            return Ready(None) if len(quiet) > 2 else Pending(f"under way: {', '.join(busy)}")

        wait_for("local to come to rest", probe, timeout=REBUILD_TIMEOUT, tolerate=kube.NOT_YET)

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

    def every(self, service: str) -> Sequence[Object]:
        """The pods of a service of `local` that stay, ready or not."""
        found = self.instance.kube.list("Pod", namespace=names.LOCAL, labels=f"app.kubernetes.io/name={service}")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def inside(self, pod: str, path: str) -> str:
        """What one pod of a service answers: the status and the body; why it was not asked, where it was not."""
        kubectl, config = toolbox.get(self.instance.settings, "kubectl"), roles.kubeconfig(self.instance.settings, ROLE)
        argv = [
            kubectl,
            "--kubeconfig",
            config,
            "--namespace",
            names.LOCAL,
            "exec",
            pod,
            "--",
            "/venv/bin/python",
            "-c",
            _ASK,
            path,
        ]
        done = shell.run(argv, check=False, timeout=60)
        return done.stdout or done.stderr

    def reset(self) -> None:
        """Give every file of the working tree back what is committed, and return once that is served, and nothing else."""
        committed = {service: self._committed(service) for service in self.instance.settings.services}
        shell.run(["git", "-C", self.clone, "checkout", "--quiet", "."], env=git.environment())
        shell.run(["git", "-C", self.clone, "clean", "--quiet", "-d", "--force", "services"], env=git.environment())
        for service, text in committed.items():
            self.served(service, text, timeout=REBUILD_TIMEOUT)
        self.settle()

    def _committed(self, service: str) -> str:
        argv = ["git", "-C", self.clone, "show", f"HEAD:services/{service}/main.py"]
        return shell.run(argv, env=git.environment()).stdout.splitlines()[0].strip('"')


def clone(folder: Path) -> Path:
    """A clone of this checkout, with the same Python environment: making another takes half a minute and proves nothing here."""
    made = folder / "slipway"
    shell.run(["git", "clone", "--quiet", ROOT, made], env=git.environment())
    (made / ".venv").symlink_to(ROOT / ".venv", target_is_directory=True)
    environments = ROOT / "build" / "venvs"  # those that the services' tests run in
    environments.mkdir(parents=True, exist_ok=True)
    (made / "build").mkdir()
    (made / "build" / "venvs").symlink_to(environments, target_is_directory=True)
    return made


def printed(where: Path) -> Sequence[str]:
    """The command lines that the README's section of the inner loop prints, in order."""
    section = (where / "README.md").read_text().partition("\n## The inner loop\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```console\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def program(of: Instance) -> Path:
    """Tilt, which was built when it was not there."""
    return tilt.get(of.settings, phase=Phase("tilt", 0.0))


def environment(of: Instance) -> Mapping[str, str]:
    """What the Tilt of an instance has in its environment."""
    return ours.environment(access.open(of.settings, ROLE), program(of))


@contextmanager
def running(of: Instance, where: Path, *words: str) -> Generator[Loop]:
    """`./invoke dev` in a clone, with every service of `local` serving; at the end it is interrupted as by Ctrl-C."""
    stream = where.parent / "stream.log"
    process, loop = _start(of, where, stream, words), Loop(of, where, stream)
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


@contextmanager
def begun(of: Instance, where: Path, *words: str) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    """`./invoke dev` in a clone from when its Tilt answers, and where that does; if it still runs at the end it is killed."""
    stream = where.parent / "stream.log"
    process = _start(of, where, stream, words)

    def probe() -> Ready[str] | Pending | Failed:
        if process.poll() is not None:
            return Failed(f"dev ended with {process.returncode}:\n{stream.read_text()[-3000:]}")
        there = instance.find_tilt(of.settings)
        if there is None or not there.page:
            return Pending("there is no Tilt yet")
        return Ready(there.page) if fetch(there.page).status == 200 else Pending("its page does not answer")

    try:
        yield process, wait_for("tilt to begin", probe, timeout=START_TIMEOUT, tolerate=(URLError, OSError))
    finally:
        with contextlib.suppress(ProcessLookupError):  # the rule: all of it has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _start(of: Instance, where: Path, stream: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    with stream.open("wb") as sink:
        return subprocess.Popen(
            [*_HEEDING, "./invoke", "dev", *words],
            cwd=where,
            env={**os.environ, **of.environ},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def left(of: Instance) -> list[int]:
    """The processes that belong to the Tilt of an instance."""
    mark = f"TILT_DEV_DIR={of.settings.folder / 'dev' / 'tilt'}".encode()
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is somebody else's
            continue
        if mark in variables:
            found.append(int(folder.name))
    return found


def gone(of: Instance, page: str) -> None:
    """Return once nothing is left of a Tilt that had its page there."""

    def probe() -> Ready[None] | Pending:
        there, free = left(of), ports.free(int(page.rpartition(":")[2]))
        return Ready(None) if free and not there else Pending(f"processes {there}, {page} {'free' if free else 'taken'}")

    wait_for("nothing of Tilt to be left", probe, timeout=END_TIMEOUT)


@contextmanager
def saving(loop: Loop, service: str) -> Generator[list[str]]:
    """Somebody who saves a service again and again while this block runs; what was saved, each once it was served."""
    served, end = list[str](), threading.Event()

    def work() -> None:
        while not end.wait(SAVE_PACE):
            text = f"Saved {secrets.token_hex(4)}."
            loop.describe(service, text)
            loop.served(service, text)
            served.append(text)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield served
        finally:
            end.set()
        working.result()


@contextmanager
def answering(loop: Loop, service: str) -> Generator[list[str]]:
    """Somebody who looks at a service all the time while this block runs; the status of every answer, or why there was none."""
    answers, end = list[str](), threading.Event()

    def work() -> None:
        while not end.wait(ASK_PACE):
            try:
                answers.append(str(loop.ask(service).status))
            except (URLError, OSError) as error:
                answers.append(str(error))

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(work)
        try:
            yield answers
        finally:
            end.set()
        asking.result()


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
