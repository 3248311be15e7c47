"""An SVG that grows, an axis to draw on it, and numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

# Pixels of a picture at a desk, and on a phone.
WIDE, NARROW = 1120, 420

# Pixels left and right of a picture's lines, for the numbers of its axes.
LEFT, RIGHT = 52.0, 12.0


class Drawing:
    """An SVG that grows; whatever is written in it is escaped.

    Args:
        width: In pixels.
        height: The same.
        label: What it shows, for those who do not see it.
    """

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height = width, height
        box = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **box, "role": "img", "aria-label": label})

    def line(self, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """A straight line."""
        self._add("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def box(self, kind: str, x: float, y: float, width: float, height: float, *, title: str = "", radius: float = 0) -> None:
        """A filled box; its title shows when it is pointed at."""
        made = self._add("rect", kind, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), rx=radius)
        if title:
            ElementTree.SubElement(made, "title").text = title

    def dot(self, kind: str, x: float, y: float, radius: float, *, title: str = "") -> None:
        """A dot."""
        made = self._add("circle", kind, cx=x, cy=y, r=radius)
        if title:
            ElementTree.SubElement(made, "title").text = title

    def text(self, kind: str, x: float, y: float, words: str, *, anchor: str = "start") -> None:
        """Words."""
        self._add("text", kind, x=x, y=y, **{"text-anchor": anchor}).text = words

    def course(self, kind: str, points: Iterable[tuple[float, float | None]]) -> None:
        """A line through points; where nothing was seen, there is none."""
        told: list[str] = []
        pen = "M"
        for x, y in points:
            if y is None:
                pen = "M"
                continue
            told.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        if told:
            self._add("path", f"line {kind}", d="".join(told))

    def _add(self, tag: str, kind: str, **attributes: float | str) -> ElementTree.Element:
        told = {name: value if isinstance(value, str) else f"{value:.1f}" for name, value in attributes.items()}
        return ElementTree.SubElement(self.root, tag, {"class": kind, **told})

    def __str__(self) -> str:
        return ElementTree.tostring(self.root, encoding="unicode")


@dataclass(frozen=True)
class Panel:
    """One part of the timeline, all of which have one time."""

    title: str
    top: float
    height: float
    low: float
    high: float
    logarithmic: bool = False

    def y(self, value: float | None) -> float | None:
        """Where a value is drawn."""
        if value is None:
            return None
        if self.logarithmic:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.top + self.height * (1 - min(max(share, 0.0), 1.0))


def seconds_said(value: float | None) -> str:
    """A latency, to three digits at most."""
    if value is None:
        return "nobody knows"
    if value < 0.9995:
        return f"{1000 * value:.3g} ms" if value >= 0.001 else f"{1000 * value:.2g} ms"
    return f"{value:.3g} s"


def number_said(value: float) -> str:
    """A share as percent."""
    return f"{100 * value:.3g} %"
