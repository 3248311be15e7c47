"""Facts as JSON and back, exactly: frozen dataclasses, and nothing in a file that the facts do not know."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from slipway.errors import UsageError

T = TypeVar("T")


class NotThat(UsageError):
    """What was read is not what it should be; the message says where."""


def plain(value: Any) -> Any:
    """A fact as JSON has it: mappings, lists, text, numbers, and nothing for None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def read(kind: type[T], value: Any, where: str = "") -> T:
    """The fact of a kind that plain JSON holds.

    Raises:
        NotThat: A key is missing or unknown, or a value is of another kind.
    """
    return _read(kind, value, where or kind.__name__)


def _read(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return _facts(kind, value, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _either(inner, value, where)
    if origin is tuple:
        return _several(inner, value, where)
    if origin is not None:  # the one other kind that facts use: a mapping by text
        if not isinstance(value, dict):
            raise NotThat(f"{where} has to be a mapping, not {value!r:.60}.")
        return {key: _read(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise NotThat(f"{where} has to be of the kind {kind.__name__}, not {value!r:.60}.")
    return value


def _facts(kind: Any, value: Any, where: str) -> Any:
    hints = _hints(kind)
    if not isinstance(value, dict) or set(value) != set(hints):
        seen: set[str] = set(value) if isinstance(value, dict) else set()
        missing = [f"{name} is missing" for name in sorted(set(hints) - seen)]
        wrong = ", ".join([*missing, *(f"{name} is unknown" for name in sorted(seen - set(hints)))])
        raise NotThat(f"{where} is not what it should be: {wrong}.")
    return kind(**{name: _read(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})


def _either(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    rest = [kind for kind in kinds if kind is not type(None)]
    if type(value) in rest:
        return value
    return _read(rest[0], value, where)


def _several(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, list):
        raise NotThat(f"{where} has to be a list, not {value!r:.60}.")
    if kinds[1:] == (Ellipsis,):
        return tuple(_read(kinds[0], item, f"{where}[{number}]") for number, item in enumerate(value))
    if len(value) != len(kinds):
        raise NotThat(f"{where} has to hold {len(kinds)} values, not {len(value)}.")
    return tuple(_read(kind, item, f"{where}[{number}]") for number, (kind, item) in enumerate(zip(kinds, value, strict=True)))


@cache
def _hints(kind: Any) -> dict[str, Any]:
    known = get_type_hints(kind)
    return {field.name: known[field.name] for field in fields(kind)}
