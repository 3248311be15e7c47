"""The policy out of the data of its file; whatever is wrong there is said with its place and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from slipway.policy.model import (
    APP,
    CONDITIONS,
    GUARDED,
    LABELS,
    LOADS,
    REACHES,
    Environment,
    Gate,
    Line,
    Load,
    Policy,
    Reach,
    Role,
    number,
)

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
_LINE = ("name", "pattern", "example", "create", "push", "reach")
_LINE_MORE = ("merge", "removable", "cut_from", "label", "when")


class PolicyError(Exception):
    """The policy's data is no policy.

    Attributes:
        path: Where in the data: keys and indices from the top.
        reason: What is wrong there and what is allowed, as a sentence.
    """

    def __init__(self, path: Sequence[str | int], reason: str) -> None:
        self.path, self.reason = tuple(path), reason
        super().__init__(f"{where(path)}: {reason}" if path else reason)


def where(path: Sequence[str | int]) -> str:
    """A place in the policy's data, as people write it: presets.gitflow.branches[2].reach."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def parse(data: object) -> Policy:
    """The policy that the data of a policy file describes.

    Raises:
        PolicyError: It describes none.
    """
    keys = ("preset", "options", "environments", "tiers", "roles", "approvals", "tags", "results", "presets")
    top = _mapping(data, (), keys, ("load",))
    tiers = {
        name: _one(_mapping(tier, ("tiers", name), ("repository",)), "repository", ("tiers", name))
        for name, tier in _named_things(top, "tiers").items()
    }
    environments: dict[str, Environment] = {}
    for name, value in _named_things(top, "environments").items():
        path = ("environments", name)
        tier = _one(_mapping(value, path, ("tier",)), "tier", path, tuple(tiers))
        environments[name] = Environment(name, tier, tiers[tier])
    repositories = (APP, *dict.fromkeys(tiers.values()))
    roles: dict[str, Role] = {}
    for name, value in _named_things(top, "roles").items():
        path = ("roles", name)
        roles[name] = Role(name, _many(_mapping(value, path, ("push",)), "push", path, repositories))
    options = _mapping(top["options"], ("options",), None)
    for name, value in options.items():
        _flag(value, ("options", name))
    approvals = _gates(top, environments, roles)
    presets = _mapping(top["presets"], ("presets",), None)
    preset = _one(top, "preset", (), tuple(presets))
    known = _Known(environments, tuple(roles), options, approvals)
    parsed = {name: _lines(value, ("presets", name), known) for name, value in presets.items()}
    return Policy(
        preset,
        tuple(presets),
        cast("Mapping[str, bool]", options),
        environments,
        roles,
        parsed[preset],
        approvals,
        _many(_mapping(top["tags"], ("tags",), ("push",)), "push", ("tags",), tuple(roles)),
        _many(_mapping(top["results"], ("results",), ("push",)), "push", ("results",), tuple(roles)),
        _load(top, approvals),
    )


def _load(top: Mapping[str, Any], approvals: Mapping[str, Gate]) -> Load:
    given = top.get("load", "off")
    # YAML reads a plain `off` as false, and a plain `on` as true.
    found = cast("Load", _text({False: "off", True: "on"}[given] if isinstance(given, bool) else given, ("load",), LOADS))
    if found != "off" and not approvals:
        _wrong(("load",), "no environment needs approval, so nothing would ever ask for a load test; it takes 'off'")
    return found


