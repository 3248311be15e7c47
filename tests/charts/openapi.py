"""Kubernetes's own description of its objects, made strict: what the API server would drop or refuse is an error here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import urllib3

from slipway import shell
from slipway.settings import Settings, load

_DOWNLOAD_TIMEOUT = 60.0

# Where the description says "string" and the API server takes numbers too.
_NUMBERS_TOO = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": ["string", "number"],
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": ["string", "integer"],
}

_REF = "#/definitions/"


class OpenAPI:
    """What objects of one Kubernetes version look like."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._definitions: dict[str, Any] = {name: strict(name, data) for name, data in document["definitions"].items()}
        self._names = {
            (kind["group"], kind["version"], kind["kind"]): name
            for name, data in document["definitions"].items()
            for kind in data.get("x-kubernetes-group-version-kind", [])
        }
        self._validators: dict[str, jsonschema.Draft7Validator] = {}

    def errors(self, item: Mapping[str, Any]) -> list[str]:
        """What is wrong with an object: a sentence each, none when it is right."""
        group, _, version = str(item.get("apiVersion", "")).rpartition("/")
        name = self._names.get((group, version, str(item.get("kind"))))
        if name is None:
            return [f"this Kubernetes version knows no {item.get('apiVersion')} {item.get('kind')}"]
        found = self._validator(name).iter_errors(item)
        return sorted(f"{'.'.join(str(part) for part in error.absolute_path) or 'object'}: {error.message}" for error in found)

    def _validator(self, name: str) -> jsonschema.Draft7Validator:
        if name not in self._validators:
            reachable = self._reachable(name)
            self._validators[name] = jsonschema.Draft7Validator({"$ref": _REF + name, "definitions": reachable})
        return self._validators[name]

    def _reachable(self, name: str) -> dict[str, Any]:
        # Only what the kind is made of: the whole description is megabytes, and a validator walks through all it gets.
        found: dict[str, Any] = {}
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found[current] = self._definitions[current]
                waiting.extend(_references(found[current]))
        return found


def strict(name: str, data: Any) -> Any:
    """A definition that takes no field it does not name."""
    if name in _NUMBERS_TOO:
        return {"type": _NUMBERS_TOO[name]}
    if isinstance(data, list):
        return [strict("", item) for item in data]
    if not isinstance(data, dict):
        return data
    made = {key: strict("", value) for key, value in data.items() if key != "description"}
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


def _references(data: Any) -> list[str]:
    if isinstance(data, list):
        return [name for item in data for name in _references(item)]
    if not isinstance(data, dict):
        return []
    own = [data["$ref"].removeprefix(_REF)] if isinstance(data.get("$ref"), str) else []
    return own + [name for value in data.values() for name in _references(value)]


@cache
def description() -> OpenAPI:
    """The description of the Kubernetes version that Slipway runs; the test fails when it cannot be had."""
    settings = load()
    pin = settings.versions["openapi"]["sha256"]
    cached = settings.cache / "openapi" / f"{pin[:16]}.json"
    content = cached.read_bytes() if cached.is_file() else _fetch(settings)
    found = hashlib.sha256(content).hexdigest()
    if found != pin:
        pytest.fail(
            f"The Kubernetes API description has the sum {found}, but cluster/versions.toml says {pin}: "
            "correct `openapi.sha256` there when the Kubernetes version was changed on purpose.",
            pytrace=False,
        )
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(content)
    return OpenAPI(json.loads(content))


def _fetch(settings: Settings) -> bytes:
    version = settings.versions["versions"]["kubernetes"]
    if shell.which("go"):
        argv = ["go", "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"]
        told = shell.run(argv, cwd=settings.cluster / "go" / "node").stdout
        return (Path(json.loads(told)["Dir"]) / "api" / "openapi-spec" / "swagger.json").read_bytes()
    url = settings.versions["openapi"]["url"].format(version=version)
    try:
        answer = urllib3.request("GET", url, timeout=_DOWNLOAD_TIMEOUT, retries=2)
    except urllib3.exceptions.HTTPError as error:
        pytest.fail(f"No Go to read the Kubernetes API description with, and {url} cannot be reached: {error}", pytrace=False)
    if answer.status != 200:
        pytest.fail(f"No Go to read the Kubernetes API description with, and {url} answers {answer.status}.", pytrace=False)
    return answer.data
