"""What Prometheus and Alertmanager say: clients of their HTTP API, through the instance's gateway."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3

from slipway.errors import SlipwayError
from slipway.ports import LOOPBACK

# Seconds for one answer. What is asked here costs milliseconds; whoever waits longer looks at old news.
TIMEOUT = 3.0

# What the gateway answers for somebody who does not.
_GATEWAYS = (502, 503, 504)


class NoAnswer(SlipwayError):
    """Prometheus or Alertmanager does not answer, or not with what was asked for."""


@dataclass(frozen=True)
class Sample:
    """One value of one series; never NaN or infinite."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Series:
    """The values of one series over time, oldest first: seconds since 1970 and value."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Alert:
    """One alert that fires.

    Attributes:
        labels: What it is about; `alertname` and `severity` are taken out.
        summary: What is wrong, in a sentence.
        description: What to do.
        since: When its condition became true.
        silenced: Somebody told Alertmanager to tell nobody.
    """

    name: str
    severity: str
    labels: Mapping[str, str]
    summary: str
    description: str
    since: datetime
    silenced: bool = False


class _Api:
    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        parts = urlsplit(url)
        self.url = url.rstrip("/")
        self._host, self._port, self._timeout = parts.netloc, parts.port or 80, timeout

    def request(self, path: str, parameters: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of one request.

        Raises:
            NoAnswer: Nobody answers.
        """
        # Not every resolver knows the names below .localhost. A connection of its own each time: one that is kept may
        # lead to a pod that is gone.
        address = f"http://{LOOPBACK}:{self._port}{path}{'?' + urlencode(parameters) if parameters else ''}"
        try:
            with urllib3.PoolManager(retries=False, timeout=self._timeout) as fresh:
                reply = fresh.request("GET", address, headers={"Host": self._host}, redirect=False)
                return reply.status, reply.data
        except urllib3.exceptions.HTTPError as error:
            raise NoAnswer(f"{self.url} does not answer ({type(error).__name__}). `./invoke status` looks further.") from error

    def json(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """The JSON that a path answers.

        Raises:
            NoAnswer: Nobody answers, or with something else.
        """
        status, body = self.request(path, parameters)
        try:
            answer = json.loads(body)
        except ValueError:
            raise NoAnswer(f"{self.url} answers {status}. `./invoke status` looks further.") from None
        if status != 200:
            raise NoAnswer(f"{self.url} answers {status}: {_reason(answer)}.")
        return answer


class Prometheus(_Api):
    """Questions to one Prometheus.

    Args:
        url: Where the gateway serves it; its host name is looked up by nobody, the connection goes to 127.0.0.1.
        timeout: Seconds for each answer.
    """

    def query(self, expression: str) -> Sequence[Sample]:
        """What an expression is now, a sample for each series that has a number.

        Raises:
            NoAnswer: It does not answer, or refuses the expression.
        """
        found = self._data("/api/v1/query", {"query": expression})["result"]
        samples = (Sample(item["metric"], float(item["value"][1])) for item in found)
        return [sample for sample in samples if math.isfinite(sample.value)]

    def range(self, expression: str, *, start: float, end: float, step: float) -> Sequence[Series]:
        """What an expression was from `start` to `end` (seconds since 1970), every `step` seconds; gaps are left out.

        Raises:
            NoAnswer: It does not answer, or refuses the expression.
        """
        asked = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        return _courses(self._data("/api/v1/query_range", asked)["result"])

    def samples(self, selector: str, *, start: float, end: float) -> Sequence[Series]:
        """What was scraped of some series after `start` and until `end` (seconds since 1970): nothing between is made up.

        Raises:
            NoAnswer: It does not answer, or refuses the selector.
        """
        asked = {"query": f"{selector}[{max(1, round((end - start) * 1000))}ms]", "time": f"{end:.3f}"}
        return _courses(self._data("/api/v1/query", asked)["result"])

    def began(self) -> float:
        """When its process began, in seconds since 1970.

        It is asked, not what it scraped of itself: a fresh process has looked at itself only some seconds later.

        Raises:
            NoAnswer: It does not answer.
        """
        told = self._data("/api/v1/status/runtimeinfo", None)
        try:
            return datetime.fromisoformat(told["startTime"]).timestamp()
        except (KeyError, TypeError, ValueError):
            raise NoAnswer(f"{self.url} does not tell when it began.") from None

    def alerts(self) -> Sequence[Alert]:
        """Every alert that fires now; those that only may fire soon are left out.

        Raises:
            NoAnswer: It does not answer.
        """
        return [_alert(item) for item in self._data("/api/v1/alerts", None)["alerts"] if item["state"] == "firing"]

    def link(self, expression: str, *, pages: bool) -> str:
        """Where a browser sees what an expression is.

        Args:
            expression: What to show.
            pages: Whether this Prometheus has `pages`; without them the link leads to the plain answer.
        """
        if pages:
            return f"{self.url}/query?{urlencode({'g0.expr': expression, 'g0.tab': 'graph', 'g0.range_input': '15m'})}"
        return f"{self.url}/api/v1/query?{urlencode({'query': expression})}"

    def pages(self) -> bool:
        """Whether it has pages for people; one that was built from its Go module has none.

        Raises:
            NoAnswer: It does not answer.
        """
        status = self.request("/query")[0]
        if status in _GATEWAYS:
            raise NoAnswer(f"{self.url} answers {status}. `./invoke status` looks further.")
        return status == 200

    def _data(self, path: str, parameters: Mapping[str, str] | None) -> Any:
        answer = self.json(path, parameters)
        if not isinstance(answer, dict) or "data" not in answer:
            raise NoAnswer(f"{self.url}{path} answers something that is not Prometheus's.")
        return answer["data"]


class Alertmanager(_Api):
    """Questions to one Alertmanager.

    Args:
        url: Where the gateway serves it.
        timeout: Seconds for each answer.
    """

    def silenced(self) -> Sequence[Mapping[str, str]]:
        """The labels of each alert that somebody silenced.

        Raises:
            NoAnswer: It does not answer.
        """
        found = self.json("/api/v2/alerts", {"active": "false", "inhibited": "false", "silenced": "true"})
        return [item["labels"] for item in found if item["status"]["silencedBy"]]

    def link(self, alert: str) -> str:
        """Where a browser sees an alert of that name."""
        return f"{self.url}/#/alerts?{urlencode({'filter': f'{{alertname={json.dumps(alert)}}}'})}"


def matches(alert: Alert, silenced: Collection[Mapping[str, str]]) -> bool:
    """Whether an alert is among those silenced; Alertmanager's carry labels of the whole Prometheus besides."""
    own = {**alert.labels, "alertname": alert.name, "severity": alert.severity}
    return any({name: value for name, value in own.items() if value}.items() <= labels.items() for labels in silenced)


def _courses(found: Sequence[Mapping[str, Any]]) -> Sequence[Series]:
    return [
        Series(item["metric"], tuple((float(at), float(value)) for at, value in item["values"] if math.isfinite(float(value))))
        for item in found
    ]


def _alert(item: Mapping[str, Any]) -> Alert:
    labels, notes = dict(item["labels"]), item.get("annotations") or {}
    return Alert(
        name=labels.pop("alertname", ""),
        severity=labels.pop("severity", ""),
        labels=labels,
        summary=notes.get("summary", ""),
        description=notes.get("description", ""),
        since=datetime.fromisoformat(item["activeAt"]),
    )


def _reason(answer: Any) -> str:
    return str(answer.get("error") or answer.get("message") or answer) if isinstance(answer, dict) else str(answer)
