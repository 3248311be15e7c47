"""The timeline of a load test, as SVG and as PNG.

The page and the PNG draw the same lines. Colours are classes, so that a page can show them light and dark; a PNG is light.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

from slipway.load.courses import changes, combined, thinned
from slipway.load.drawing import LEFT, NARROW, RIGHT, WIDE, Drawing, Panel, seconds_said
from slipway.load.figures import changed
from slipway.load.model import Run, Second
from slipway.settings import Settings

_GAP, _TOP = 34.0, 58.0

# Seconds between two times of the axis.
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 36_000)

# Pixels of the PNG for one of the SVG: sharp on a good screen.
_ZOOM = 2.0


def timeline(run: Run, *, width: int = WIDE) -> str:
    """What happened, second by second: latency as the client and the servers saw it, rates, failures and the processor.

    Args:
        run: The run.
        width: In pixels.
    """
    seconds = thinned(run.client.seconds)
    begin, end = run.client.began, max(run.client.ended, run.client.began + 1)
    panels = _panels(run, seconds)
    height = panels[-1].top + panels[-1].height + 26
    drawing = Drawing(width, height, "Latency, rate, failures and processor time over the test")

    def x(at: float) -> float:
        return LEFT + (width - LEFT - RIGHT) * min(max((at - begin) / (end - begin), 0.0), 1.0)

    _phases(drawing, run, x, panels)
    latency, rate, failed, cpu = panels
    for panel in panels:
        _axis(drawing, panel, width)
    _legend(drawing, latency, (("p50", "p50"), ("p95", "p95"), ("p99", "p99"), ("server", "slowest service, p95")), width)
    _legend(drawing, rate, (("planned", "planned"), ("ok", "ended well"), ("requests", "requests")), width)
    _legend(drawing, failed, (("bad", "client"), ("server", "services, 5xx")), width)
    for kind in ("p50", "p95", "p99"):
        drawing.course(kind, ((x(one.at + 0.5), latency.y(getattr(one, kind))) for one in seconds))
    drawing.course("server", ((x(at), latency.y(value)) for at, value in combined(run, "p95", max)))
    drawing.course("planned", ((x(one.at + 0.5), rate.y(one.planned)) for one in seconds))
    drawing.course("requests", ((x(one.at + 0.5), rate.y(one.requests)) for one in seconds))
    drawing.course("ok", ((x(one.at + 0.5), rate.y(one.ok)) for one in seconds))
    thick = max(1.5, (x(begin + 1) - x(begin)) * 0.8)
    for one in seconds:
        if one.failures:
            y = failed.y(one.failures) or failed.top
            drawing.box(
                "bad", x(one.at + 0.5) - thick / 2, y, thick, failed.top + failed.height - y, title=f"{one.failures} failed"
            )
    drawing.course("server", ((x(at), failed.y(value)) for at, value in combined(run, "errors", sum)))
    services = [one for one in run.server.series if one.name == "cpu"]
    _legend(drawing, cpu, [(f"c{number % 6}", one.service) for number, one in enumerate(services)], width)
    for number, one in enumerate(services):
        drawing.course(f"c{number % 6}", ((x(at), cpu.y(value)) for at, value in one.points))
    _clock(drawing, x, (begin, end), panels[-1])
    return str(drawing)


def _panels(run: Run, seconds: Sequence[Second]) -> tuple[Panel, Panel, Panel, Panel]:
    times = [value for one in seconds for value in (one.p50, one.p99) if value]
    times += [value for _, value in combined(run, "p95", max) if value > 0]
    low, high = _round_log(min(times, default=0.01), up=False), _round_log(max(times, default=1.0) * 1.05)
    most_rate = max((max(one.planned, one.requests, one.ok) for one in seconds), default=1)
    most_failed = max([one.failures for one in seconds] + [value for _, value in combined(run, "errors", sum)], default=0)
    most_cpu = max((value for one in run.server.series if one.name == "cpu" for _, value in one.points), default=0.0)
    made: list[Panel] = []
    top = _TOP + 20
    for title, height, bottom, most, logarithmic in (
        ("Latency, from when a request was due", 190.0, low, max(high, low * 10), True),
        ("Per second", 110.0, 0.0, _round_up(most_rate), False),
        ("Failed requests per second", 54.0, 0.0, _round_up(max(most_failed, 1)), False),
        ("Processor, in cores", 84.0, 0.0, _round_up(max(most_cpu, 0.1)), False),
    ):
        made.append(Panel(title, top, height, bottom, most, logarithmic))
        top += height + _GAP
    return made[0], made[1], made[2], made[3]


def _round_up(value: float) -> float:
    """The next number that people count in."""
    power = 10 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 3, 4, 5, 6, 8, 10, 20) if step * power >= value * 0.9999)


def _round_log(value: float, *, up: bool = True) -> float:
    power = 10 ** math.floor(math.log10(value))
    steps = [step * power for step in (1, 2, 5, 10)]
    return next(step for step in steps if step >= value) if up else next(step for step in reversed(steps) if step <= value)


def _phases(drawing: Drawing, run: Run, x: Callable[[float], float], panels: Sequence[Panel]) -> None:
    bottom, began = panels[-1].top + panels[-1].height, run.client.began
    for start, stop, phase in run.plan.timed:
        left, right = x(began + start), x(began + stop)
        kind = "counted" if phase.counted else "warm"
        said = f"{phase.name}: {phase.seconds:g} s, {phase.begin_rate:g} to {phase.end_rate:g} journeys per second"
        drawing.box(f"band {kind}", left, 16, right - left - 1, 18, title=said, radius=3)
        drawing.box(f"wash {kind}", left, panels[0].top, right - left, bottom - panels[0].top)
        if right - left > 7.2 * len(phase.name):
            drawing.text("phase", (left + right) / 2, 29, phase.name, anchor="middle")
    if change := run.change:
        left, right = x(change.begin), x(change.end)
        drawing.box("change", left, 36, max(right - left, 3.0), 4, title=changed(run), radius=2)
    events = [one for one in changes(run) if began - 1 <= one.time <= run.client.ended + 1]
    free = -1e9  # where the words of the one before end
    for event in events:
        at, said = x(event.time), f"{event.service}: {event.what}"
        drawing.line("event", at, 46, at, bottom)
        drawing.dot("event", at, 46, 4, title=f"{said}, {event.time - began:.0f} s after the begin")
        following = min((x(one.time) for one in events if one.time > event.time), default=drawing.width)
        room = int((following - at - 16) / 6.3)
        if len(said) > room:
            said = said[: room - 1] + "\u2026" if room > 16 else event.service if len(event.service) <= room else ""
        if said and at > free:
            drawing.text("event", at + 8, 50, said)
            free = at + 8 + 6.3 * len(said)


def _axis(drawing: Drawing, panel: Panel, width: float) -> None:
    drawing.text("title", LEFT, panel.top - 7, panel.title if width > NARROW else panel.title.partition(",")[0])
    ticks: list[float] = []
    if panel.logarithmic:
        power = 10 ** math.floor(math.log10(panel.low * 1.0001))
        while power <= panel.high * 1.001:
            ticks += [step * power for step in (1, 2, 5) if panel.low * 0.999 <= step * power <= panel.high * 1.001]
            power *= 10
        if len(ticks) > 8:
            ticks = [tick for tick in ticks if f"{tick:.0e}".startswith("1")]
    else:
        ticks = [panel.low, (panel.low + panel.high) / 2, panel.high] if panel.height > 60 else [panel.low, panel.high]
    for tick in ticks:
        y = panel.y(tick) or 0.0
        drawing.line("grid", LEFT, y, width - RIGHT, y)
        drawing.text("tick", LEFT - 6, y + 4, seconds_said(tick) if panel.logarithmic else f"{tick:g}", anchor="end")


def _legend(drawing: Drawing, panel: Panel, entries: Sequence[tuple[str, str]], width: float) -> None:
    left = width - RIGHT
    size = 6.6 if width > NARROW else 5.6
    for kind, told in reversed(entries):
        words = told if width > NARROW else told.split(",")[0].removeprefix("slowest ")
        left -= size * len(words) + 8
        if left < LEFT + 7 * len(panel.title.partition(",")[0] if width <= NARROW else panel.title) + 20:
            break
        drawing.text("legend", left, panel.top - 7, words)
        drawing.line(f"line {kind}", left - 18, panel.top - 11, left - 5, panel.top - 11)
        left -= 26


def _clock(drawing: Drawing, x: Callable[[float], float], whole: tuple[float, float], panel: Panel) -> None:
    begin, end = whole
    wanted = 10 if drawing.width > NARROW else 5
    step = next((one for one in _STEPS if (end - begin) / one <= wanted), _STEPS[-1])
    bottom, at = panel.top + panel.height, 0.0
    while at <= end - begin:
        here = x(begin + at)
        drawing.line("grid", here, bottom, here, bottom + 4)
        drawing.text("tick", here, bottom + 17, f"{at:g} s" if step < 60 else f"{at / 60:g} min", anchor="middle")
        at += step


def png(run: Run, settings: Settings) -> bytes:
    """The timeline as a picture for a pull request.

    Args:
        run: The run.
        settings: Where the colours are.
    """
    from importlib.resources import as_file, files

    import resvg_py

    release, outcome = run.target.release or run.target.commit[:9], run.verdict.outcome
    drawn = ElementTree.fromstring(timeline(run))  # noqa: S314  our own
    box = [float(part) for part in drawn.attrib["viewBox"].split()]
    drawn.set("viewBox", f"-16 -34 {box[2] + 32:g} {box[3] + 44:g}")
    drawn.set("width", f"{box[2] + 32:g}")
    drawn.set("height", f"{box[3] + 44:g}")
    head = ElementTree.SubElement(drawn, "text", {"class": f"head {outcome}", "x": "0", "y": "-8"})
    head.text = outcome.upper()
    more = ElementTree.SubElement(drawn, "text", {"class": "said", "x": f"{14 + 13 * len(outcome)}", "y": "-8"})
    more.text = f"{release} in {run.target.environment}, profile {run.plan.profile}, {run.time}"
    if run.change:
        more.text += f", {run.change.kind} meanwhile"
    style = (settings.cluster / "load" / "picture.css").read_text(encoding="utf-8")
    with as_file(files("font_source_sans_pro") / "files") as folder:
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=ElementTree.tostring(drawn, encoding="unicode"),
                style_sheet=style,
                background="#ffffff",
                zoom=_ZOOM,
                skip_system_fonts=True,  # the same picture on every machine
                font_files=[str(folder / f"SourceSansPro-{cut}.ttf") for cut in ("Regular", "Bold")],
                font_family="Source Sans Pro",
                sans_serif_family="Source Sans Pro",
            )
        )
