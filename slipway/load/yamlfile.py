"""A YAML file that people write, by a schema, with the line of whatever is wrong in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import jsonschema

from slipway import yamlfile
from slipway.errors import UsageError
from slipway.yamlfile import Place


class File(yamlfile.File):
    """A file that follows a schema.

    Args:
        path: Where it is.
        schema: What it has to look like, as JSON Schema says it.

    Raises:
        UsageError: It cannot be read, is no YAML, has a key twice, or does not follow the schema; the message has the line.
    """

    def __init__(self, path: Path, schema: Mapping[str, Any]) -> None:
        super().__init__(path)
        wrong = jsonschema.Draft202012Validator(schema).iter_errors(self.data)
        first = min(wrong, key=lambda one: (self.line(list(one.absolute_path)), one.message), default=None)
        if first:
            raise self.wrong(list(first.absolute_path), _said(first))
        for place, value in _leaves(self.data):
            if isinstance(value, float) and not math.isfinite(value):
                raise self.wrong(place, f"{value} is no number that anything could be compared with")

    def wrong(self, place: Place, reason: str) -> UsageError:
        """The error that something at a place in the file is wrong; it names the place."""
        named = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
        return super().wrong(place, f"{named}: {reason}" if named else reason)


def _leaves(value: Any, place: tuple[str | int, ...] = ()) -> Iterable[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            yield from _leaves(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[Any]", value)):
            yield from _leaves(inner, (*place, index))
    else:
        yield place, value


def _said(error: jsonschema.ValidationError) -> str:
    """What a validator found, in a line."""
    return " ".join(error.message.split())[:200]
