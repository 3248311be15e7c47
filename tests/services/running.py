"""Services as real processes: their own interpreter, a configuration file, a port of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import yaml

from slipway import ports, shell, waiting
from slipway.waiting import Pending, Ready
from tests.services import environments

VERSION, COMMIT, DIGEST = "1.2.3-rc.4", "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334", f"sha256:{'5' * 64}"

# Seconds. A service starts in one; a machine with something else to do takes longer.
TIMEOUT = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


@dataclass
class Running:
    """A service that was started.

    Attributes:
        pid: Its process.
        port: Where it listens, on 127.0.0.1.
        output: The file that takes everything it prints.
    """

    service: str
    pid: int
    port: int
    output: Path
    _code: int | None = field(default=None, init=False)

    def connect(self) -> HTTPConnection:
        """A connection of one's own, kept alive."""
        return HTTPConnection(ports.LOOPBACK, self.port, timeout=TIMEOUT)

    def ask(
        self, path: str, *, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to one request, on a connection made for it."""
        with contextlib.closing(self.connect()) as connection:
            return exchange(connection, path, method=method, body=body, headers=headers)

    def arm(self, *faults: Mapping[str, Any]) -> Answer:
        """The answer to replacing the faults of this process."""
        body = json.dumps({"faults": faults}).encode()
        return self.ask("/admin/faults", method="PUT", body=body, headers={"Content-Type": "application/json"})

    def log(self) -> list[dict[str, Any]]:
        """Everything it printed, which must be one JSON object a line."""
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def exit_code(self) -> int | None:
        """Its exit code (negative when a signal ended it); None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def ended(self) -> int:
        """Its exit code, once it has ended."""

        def probe() -> Ready[int] | Pending:
            code = self.exit_code()
            return Pending("it still runs") if code is None else Ready(code)

        return waiting.wait_for(f"the end of {self.service}", probe, timeout=TIMEOUT)


def exchange(
    connection: HTTPConnection,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The answer to one request on this connection."""
    connection.request(method, path, body=body, headers=dict(headers or {}))
    response = connection.getresponse()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def start(
    service: str,
    folder: Path,
    *,
    environment: str = "dev",
    config: Mapping[str, Any] | None = None,
    stores: Mapping[str, str] | None = None,
) -> Running:
    """The service's process, which may not be ready yet.

    Args:
        service: Its name.
        folder: Takes its configuration and its output.
        environment: Where it is told to be; its configuration is the one of that environment.
        config: Keys that replace those of the environment's configuration.
        stores: Variables that tell it where its stores are.
    """
    home = environments.SERVICES / service
    told = yaml.safe_load((home / "envs" / f"{environment}.yaml").read_text()) or {}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**told, **(config or {})}))
    with socket.socket() as probe:
        probe.bind((ports.LOOPBACK, 0))
        port = probe.getsockname()[1]
    variables = {
        "PYTHONPATH": str(environments.SERVICES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "error",
        "SLIPWAY_CONFIG": str(path),
        "SLIPWAY_HOST": ports.LOOPBACK,
        "SLIPWAY_PORT": str(port),
        "SLIPWAY_SERVICE": service,
        "SLIPWAY_ENVIRONMENT": environment,
        "SLIPWAY_VERSION": VERSION,
        "SLIPWAY_COMMIT": COMMIT,
        "SLIPWAY_DIGEST": DIGEST,
        **(stores or {}),
    }
    output = folder / "output"
    pid = shell.start([environments.python(service), "main.py"], log_file=output, env=variables, cwd=home)
    return Running(service, pid, port, output)


@contextlib.contextmanager
def running(
    service: str,
    folder: Path,
    *,
    environment: str = "dev",
    config: Mapping[str, Any] | None = None,
    stores: Mapping[str, str] | None = None,
) -> Generator[Running]:
    """The service, ready, while this block runs; what `start` takes, this takes."""
    process = start(service, folder, environment=environment, config=config, stores=stores)

    def ready() -> Ready[None] | Pending | waiting.Failed:
        if process.exit_code() is not None:
            return waiting.Failed(f"it ended with exit code {process.exit_code()}: {process.output.read_text()[-2000:]}")
        answer = process.ask("/readyz")
        return Ready(None) if answer.status == 200 else Pending(answer.body.decode())

    try:
        waiting.wait_for(f"{service} to be ready", ready, timeout=TIMEOUT, tolerate=(OSError, HTTPException))
        yield process
    finally:
        if process.exit_code() is None:
            process.signal(signal.SIGKILL)
            process.ended()
