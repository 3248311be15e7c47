"""The bench: `dev` in a copy of what is committed, whose files may be saved without anybody minding."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from slipway import git, instance, names, ports, shell
from slipway.access import Access
from slipway.errors import UsageError, WaitTimeout
from slipway.progress import Phase
from slipway.settings import Settings
from slipway.waiting import Failed, Pending, Ready, SystemClock, wait_for

# Seconds. The first start may have to build Tilt and an image of each service.
START_TIMEOUT, ANSWER_TIMEOUT, END_TIMEOUT = 1800.0, 5.0, 60.0

# Seconds between two looks while something is timed; also the most that a time may be too long by.
LOOK = 0.02

_LAST_LINES = 15


class Quick(SystemClock):
    """A clock whose waiters look often."""

    def sleep(self, seconds: float) -> None:
        """Return soon."""
        super().sleep(min(seconds, LOOK))


class Process:
    """`dev`, as a process of this one, with a session of its own.

    Args:
        pid: Its number.
    """

    def __init__(self, pid: int) -> None:
        self.pid, self._code = pid, None

    def ended(self) -> Ready[int] | Pending:
        """Its exit code, negative for a signal, once it has one."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return Pending("it runs") if self._code is None else Ready(self._code)

    def end(self) -> None:
        """Ask it to end; whatever of it is there after a while is killed."""
        if isinstance(self.ended(), Pending):
            os.kill(self.pid, signal.SIGTERM)
        with contextlib.suppress(WaitTimeout):
            wait_for("dev to end", self.ended, timeout=END_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):  # the rule: nothing of it is left
            os.killpg(self.pid, signal.SIGKILL)
        wait_for("dev to be gone", self.ended, timeout=END_TIMEOUT)


class Bench:
    """A running `dev`.

    Args:
        found: The instance, as the role that works in `local`.
        tree: The copy of the checkout that it runs in.
        stream: The file that holds what Tilt says.
        process: The `dev` that runs.
    """

    def __init__(self, found: Access, tree: Path, stream: Path, process: Process) -> None:
        self.found, self.tree, self.stream, self.process = found, tree, stream, process
        self._http = urllib3.HTTPConnectionPool(ports.LOOPBACK, found.port, retries=False, timeout=ANSWER_TIMEOUT, maxsize=1)

    @property
    def settings(self) -> Settings:
        """The instance's."""
        return self.found.settings

    def ask(self, service: str, path: str) -> tuple[int, str]:
        """What a service of `local` answers: the status, 0 for none, and the body."""
        host = names.host_name(service, names.LOCAL)
        try:
            reply = self._http.request("GET", path, headers={"Host": host, "Connection": "close"})
        except urllib3.exceptions.HTTPError as error:
            return 0, str(error)
        return reply.status, reply.data.decode(errors="replace")

    def served(self, service: str, text: str, *, timeout: float) -> None:
        """Return as soon as the service says this of itself.

        Raises:
            WaitTimeout: It did not in time.
        """

        def probe() -> Ready[None] | Pending:
            status, body = self.ask(service, "/openapi.json")
            return Ready(None) if status == 200 and text in body else Pending(f"{status}: {body[-200:]}")

        wait_for(f"{service} in local to say {text!r}", probe, timeout=timeout, clock=Quick(), hint="\n".join(self._last_words()))

    def serving(self) -> Ready[None] | Pending | Failed:
        """Whether every service answers; when dev has ended none will."""
        if isinstance(ended := self.process.ended(), Ready):
            return Failed(f"dev has ended (exit code {ended.value}):\n" + "\n".join(self._last_words()))
        for service in self.settings.services:
            status, body = self.ask(service, "/readyz")
            if status != 200:
                return Pending(f"{service}: {body[-100:].strip() if status else 'no answer yet'}")
        return Ready(None)

    def _last_words(self) -> list[str]:
        return self.stream.read_text(errors="replace").splitlines()[-_LAST_LINES:]


@contextmanager
def started(found: Access, phase: Phase) -> Generator[Bench]:
    """`dev`, with every service of `local` serving; it ends with the block, and its copy of the checkout is removed.

    Raises:
        UsageError: Tilt runs for this instance already.
        SlipwayError: It does not come up; the message has what it said last.
    """
    settings = found.settings
    if there := instance.find_tilt(settings):
        raise UsageError(f"Tilt runs for this instance already: {there.page}. End it with Ctrl-C, then measure.")
    with tempfile.TemporaryDirectory(prefix="slipway-bench-dev-") as folder:
        tree, stream = Path(folder, "tree"), Path(folder, "stream.log")
        git.export(settings.root, "HEAD", ["."], tree)
        (tree / ".venv").symlink_to(settings.root / ".venv", target_is_directory=True)
        environ = {"SLIPWAY_INSTANCE": settings.instance, "SLIPWAY_HOME": str(settings.home)}
        process = Process(shell.start([tree / "invoke", "dev"], log_file=stream, env=environ, cwd=tree))
        try:
            bench = Bench(found, tree, stream, process)
            wait_for("every service of local to serve", bench.serving, timeout=START_TIMEOUT, on_change=phase.say)
            phase.say("every service of local serves")
            yield bench
        finally:
            process.end()
