"""A YAML file that people write: what it says, and the line of everything in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from slipway.errors import UsageError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Place = Sequence[str | int]


class File:
    """A file of one document.

    Attributes:
        path: Where it is.
        data: What it says.

    Args:
        path: Where it is.
        what: What it is to whoever reads an error: "the policy ", or nothing.
        hint: What else to do about an error.

    Raises:
        UsageError: It cannot be read, is no YAML, or has a key twice; the message has the line.
    """

    def __init__(self, path: Path, *, what: str = "", hint: str = "") -> None:
        self.path, self._what, self._hint = path, what, hint
        try:
            loader = _Loader(path.read_text(encoding="utf-8"))
            self._top: yaml.Node | None = loader.get_single_node()
            self.data: Any = loader.construct_document(self._top) if self._top else None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._at(mark.line + 1 if mark else 1, f"this is no YAML: {error.problem or error.context}") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            said = f"{what}{path} cannot be read: {' '.join(str(error).split())}."
            raise UsageError(f"{said} {hint}" if hint else said) from error
        self._no_key_twice()

    def wrong(self, place: Place, reason: str) -> UsageError:
        """The error that something is wrong at a place: keys and indices from the top."""
        return self._at(self.line(place), reason)

    def line(self, place: Place) -> int:
        """The line that a place stands on; the nearest place around it when it is not there."""
        node, line = self._top, 1
        for part in place:
            pairs = enumerate(_inside(node))
            found = next((pair for index, pair in pairs if part == (pair[0].value if pair[0] else index)), None)
            if found is None:
                break
            key, node = found
            line = (key or node).start_mark.line + 1
        return line

    def _at(self, line: int, reason: str) -> UsageError:
        cure = f"Correct the line; {self._hint}" if self._hint else "Correct the line."
        return UsageError(f"{self.path}:{line}: {reason}. {cure}")

    def _no_key_twice(self) -> None:
        """YAML lets the last of two equal keys win without a word: the first would be a rule that nobody keeps."""
        nodes, seen = [self._top], set[int]()
        while nodes:
            node = nodes.pop()
            if node is None or id(node) in seen:  # an alias may lead back to where it stands
                continue
            seen.add(id(node))
            keys = set[str]()
            for key, value in _inside(node):
                nodes.append(value)
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys:
                        raise self._at(key.start_mark.line + 1, f"the key {key.value!r} stands here twice")
                    keys.add(key.value)


def _inside(node: yaml.Node | None) -> Iterable[tuple[yaml.Node | None, yaml.Node]]:
    """What a node has: values with their keys, or without in a list."""
    if isinstance(node, yaml.MappingNode):
        return cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
    return [(None, value) for value in cast("list[yaml.Node]", node.value)] if isinstance(node, yaml.SequenceNode) else []
