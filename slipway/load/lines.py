"""What the generator's master prints, read line by line: seconds while the test runs, and at its end everything, whole.

The end comes in numbered pieces with a checksum, each shorter than the 16 KiB at which container runtimes split a line; a log
from which a piece is missing is read again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable
from typing import Any, cast

from slipway.load import written
from slipway.load.model import Second

# Lines that are no figures, kept for the report; a generator that is in trouble may say the same thing for ever.
MOST_SAID = 40


class Lines:
    """Takes lines, in order, each once.

    Args:
        on_second: Told of every second of the test.

    Attributes:
        began: The moment of the plan's begin; 0 until the generator says so.
        seconds: Those that were told.
        said: What was no figure.
        lost: Numbers of workers that were lost.
        log: Every line but those of the result, which is kept elsewhere.
    """

    def __init__(self, on_second: Callable[[Second], None]) -> None:
        self._on_second = on_second
        self.began = 0.0
        self.seconds: list[Second] = []
        self.said: list[str] = []
        self.lost: list[int] = []
        self.log: list[str] = []
        self.over = False
        self._taken, self._skip = 0, 0
        self._pieces: dict[int, str] = {}
        self._wanted, self._sum = 0, ""

    def again(self) -> None:
        """The log is read once more, from its begin: what was taken already is not taken twice."""
        self._skip, self._taken = max(self._skip, self._taken), 0

    def take(self, line: str) -> None:
        """Take the next line."""
        self._taken += 1
        if self._taken <= self._skip:
            return
        told = _json(line)
        if told.get("load") != "piece":
            self.log.append(line)
        match told.get("load"):
            case "begin":
                self.began = float(told["began"])
            case "second":
                second = written.read(Second, {key: value for key, value in told.items() if key != "load"})
                self.seconds.append(second)
                self._on_second(second)
            case "lost":
                self.lost.append(int(told["worker"]))
                self._say(f"worker {told['worker']} {told['why']}")
            case "piece":
                self._pieces[int(told["number"])] = str(told["data"])
            case "done":
                self._wanted, self._sum, self.over = int(told["pieces"]), str(told["sha256"]), True
            case _:
                self._say(line.strip())

    @property
    def whole(self) -> dict[str, Any] | None:
        """Everything that the generator told at its end; None when that is not all here."""
        if not self.over or set(self._pieces) != set(range(self._wanted)):
            return None
        try:
            content = zlib.decompress(base64.b64decode("".join(self._pieces[number] for number in range(self._wanted))))
        except (ValueError, zlib.error):
            return None
        return json.loads(content) if hashlib.sha256(content).hexdigest() == self._sum else None

    def _say(self, text: str) -> None:
        if text and len(self.said) < MOST_SAID:
            self.said.append(text[:300])


def _json(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}
