"""Where things are and what they are called: loaded once, passed in, never changed."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from slipway import policy as policies
from slipway import yamlfile
from slipway.errors import UsageError, unknown
from slipway.policy import Environment, Policy, Role

__all__ = ["ROOT", "SOURCES", "Environment", "Profile", "Role", "Settings", "Store", "command", "instances", "load", "usual"]

ROOT = Path(__file__).resolve().parent.parent

SOURCES = ("auto", "pull", "build")

DEFAULT_INSTANCE = "slipway"

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The longest name that leaves room for what kind and Docker append to it (a host name has 63 characters).
_INSTANCE = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")


class _Pins(dict[str, Any]):
    """A table of the file of pins, in which nothing is missed without saying so."""

    def __init__(self, file: Path, content: Mapping[str, Any], above: str = "") -> None:
        tables = {
            name: _Pins(file, item, f"{above}{name}.") if isinstance(item, dict) else item for name, item in content.items()
        }
        super().__init__(tables)
        self._file, self._above = file, above

    def __missing__(self, name: str) -> Any:
        raise UsageError(
            f"the file of pins {self._file} has no {self._above}{name}. SLIPWAY_PINS takes the place of cluster/versions.toml "
            "as a whole: begin with a copy of that file."
        )


@dataclass(frozen=True)
class Profile:
    """What an instance holds."""

    name: str
    description: str
    environments: tuple[str, ...]
    monitoring: bool


@dataclass(frozen=True)
class Store:
    """What services keep their state in; every environment has its own.

    Attributes:
        name: Of its image, its chart, its objects and the Secret with its passwords.
        passwords: The keys of that Secret.
        clients: What each service that uses it is told, by variable; {KEY} stands for a password.
    """

    name: str
    passwords: tuple[str, ...]
    clients: Mapping[str, Mapping[str, str]]

    def told(self, client: str, passwords: Mapping[str, str]) -> dict[str, str]:
        """What a service is told with these passwords, by variable; nothing when it does not use the store."""
        return {variable: text.format_map(passwords) for variable, text in self.clients.get(client, {}).items()}


@dataclass(frozen=True)
class Settings:
    """Everything a command needs to know before it looks at the machine.

    Attributes:
        root: The checkout.
        home: The state folder of the machine's user; everything Slipway keeps on the host is in it.
        instance: The name of the instance.
        pins: The file of pins; the checkout's own, unless the user keeps another.
        rules: The policy's file; None for the checkout's own.
    """

    root: Path
    home: Path
    instance: str
    pins: Path = ROOT / "cluster" / "versions.toml"
    rules: Path | None = None

    @property
    def folder(self) -> Path:
        """Where this instance keeps its state."""
        return self.home / "instances" / self.instance

    @property
    def kubeconfig(self) -> Path:
        """The cluster admin's kubeconfig of this instance; never the user's own."""
        return self.folder / "kubeconfig"

    @property
    def context(self) -> str:
        """The kubeconfig context, as kind names it."""
        return f"kind-{self.instance}"

    @property
    def node(self) -> str:
        """The node's container."""
        return f"{self.instance}-control-plane"

    @property
    def cache(self) -> Path:
        """Built and fetched artefacts, by the hash of what went into them; shared by all instances."""
        return self.home / "cache"

    @property
    def compiling(self) -> Path:
        """The file that says who compiles Tilt in the background of everything."""
        return self.cache / "tilt.json"

    @property
    def cluster(self) -> Path:
        """The data folder of the checkout."""
        return self.root / "cluster"

    def command(self, words: str) -> str:
        """What to type so that a task acts on this instance.

        Args:
            words: The task, and flags of it.
        """
        return command(words, self.instance)

    @property
    def own_pins(self) -> bool:
        """Whether the user keeps a file of pins of their own, so that images may be others than upstream's."""
        return self.pins != Settings.pins

    @cached_property
    def versions(self) -> Mapping[str, Any]:
        """The pins, as they stand in cluster/versions.toml; whoever asks for one that it lacks gets a UsageError.

        Raises:
            UsageError: The file cannot be read, or is not TOML.
        """
        try:
            return _Pins(self.pins, tomllib.loads(self.pins.read_text()))
        except (OSError, ValueError) as error:
            raise UsageError(f"the file of pins {self.pins} cannot be read: {error}") from error

    @cached_property
    def profiles(self) -> Mapping[str, Profile]:
        """The profiles an instance can have, by name."""
        loaded = yaml.safe_load((self.cluster / "profiles.yaml").read_text())
        return {
            name: Profile(name, data["description"], tuple(data["environments"]), data["monitoring"])
            for name, data in loaded.items()
        }

    @property
    def policy_file(self) -> Path:
        """The file that the policy stands in."""
        return self.rules or self.cluster / "policy.yaml"

    @cached_property
    def policy(self) -> Policy:
        """Which branches may reach which environments, and who may do what.

        Raises:
            UsageError: The file is no policy; the message names the line and the reason.
        """
        return _policy(self.policy_file)

    @property
    def environments(self) -> Mapping[str, Environment]:
        """Every environment the policy names, by name, in the order of promotion."""
        return self.policy.environments

    @property
    def roles(self) -> Mapping[str, Role]:
        """Every role the policy names, by name."""
        return self.policy.roles

    @cached_property
    def stores(self) -> Mapping[str, Store]:
        """Every store, by name."""
        loaded = yaml.safe_load((self.cluster / "stores.yaml").read_text())
        return {name: Store(name, tuple(data["passwords"]), data["clients"]) for name, data in loaded.items()}

    @cached_property
    def services(self) -> tuple[str, ...]:
        """The services of this checkout: every folder of services/ that has a main.py."""
        return tuple(sorted(path.parent.name for path in (self.root / "services").glob("*/main.py")))

    def profile(self, name: str) -> Profile:
        """The profile of that name.

        Raises:
            UsageError: There is none; the message lists the valid ones.
        """
        if name not in self.profiles:
            raise unknown("profile", name, self.profiles)
        return self.profiles[name]

    def environment(self, name: str) -> Environment:
        """The environment of that name.

        Raises:
            UsageError: There is none; the message lists the valid ones.
        """
        if name not in self.environments:
            raise unknown("environment", name, self.environments)
        return self.environments[name]

    @property
    def delivered(self) -> tuple[str, ...]:
        """What every environment runs: the services, then the stores."""
        return (*self.services, *self.stores)

    def service(self, name: str) -> str:
        """The name, when there is such a service or store.

        Raises:
            UsageError: There is none; the message lists the valid ones.
        """
        if name not in self.delivered:
            raise unknown("service", name, self.delivered)
        return name


