"""What each service needs to run, found in its own files: stores by the Secrets it names, other services by its configuration."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from slipway import ports, shell
from slipway.settings import ROOT
from tests.services import environments
from tests.services.environments import SERVICES
from tests.services.running import Running, Surroundings, running, told
from tests.services.stores import Stores

# Prints the keys of the configuration that a service's main.py declares.
_KEYS = """
import json, chassis, main
models = [found for found in vars(main).values() if isinstance(found, type) and issubclass(found, chassis.Config)]
print(json.dumps(sorted({key for model in models for key in model.model_fields})))
"""


def values(service: str, environment: str = "dev") -> Mapping[str, Any]:
    """How the service is run in an environment: what differs from the chart's defaults."""
    return yaml.safe_load((SERVICES / service / "helm" / f"{environment}-values.yaml").read_text()) or {}


def secrets_of(service: str) -> Sequence[str]:
    """The Secrets that the service gets its variables from; each is about a store."""
    return values(service).get("secrets", ())


def key_for(callee: str) -> str:
    """The key that tells a caller of this service where it is."""
    return f"{callee.replace('-', '_')}_url"


def memory_requested(service: str) -> int:
    """Bytes that a pod of the service asks the cluster for."""
    default = yaml.safe_load((ROOT / "charts" / "microservice" / "values.yaml").read_text())["resources"]["requests"]["memory"]
    asked = values(service).get("resources", {}).get("requests", {}).get("memory", default)
    return int(asked.removesuffix("Mi")) * 1024 * 1024


class Neighbourhood:
    """Makes surroundings for services, and keeps what runs in them until the block around it ends.

    Args:
        stores: The real stores.
        services: Every service of the checkout.
    """

    def __init__(self, stores: Stores, services: Sequence[str]) -> None:
        self._stores, self._services = stores, services
        self._open = contextlib.ExitStack()
        self._running: dict[tuple[str, str], Running] = {}

    def __enter__(self) -> Neighbourhood:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def surroundings(self, service: str, environment: str = "dev") -> Surroundings:
        """What the service needs: fresh databases, migrated, and the services of its environment that it calls, as processes."""
        variables: dict[str, str] = {}
        for secret in secrets_of(service):
            variables |= self._stores.variables(secret)
        callees = {name: self._callee(name, environment) for name in self._called_by(service)}
        config = {key_for(name): f"http://{ports.LOOPBACK}:{process.port}" for name, process in callees.items()}
        made = Surroundings(variables, config, callees)
        self._migrate(service, made)
        return made

    def _called_by(self, service: str) -> Sequence[str]:
        """The services whose address is a key of this one's configuration."""
        home = SERVICES / service
        result = shell.run([environments.python(service), "-c", _KEYS], cwd=home, env={"PYTHONPATH": str(SERVICES)})
        keys = json.loads(result.stdout)
        return [name for name in self._services if key_for(name) in keys]

    def _callee(self, name: str, environment: str) -> Running:
        if (name, environment) not in self._running:
            process = running(name, self._folder(), self.surroundings(name, environment), environment=environment)
            self._running[name, environment] = self._open.enter_context(process)
        return self._running[name, environment]

    def _migrate(self, service: str, made: Surroundings) -> None:
        """Run what the chart runs before a new version: the values' command, with this machine's interpreter."""
        command = values(service).get("migrations", {}).get("command", ())
        if command:
            argv = [environments.python(service), *command[1:]]
            shell.run(argv, cwd=SERVICES / service, env=told(service, self._folder(), made))

    def _folder(self) -> Path:
        return Path(self._open.enter_context(tempfile.TemporaryDirectory()))
