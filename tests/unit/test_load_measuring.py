"""What Prometheus saw of a load test: sums of what was scraped, and every hole in it told as missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from slipway.load import counters, measuring, pods
from slipway.load.measuring import Asked
from slipway.load.model import Pod, Server
from slipway.ports import free_port
from slipway.prometheus import Prometheus, Series
from tests.unit.fakes import FakeClock
from tests.unit.scraped import BEGAN, ENDED, GAP, SERVICES, Scraped, scraped, steady, ticks

ASKED = Asked("stage", SERVICES, frozenset(SERVICES), BEGAN, ENDED, ENDED + 7, dict.fromkeys(SERVICES))


@pytest.fixture
def there() -> Iterator[tuple[Scraped, Prometheus]]:
    with scraped() as found:
        yield found


@pytest.fixture
def server(there: tuple[Scraped, Prometheus]) -> Scraped:
    return there[0]


@pytest.fixture
def source(there: tuple[Scraped, Prometheus]) -> Prometheus:
    return there[1]


def measured(source: Prometheus, **more: Any) -> Server:
    return measuring.measure(source, replace(ASKED, **more))


def test_a_prometheus_that_saw_everything_lacks_nothing(source: Prometheus) -> None:
    seen = measured(source)
    assert seen.missing == ()
    assert (seen.restarts, seen.throttled) == (dict.fromkeys(SERVICES, 0), dict.fromkeys(SERVICES, 0.0))
    assert seen.saturated == pytest.approx(dict.fromkeys(SERVICES, 0.25))
    assert set(seen.scrapes.values()) == {2 * 14}, "two pods, every five seconds from the begin to the last look"
    assert {one.name for one in seen.series} == {
        "requests",
        "errors",
        "p50",
        "p95",
        "p99",
        "p95 of all",
        "p99 of all",
        "requests of all",
        "errors of all",
        "in flight",
        "cpu",
        "memory",
        "memory growth",
        "restarts",
    }
    assert {one.service for one in seen.series} == set(SERVICES)


def test_every_course_tells_the_query_that_gave_it_word_for_word(server: Scraped, source: Prometheus) -> None:
    for one in measured(source).series:
        # Of a sum that is the selector of its counters, whose samples were asked for over a time.
        assert one.query in server.asked or [asked for asked in server.asked if asked.startswith(f"{one.query}[")]
        assert one.points


def test_what_is_judged_is_taken_of_all_requests_since_the_first_phase_that_counts(source: Prometheus) -> None:
    [cart] = [one for one in measured(source, since=BEGAN + 10).series if (one.name, one.service) == ("p99 of all", "cart")]
    assert "[57s]" in cart.query
    assert {at for at, _ in cart.points} == {ASKED.until}
    [whole] = [one for one in measured(source).series if (one.name, one.service) == ("p99 of all", "cart")]
    assert "[67s]" in whole.query


def of_all(source: Prometheus, name: str, service: str = "cart", **more: Any) -> float:
    [one] = [one for one in measured(source, **more).series if (one.name, one.service) == (f"{name} of all", service)]
    [(_, value)] = one.points
    return value


def test_percentiles_are_those_of_the_phases_that_count_and_the_scrape_after_them(source: Prometheus) -> None:
    [cart] = [
        one
        for one in measured(source, since=BEGAN + 10, judged=BEGAN + 40).series
        if (one.name, one.service) == ("p99 of all", "cart")
    ]
    assert "[35s]" in cart.query
    assert {at for at, _ in cart.points} == {BEGAN + 40 + GAP}
    [late] = [one for one in measured(source, judged=ENDED + 99).series if (one.name, one.service) == ("p99 of all", "cart")]
    assert {at for at, _ in late.points} == {ASKED.until}, "nobody looks further than what was scraped"


def test_the_errors_of_a_burst_count_that_began_with_the_first_one(server: Scraped, source: Prometheus) -> None:
    """Two pods that serve four a second all the while; one of them fails nine requests, all before it is scraped again."""
    assert (of_all(source, "requests"), of_all(source, "errors")) == (480, 0)
    burst = ({"service": "cart", "pod": "cart-1", "status": "503"}, [(at, 9.0) for at in ticks(BEGAN + 30)])
    server.raw["http_requests_total"].append(burst)
    assert (of_all(source, "requests"), of_all(source, "errors")) == (489, 9)


def test_errors_after_the_last_phase_that_counts_are_not_judged(server: Scraped, source: Prometheus) -> None:
    late = ({"service": "cart", "pod": "cart-1", "status": "503"}, [(at, 9.0) for at in ticks(BEGAN + 50)])
    server.raw["http_requests_total"].append(late)
    assert of_all(source, "errors", judged=BEGAN + 40) == 0
    assert of_all(source, "errors", judged=BEGAN + 45) == 9
    assert of_all(source, "requests", since=BEGAN + 20, judged=BEGAN + 35) == 2 * 4 * 20


def test_requests_that_nobody_counted_are_missing_of_whom_some_were_sent_to(server: Scraped, source: Prometheus) -> None:
    served = server.raw["http_requests_total"]
    server.raw["http_requests_total"] = [(labels, points) for labels, points in served if labels["service"] != "cart"]
    assert [text for text in measured(source).missing if text.startswith("requests of all of cart: nothing answers ")]
    assert measured(source, busy=frozenset({"orders"})).missing == ()
    server.refuses = {"5.."}
    assert [text for text in measured(source).missing if text.startswith("requests of all: ")]


def test_a_rate_is_taken_over_two_scrapes_at_least() -> None:
    assert "[11s]" in measuring.queries("stage", 11, 50)[0].text
    assert counters.gap([Series({}, tuple((at, 1.0) for at in ticks()))]) == GAP


def test_the_services_own_questions_are_about_their_environment_and_no_probe() -> None:
    for query in measuring.queries("stage", 11, 50):
        assert '="stage"' in query.text
    assert '/healthz|/readyz|/metrics"' in measuring.requests("stage")


@pytest.mark.parametrize("what", ["requests", "p95", "cpu", "memory"])
def test_a_service_of_which_a_query_says_nothing_is_missing_by_name(server: Scraped, source: Prometheus, what: str) -> None:
    server.silent = {"cart"}
    missing = measured(source).missing
    assert [text for text in missing if text.startswith(f"{what} of cart: nothing answers ")]
    assert not [text for text in missing if "storefront" in text.partition(":")[0]]


def test_only_what_was_sent_something_must_have_rates_and_latencies(server: Scraped, source: Prometheus) -> None:
    server.silent = {"cart"}
    missing = measured(source, busy=frozenset({"orders", "storefront"})).missing
    assert {text.partition(" of ")[0] for text in missing} == {"in flight", "cpu", "memory", "memory growth", "restarts"}


@pytest.mark.parametrize("name", ["http_request_duration_seconds_bucket", "kube_pod_container_status_restarts_total"])
def test_a_metric_that_prometheus_refuses_or_does_not_know_is_missing(server: Scraped, source: Prometheus, name: str) -> None:
    server.refuses = {name}
    assert [text for text in measured(source).missing if "answers 422: no" in text]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("up", "up of cart: nothing was scraped"),
        ("process_cpu_seconds_total", "cpu of cart: nothing answers"),
        ("kube_pod_container_status_restarts_total", "restarts of cart: nothing answers"),
    ],
)
def test_a_metric_that_nobody_scraped_is_missing(server: Scraped, source: Prometheus, name: str, words: str) -> None:
    server.raw[name] = []
    assert [text for text in measured(source).missing if words in text]


def test_a_prometheus_that_is_away_saw_nothing() -> None:
    seen = measuring.measure(Prometheus(f"http://prometheus.localhost:{free_port(19090)}"), ASKED)
    assert seen.scrapes == dict.fromkeys(SERVICES, 0)
    [why] = seen.missing
    assert "does not answer" in why
    assert (seen.series, seen.restarts) == ((), {})


# --- holes


def cut(server: Scraped, begin: float, end: float, *, service: str = "") -> None:
    """Take away what was scraped between two moments."""
    for courses in server.raw.values():
        for index, (labels, points) in enumerate(courses):
            if not service or labels.get("service") == service:
                courses[index] = (labels, [point for point in points if not begin < point[0] < end])


@pytest.mark.parametrize(
    ("begin", "end"),
    [(BEGAN + 20, BEGAN + 40), (BEGAN - 60, BEGAN + 20), (ENDED - 20, ENDED + 20), (BEGAN - 99, ENDED + 99)],
    ids=["amid the test", "from before the begin", "to after the end", "all of it"],
)
def test_a_hole_that_is_longer_than_a_missed_look_is_told(server: Scraped, source: Prometheus, begin: float, end: float) -> None:
    cut(server, begin, end)
    assert len([text for text in measured(source).missing if "nothing was scraped for" in text]) == len(SERVICES)


def test_one_missed_look_is_none(server: Scraped, source: Prometheus) -> None:
    cut(server, BEGAN + 20, BEGAN + 30)
    assert measured(source).missing == ()


def silenced(server: Scraped, begin: float, end: float) -> None:
    """Let both pods of a service answer nobody between two moments."""
    server.raw["up"] = [
        (labels, [(at, 0.0 if labels["service"] == "cart" and begin < at < end else 1.0) for at, _ in points])
        for labels, points in server.raw["up"]
    ]


def test_a_service_that_does_not_answer_whoever_looks_is_down_and_no_hole(server: Scraped, source: Prometheus) -> None:
    assert measured(source).down == dict.fromkeys(SERVICES, 0.0)
    silenced(server, BEGAN + 20, BEGAN + 45)
    seen = measured(source)
    assert (seen.missing, seen.down) == ((), {"cart": 25.0, "orders": 0.0, "storefront": 0.0})
    silenced(server, BEGAN + 50, BEGAN + 60)
    assert measured(source).down["cart"] == 0.0, "one look that was not answered is none"


def test_what_a_service_that_is_down_would_say_of_itself_is_not_missing(server: Scraped, source: Prometheus) -> None:
    silenced(server, BEGAN - 99, ENDED + 99)
    server.silent = {"cart"}
    for name in ("process_cpu_seconds_total", "http_requests_total"):
        server.raw[name] = [(labels, points) for labels, points in server.raw[name] if labels["service"] != "cart"]
    seen = measured(source)
    assert seen.down["cart"] == ASKED.until - BEGAN
    assert [text.partition(":")[0] for text in seen.missing] == ["restarts of cart"], "others tell of its restarts"
    cut(server, BEGAN - 99, ENDED + 99, service="cart")
    assert [text for text in measured(source).missing if "up of cart: nothing was scraped" in text], "nobody looked"
    assert "cart" not in measured(source).down


def test_one_pod_that_could_not_be_scraped_is_no_trouble_while_the_other_was(server: Scraped, source: Prometheus) -> None:
    first, *rest = server.raw["up"]
    server.raw["up"] = [(first[0], [(at, 0.0) for at, _ in first[1]]), *rest]
    seen = measured(source)
    assert (seen.missing, seen.down["cart"]) == ((), 0.0)


def test_a_prometheus_that_was_restarted_is_told_and_one_that_was_before_the_test_is_not(
    server: Scraped, source: Prometheus
) -> None:
    for moment, told in ((BEGAN + 30, True), (BEGAN - 30, False)):
        server.began = moment
        assert ("Prometheus itself was restarted while the test ran" in measured(source).missing) is told


def test_a_prometheus_that_does_not_tell_when_it_began_saw_nothing(server: Scraped, source: Prometheus) -> None:
    server.began = None
    seen = measured(source)
    assert seen.scrapes == dict.fromkeys(SERVICES, 0)
    [why] = seen.missing
    assert "does not tell when it began" in why


# --- sums


def test_restarts_count_that_happened_after_the_begin(server: Scraped, source: Prometheus) -> None:
    one = {"container": "cart", "pod": "cart-1"}
    fresh = {"container": "cart", "pod": "cart-9"}
    server.raw["kube_pod_container_status_restarts_total"] += [
        (one, [(at, 3.0 if at < BEGAN + 30 else 5.0) for at in ticks()]),
        (fresh, [(at, 1.0) for at in ticks(BEGAN + 40)]),
    ]
    assert measured(source).restarts == {"cart": 3, "orders": 0, "storefront": 0}


def test_throttling_is_looked_at_where_something_limits(server: Scraped, source: Prometheus) -> None:
    limits: dict[str, float | None] = {"cart": 0.5, "orders": None, "storefront": None}
    assert [text for text in measured(source, limits=limits).missing if text.startswith("throttling of cart: nothing answers")]
    one = {"container": "cart", "pod": "cart-1"}
    server.raw["container_cpu_cfs_periods_total"] = [(one, steady(10.0))]
    server.raw["container_cpu_cfs_throttled_periods_total"] = [(one, steady(1.0))]
    seen = measured(source, limits=limits)
    assert seen.missing == ()
    assert seen.throttled == {"cart": pytest.approx(0.1), "orders": 0.0, "storefront": 0.0}
    assert seen.saturated["cart"] == pytest.approx(0.5), "a quarter of a core is half of its limit"


def test_a_limit_above_one_core_is_one_core_to_a_process_with_one_thread(source: Prometheus) -> None:
    assert measured(source, limits={"cart": 4.0, "orders": None, "storefront": None}).saturated["cart"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("points", "grown"),
    [
        (((-5, 10.0), (5, 14.0), (10, 15.0)), 5.0),
        (((5, 4.0), (10, 6.0)), 6.0),
        (((-5, 10.0), (5, 14.0), (10, 3.0), (15, 4.0)), 8.0),
        (((-9, 2.0), (-5, 10.0)), 0.0),
        ((), 0.0),
    ],
    ids=["goes on", "begins", "begins anew", "ends before", "never was"],
)
def test_a_counter_grows_by_what_was_scraped_of_it(points: tuple[tuple[float, float], ...], grown: float) -> None:
    course = Series({}, tuple((BEGAN + at, value) for at, value in points))
    assert counters.increase(course, BEGAN) == grown


# --- settling


def test_it_is_settled_when_every_pod_was_scraped_since(server: Scraped, source: Prometheus) -> None:
    assert measuring.settle(source, "stage", ENDED, clock=FakeClock()) == ""
    server.stamps["cart"] = ENDED - 1
    assert "not yet of cart" in measuring.settle(source, "stage", ENDED, clock=FakeClock())
    server.stamps = {}
    assert "scrapes nothing of stage" in measuring.settle(source, "stage", ENDED, clock=FakeClock())
    away = Prometheus(f"http://prometheus.localhost:{free_port(19090)}")
    assert "does not answer" in measuring.settle(away, "stage", ENDED, clock=FakeClock())


def test_what_a_limit_made_a_container_wait_for_is_settled_when_the_node_was_looked_at(
    server: Scraped, source: Prometheus
) -> None:
    def settled(*limited: str) -> str:
        return measuring.settle(source, "stage", ENDED, limited=limited, clock=FakeClock())

    server.node = [("cart", ENDED - 20), ("orders", ENDED + 5)]
    assert settled() == settled("orders") == ""
    assert "not yet of how long cart had to wait" in settled("cart", "orders")
    # A container that is gone is told of as it was, beside the one that came after it.
    server.node.append(("cart", ENDED + 5))
    assert settled("cart", "orders") == ""


# --- pods


def pod(name: str, service: str, digest: str = "sha256:a", **more: Any) -> dict[str, Any]:
    status = {
        "name": service,
        "imageID": f"registry/{service}@{digest}",
        "restartCount": 0,
        "state": {"running": {"startedAt": "2027-01-15T08:00:30Z"}},
        **more,
    }
    beside = {"name": "proxy", "imageID": "registry/proxy@sha256:z", "restartCount": 9}
    return {
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": service}},
        "spec": {"containers": [{"name": service, "resources": {"limits": {"memory": "1Gi"}}}]},
        "status": {"phase": "Running", "containerStatuses": [beside, status]},
    }


def test_pods_are_told_by_the_container_of_their_service() -> None:
    leaving = pod("cart-0", "cart")
    leaving["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    over = pod("cart-9", "cart")
    over["status"]["phase"] = "Failed"
    found = pods.look(
        [pod("orders-1", "orders"), pod("cart-1", "cart", restartCount=2), leaving, over, pod("x-1", "x")], SERVICES
    )
    assert found == (
        Pod("cart", "cart-1", "sha256:a", 2, "2027-01-15T08:00:30Z"),
        Pod("orders", "orders-1", "sha256:a", 0, "2027-01-15T08:00:30Z"),
    )


def test_a_pod_that_does_not_say_what_it_runs_is_there_and_of_no_known_image() -> None:
    [one] = pods.look([pod("cart-1", "cart", imageID="", state={})], SERVICES)
    assert (one.digest, one.started) == ("", "")


def test_what_limits_a_pod_is_read_as_kubernetes_writes_it() -> None:
    limited = pod("cart-1", "cart")
    limited["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "250m"
    assert pods.limits([limited, pod("orders-1", "orders")], SERVICES) == {"cart": 0.25, "orders": None, "storefront": None}
    assert (pods.cores("2"), pods.cores("1.5"), pods.cores("1500m")) == (2.0, 1.5, 1.5)


def test_what_changed_of_the_pods_is_told_with_its_time() -> None:
    begun = 1_800_000_030.0
    old, kept = Pod("cart", "cart-1", "sha256:a", 0, ""), Pod("orders", "orders-1", "sha256:a", 0, "2027-01-15T07:00:00Z")
    new, again = (
        Pod("cart", "cart-2", "sha256:b", 0, "2027-01-15T08:00:30Z"),
        replace(kept, restarts=1, started="2027-01-15T08:00:40Z"),
    )
    told = pods.rollouts((old, kept), (new, again), BEGAN, ENDED)
    assert [(one.time, one.service, one.what) for one in told] == [
        (begun, "cart", "cart-2 started, sha256:b"),
        (begun + 10, "orders", "orders-1 was restarted (1)"),
        (ENDED, "cart", "cart-1 is gone"),
    ]
    assert pods.rollouts((old, kept), (old, kept), BEGAN, ENDED) == ()


def test_a_pod_that_came_and_went_between_two_looks_is_told_where_prometheus_knows_it() -> None:
    stays, gone = Pod("cart", "cart-1", "sha256:a", 0, ""), Pod("orders", "orders-1", "sha256:a", 0, "")

    def seen(name: str, service: str, first: float, last: float) -> Series:
        return Series({"pod": name, "service": service}, ((first, 1.0), (last, 1.0)))

    scraped = [
        seen("cart-1", "cart", BEGAN - 60, ENDED),
        seen("orders-1", "orders", BEGAN - 60, BEGAN + 20),
        seen("cart-9", "cart", BEGAN + 5, BEGAN + 17),
        seen("cart-0", "cart", BEGAN - 60, BEGAN - 30),
        seen("other-1", "other", BEGAN + 5, BEGAN + 6),
    ]
    told = pods.rollouts((stays, gone), (stays,), BEGAN, ENDED, scraped)
    assert [(one.time - BEGAN, one.service, one.what) for one in told] == [
        (5, "cart", "cart-9 came, and was gone after 12 s"),
        (20, "orders", "orders-1 is gone"),
    ]
