"""The page of a load test: one file that needs nothing from anywhere, with the verdict and its reasons first."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from slipway.load import charts, courses, figures, junit, picture, statistics
from slipway.load.answers import Comparison
from slipway.load.drawing import LEFT, NARROW, RIGHT, number_said, seconds_said
from slipway.load.evidence import merged, within
from slipway.load.model import FAIL, INVALID, PASS, Check, Run
from slipway.load.sources import sources
from slipway.load.statistics import BETTER, SAME, WORSE
from slipway.settings import Settings

FILE, PICTURE, JUNIT = "report.html", "timeline.png", "junit.xml"

_COLOURS = {PASS: "1a7f4b", FAIL: "d4303b", INVALID: "e39b1a"}


def write(settings: Settings, run: Run, folder: Path, compared: Comparison | None = None) -> Path:
    """The page, the picture and the JUnit file of a run, in its folder; the page's path."""
    (folder / JUNIT).write_text(junit.junit(run), encoding="utf-8")
    (folder / PICTURE).write_bytes(picture.png(run, settings))
    file = folder / FILE
    file.write_text(page(settings, run, compared), encoding="utf-8")
    return file


def page(settings: Settings, run: Run, compared: Comparison | None = None) -> str:
    """The page of a run.

    Args:
        settings: Where the templates are.
        run: The run.
        compared: A comparison that it was part of.
    """
    counts = merged(run.client.endpoints)
    most = max((one.maximum for one in run.client.endpoints if one.maximum is not None), default=None)
    shares = tuple(figures.upto(within(counts, share), most) for share in figures.SHARES)
    checks = sorted(run.verdict.checked, key=lambda one: one.ok)
    return _render(
        settings,
        "report.html.j2",
        _COLOURS.get(run.verdict.outcome, "8a96a3"),
        run=run,
        compared=compared,
        headline=figures.headline(run),
        figures=figures.great(run, shares),
        total=sum(one.requests for one in run.client.endpoints),
        failures=sum(one.failures for one in run.client.endpoints),
        shares=shares,
        timeline={"wide": picture.timeline(run), "narrow": picture.timeline(run, width=NARROW)},
        latencies={"wide": charts.latencies(run), "narrow": charts.latencies(run, width=NARROW)},
        seconds=_seconds(run),
        endpoints=figures.rows(run),
        limits=[one for one in checks if one.rule in figures.LIMITS],
        trust=[one for one in checks if one.rule not in figures.LIMITS],
        services=figures.services(run),
        phases=figures.phases(run),
        changed=figures.changed(run),
        sources=sources(run),
    )


def compared_page(settings: Settings, told: Comparison) -> str:
    """The page of a comparison."""
    colour = {BETTER: _COLOURS[PASS], SAME: _COLOURS[PASS], WORSE: _COLOURS[FAIL]}.get(told.answer, _COLOURS[INVALID])
    return _render(settings, "comparison.html.j2", colour, told=told)


def _seconds(run: Run) -> str:
    """What the page shows of the second that somebody points at."""
    client = run.client
    names = ("second", "phase", "p50", "p95", "p99", "planned", "ended well", "requests", "failed", "under way")
    told = [
        (
            round(one.at - client.began, 1),
            f"{one.at - client.began:.0f}",
            one.phase,
            *(None if value is None else seconds_said(value) for value in (one.p50, one.p95, one.p99)),
            *(one.planned, one.ok, one.requests, one.failures, one.in_flight),
        )
        for one in courses.thinned(client.seconds)
    ]
    length = max(client.ended - client.began, 1)
    made = json.dumps({"left": LEFT, "right": RIGHT, "begin": 0, "end": length, "names": names, "rows": told})
    # It stands in the page: no text may end the element that holds it.
    return made.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _render(settings: Settings, template: str, colour: str, **given: Any) -> str:
    folder = settings.cluster / "load"
    style, script = ((folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    drawn = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='#{colour}'/></svg>"
    allowed = f"style-src {_hash(style)}; script-src {_hash(script)}"
    return (
        _environment(folder)
        .get_template(template)
        .render(
            **given,
            shown=statistics.shown,
            dots=charts.runs,
            style=style,
            script=script,
            favicon=f"data:image/svg+xml,{quote(drawn)}",
            policy=f"default-src 'none'; {allowed}; img-src data:; base-uri 'none'; form-action 'none'",
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment(folder: Path) -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters.update(latency=seconds_said, share=_share, figure=_figure, seen=_seen)
    return made


def _share(value: float | None) -> str:
    return "nobody knows" if value is None else number_said(value)


def _seen(check: Check) -> str:
    """What was seen, in the unit of what is allowed."""
    seconds = check.seen is not None and re.search(r"[0-9] s\b", check.limit)
    return f"{_figure(check.seen)}{' s' if seconds else ''}"


def _figure(value: float | int | str | None) -> str:
    if value is None:
        return "nobody knows"
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"
