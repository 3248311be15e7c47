"""What a service says of its own routes, and how to call them without knowing what they are for."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import find, settings
from hypothesis import strategies as st

from tests.services.running import Running

PLATFORM = "platform"

# Numbers that break what is written without thinking of them.
NUMBERS = st.sampled_from([0, -1, 1, 100, 101, 2**31, 2**63, 2**64, 10**40]) | st.integers()

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)

ANY_JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


@dataclass(frozen=True)
class Route:
    """A route that can be got.

    Attributes:
        pattern: Its path, as the OpenAPI document and the numbers write it.
        path: The same with every part filled in.
        status: What it answers to that when nothing is wrong.
    """

    pattern: str
    path: str
    status: int


def got(document: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Pattern and path of each route of the service's own that may be got; parts that must be given are the examples."""
    found: list[tuple[str, str]] = []
    for pattern, operations in document["paths"].items():
        operation = operations.get("get", {"tags": [PLATFORM]})
        if PLATFORM in operation.get("tags", ()):
            continue
        path, query = pattern, dict[str, str]()
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(_example(parameter, document), safe=""))
            elif parameter["in"] == "query" and parameter.get("required"):
                query[parameter["name"]] = _example(parameter, document)
        found.append((pattern, f"{path}?{urlencode(query)}" if query else path))
    return found


def a_route(process: Running) -> Route:
    """A route of the service's own that can be got, if possible with success."""
    tried = [Route(pattern, path, process.ask(path).status) for pattern, path in got(process.ask("/openapi.json").json)]
    return next((route for route in tried if route.status == 200), tried[0])


def _example(parameter: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """What the service gives as an example, else the simplest value that fits."""
    schema = parameter["schema"]
    given = parameter.get("example") or next(iter(schema.get("examples", ())), None)
    return str(given or find(fitting(schema, document), bool, settings=settings(database=None)))


def fitting(schema: Mapping[str, Any], document: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema lets through, as far as it says what those are."""
    if reference := schema.get("$ref"):
        return fitting(document["components"]["schemas"][reference.rpartition("/")[2]], document)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of([fitting(choice, document) for choice in choices])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    kind = schema.get("type")
    if kind == "object":
        required = set(schema.get("required", ()))
        parts = {name: fitting(part, document) for name, part in schema.get("properties", {}).items()}
        must = {name: part for name, part in parts.items() if name in required}
        return st.fixed_dictionaries(must, optional={name: part for name, part in parts.items() if name not in required})
    if kind == "array":
        return st.lists(fitting(schema.get("items", {}), document), min_size=schema.get("minItems", 0), max_size=3)
    if kind == "integer":
        return st.integers(int(schema.get("minimum", 0)), int(schema.get("maximum", 1000)))
    if kind == "string":
        with contextlib.suppress(KeyError, re.error):  # patterns of JSON Schema may know more than Python's
            pattern = re.compile(schema["pattern"])
            return st.from_regex(pattern, fullmatch=True).filter(lambda text: len(text) <= schema.get("maxLength", 60))
        return st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 20), 40))
    return ANY_JSON
