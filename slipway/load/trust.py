"""Whether a load test's measurement can be trusted: each rule looks at one way in which such tests are known to lie.

A rule that could not look has found something: that nobody knows. Where a limit is a number, it says why it is that one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from slipway.load import balance, workers
from slipway.load.evidence import Evidence, Found, found, named, nobody, ratio
from slipway.load.model import Pod

# Share of the planned journeys that must have been started.
LEAST_STARTED = 0.99

# Arrivals are drawn: so many of their spread (the root of their number) may they lie from the plan; beyond it, another plan
# was driven. Once in two million honest tests.
_SPREADS = 5.0

Rule = Callable[[Evidence], Iterator[Found]]


def findings(evidence: Evidence) -> list[Found]:
    """What all the rules find."""
    return [one for rule in RULES for one in rule(evidence)]


def nothing_sent(seen: Evidence) -> Iterator[Found]:
    """There was something to send, and it was sent, in a phase that counts."""
    planned = sum(journey.planned for journey in seen.client.journeys)
    counted = sum(endpoint.requests for endpoint in seen.client.endpoints)
    yield found("nothing-sent", "> 0 journeys", planned, planned > 0, "no journey was due", source="client.journeys[].planned")
    what = "no request was sent in a phase that counts, so there is nothing to judge"
    yield found("nothing-sent", "> 0 requests that count", counted, counted > 0, what, source="client.endpoints[].requests")


def delivered(seen: Evidence) -> Iterator[Found]:
    """What was planned was driven: as many arrivals, all of the time, and each was started."""
    client, plan = seen.client, seen.plan
    planned, started = sum(one.planned for one in client.journeys), sum(one.started for one in client.journeys)
    share = ratio(started, planned)
    yield found(
        "delivered",
        f">= {LEAST_STARTED:g} of the planned journeys started",
        share,
        share is not None and share >= LEAST_STARTED,
        f"{started} of {planned} planned journeys were started: the load was not what the plan says",
        source="client.journeys",
        figures={"planned": planned, "started": started},
    )
    expected = plan.planned(0, plan.seconds)
    allowed = _SPREADS * math.sqrt(expected) + 1
    yield found(
        "delivered",
        f"{expected:.0f} +- {allowed:.0f} arrivals drawn",
        planned,
        abs(planned - expected) <= allowed,
        f"{planned} journeys were due, and the plan's rates make {expected:.0f} of them",
        source="client.journeys[].planned and plan.phases",
        figures={"planned": planned, "expected": round(expected, 1)},
    )
    lasted = client.ended - client.began
    yield found(
        "delivered",
        f">= {plan.seconds:g} s",
        lasted,
        lasted >= plan.seconds - 1,
        f"the test was over after {lasted:.0f} s of {plan.seconds:.0f}",
        source="client.began and client.ended",
        figures={"lasted": round(lasted, 1), "planned": plan.seconds},
    )


def prometheus(seen: Evidence) -> Iterator[Found]:
    """Prometheus saw the whole of it."""
    server, services = seen.server, sorted(seen.target.digests)
    lacking = list(server.missing)
    for what, told in {"restarts": server.restarts, "throttling": server.throttled, "saturation": server.saturated}.items():
        # What a service that answers nobody would say of itself cannot be had: it is judged for that, and not Prometheus.
        wanted = [service for service in services if not (what == "saturation" and server.down.get(service))]
        lacking += [f"{what} of {service}" for service in wanted if service not in told and not server.missing]
    yield found(
        "prometheus",
        "every query is answered",
        len(lacking) if services else None,
        not lacking,
        f"Prometheus did not see all of it: {named(lacking, 3)}" if services else "there is no service to look at",
        source="server.missing",
        figures={"missing": len(lacking)},
    )
    for service in services:
        scrapes = server.scrapes.get(service)
        yield found(
            "prometheus",
            f">= 2 scrapes of {service}",
            scrapes,
            (scrapes or 0) >= 2,
            f"Prometheus looked at {service} {scrapes or 0} times while the test ran: nothing grows between fewer than two looks",
            source=f'up{{job="services",environment="{seen.target.environment}",service="{service}"}}',
            figures={"scrapes": scrapes or 0},
        )


def digests(seen: Evidence) -> Iterator[Found]:
    """The pods under test are what Git says, before and after."""
    if not seen.target.digests:
        yield nobody("digests", "the images that Git says", "target.digests")
    wanted = {"before": seen.target.digests, "after": seen.afterwards or seen.target.digests}
    if seen.change and seen.change.failed:
        del wanted["after"]  # what a change that failed left behind is part of its failure
    for when, pods in {"before": seen.pods.before, "after": seen.pods.after}.items():
        for service, digest in sorted(wanted.get(when, {}).items()):
            yield _images(service, digest, when, [pod for pod in pods if pod.service == service])


def changed(seen: Evidence) -> Iterator[Found]:
    """What was changed meanwhile was changed under the load that counts, from its begin to its end; else nothing was."""
    if (change := seen.change) is None:
        # A pod that was restarted is the service's own fault, and has a limit; one that was replaced is somebody's change.
        before, after = ({pod.name for pod in pods} for pods in (seen.pods.before, seen.pods.after))
        # Who came and went has served meanwhile, and was there at neither look. Who was on the way out already has not come.
        passing = {one.pod for one in seen.pods.rollouts if one.time > seen.client.began} - before - after - {""}
        others = sorted((before ^ after) | passing)
        yield found(
            "changed",
            "no pod replaced meanwhile",
            len(others),
            not others,
            f"pods came or went while the test ran, which is in all figures: {named(others)}",
            source="pods.before, pods.after, pods.rollouts",
        )
        return
    if not change.failed:
        yield from _replaced(seen, change.kind)
    spans = [(seen.client.began + begin, seen.client.began + end) for begin, end in seen.plan.counted]
    begin, end = (min(one for one, _ in spans), max(one for _, one in spans)) if spans else (math.inf, -math.inf)
    took = f"the {change.kind} took {change.end - change.begin:.0f} s and"
    late = f"{took} ended {change.end - end:.0f} s after the load that counts: give it a longer one with --duration"
    if change.begin > end:
        late = f"the load that counts was over before the {change.kind} began"
    yield found(
        "changed",
        f"the {change.kind} while load that counts was on",
        round(change.end - change.begin, 1),
        begin <= change.begin <= change.end and (change.end <= end or bool(change.failed)),
        late if change.end > end else f"{took} began before the load that counts",
        source="change",
        figures={"begin": change.begin, "end": change.end},
    )


def _replaced(seen: Evidence, kind: str) -> Iterator[Found]:
    """What changes an environment replaces pods, a roll-out those of each service: else customers had nothing to notice."""
    before, after = ({(pod.service, pod.name) for pod in pods} for pods in (seen.pods.before, seen.pods.after))
    others = {service for service, _ in before ^ after}
    every = kind == "rollout"
    same = sorted(set(seen.target.digests) - others)
    yield found(
        "changed",
        f"the {kind} replaced pods of {'each' if every else 'some'} service",
        len(others),
        not same if every else bool(others),
        f"the {kind} replaced no pod of {named(same)}: nothing is proven of it",
        source="pods.before, pods.after",
    )


RULES: tuple[Rule, ...] = (
    workers.workers_lost,
    workers.generator_saturated,
    workers.late,
    nothing_sent,
    delivered,
    prometheus,
    digests,
    changed,
    balance.books,
)


def _images(service: str, digest: str, when: str, pods: list[Pod]) -> Found:
    others = sorted({pod.digest for pod in pods} - {digest})
    return found(
        "digests",
        f"{service} {when} the test: {digest[:19]}",
        " ".join(sorted({pod.digest[:19] for pod in pods})) or None,
        bool(pods) and not others,
        f"{service} ran {named([other[:19] or 'nobody knows what' for other in others])} {when} the test, and not {digest[:19]}"
        if others
        else f"no pod of {service} was there {when} the test",
        source=f"pods.{when}",
        figures={"pods": len(pods)},
    )
