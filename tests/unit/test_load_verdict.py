"""The verdict on load tests: one thing changed in a test that passed, and it is what it should be, by the rule that says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.load import balance, trust, verdict
from slipway.load.evidence import Evidence, found, merged, within
from slipway.load.model import FAIL, INVALID, PASS, Change, Pod, Rollout, Series, Verdict
from slipway.load.thresholds import Threshold
from tests.unit import loads
from tests.unit.loads import CLIENT, GOOD, SERVER, SERVICES, changed, endpoint, pods

NONE: Any = None
NAN = float("nan")


def judged(evidence: Evidence) -> Verdict:
    return verdict.judge(evidence)


def workers(**fields: Any) -> Evidence:
    first, second = CLIENT.workers
    return changed("client", workers=(first, replace(second, **fields)))


def journey(**fields: Any) -> Evidence:
    """Browsers who fared otherwise; the seconds agree with it."""
    browse, checkout = CLIENT.journeys
    other = replace(browse, **fields)
    last = CLIENT.seconds[-1]
    # Each journey that is left is one that a worker had to end.
    one, two = CLIENT.workers
    ended = (replace(one, unfinished=other.unfinished - browse.unfinished), two)
    differs = {name: getattr(other, name) - getattr(browse, name) for name in ("planned", "started", "ok", "failed")}
    seconds = (*CLIENT.seconds[:-1], replace(last, **{name: getattr(last, name) + by for name, by in differs.items()}))
    return changed("client", journeys=(other, checkout), seconds=seconds, workers=ended)


def lost_journey() -> Evidence:
    """A customer who began, and of whom nothing was heard again."""
    seen = journey(ok=299, unfinished=1)
    return replace(seen, client=replace(seen.client, workers=CLIENT.workers))


def front(**fields: Any) -> Evidence:
    first, *rest = CLIENT.endpoints
    return changed("client", endpoints=(replace(first, **fields), *rest))


def course(name: str, value: float, service: str = "cart") -> Evidence:
    points = tuple((loads.BEGAN + at, value) for at in range(0, 60, 5))
    series = [replace(one, points=points) if (one.name, one.service) == (name, service) else one for one in SERVER.series]
    return changed("server", series=tuple(series))


def without(name: str, service: str = "cart") -> Evidence:
    series = tuple(one for one in SERVER.series if (one.name, one.service) != (name, service))
    return changed("server", series=series)


def server(part: str, **by_service: Any) -> Evidence:
    told = {**getattr(SERVER, part), **by_service}
    return changed("server", **{part: {name: value for name, value in told.items() if value is not None}})


def ran(when: str, *more: Pod, lacking: str = "") -> Evidence:
    mine = tuple(pod for pod in pods() if pod.service != lacking)
    return replace(GOOD, pods=replace(GOOD.pods, **{when: (*mine, *more)}))


def replaced(change: Change, *, but: str = "") -> Evidence:
    after = tuple(pod if pod.service == but else replace(pod, name=f"{pod.name}-new") for pod in pods())
    return replace(GOOD, pods=replace(GOOD.pods, after=after), change=change)


OTHER = Pod("cart", "cart-3", "sha256:" + "9" * 64, 0, "2027-01-15T07:00:00Z")

# What makes a measurement worthless: the rule, and what was changed.
# The load that counts is on from ten to fifty seconds after the begin.
IN_TIME = Change("rollout", loads.BEGAN + 10, loads.BEGAN + 30)
NEW = tuple(replace(pod, name=f"{pod.name}-new") for pod in pods())
PROMOTED = replace(IN_TIME, kind="promotion")
FAILED = replace(IN_TIME, failed="cart never came up")

DISTRUST: list[tuple[str, str, Evidence]] = [
    ("pods were replaced", "changed", changed("pods", after=tuple(replace(pod, name=f"{pod.name}-new") for pod in pods()))),
    (
        "a pod came and went meanwhile",
        "changed",
        changed("pods", rollouts=(Rollout(loads.BEGAN + 20, "cart", "cart-9 came, and was gone after 12 s", "cart-9"),)),
    ),
    ("a change outlasted the load", "changed", replaced(replace(IN_TIME, end=loads.BEGAN + 1000))),
    ("a change began in the warm-up", "changed", replaced(replace(IN_TIME, begin=loads.BEGAN + 1))),
    ("the load was over before its change began", "changed", replaced(replace(IN_TIME, begin=loads.BEGAN + 60))),
    ("a roll-out replaced nothing", "changed", changed(change=IN_TIME)),
    ("a roll-out left a service as it was", "changed", replaced(IN_TIME, but="orders")),
    ("a promotion replaced nothing", "changed", changed(change=PROMOTED)),
    ("a worker was lost", "workers-lost", workers(lost=True)),
    ("a worker never came", "workers-lost", changed("client", workers=CLIENT.workers[:1])),
    ("one worker more than there should be", "workers-lost", changed("client", expected_workers=1)),
    ("no worker was expected", "workers-lost", changed("client", expected_workers=0, workers=())),
    ("the master failed", "workers-lost", changed("client", exit_codes={**CLIENT.exit_codes, "master": 3})),
    ("a worker was killed", "workers-lost", changed("client", exit_codes={**CLIENT.exit_codes, "worker-1": -9})),
    ("nobody knows how a worker ended", "workers-lost", changed("client", exit_codes={"master": 0, "worker-1": 0})),
    ("nobody knows how the processes ended", "workers-lost", changed("client", exit_codes={})),
    ("a worker was busy with itself", "generator-saturated", workers(cpu_p95=0.81)),
    ("nobody measured a worker's cpu", "generator-saturated", workers(cpu_p95=NONE)),
    ("a worker's cpu is no number", "generator-saturated", workers(cpu_p95=NAN)),
    ("journeys were started late", "late", workers(late_p99=0.11)),
    ("nobody measured how late journeys were", "late", workers(late_p99=NONE)),
    ("half of the journeys were started a little late", "late", workers(late_p50=0.034)),
    ("nobody measured how late half of the journeys were", "late", workers(late_p50=NONE)),
    ("nothing was due", "nothing-sent", changed("client", journeys=(), seconds=())),
    ("nothing was sent in a phase that counts", "nothing-sent", changed("client", endpoints=())),
    (
        "nothing was sent in a phase that counts, and no limit would notice",
        "nothing-sent",
        replace(changed("client", endpoints=()), limits=(Threshold("", "", "delivered", 0.99),)),
    ),
    ("less was started than planned", "delivered", journey(started=295, ok=295)),
    ("another plan was driven", "delivered", journey(planned=700, started=700, ok=700)),
    ("half of the plan was driven", "delivered", journey(planned=100, started=100, ok=100)),
    ("the test was cut short", "delivered", changed("client", ended=loads.BEGAN + 40)),
    ("a query was not answered", "prometheus", changed("server", missing=("p99 of cart: nothing answers it",))),
    ("Prometheus saw nothing of a service", "prometheus", server("scrapes", cart=0)),
    ("Prometheus looked once", "prometheus", server("scrapes", cart=1)),
    ("nobody knows the scrapes of a service", "prometheus", server("scrapes", cart=None)),
    ("nobody knows the restarts of a service", "prometheus", server("restarts", cart=None)),
    ("nobody knows whether a service was throttled", "prometheus", server("throttled", cart=None)),
    ("nobody knows how busy a service was", "prometheus", server("saturated", cart=None)),
    ("no service was named", "prometheus", changed("target", digests={})),
    ("nobody knows what should run", "digests", changed("target", digests={})),
    ("a pod ran another image before", "digests", ran("before", OTHER)),
    ("a pod ran another image after", "digests", ran("after", OTHER)),
    ("a pod's image is not known", "digests", ran("before", replace(OTHER, digest=""))),
    ("a service had no pod before", "digests", ran("before", lacking="cart")),
    ("a service had no pod after", "digests", ran("after", lacking="cart")),
    ("a change ended elsewhere", "digests", replace(GOOD, afterwards={"cart": "sha256:" + "8" * 64})),
    ("a journey is neither ok nor failed", "books", journey(ok=299)),
    ("a journey ended twice", "books", journey(failed=1)),
    ("more were started than came", "books", journey(planned=299)),
    ("a journey is nowhere when the test is over", "books", workers(unfinished=1)),
    ("a journey is lost, and nobody had to end it", "books", lost_journey()),
    ("nobody knows whom a worker had to end", "books", workers(unfinished=NONE)),
    ("the seconds lack a journey", "books", changed("client", seconds=CLIENT.seconds[1:])),
    ("a sampled request is in no log", "books", changed("books", found=1)),
    ("nobody could read the logs", "books", changed("books", found=NONE)),
    ("nothing was sampled though there were answers", "books", changed("books", sampled=0, found=0)),
    ("an accepted order is lost", "books", changed("books", order_rows=99)),
    ("an order is there twice", "books", changed("books", order_rows=101)),
    ("nobody could count the orders", "books", changed("books", order_rows=NONE)),
    ("somebody else answered", "books", changed("books", requests_served=1200.0)),
    ("somebody else asked", "books", changed("books", requests_served=1240.0)),
    ("nobody counted the requests served", "books", changed("books", requests_served=NONE)),
    ("the requests served are no number", "books", changed("books", requests_served=NAN)),
    ("a limit's endpoint was never asked", "threshold", changed(limits=(Threshold("cart", "PUT /carts", "p95", 1.0),))),
    ("a limit's service was never asked", "threshold", changed(limits=(Threshold("catalog", "", "errors", 1.0),))),
    ("a limit's course is not there", "threshold", without("p99 of all")),
    ("the requests of a limit's ratio are not there", "threshold", without("requests of all")),
    ("the errors of a limit's ratio are not there", "threshold", without("errors of all")),
    ("nobody knows whether a service answered Prometheus", "down", server("down", cart=None)),
    ("there is no limit", "threshold", changed(limits=())),
]

# What breaks a limit while the measurement is good.
BROKEN: list[tuple[str, str, Evidence]] = [
    ("requests failed", "storefront errors", front(failures=5)),
    ("too many requests failed in all", "errors", front(failures=1)),
    ("half of the answers took long", "storefront p50", front(histogram=((0.05, 10), (0.11, 190)))),
    ("a twentieth of the answers took long", "storefront p95", front(histogram=((0.01, 80), (0.25, 20)))),
    ("a hundredth of the answers took long", "storefront p99", front(histogram=((0.01, 97), (0.35, 3)))),
    (
        "an order took long",
        "storefront POST /api/orders p95",
        changed(
            "client",
            endpoints=(*CLIENT.endpoints[:1], replace(CLIENT.endpoints[1], histogram=((0.16, 100),)), *CLIENT.endpoints[2:]),
        ),
    ),
    ("customers did not get all that they came for", "delivered", journey(ok=290, failed=10)),
    ("journeys were never answered", "1 journeys were still waiting 15 s after the last arrival", journey(ok=299, unfinished=1)),
    ("the services counted errors", "cart server errors", course("errors of all", 5.0)),
    ("a service answered nobody who watches it", "cart did not answer Prometheus for 20 s", server("down", cart=20.0)),
    ("a change failed", "the rollout failed under the load: cart never came up", changed(change=FAILED)),
    ("the services were slow by their own account", "cart server p99", course("p99 of all", 0.31)),
    ("one in twenty was slow by the services' account", "cart server p95", course("p95 of all", 0.21)),
    ("a container was restarted, Prometheus says", "cart restarts", server("restarts", cart=1)),
    ("a container had to wait for its limit", "cart throttled", server("throttled", cart=0.06)),
    ("a pod used all that it may", "cart saturated", server("saturated", cart=0.91)),
]


def test_a_good_test_passes_and_says_what_was_looked_at() -> None:
    made = judged(GOOD)
    assert (made.outcome, made.reasons) == (PASS, ())
    assert all(check.ok and check.seen is not None for check in made.checked)
    assert {check.rule for check in made.checked} == {
        *(rule.__name__.replace("_", "-") for rule in trust.RULES),
        "unanswered",
        "down",
        "threshold",
    }
    assert len([check for check in made.checked if check.rule == "threshold"]) == len(GOOD.limits)


BUSY_PART = (CLIENT.endpoints[0], CLIENT.endpoints[1])


def test_a_build_that_breaks_everything_fails_though_others_were_asked_nothing() -> None:
    """The storefront refuses everybody, so nobody comes to ask cart and orders: what nobody could look at is told after it."""
    ends = tuple(replace(one, failures=one.requests, errors={"status 500": one.requests}) for one in BUSY_PART)
    made = judged(
        replace(
            journey(ok=0, failed=300),
            client=replace(journey(ok=0, failed=300).client, endpoints=ends),
            server=without("requests of all").server,
        )
    )
    assert (made.outcome, made.reasons[0].said) == (FAIL, "errors is 1, allowed is <= 0.001")
    assert "could not be looked at" in made.reasons[-1].said
    assert judged(replace(GOOD, client=replace(CLIENT, endpoints=BUSY_PART))).outcome == INVALID


def test_a_service_that_answers_nobody_owes_prometheus_nothing() -> None:
    quiet = {name: value for name, value in SERVER.saturated.items() if name != "cart"}
    assert judged(changed("server", down={**SERVER.down, "cart": 30.0}, saturated=quiet)).outcome == FAIL
    assert judged(changed("server", saturated=quiet)).outcome == INVALID


def test_a_change_that_failed_fails_the_test_whatever_it_left_behind_and_however_long_it_took() -> None:
    after = tuple(replace(pod, digest="sha256:" + "7" * 64) for pod in pods())
    seen = replace(GOOD, pods=replace(GOOD.pods, after=after), change=replace(FAILED, end=loads.BEGAN + 300))
    assert judged(seen).outcome == FAIL
    assert judged(replace(seen, change=replace(FAILED, begin=loads.BEGAN + 1))).outcome == INVALID
    assert judged(replace(seen, change=replace(IN_TIME, end=loads.BEGAN + 40))).outcome == INVALID
    assert judged(changed(change=FAILED)).outcome == FAIL  # it may have replaced nothing


def test_a_generator_on_the_host_ends_as_one_process() -> None:
    local = changed("target", local=True)
    assert judged(replace(local, client=replace(CLIENT, exit_codes={"load": 0}))).outcome == PASS
    assert judged(changed("client", exit_codes={"load": 0})).outcome == INVALID


def test_a_change_under_the_load_that_counts_is_no_trouble() -> None:
    assert judged(replaced(IN_TIME)).outcome == PASS
    # A release may bring one service alone.
    alone = tuple(pod if pod.service == "cart" else had for pod, had in zip(NEW, pods(), strict=True))
    promoted = replace(GOOD, pods=replace(GOOD.pods, after=alone), change=PROMOTED)
    assert judged(promoted).outcome == PASS


@pytest.mark.parametrize(("rule", "seen"), [pytest.param(rule, seen, id=what) for what, rule, seen in DISTRUST])
def test_a_measurement_that_cannot_be_trusted_is_invalid_and_says_why(rule: str, seen: Evidence) -> None:
    made = judged(seen)
    assert made.outcome == INVALID
    assert made.reasons[0].rule == rule or rule in {reason.rule for reason in made.reasons}
    for reason in made.reasons:
        assert reason.said
        assert reason.source
        assert "None" not in reason.said


@pytest.mark.parametrize(("about", "seen"), [pytest.param(about, seen, id=what) for what, about, seen in BROKEN])
def test_a_broken_limit_fails_when_the_measurement_is_good(about: str, seen: Evidence) -> None:
    made = judged(seen)
    assert made.outcome == FAIL, made.reasons
    assert [reason for reason in made.reasons if about in reason.said], made.reasons


@pytest.mark.parametrize("rule", trust.RULES, ids=lambda rule: rule.__name__)
def test_a_rule_that_is_gone_is_missed(rule: trust.Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    name = rule.__name__.replace("_", "-")
    monkeypatch.setattr(trust, "RULES", tuple(other for other in trust.RULES if other is not rule))
    blind = [what for what, by, seen in DISTRUST if by == name and judged(seen).outcome != INVALID]
    assert blind, f"nothing notices that {name} is gone"


@pytest.mark.parametrize("function", ["_journeys", "_ids", "_requests"])
def test_a_book_that_nobody_closes_is_missed(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, function, lambda _: ())
    assert [what for what, by, seen in DISTRUST if by == "books" and judged(seen).outcome == PASS]


def test_a_limit_that_nobody_looks_at_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    for measure in {limit.measure for limit in GOOD.limits}:
        rest = tuple(limit for limit in GOOD.limits if limit.measure != measure)
        assert [what for what, _, seen in BROKEN if judged(replace(seen, limits=rest)).outcome == PASS], measure


def test_what_cannot_be_trusted_is_no_failure_and_its_broken_limits_are_told_after_it() -> None:
    slow = front(histogram=((0.01, 80), (0.4, 20)))
    made = judged(replace(slow, client=replace(slow.client, exit_codes={"master": 3})))
    assert made.outcome == INVALID
    assert [reason.rule for reason in made.reasons] == ["workers-lost", "threshold", "threshold"]


def test_limits_that_nobody_could_look_at_are_told_in_one_sentence_when_there_are_many() -> None:
    made = judged(changed("client", endpoints=()))
    [unseen] = [reason for reason in made.reasons if reason.rule == "threshold"]
    assert unseen.said.startswith("14 limits could not be looked at: errors <= 0.001, cart errors <= 0.01, cart p50 <= 0.1 s")
    assert unseen.figures == {"limits": 14}
    assert len([check for check in made.checked if check.rule == "threshold" and check.seen is None]) == 14


def test_services_that_refuse_everybody_fail_and_do_not_pass() -> None:
    """Nothing was answered, so no request is in a log, no order in the database, and nothing was served."""
    ends = [replace(one, failures=one.requests, errors={"refused": one.requests}) for one in CLIENT.endpoints]
    made = judged(
        replace(
            journey(ok=0, failed=300),
            client=replace(
                journey(ok=0, failed=300).client,
                endpoints=tuple(ends),
                answered=dict.fromkeys(SERVICES, 0),
                sampled=(),
                orders_accepted=0,
                orders_unsure=100,
            ),
            books=replace(GOOD.books, sampled=0, found=0, orders_accepted=0, order_rows=0, requests_served=0.0),
        )
    )
    assert made.outcome == FAIL
    assert "storefront errors is 1, allowed is <= 0.01" in [reason.said for reason in made.reasons]


def test_an_order_that_nobody_is_sure_of_may_be_there_or_not() -> None:
    for rows, outcome in ((100, PASS), (102, PASS), (99, INVALID), (103, INVALID)):
        seen = changed("client", orders_unsure=2)
        assert judged(replace(seen, books=replace(seen.books, order_rows=rows))).outcome == outcome


def test_a_pod_that_ended_may_have_counted_what_nobody_scraped() -> None:
    left = tuple(pod for pod in pods() if pod.name != "cart-1")
    seen = replace(GOOD, pods=replace(GOOD.pods, after=left), books=replace(GOOD.books, requests_served=1185.0), change=PROMOTED)
    assert judged(seen).outcome == PASS
    assert {"books"} < {reason.rule for reason in judged(replace(seen, pods=GOOD.pods)).reasons}
    first, *rest = pods()
    again = replace(GOOD.pods, after=(replace(first, restarts=1), *rest))
    assert judged(replace(seen, pods=again, change=None)).outcome == FAIL, "the restart is its failure, and the books balance"
    silent = replace(SERVER, down={**SERVER.down, "cart": 30.0})
    assert judged(replace(seen, pods=GOOD.pods, change=None, server=silent)).outcome == FAIL, "what it counted nobody was told"
    assert judged(replace(seen, books=replace(GOOD.books, requests_served=1300.0))).outcome == INVALID


def test_a_change_that_was_driven_ends_with_other_images_and_not_with_any() -> None:
    new = {service: digest.replace("a", "7") for service, digest in loads.DIGESTS.items()}
    after = tuple(replace(pod, digest=new[pod.service]) for pod in pods())
    seen = replace(GOOD, pods=replace(GOOD.pods, after=after), afterwards=new)
    assert judged(seen).outcome == PASS
    assert judged(replace(seen, afterwards={})).outcome == INVALID


def test_a_restart_that_prometheus_was_too_slow_for_is_seen_in_the_pods() -> None:
    first, *rest = pods()
    made = judged(replace(GOOD, pods=replace(GOOD.pods, after=(replace(first, restarts=1), *rest))))
    assert (made.outcome, [reason.figures["seen"] for reason in made.reasons]) == (FAIL, [1.0])


def test_latency_of_a_service_is_that_of_all_its_requests_together() -> None:
    """Two endpoints, each with a percentile of its own: theirs together is not the mean of the two."""
    fast, slow = endpoint("cart", "GET /a", histogram=((0.01, 900),)), endpoint("cart", "GET /b", histogram=((1.0, 100),))
    assert within(merged([fast, slow]), 0.9) == 0.01
    assert within(merged([fast, slow]), 0.901) == 1.0
    assert within({}, 0.5) is None


def test_courses_count_from_the_first_phase_that_counts_on() -> None:
    points = tuple((loads.BEGAN + at, 5.0 if at < 10 else 0.02) for at in range(0, 60, 5))
    series = [replace(one, points=points) if (one.name, one.service) == ("p99 of all", "cart") else one for one in SERVER.series]
    assert judged(changed("server", series=tuple(series))).outcome == PASS


def test_what_is_no_number_is_never_all_right() -> None:
    for seen in (None, float("nan"), float("inf")):
        one = found("rule", "limit", seen, True, "it is not", source="somewhere")
        assert (one.check.ok, one.check.seen, one.unsure, one.reason is not None) == (False, None, True, True)


# --- whatever is seen, it passes only when everything was looked at and nothing is wrong

NUMBERS = st.one_of(st.none(), st.just(NAN), st.floats(-1, 3), st.integers(-1, 400))


@st.composite
def vandalised(draw: st.DrawFn) -> Evidence:
    """The good one with any number of its figures replaced by anything that such a figure could be."""
    made = GOOD
    for part in draw(st.sets(st.sampled_from(["books", "worker", "journey", "series", "server"]), min_size=1)):
        value = draw(NUMBERS)
        if part == "books":
            field = draw(st.sampled_from(["found", "order_rows", "requests_served"]))
            made = replace(made, books=replace(made.books, **{field: value}))
        elif part == "worker":
            field = draw(st.sampled_from(["cpu_p95", "late_p99", "late_p50"]))
            first, second = made.client.workers
            made = replace(made, client=replace(made.client, workers=(first, replace(second, **{field: value}))))
        elif part == "journey":
            field = draw(st.sampled_from(["planned", "started", "ok", "failed", "unfinished"]))
            first, second = made.client.journeys
            whole = draw(st.integers(0, 600))
            made = replace(made, client=replace(made.client, journeys=(replace(first, **{field: whole}), second)))
        elif part == "series":
            index = draw(st.integers(0, len(SERVER.series) - 1))
            points = () if value is None else ((loads.BEGAN + 20, float(value)),)
            series = list(made.server.series)
            series[index] = replace(series[index], points=points)
            made = replace(made, server=replace(made.server, series=tuple(series)))
        else:
            field = draw(st.sampled_from(["scrapes", "restarts", "throttled", "saturated"]))
            told = {**getattr(made.server, field), "cart": value}
            told = {name: number for name, number in told.items() if number is not None}
            made = replace(made, server=replace(made.server, **{field: told}))
    return made


@settings(deadline=None)
@given(vandalised())
def test_nothing_passes_that_was_not_looked_at_or_is_not_all_right(seen: Evidence) -> None:
    made = judged(seen)
    assert made.outcome in (PASS, FAIL, INVALID)
    assert (made.outcome == PASS) == all(check.ok for check in made.checked)
    assert (made.outcome == PASS) == (not made.reasons)
    if made.outcome == PASS:
        assert all(check.seen is not None for check in made.checked)


def test_every_field_of_the_evidence_turns_some_verdict() -> None:
    tried: Callable[[Evidence, str], bool] = lambda seen, name: getattr(seen, name) != getattr(GOOD, name)  # noqa: E731
    for field in dataclasses.fields(Evidence):
        if field.name != "plan":
            assert any(tried(seen, field.name) for _, _, seen in (*DISTRUST, *BROKEN)), field.name
    assert isinstance(SERVER.series[0], Series)
