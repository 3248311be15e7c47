"""The board as a page: what was seen, turned into HTML that needs nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

import jinja2

from slipway import gitserver, measures, overview
from slipway.overview import Board
from slipway.settings import Settings

# Seconds. What is older is called so; looks take less than one, and come every two.
STALE = 10.0

# Parts whose name is not what they are called.
_TITLES = {"argocd": "Argo CD"}


@dataclass(frozen=True)
class View:
    """What is shown to somebody now.

    Attributes:
        board: What was seen last; None before the first look has ended.
        last: The last board with services, when `board` has none because the instance does not answer.
        age: Seconds since `board` was looked at.
        failure: Why the look after it failed, or empty.
    """

    board: Board | None
    last: Board | None = None
    age: float = 0.0
    failure: str = ""

    @property
    def shown(self) -> Board | None:
        """The board whose services are shown."""
        return self.board if self.last is None or (self.board and self.board.status.services) else self.last

    @property
    def stale(self) -> str:
        """Since when what is shown is no longer what is, and why; empty while it is."""
        shown, board = self.shown, self.board
        if shown is None or board is None:
            return ""
        why = ""
        if shown is not board:
            why = f"{board.status.instance} does not answer"
        elif self.failure:
            why = self.failure
        elif self.age > STALE:
            why = "the cluster has not answered since"
        return f"What you see is of {_clock(shown.at)}; {why}." if why else ""

    @property
    def headline(self) -> tuple[str, str, str]:
        """State, title and one more sentence for the whole; what is old is never called well."""
        if self.board is None:
            return "none", "Looking", self.failure or "The first look has not ended yet."
        if self.stale and self.shown is self.board:
            return "warn", "Not live", ""
        return self.board.headline


class Pages:
    """Turns what was seen into HTML.

    Args:
        settings: Where the templates are.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.cluster / "board"
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(self._folder),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        self._environment.filters.update(rate=rate, percent=percent, duration=duration, clock=_clock)
        self._helpers: Mapping[str, Any] = {
            "level": overview.level,
            "lines": lines,
            "rules": measures,
            "favicon": favicon,
            "repositories": gitserver.repositories(settings),
            "titles": _TITLES,
        }

    @cached_property
    def _inline(self) -> tuple[str, str]:
        return (self._folder / "board.css").read_text(), (self._folder / "board.js").read_text()

    @property
    def policy(self) -> str:
        """What a browser may do on the page: nothing but its own style and script, and ask where it came from."""
        style, script = (f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in self._inline)
        return (
            f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        )

    def page(self, view: View, *, live: bool) -> str:
        """The whole page; one that is not live says when it was made and stays so."""
        style, script = self._inline
        made = self._environment.get_template("page.html.j2")
        given = {**self._helpers, "view": view, "live": live, "style": style, "script": script, "policy": self.policy}
        return made.render(given, main=self.main(view, live=live))

    def main(self, view: View, *, live: bool) -> str:
        """What changes of the page; the same text as long as nothing does."""
        return self._environment.get_template("main.html.j2").render(self._helpers, view=view, live=live)


def favicon(state: str) -> str:
    """A dot in the colour of a state, as a browser's tab takes it."""
    colour = {"well": "1a7f4b", "warn": "e39b1a", "bad": "d4303b"}.get(state, "8a96a3")
    drawn = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='#{colour}'/></svg>"
    return f"data:image/svg+xml,{quote(drawn)}"


def rate(value: float) -> str:
    """Requests per second, as short as is honest."""
    if value < 0.01:
        return "<0.01"
    return f"{value / 1000:.1f}k" if value >= 999.5 else f"{value:.0f}" if value >= 9.95 else f"{value:.2g}"


def percent(ratio: float) -> str:
    """A share; what is not quite nothing does not look like nothing, and what is not quite everything not like everything."""
    value = ratio * 100
    if 0 < value < 0.1:
        return "<0.1 %"
    if 99.9 < value < 100:
        return ">99.9 %"
    return f"{value:.0f} %" if value in (0, 100) else f"{value:.1f} %"


def duration(seconds: float) -> str:
    """Seconds or milliseconds, to two or three digits."""
    if seconds < 0.001:
        return "<1 ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


def lines(history: tuple[float | None, ...]) -> list[str]:
    """A course of values as SVG lines in a box of its length by 20; a gap ends a line."""
    top = max((value for value in history if value is not None), default=0.0)
    if not top:
        return []
    runs: list[list[str]] = [[]]
    for index, value in enumerate(history):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{index},{19 - 18 * value / top:.1f}")
    return [" ".join(run) for run in runs if len(run) > 1]


def _clock(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S")
