"""What a load test has to show, by environment, service and endpoint: data that people write, checked before it is used."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.load.yamlfile import File

# In the place of a name: whatever has no entry of its own.
ANY = "any"

FILE = Path("loadtests", "thresholds.yaml")

_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_SECONDS = {"type": "number", "exclusiveMinimum": 0}
_CLIENT = {"errors": _SHARE, "p50": _SECONDS, "p95": _SECONDS, "p99": _SECONDS}
_SERVER = {
    "server errors": _SHARE,
    "server p95": _SECONDS,
    "server p99": _SECONDS,
    "restarts": {"type": "integer", "minimum": 0},
    "throttled": _SHARE,
    "saturated": _SHARE,
}


def _object(properties: Mapping[str, Any] | None = None, others: Any = False) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties or {}), "additionalProperties": others}


_SERVICE = _object({**_CLIENT, **_SERVER, "endpoints": _object(others=_object(_CLIENT))})
_WHOLE = _object({"errors": _SHARE, "delivered": _SHARE})
SCHEMA = {
    **_object({"environments": {**_object(others=_object({"whole": _WHOLE, "services": _object(others=_SERVICE)}))}}),
    "required": ["environments"],
}

_METHODS = {"get", "post", "put", "delete", "patch"}


@dataclass(frozen=True)
class Threshold:
    """One limit.

    Attributes:
        service: Of which service; empty for the whole test.
        endpoint: Of which endpoint of it; empty for all of them.
        measure: Of what: "errors", "p95", "server p99", "restarts", "delivered" and so on.
        limit: The most that is allowed; of "delivered" the least.
    """

    service: str
    endpoint: str
    measure: str
    limit: float

    @property
    def least(self) -> bool:
        """Whether the limit is the least that is allowed."""
        return self.measure == "delivered"

    @property
    def about(self) -> str:
        """What it is about, for a person."""
        return " ".join(filter(None, (self.service, self.endpoint, self.measure)))

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"{'>=' if self.least else '<='} {self.limit:g}{' s' if re.search(r'p[0-9]+$', self.measure) else ''}"

    def holds(self, seen: float) -> bool:
        """Whether what was seen is allowed."""
        return seen >= self.limit if self.least else seen <= self.limit


def load(
    file: Path, environment: str, *, environments: Collection[str], services: Mapping[str, Collection[str]]
) -> tuple[Threshold, ...]:
    """The limits for an environment.

    Limit by limit, what stands under a service's name counts before what stands under `any`, and then what stands under the
    environment's name before what stands under `any`. Endpoints have no limits but their own.

    Args:
        file: The file.
        environment: The environment.
        environments: Those there are.
        services: The endpoints of each service there is ("GET /products").

    Raises:
        UsageError: The file is none, or names something that is not there; the message has the line.
    """
    told = File(file, SCHEMA)
    for name, entry in told.data["environments"].items():
        place: list[str | int] = ["environments", name]
        if name != ANY and name not in environments:
            raise told.wrong(place, f"there is no environment {name!r}; there are {_listed([ANY, *environments])}")
        for service, limits in (entry.get("services") or {}).items():
            here = [*place, "services", service]
            if service != ANY and service not in services:
                raise told.wrong(here, f"there is no service {service!r}; there are {_listed([ANY, *services])}")
            for endpoint in limits.get("endpoints") or {}:
                known = services.get(service, ())
                if endpoint not in known:
                    what = f"{service} has no endpoint {endpoint!r}" if service != ANY else "endpoints belong to one service"
                    raise told.wrong([*here, "endpoints", endpoint], f"{what}; there are {_listed(known)}")
    entries = [told.data["environments"].get(name) or {} for name in (ANY, environment)]
    found: dict[tuple[str, str, str], float] = {}
    for entry in entries:
        found.update({("", "", measure): limit for measure, limit in (entry.get("whole") or {}).items()})
    for service in services:
        for name in (ANY, service):
            for entry in entries:
                limits = (entry.get("services") or {}).get(name) or {}
                found.update({(service, "", measure): limit for measure, limit in limits.items() if measure != "endpoints"})
                for endpoint, own in (limits.get("endpoints") or {}).items():
                    found.update({(service, endpoint, measure): limit for measure, limit in own.items()})
    return tuple(Threshold(*key, float(limit)) for key, limit in found.items())


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def endpoints(root: Path, services: Collection[str]) -> Mapping[str, frozenset[str]]:
    """The endpoints of each service of a checkout, as its code names them: a method and the path's template.

    Args:
        root: The checkout.
        services: The services.
    """
    return {service: frozenset(_endpoints(root / "services" / service)) for service in services}


def _endpoints(folder: Path) -> set[str]:
    found: set[str] = set()
    for file in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in node.decorator_list:
                if (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Attribute)
                    and call.func.attr in _METHODS
                    and call.args
                ):
                    path = call.args[0]
                    if isinstance(path, ast.Constant) and isinstance(path.value, str):
                        found.add(f"{call.func.attr.upper()} {path.value}")
    return found
