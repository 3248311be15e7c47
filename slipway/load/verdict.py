"""The verdict on a load test: invalid when the measurement cannot be trusted, else fail, else pass; never pass by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from slipway.load import lasting, trust
from slipway.load.evidence import Evidence, Found, found, known, merged, named, ratio, within
from slipway.load.model import FAIL, INVALID, PASS, Change, Endpoint, Reason, Verdict
from slipway.load.thresholds import Threshold

_THRESHOLD, _UNANSWERED, _DOWN, _CHANGE = "threshold", "unanswered", "down", "change"

# Limits that could not be looked at and are told one by one.
_FEW = 3


def judge(evidence: Evidence) -> Verdict:
    """What a test says, with every reason for it and everything that was looked at.

    The measurement comes first: a test that cannot be trusted proves nothing, and its broken limits neither. They are told
    all the same, after what makes it invalid. Of one that can be trusted a broken limit is enough, whatever else could not be
    looked at: who answers nobody leaves other limits with nothing to look at. Only where none is broken does that count.
    """
    doubts = trust.findings(evidence)
    results = [unanswered(evidence), *down(evidence), *(threshold(evidence, limit) for limit in evidence.limits)]
    results += [driven(evidence.change)] if evidence.change else []
    if not evidence.limits:
        results.append(
            found(_THRESHOLD, "one limit at least", None, False, "there is no limit that anything could break", source="limits")
        )
    results += lasting.findings(evidence)
    unsure = [one for one in results if one.unsure]
    broken = [one for one in results if not one.check.ok and not one.unsure]
    distrusted = any(not one.check.ok for one in doubts)
    outcome = INVALID if distrusted else FAIL if broken else INVALID if unsure else PASS
    looked = [*doubts, *results]
    # What nobody looked at was not passed.
    if outcome == PASS and not all(one.check.ok for one in looked):
        outcome = INVALID
    wrong = [one.reason for one in broken if one.reason]
    # The first ones are those that decided.
    told = [*wrong, *_unseen(unsure)] if outcome == FAIL else [*_unseen(unsure), *wrong]
    reasons = [one.reason for one in doubts if one.reason] + told
    return Verdict(outcome, tuple(reasons), tuple(one.check for one in looked))


def _unseen(unsure: Sequence[Found]) -> list[Reason]:
    """Why limits that nobody could look at are no passed ones: in one sentence, when there are many."""
    reasons = [one.reason for one in unsure if one.reason]
    if len(reasons) <= _FEW:
        return reasons
    said = f"{len(reasons)} limits could not be looked at: {named([one.check.limit for one in unsure])}"
    return [Reason(_THRESHOLD, said, {"limits": len(reasons)}, " and ".join(dict.fromkeys(one.source for one in reasons)))]


def unanswered(seen: Evidence) -> Found:
    """Every customer who came was served to the end, well or badly."""
    left = sum(journey.unfinished for journey in seen.client.journeys)
    return found(
        _UNANSWERED,
        "0 journeys left without an answer",
        left,
        left == 0,
        f"{left} journeys were still waiting {seen.plan.drain:g} s after the last arrival",
        source="client.journeys[].unfinished",
        figures={"unfinished": left},
    )


def down(seen: Evidence) -> Iterator[Found]:
    """Every service answered whoever watches it; one that did not, though it was looked at, stood still or was not there."""
    for service in sorted(seen.target.digests):
        lasted = seen.server.down.get(service)
        yield found(
            _DOWN,
            f"{service} answers Prometheus",
            lasted,
            lasted == 0,
            f"{service} did not answer Prometheus for {lasted or 0:.0f} s, though it looked",
            source=f'up{{job="services",environment="{seen.target.environment}",service="{service}"}}',
            figures=known(seconds=lasted),
        )


def driven(change: Change) -> Found:
    """What was to be changed meanwhile was."""
    return found(
        _CHANGE,
        f"the {change.kind} is made",
        "failed" if change.failed else "made",
        not change.failed,
        f"the {change.kind} failed under the load: {change.failed}",
        source="change",
        figures={"began": change.begin, "ended": change.end},
    )


def threshold(seen: Evidence, limit: Threshold) -> Found:
    """Whether a limit holds."""
    look = _LOOKS[limit.measure]
    value, source = look(seen, limit)
    shown = "nobody knows" if value is None else f"{value:.4g}{' s' if limit.allowed.endswith(' s') else ''}"
    return found(
        _THRESHOLD,
        f"{limit.about} {limit.allowed}",
        value,
        value is not None and limit.holds(value),
        f"{limit.about} is {shown}, allowed is {limit.allowed}",
        source=source,
        figures={"limit": limit.limit, **({} if value is None else {"seen": value})},
    )


Look = Callable[[Evidence, Threshold], tuple[float | None, str]]


def _endpoints(seen: Evidence, limit: Threshold) -> list[Endpoint]:
    return [
        one
        for one in seen.client.endpoints
        if limit.service in ("", one.service) and (not limit.endpoint or one.name == limit.endpoint)
    ]


def _errors(seen: Evidence, limit: Threshold) -> tuple[float | None, str]:
    mine = _endpoints(seen, limit)
    share = ratio(sum(one.failures for one in mine), sum(one.requests for one in mine))
    return share, "client.endpoints[].failures of the phases that count"


def _latency(share: float) -> Look:
    def look(seen: Evidence, limit: Threshold) -> tuple[float | None, str]:
        return within(merged(_endpoints(seen, limit)), share), "client.endpoints[].histogram, from when each request was due"

    return look


def _delivered(seen: Evidence, _: Threshold) -> tuple[float | None, str]:
    journeys = seen.client.journeys
    return ratio(sum(one.ok for one in journeys), sum(one.planned for one in journeys)), "client.journeys[].ok of those planned"


def _server_errors(seen: Evidence, limit: Threshold) -> tuple[float | None, str]:
    failed, source = _points(seen, "errors of all", limit.service)
    asked, _ = _points(seen, "requests of all", limit.service)
    return (ratio(sum(failed), sum(asked)) if failed else None), source


def _server_latency(name: str) -> Look:
    def look(seen: Evidence, limit: Threshold) -> tuple[float | None, str]:
        points, source = _points(seen, name, limit.service)
        return max(points, default=None), source

    return look


def _points(seen: Evidence, name: str, service: str) -> tuple[list[float], str]:
    """The values of a course, from the first phase that counts on, and the query that gave them."""
    begin = seen.client.began + min((start for start, _ in seen.plan.counted), default=0.0)
    mine = [one for one in seen.server.series if (one.name, one.service) == (name, service)]
    values = [value for one in mine for at, value in one.points if at >= begin]
    return values, mine[0].query if mine else f"the course {name!r} of {service}, which is not there"


def _restarts(seen: Evidence, limit: Threshold) -> tuple[float | None, str]:
    told = seen.server.restarts.get(limit.service)
    had = {pod.name: pod.restarts for pod in seen.pods.before}
    counted = sum(pod.restarts - had.get(pod.name, 0) for pod in seen.pods.after if pod.service == limit.service)
    source = "kube_pod_container_status_restarts_total, or the pods' own restartCount when that is more"
    return (None if told is None else max(told, counted)), source


def _of(told: Callable[[Evidence], Mapping[str, float]], source: str) -> Look:
    def look(seen: Evidence, limit: Threshold) -> tuple[float | None, str]:
        return told(seen).get(limit.service), source

    return look


_LOOKS: Mapping[str, Look] = {
    "errors": _errors,
    "delivered": _delivered,
    "p50": _latency(0.5),
    "p95": _latency(0.95),
    "p99": _latency(0.99),
    "server errors": _server_errors,
    "server p95": _server_latency("p95 of all"),
    "server p99": _server_latency("p99 of all"),
    "restarts": _restarts,
    "throttled": _of(lambda seen: seen.server.throttled, "container_cpu_cfs_throttled_periods_total by _periods_total"),
    "saturated": _of(lambda seen: seen.server.saturated, "process_cpu_seconds_total between two scrapes of a pod, by its limit"),
}