def _gates(top: Mapping[str, Any], environments: Mapping[str, Environment], roles: Mapping[str, Role]) -> Mapping[str, Gate]:
    order = tuple(environments)
    made: dict[str, Gate] = {}
    for name, value in _mapping(top["approvals"], ("approvals",), None).items():
        path = ("approvals", name)
        if name not in environments:
            _wrong(path, f"there is no environment {name!r}; there are {', '.join(environments)}")
        given = _mapping(value, path, ("after", "approvers", "dispatchers"))
        after = _one(given, "after", path, order[: order.index(name)])
        for guarded, place in ((name, ("environments", name, "tier")), (after, ("environments", after, "tier"))):
            if environments[guarded].tier != GUARDED:
                wrong = f"{guarded} is where releases go, and only the tier {GUARDED!r} takes nothing but what was approved"
                _wrong(place, f"{wrong}; it takes {GUARDED!r}")
        people = {key: _many(given, key, path, tuple(roles)) for key in ("approvers", "dispatchers")}
        for key, named in people.items():
            if not named:
                _wrong((*path, key), f"nobody is named, so nothing would ever reach {name}; name at least one role")
        made[name] = Gate(name, after, people["approvers"], people["dispatchers"])
    return made


@dataclass(frozen=True)
class _Known:
    """What the lines of a preset may name."""

    environments: Mapping[str, Environment]
    roles: tuple[str, ...]
    options: Mapping[str, bool]
    approvals: Mapping[str, Gate]


def _lines(data: object, path: tuple[str | int, ...], known: _Known) -> tuple[Line, ...]:
    path = (*path, "branches")
    listed = _mapping(data, path[:-1], ("branches",))["branches"]
    if not isinstance(listed, list) or not listed:
        _wrong(path, "must be a list of lines, with at least one")
    entries = [_mapping(entry, (*path, index), _LINE, _LINE_MORE) for index, entry in enumerate(cast("list[object]", listed))]
    names = tuple(_one(entry, "name", (*path, index)) for index, entry in enumerate(entries))
    made: list[Line] = []
    for index, entry in enumerate(entries):
        at = (*path, index)
        merge = _mapping(entry.get("merge", {"by": [], "of": [], "when": "passed"}), (*at, "merge"), ("by", "of", "when"))
        found = Line(
            names[index],
            _one(entry, "pattern", at),
            _one(entry, "example", at),
            _many(entry, "create", at, known.roles),
            _many(entry, "push", at, known.roles),
            _many(merge, "by", (*at, "merge"), known.roles),
            _many(merge, "of", (*at, "merge"), names),
            _one(merge, "when", (*at, "merge"), CONDITIONS),
            _flag(entry.get("removable", False), (*at, "removable")),
            _one(entry, "cut_from", at) if "cut_from" in entry else "",
            _one({"label": "", **entry}, "label", at, LABELS),
            _reach(entry, at, known),
        )
        _matchable(found, made, at)
        made.append(found)
    for index, found in enumerate(made):
        if found.cut_from and not any(other.matches(found.cut_from) for other in made):
            _wrong(
                (*path, index, "cut_from"),
                f"no line of this preset has a branch {found.cut_from!r}; there are {', '.join(names)}",
            )
    return tuple(made)


def _reach(entry: Mapping[str, Any], at: tuple[str | int, ...], known: _Known) -> Mapping[str, Reach]:
    """How a line reaches every environment, with the options that are switched on; what it does not name is refused."""
    chosen: dict[str, Reach] = dict.fromkeys(known.environments, "refused")
    when = _mapping(entry.get("when", {}), (*at, "when"), None)
    for option in when:
        if option not in known.options:
            _wrong((*at, "when", option), f"there is no option {option!r}; there are {', '.join(known.options) or 'none'}")
    for path, given, counts in (
        ((*at, "reach"), entry["reach"], True),
        *(((*at, "when", option), value, known.options[option]) for option, value in when.items()),
    ):
        for name in (named := _mapping(given, path, None)):
            if name not in known.environments:
                _wrong((*path, name), f"there is no environment {name!r}; there are {', '.join(known.environments)}")
            reach = cast("Reach", _one(named, name, path, REACHES))
            if name in known.approvals and reach not in ("dispatch", "refused"):
                _wrong((*path, name), f"{name} needs approval, so a branch reaches it by dispatch or is refused; never {reach!r}")
            if name not in known.approvals and reach == "dispatch":
                _wrong((*path, name), f"{name} has no entry under approvals; it takes automatic, request or refused")
            if counts:
                chosen[name] = reach
    for name, gate in known.approvals.items():
        if chosen[name] == "dispatch" and chosen[gate.after] == "refused":
            _wrong((*at, "reach"), f"{name} takes only what succeeded in {gate.after}, and this line is refused there")
    return chosen


