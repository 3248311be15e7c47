"""Small pictures of a load test: how long requests took, an endpoint's latencies, and the runs of a comparison."""

from __future__ import annotations

import math
import statistics

from slipway.load.drawing import LEFT, NARROW, RIGHT, WIDE, Drawing, Panel, number_said, seconds_said
from slipway.load.evidence import merged, within
from slipway.load.model import Run
from slipway.load.statistics import Compared

# Pixels between the middles of two times of an axis, or their words touch.
_TICK = 46.0


def latencies(run: Run, *, width: int = WIDE) -> str:
    """How many requests took how long, over the phases that count."""
    counts = merged(run.client.endpoints)
    height = 222.0
    drawing = Drawing(width, height, "How many requests took how long")
    if not counts:
        drawing.text("title", LEFT, 90, "No request was sent in a phase that counts.")
        return str(drawing)
    least, most = math.log10(min(counts) * 0.9), math.log10(max(counts) * 1.1)
    number = 72 if width > NARROW else 34
    bars = [0] * number
    for bound, count in counts.items():
        bars[min(number - 1, int((math.log10(bound) - least) / (most - least) * number))] += count
    bottom, top, inside = height - 26, 46.0, width - LEFT - RIGHT

    def x(value: float) -> float:
        return LEFT + inside * (math.log10(value) - least) / (most - least)

    tallest = max(bars)
    panel = Panel("", top, bottom - top, 0, tallest)
    for tick in (0, tallest):
        y = panel.y(tick) or 0.0
        drawing.line("grid", LEFT, y, width - RIGHT, y)
        drawing.text("tick", LEFT - 6, y + 4, f"{tick}", anchor="end")
    for index, count in enumerate(bars):
        if count:
            y = panel.y(count) or 0.0
            low, high = (10 ** (least + (most - least) * (index + more) / number) for more in (0, 1))
            said = f"{count} requests took {seconds_said(low)} to {seconds_said(high)}"
            drawing.box("bar", LEFT + inside * index / number + 0.5, y, inside / number - 1, bottom - y, title=said)
    free = 0.0  # where the words of the one before end
    for power in range(math.floor(least), math.ceil(most) + 1):
        for step in (1, 2, 5):
            if least <= math.log10(step * 10.0**power) <= most and x(step * 10.0**power) >= free:
                free = x(step * 10.0**power) + _TICK
                drawing.text("tick", x(step * 10.0**power), bottom + 17, seconds_said(step * 10.0**power), anchor="middle")
    # Each has a line of its own for its words: they may be near one another.
    for row, (name, share) in enumerate((("p50", 0.5), ("p95", 0.95), ("p99", 0.99))):
        value = within(counts, share)
        if value:
            y, right = 10.0 + row * 12, x(value) > width - 90
            drawing.line(f"line {name}", x(value), y - 4, x(value), bottom)
            said = f"{name} {seconds_said(value)}"
            drawing.text("legend", x(value) + (-5 if right else 5), y + 4, said, anchor="end" if right else "start")
    return str(drawing)


def spread(low: float | None, middle: float | None, high: float | None, bounds: tuple[float, float]) -> str:
    """A bar from one latency to another with a mark between, on a scale that several share; empty when nothing was seen."""
    if not low or not middle or not high:
        return ""
    drawing = Drawing(140, 14, f"p50 {seconds_said(low)}, p95 {seconds_said(middle)}, p99 {seconds_said(high)}")
    least, most = (math.log(bound) for bound in bounds)

    def x(value: float) -> float:
        return 4 + 132 * (math.log(value) - least) / max(most - least, 1e-9)

    drawing.line("rail", 4, 7, 136, 7)
    drawing.box("span", x(low), 4, max(x(high) - x(low), 1.5), 6, radius=3)
    drawing.dot("mark", x(middle), 7, 3.2)
    return str(drawing)


def runs(one: Compared, first: str, second: str, *, width: int = 460) -> str:
    """Every run of a comparison as a dot, with the medians: whoever looks sees what the test computes."""
    everything = (*one.calibration, *one.first, *one.second)
    drawing = Drawing(width, 78, f"{one.metric.name} of every run of {first} and {second}")
    if not everything:
        return str(drawing)
    least, most = min(everything), max(everything)
    room = (most - least) * 0.08 or abs(most) * 0.05 or 0.01
    left, inside = 92.0, width - 92.0 - 16

    def x(value: float) -> float:
        return left + inside * (value - least + room) / (most - least + 2 * room)

    told = {"share": number_said, "s": seconds_said}.get(one.metric.unit, lambda value: f"{value:.3g} {one.metric.unit}")
    for row, (name, kind, values) in enumerate(
        ((f"{first} alone", "calibration", one.calibration), (first, "first", one.first), (second, "second", one.second))
    ):
        y = 13 + 19 * row
        drawing.text("tick", left - 10, y + 4, name[:16], anchor="end")
        drawing.line("rail", left, y, width - 16, y)
        for value in values:
            drawing.dot(f"run {kind}", x(value), y, 4.2, title=f"{name}: {told(value)}")
        if values:
            middle = statistics.median(values)
            drawing.line(f"median {kind}", x(middle), y - 8, x(middle), y + 8)
    drawing.text("tick", x(least), 75, told(least), anchor="middle")
    if most > least:
        drawing.text("tick", x(most), 75, told(most), anchor="middle")
    return str(drawing)
