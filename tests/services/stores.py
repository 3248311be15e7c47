"""Real stores for the tests: PostgreSQL and Valkey in containers of the product's own images, started when first asked for.

A run names its containers after itself and holds a lock while it lasts; the next run removes what a killed one left.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import random
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from slipway import engine, names, ports, pull, recipes, waiting
from slipway.engine import Container, Engine, EngineError
from slipway.progress import Progress
from slipway.settings import Settings
from slipway.steps import needed, run_steps
from slipway.waiting import Failed, Pending, Ready

RUN_LABEL = "slipway.dev/test-run"

# Seconds; a first start makes the database cluster, on a machine that may have something else to do.
START_TIMEOUT = 120.0

# Below the ports that systems give to connections of their own: while a store is stopped nobody takes its port.
_PORTS = range(15_000, 30_000)
_ATTEMPTS = 5

_DATABASES = 64


@dataclass(frozen=True)
class Store:
    """A store that runs in a container of this run.

    Attributes:
        kind: "postgresql" or "valkey".
        container: The engine's.
        port: Where it listens, on 127.0.0.1; the same one after it was stopped and started.
        password: The superuser's.
        check: The command that succeeds inside the container once it takes connections.
    """

    kind: str
    container: Container
    port: int
    password: str
    check: Sequence[str]

    def run(self, *words: str) -> str:
        """What a command printed that runs inside the container.

        Raises:
            EngineError: It failed; the message has what it said.
        """
        code, said = self._exec(words)
        if code:
            raise EngineError(f"{words[0]} in {self.container.name}: exit code {code}: {said}")
        return said

    def start(self) -> None:
        """Let it run, and wait until it takes connections."""
        with engine.asking(f"start {self.container.name}"):
            self.container.start()
        self.wait()

    def stop(self) -> None:
        """End it, as an operator would; what it holds stays."""
        with engine.asking(f"stop {self.container.name}"):
            self.container.stop(timeout=30)

    def freeze(self) -> None:
        """Let it stand still: connections are taken by the kernel, and nobody answers."""
        with engine.asking(f"pause {self.container.name}"):
            self.container.pause()

    def thaw(self) -> None:
        """Let a frozen one go on."""
        with engine.asking(f"unpause {self.container.name}"):
            self.container.unpause()

    def wait(self) -> None:
        """Return once it takes connections."""

        def probe() -> Ready[None] | Pending | Failed:
            self.container.reload()
            if self.container.status != "running":
                log = b"".join(self.container.logs(tail=20, stream=True)).decode(errors="replace")
                return Failed(f"it is {self.container.status}: {log}")
            code, said = self._exec(self.check)
            return Pending(said.strip()) if code else Ready(None)

        with engine.asking(f"container {self.container.name}"):
            waiting.wait_for(f"{self.container.name} to take connections", probe, timeout=START_TIMEOUT)

    def _exec(self, words: Sequence[str]) -> tuple[int, str]:
        # valkey-cli takes its password from there; psql needs none inside the container.
        answer = self.container.exec_run(list(words), environment={"REDISCLI_AUTH": self.password})
        return answer.exit_code or 0, cast("bytes", answer.output).decode(errors="replace")


class Stores:
    """The stores of one run of the tests.

    Args:
        settings: Where Slipway keeps its state.
        run: The name of this run, unique.
    """

    def __init__(self, settings: Settings, run: str) -> None:
        self._settings, self.run = settings, run
        self._numbers = itertools.count(1)
        self._roles: dict[str, str] = {}

    @cached_property
    def engine(self) -> Engine:
        """The engine, started when none ran."""
        return engine.connect(self._settings)

    @cached_property
    def postgresql(self) -> Store:
        """PostgreSQL."""
        check = ("pg_isready", "--quiet", "--host", ports.LOOPBACK, "--username", "postgres")
        return self._started("postgresql", 5432, check, lambda password: ({"POSTGRES_PASSWORD": password}, []))

    @cached_property
    def valkey(self) -> Store:
        """Valkey."""
        # It answers PONG with exit code 0 only to who gave the password, and only when it is not loading.
        check = ("sh", "-c", "valkey-cli ping | grep -qx PONG")
        return self._started(
            "valkey", 6379, check, lambda password: ({}, ["--requirepass", password, "--databases", str(_DATABASES)])
        )

    def of(self, secret: str) -> Store:
        """The store that a Secret `<service>-<store>` is about.

        Raises:
            KeyError: It is about none of these.
        """
        return {"postgresql": lambda: self.postgresql, "valkey": lambda: self.valkey}[_kind(secret)]()

    def variables(self, secret: str) -> Mapping[str, str]:
        """What a Secret `<service>-<store>` tells its service in an instance, here about a fresh database.

        Raises:
            KeyError: It is about neither PostgreSQL nor Valkey.
        """
        client = secret.removesuffix(f"-{_kind(secret)}")
        return {"postgresql": self._database, "valkey": self._keyspace}[_kind(secret)](client)

    def _database(self, role: str) -> Mapping[str, str]:
        if role not in self._roles:
            self._roles[role] = secrets.token_hex(16)
            self._sql(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{self._roles[role]}'")
        database = f"{role}_{next(self._numbers)}"
        self._sql(f'CREATE DATABASE "{database}" OWNER "{role}"')
        return {"DATABASE_URL": f"postgresql://{role}:{self._roles[role]}@{ports.LOOPBACK}:{self.postgresql.port}/{database}"}

    def _sql(self, statement: str) -> None:
        self.postgresql.run("psql", "--quiet", "--username", "postgres", "--command", statement)

    def _keyspace(self, client: str) -> Mapping[str, str]:
        del client  # Valkey's databases have numbers
        number = next(self._numbers)
        if number >= _DATABASES:
            raise RuntimeError(f"this run has used the {_DATABASES} databases of its Valkey: raise _DATABASES")
        return {"VALKEY_URL": f"redis://:{self.valkey.password}@{ports.LOOPBACK}:{self.valkey.port}/{number}"}

    def _started(
        self, kind: str, inner: int, check: Sequence[str], options: Callable[[str], tuple[Mapping[str, str], Sequence[str]]]
    ) -> Store:
        password, trouble = secrets.token_hex(16), ""
        environment, command = options(password)
        image = self._image(kind)
        for attempt in range(_ATTEMPTS):
            port = ports.free_port(random.choice(_PORTS))
            try:
                with engine.asking(f"start {kind}"):
                    container = self.engine.client.containers.create(
                        image,
                        command=list(command),
                        name=f"{self.run}-{kind}-{attempt}",
                        environment=dict(environment),
                        ports={f"{inner}/tcp": (ports.LOOPBACK, port)},
                        labels={names.OWNER_LABEL: names.OWNER, RUN_LABEL: self.run},
                        mem_limit="512m",
                    )
                    container.start()
            except EngineError as error:
                if "port is already allocated" not in (trouble := str(error)):
                    raise
                continue
            store = Store(kind, container, port, password, check)
            store.wait()
            return store
        raise EngineError(trouble)

    def _image(self, name: str) -> str:
        """The engine's name of one of the product's images, made or pulled when it is not there."""
        plan = recipes.plan(self._settings, self.engine, pull.choose("auto", self._settings).source)
        if not self.engine.has_image(plan.image(name)):
            run_steps(needed(plan.steps, [f"image {name}"]), Progress())
        return plan.image(name)


def _kind(secret: str) -> str:
    return secret.rpartition("-")[2]


@contextlib.contextmanager
def real_stores(settings: Settings) -> Generator[Stores]:
    """The stores of a run that lasts as long as this block; their containers go with it."""
    if found := engine.find(settings):
        sweep(settings, found)
    run = f"slipway-test-{secrets.token_hex(4)}"
    file = _locks(settings) / f"{run}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        try:
            yield Stores(settings, run)
        finally:
            if found := engine.find(settings):
                remove(found, run)
            file.unlink()


def sweep(settings: Settings, found: Engine) -> None:
    """Remove what runs left that were killed: their locks went with them."""
    for file in _locks(settings).glob("*.lock"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), file.open() as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(found, file.stem)
            file.unlink()


def remove(found: Engine, run: str) -> None:
    """Remove the containers of a run, with all they hold."""
    with engine.asking(f"containers of {run}"):
        for container in found.client.containers.list(all=True, filters={"label": f"{RUN_LABEL}={run}"}):
            container.remove(force=True, v=True)


def _locks(settings: Settings) -> Path:
    return settings.home / "tests"