def _matchable(found: Line, before: Sequence[Line], at: tuple[str | int, ...]) -> None:
    """A line that no branch can be of is a mistake: its example must be of it, and of none before it."""
    try:
        compiled = re.compile(found.pattern)
    except re.error as error:
        _wrong((*at, "pattern"), f"{found.pattern!r} is no regular expression: {error}")
    if any(other.name == found.name for other in before):
        _wrong((*at, "name"), f"there is a line {found.name!r} already")
    if not compiled.fullmatch(found.example):
        _wrong((*at, "pattern"), f"this line can never match: {found.pattern!r} does not match its own example {found.example!r}")
    if taker := next((other for other in before if other.matches(found.example)), None):
        _wrong((*at, "pattern"), f"this line can never match: {found.example!r} is taken by the line {taker.name!r} before it")
    if "release" in compiled.groupindex:
        if not number(found.release(found.example)):
            _wrong((*at, "pattern"), f"the group 'release' must be a version vX.Y.Z; in {found.example!r} it is not")
        if not found.cut_from:
            _wrong(at, "a line of releases needs cut_from: the branch that a release is cut from")


def _wrong(path: Sequence[str | int], reason: str) -> NoReturn:
    raise PolicyError(path, reason)


def _mapping(
    value: object, path: Sequence[str | int], keys: tuple[str, ...] | None, more: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    """The value, when it is a mapping with all of `keys`, perhaps some `more`, and nothing else; any keys for None."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in cast("dict[object, Any]", value)):
        _wrong(path, "must be a mapping of names to values")
    found = cast("dict[str, Any]", value)
    if keys is not None:
        for key in found:
            if key not in (*keys, *more):
                _wrong((*path, key), f"there is no key {key!r} here; there are {', '.join((*keys, *more))}")
        if missing := [key for key in keys if key not in found]:
            _wrong(path, f"{missing[0]!r} is missing; there must be {', '.join(keys)}")
    return found


def _named_things(top: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = _mapping(top[key], (key,), None)
    if not found:
        _wrong((key,), "there must be at least one")
    for name in found:
        if not _NAME.fullmatch(name):
            _wrong((key, name), f"{name!r} cannot be a name: use lower-case letters, digits and dashes, beginning with a letter")
    return found


def _one(found: Mapping[str, Any], key: str, path: Sequence[str | int], allowed: tuple[str, ...] | None = None) -> str:
    return _text(found[key], (*path, key), allowed)


def _many(found: Mapping[str, Any], key: str, path: Sequence[str | int], allowed: tuple[str, ...]) -> tuple[str, ...]:
    value = found[key]
    if not isinstance(value, list):
        _wrong((*path, key), f"must be a list{_of(allowed)}, and is {value!r}")
    return tuple(_text(each, (*path, key, index), allowed) for index, each in enumerate(cast("list[object]", value)))


def _text(value: object, path: Sequence[str | int], allowed: tuple[str, ...] | None) -> str:
    if not isinstance(value, str):
        _wrong(path, f"must be a text{_of(allowed)}, and is {value!r}")
    if allowed is not None and value not in allowed:
        _wrong(path, f"there is no {value!r}; there is {', '.join(map(repr, allowed)) or 'nothing that could stand here'}")
    if not value and allowed is None:
        _wrong(path, "must not be empty")
    return value


def _flag(value: object, path: Sequence[str | int]) -> bool:
    if not isinstance(value, bool):
        _wrong(path, f"must be true or false, and is {value!r}")
    return value


def _of(allowed: tuple[str, ...] | None) -> str:
    return f" (of {', '.join(filter(None, allowed))})" if allowed else ""
