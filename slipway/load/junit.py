"""A load test as JUnit XML, as machines that show test results take it: a case for every rule that was looked at."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from slipway.load import figures
from slipway.load.model import INVALID, Run

FILE = "junit.xml"

# What XML cannot hold, however it is written.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(run: Run) -> str:
    """A run's rules as test cases.

    What makes the measurement untrustworthy is an error, a broken limit a failure: an invalid run never looks like a passed
    one, for it has a case of its own that says so.
    """
    target, seconds = run.target, run.client.ended - run.client.began
    suite = ElementTree.Element("testsuite")
    verdict = run.verdict
    wrong = [one for one in verdict.checked if not one.ok]
    errors = [one for one in wrong if one.rule not in figures.LIMITS or one.seen is None]
    name = _clean(f"load {target.release or target.commit[:9]} in {target.environment}")
    whole = 0 if verdict.outcome == "pass" else 1
    invalid = whole if verdict.outcome not in ("pass", "fail") else 0
    suite.attrib.update(
        name=name,
        tests=str(len(verdict.checked) + 1),
        failures=str(len(wrong) - len(errors) + whole - invalid),
        errors=str(len(errors) + invalid),
        time=f"{seconds:.3f}",
        timestamp=run.time.removesuffix("Z"),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in {"run": run.id, "lock": target.lock, "profile": run.plan.profile, "outcome": verdict.outcome}.items():
        ElementTree.SubElement(properties, "property", name=key, value=_clean(value))
    _case(suite, "verdict", f"the verdict is {verdict.outcome}", _said(run), bad=_kind(whole, invalid), seconds=seconds)
    for one in verdict.checked:
        bad = "" if one.ok else "error" if one in errors else "failure"
        seen = "nobody knows" if one.seen is None else f"{one.seen}"
        _case(suite, one.rule, one.limit, f"asked for: {one.limit}; seen: {seen}", bad=bad)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _kind(whole: int, invalid: int) -> str:
    return "error" if invalid else "failure" if whole else ""


def _said(run: Run) -> str:
    lines = [f"{reason.rule}: {reason.said} ({reason.source})" for reason in run.verdict.reasons]
    return "\n".join(lines) or (INVALID if run.code else "")


def _case(suite: ElementTree.Element, rule: str, name: str, said: str, *, bad: str = "", seconds: float = 0.0) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=f"load.{_clean(rule)}", name=_clean(name), time=f"{seconds:.3f}")
    if bad:
        ElementTree.SubElement(case, bad, message=_clean(said.partition("\n")[0])).text = _clean(said)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