def load(instance: str | None = None, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of one instance.

    Args:
        instance: Its name; else SLIPWAY_INSTANCE, else "slipway".
        environ: Where SLIPWAY_INSTANCE, SLIPWAY_HOME, XDG_DATA_HOME, SLIPWAY_PINS and SLIPWAY_POLICY are looked up.

    Raises:
        UsageError: The name cannot be one.
    """
    name = instance or usual(environ)
    if not _INSTANCE.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be an instance's name: use 1 to 30 lower-case letters, digits and dashes, "
            "beginning with a letter and not ending with a dash"
        )
    data = Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    home = Path(environ["SLIPWAY_HOME"]) if environ.get("SLIPWAY_HOME") else data / "slipway"
    pins, rules = (Path(file).resolve() if (file := environ.get(key)) else None for key in ("SLIPWAY_PINS", "SLIPWAY_POLICY"))
    return Settings(ROOT, home.resolve(), name, pins or Settings.pins, rules)


def usual(environ: Mapping[str, str] = os.environ) -> str:
    """The instance that a command acts on which names none."""
    return environ.get("SLIPWAY_INSTANCE") or DEFAULT_INSTANCE


def command(words: str, instance: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """What to type so that a task acts on an instance, which is named unless it is the usual one.

    Args:
        words: The task, and flags of it.
        instance: The instance's name; "" for the usual one.
        environ: Where SLIPWAY_INSTANCE is looked up.
    """
    named = "" if instance in ("", usual(environ)) else f" --name {instance}"
    return f"./invoke {words}{named}"


def instances(settings: Settings) -> tuple[str, ...]:
    """The names of the instances that have state on this host."""
    folder = settings.home / "instances"
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir())) if folder.is_dir() else ()


def _policy(path: Path) -> Policy:
    """The policy of a file, or a refusal that says which line of it is wrong."""
    file = yamlfile.File(path, what="the policy ", hint="SLIPWAY_POLICY names another file.")
    try:
        return policies.parse(file.data)
    except policies.PolicyError as error:
        reason = f"{policies.where(error.path)}: {error.reason}" if error.path else f"the policy {error.reason}"
        raise file.wrong(error.path, reason) from error
