"""The shop of a benchmark of services: real images of stores and services, each told what it needs, and a bare server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slipway import engine, images, pull, recipes
from slipway.bench_network import GENERATOR, IMAGES, Network, generate, log
from slipway.engine import Engine
from slipway.errors import SlipwayError
from slipway.httpload import Load
from slipway.progress import Phase, Progress
from slipway.records import Source
from slipway.settings import Settings
from slipway.steps import needed, run_steps
from slipway.waiting import Failed, Pending, Ready, wait_for

# A server of the same framework that does nothing.
BARE = "bare"

# Seconds.
START_TIMEOUT = 60.0


class Shop:
    """The stores and services of a checkout, as files lie there, in a network.

    Args:
        settings: The checkout.
        found: The engine.
        network: Where they are started.
    """

    def __init__(self, settings: Settings, found: Engine, network: Network) -> None:
        self._settings, self._engine, self._network = settings, found, network
        self._plan = recipes.plan(settings, found, pull.choose("auto", settings).source)
        self._passwords = {
            store.name: {key: secrets.token_hex(16) for key in store.passwords} for store in settings.stores.values()
        }

    def make_images(self, progress: Progress, phase: Phase) -> None:
        """Have the image of every service, of the files as they are, and of every store."""
        wanted = ["python", "python-build", *self._settings.stores]
        if missing := [name for name in wanted if not self._engine.has_image(self._plan.image(name))]:
            phase.say(f"making {', '.join(missing)}")
            run_steps(needed(self._plan.steps, [f"image {name}" for name in missing]), progress)
        services = self._settings.root / "services"
        for done, service in enumerate(self._settings.services):
            phase.parts(done, len(self._settings.services))
            arguments = {"BASE": self._plan.image("python"), "BUILD_BASE": self._plan.image("python-build"), "SERVICE": service}
            images.build(
                self._engine,
                tag=_image(service),
                dockerfile=services / "Dockerfile",
                context=services,
                phase=phase,
                arguments=arguments,
            )
        phase.say(", ".join(self._settings.services))

    def start(self, phase: Phase) -> None:
        """Start the stores, every service as it runs in the last environment, the bare server and the generator."""
        for name in self._settings.stores:
            phase.say(name)
            self._start_store(name)
        first = _image(self._settings.services[0])
        python: Any = {"entrypoint": ["/venv/bin/python", "-c"]}
        self._network.run(GENERATOR, first, command=["import time; time.sleep(3600)"], **python)
        self._network.run(BARE, first, command=[(self._settings.cluster / "bench" / "bare.py").read_text()], **python)
        for service in self._settings.services:
            phase.say(service)
            self._start_service(service)
        for service in (BARE, *self._settings.services):
            phase.say(f"{service} to be ready")
            self._wait_ready(service)
        phase.say(f"{self._network.count} containers")

    def _start_store(self, name: str) -> None:
        if name not in _STORES:
            raise SlipwayError(f"the benchmark does not know how to start a {name}. Add it to slipway/bench_shop.py.")
        make, check = _STORES[name]
        passwords = self._passwords[name]
        environment, command = make(passwords)
        self._network.run(name, self._plan.image(name), environment=environment, command=command)

        def probe() -> Ready[None] | Pending | Failed:
            code, said = self._network.exec(name, check, environment={"REDISCLI_AUTH": passwords.get("password", "")})
            return Ready(None) if code == 0 else self._network.gone(name) or Pending(said.strip())

        wait_for(f"{name} to take connections", probe, timeout=START_TIMEOUT)
        if name == "postgresql":
            for role in passwords.keys() - {"postgres"}:
                for statement in (
                    f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{passwords[role]}'",
                    f'CREATE DATABASE "{role}" OWNER "{role}"',
                ):
                    self._network.execute(name, ["psql", "--quiet", "--username", "postgres", "--command", statement])

    def _start_service(self, service: str) -> None:
        environment = list(self._settings.environments)[-1]
        values = Source(self._settings.root, "the working tree").values(service, environment)
        told = {"SLIPWAY_ENVIRONMENT": environment, "SLIPWAY_PORT": "80", **values.get("env", {})}
        for store in self._settings.stores.values():
            told |= store.told(service, self._passwords[store.name])
        if migration := values.get("migrations", {}).get("command"):
            job = self._network.run(
                f"{service}-migrate",
                _image(service),
                environment=told,
                config=values["config"],
                entrypoint=migration[:1],
                command=migration[1:],
            )
            with engine.asking(f"the migrations of {service}"):
                code = job.wait(timeout=START_TIMEOUT)["StatusCode"]
            if code:
                raise SlipwayError(
                    f"the migrations of {service} ended with exit code {code}:\n{log(job)}\nCorrect them and repeat."
                )
        self._network.run(service, _image(service), environment=told, config=values["config"])

    def _wait_ready(self, service: str) -> None:
        path = "/small" if service == BARE else "/readyz"

        def probe() -> Ready[None] | Pending | Failed:
            load = Load(self._network.address(service), 80, path, connections=1, seconds=0.01)
            code, said = self._network.exec(GENERATOR, generate(load))
            if code == 0 and json.loads(said)["answers"]:
                return Ready(None)
            return self._network.gone(service) or Pending(said.strip().splitlines()[-1][:200] if said.strip() else "no answer")

        wait_for(f"{service} to be ready", probe, timeout=START_TIMEOUT)


def _image(service: str) -> str:
    return f"{IMAGES}{service}:latest"


def _postgresql(passwords: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    return {"POSTGRES_PASSWORD": passwords["postgres"]}, []


def _valkey(passwords: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    return {}, ["--requirepass", passwords["password"], "--appendonly", "yes"]


# How each store is told its password, and the command that succeeds in it once it takes connections.
_STORES: Mapping[str, tuple[Callable[[Mapping[str, str]], tuple[dict[str, str], list[str]]], Sequence[str]]] = {
    "postgresql": (_postgresql, ("pg_isready", "--quiet", "--host", "127.0.0.1", "--username", "postgres")),
    "valkey": (_valkey, ("sh", "-c", "valkey-cli ping | grep -qx PONG")),
}
