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
from slipway.waiting import Failed, Pending, Ready
from tests.services import environments

VERSION, COMMIT, DIGEST = "1.2.3-rc.4", "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334", f"sha256:{'5' * 64}"

# Seconds. A service starts in one; a machine with something else to do takes longer.
TIMEOUT = 30.0


@dataclass(frozen=True)
class Surroundings:
    """What a service is given to run in.

    Attributes:
        variables: What its Secrets tell it: where its stores are.
        config: Keys of its configuration: where the services are that it calls.
        callees: Those services, running, by name.
    """

    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    callees: Mapping[str, Running] = field(default_factory=dict[str, "Running"])


NOTHING = Surroundings()


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

    def answers_readiness_with(self, status: int) -> Answer:
        """The answer to `/readyz` that has this status, once it comes."""

        def probe() -> Ready[Answer] | Pending | Failed:
            if self.exit_code() is not None:
                return Failed(f"it ended with exit code {self.exit_code()}: {self.output.read_text()[-2000:]}")
            answer = self.ask("/readyz")
            return Ready(answer) if answer.status == status else Pending(answer.body.decode())

        what = f"{self.service} to answer {status} to /readyz"
        return waiting.wait_for(what, probe, timeout=TIMEOUT, tolerate=(OSError, HTTPException))

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


def told(
    service: str,
    folder: Path,
    surroundings: Surroundings,
    *,
    environment: str = "dev",
    config: Mapping[str, Any] | None = None,
) -> Mapping[str, str]:
    """The variables that a program of the service gets, as from image and chart; the configuration is in `folder` then.

    Args:
        service: Its name.
        folder: Takes its configuration.
        surroundings: Its stores, and the services it calls.
        environment: Where it is told to be; its configuration is the one of that environment.
        config: Keys that replace those of the environment's configuration.
    """
    of_environment = yaml.safe_load((environments.SERVICES / service / "envs" / f"{environment}.yaml").read_text()) or {}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**of_environment, **surroundings.config, **(config or {})}))
    return {
        "PYTHONPATH": str(environments.SERVICES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "error",
        "SLIPWAY_CONFIG": str(path),
        "SLIPWAY_SERVICE": service,
        "SLIPWAY_ENVIRONMENT": environment,
        "SLIPWAY_VERSION": VERSION,
        "SLIPWAY_COMMIT": COMMIT,
        "SLIPWAY_DIGEST": DIGEST,
        **surroundings.variables,
    }


@contextlib.contextmanager
def starting(
    service: str,
    folder: Path,
    surroundings: Surroundings,
    *,
    environment: str = "dev",
    config: Mapping[str, Any] | None = None,
) -> Generator[Running]:
    """The service's process while this block runs, ready or not. For the arguments, see `told`; its output goes to `folder`."""
    with socket.socket() as probe:
        probe.bind((ports.LOOPBACK, 0))
        port = probe.getsockname()[1]
    variables = told(service, folder, surroundings, environment=environment, config=config)
    listen = {"SLIPWAY_HOST": ports.LOOPBACK, "SLIPWAY_PORT": str(port)}
    output, home = folder / "output", environments.SERVICES / service
    pid = shell.start([environments.python(service), "main.py"], log_file=output, env={**variables, **listen}, cwd=home)
    process = Running(service, pid, port, output)
    try:
        yield process
    finally:
        if process.exit_code() is None:
            process.signal(signal.SIGKILL)
            process.ended()


@contextlib.contextmanager
def running(
    service: str,
    folder: Path,
    surroundings: Surroundings,
    *,
    environment: str = "dev",
    config: Mapping[str, Any] | None = None,
) -> Generator[Running]:
    """The service, ready, while this block runs; what `starting` takes, this takes."""
    with starting(service, folder, surroundings, environment=environment, config=config) as process:
        process.answers_readiness_with(200)
        yield process
