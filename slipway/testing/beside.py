"""The stores that the tests of a service need, beside them and nowhere else."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from slipway import engine
from slipway.engine import Container
from slipway.errors import SlipwayError
from slipway.progress import Phase
from slipway.testing.sandbox import PIDS, Access, Beside, labels, network_of, remove
from slipway.waiting import Failed, Pending, Ready, wait_for

STORE_TIMEOUT = 60.0
_STORE_MEMORY = "512m"

# Of the stores, in the platform's own images and in upstream's.
_STORE_ID = 999
_STORE_USER = f"{_STORE_ID}:{_STORE_ID}"


@dataclass(frozen=True)
class _Store:
    """How a store for tests is started.

    Attributes:
        environment: Told to its container; {password} stands for its password.
        command: Its arguments, likewise.
        data: Where it keeps its data, which lies in memory.
        check: The command that succeeds in it once it takes connections.
    """

    environment: Mapping[str, str]
    command: Sequence[str]
    data: str
    check: Sequence[str]


_STORES: Mapping[str, _Store] = {
    "postgresql": _Store(
        {"POSTGRES_PASSWORD": "{postgres}"},
        ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"),
        "/var/lib/postgresql/data",
        ("pg_isready", "--quiet", "--host", "127.0.0.1", "--username", "postgres"),
    ),
    "valkey": _Store({}, ("--requirepass", "{password}", "--save", ""), "/data", ("sh", "-c", "valkey-cli ping | grep -qx PONG")),
}


@contextmanager
def stores(access: Access, service: str, phase: Phase) -> Generator[Beside]:
    """The stores that a service's tests need, empty, on a loopback device that nobody else has; gone after the block."""
    wanted = [store for store in access.settings.stores.values() if service in store.clients]
    started: list[Container] = []
    told: dict[str, str] = {}
    try:
        for store in wanted:
            if store.name not in _STORES:
                raise SlipwayError(f"the checks do not know how to start a {store.name}. Add it to slipway/testing/beside.py.")
            phase.say(f"an empty {store.name}")
            passwords = {key: secrets.token_hex(16) for key in store.passwords}
            started.append(_start_store(access, store.name, passwords, f"container:{started[0].id}" if started else "none"))
            for variable, text in store.told(service, passwords).items():
                told[variable] = text.replace(f"@{store.name}:", "@127.0.0.1:")
        yield Beside(told, f"container:{started[0].id}" if started else "none")
    finally:
        for container in reversed(started):
            remove(container)


def _start_store(access: Access, name: str, passwords: Mapping[str, str], network: str) -> Container:
    known = _STORES[name]
    options: Any = {
        **network_of(network),
        "user": _STORE_USER,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "tmpfs": {known.data: f"rw,nosuid,nodev,size=256m,mode=0700,uid={_STORE_ID},gid={_STORE_ID}"},
        "mem_limit": _STORE_MEMORY,
        "pids_limit": PIDS,
        "labels": labels(access.settings),
    }
    with engine.asking(f"start {name}"):
        container = access.engine.client.containers.create(
            access.plan.image(name),
            command=[word.format_map(passwords) for word in known.command],
            environment={key: text.format_map(passwords) for key, text in known.environment.items()},
            **options,
        )
    try:
        with engine.asking(f"start {name}"):
            container.start()

        def probe() -> Ready[None] | Pending | Failed:
            code, said = _exec(container, known.check, passwords.get("password", ""))
            if code == 0:
                return Ready(None)
            container.reload()
            return (
                Pending(said.strip())
                if container.status == "running"
                else Failed(f"it is {container.status}: {_said(container)}")
            )

        wait_for(f"{name} to take connections", probe, timeout=STORE_TIMEOUT, tolerate=(engine.EngineError,))
        if name == "postgresql":
            for role in passwords.keys() - {"postgres"}:
                for statement in (
                    f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{passwords[role]}'",
                    f'CREATE DATABASE "{role}" OWNER "{role}"',
                ):
                    code, said = _exec(container, ["psql", "--quiet", "--username", "postgres", "--command", statement])
                    if code:
                        raise SlipwayError(f"{name} for the checks took no role {role}: {said.strip()}. Repeat the run.")
    except BaseException:
        remove(container)
        raise
    return container


def _exec(container: Container, words: Sequence[str], password: str = "") -> tuple[int, str]:
    with engine.asking(f"{words[0]} in the container of a store"):
        answer = container.exec_run(list(words), environment={"REDISCLI_AUTH": password})
    return answer.exit_code or 0, cast("bytes", answer.output).decode(errors="replace")


def _said(container: Container) -> str:
    with engine.asking("what a container said"):
        return b"".join(cast("Iterator[bytes]", container.logs(tail=20, stream=True))).decode(errors="replace")
