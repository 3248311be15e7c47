"""The books of a load test: ids in the services' logs, orders in the database, requests served; None is what nobody knows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from slipway.kube import Kube, KubeError
from slipway.load import books
from slipway.load.books import Finder, Served
from slipway.ports import free_port
from slipway.prometheus import Prometheus
from tests.unit import loads
from tests.unit.scraped import BEGAN, ENDED, SERVICES, Scraped, scraped, steady

RUN = "r1"


def line(identifier: str) -> bytes:
    """A line of a service's log, as the chassis writes it."""
    return f'{{"time": "2027", "level": "info", "message": "request", "request_id": "{identifier}", "path": "/"}}'.encode()


class Cluster(Kube):
    """Pods that say something, and end when they are told to.

    Attributes:
        said: What each pod has said so far.
        gone: The pods that are no more; their logs went with them.
        broken: Pods whose log cannot be read.
        away: Whether the API server answers nothing.
    """

    def __init__(self, **said: Sequence[bytes]) -> None:
        super().__init__(Path("kubeconfig"), "context")
        self.said = {name.replace("_", "-"): list(lines) for name, lines in said.items()}
        self.gone: set[str] = set()
        self.broken: set[str] = set()
        self.away = False
        self.executed: list[Sequence[str]] = []
        self.answers: str | Exception = ""
        self.followed: dict[str, threading.Event] = {name: threading.Event() for name in self.said}

    def list(
        self, kind: str, *, namespace: str | None = None, labels: str = "", api_version: str = "v1"
    ) -> Sequence[dict[str, Any]]:
        assert (kind, namespace, labels) == ("Pod", "stage", "app.kubernetes.io/component=service")
        if self.away:
            raise ConnectionError("away")
        return [
            {
                "metadata": {"name": name, "labels": {"app.kubernetes.io/name": name.split("-")[0]}},
                "status": {"phase": "Running"},
            }
            for name in self.said
            if name not in self.gone
        ]

    def log_lines(
        self, pod: str, *, namespace: str, container: str, since: float, follow: bool = False, quiet: float = 30.0
    ) -> Generator[bytes]:
        assert (namespace, container) == ("stage", pod.split("-", maxsplit=1)[0])
        if pod in self.broken or (pod in self.gone and not follow):
            raise KubeError(f"the log of {pod} cannot be read")
        yield from list(self.said[pod])
        if follow:
            self.followed[pod].set()

    def execute(self, pod: str, argv: Sequence[str], *, namespace: str, container: str, timeout: float = 30.0) -> str:
        assert (pod, namespace, container) == ("postgresql-0", "stage", "postgresql")
        self.executed.append(argv)
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


def finder(cluster: Cluster) -> Finder:
    return Finder(cluster, "stage", SERVICES, RUN)


def ids(*numbers: int) -> list[str]:
    return [f"load-{RUN}-0-{number}" for number in numbers]


def test_ids_are_found_whichever_service_wrote_them() -> None:
    cluster = Cluster(cart_1=[line(ids(1)[0]), b"no json", line("other")], orders_1=[line(ids(2)[0])], queue_1=[line(ids(3)[0])])
    with finder(cluster) as reading:
        assert reading.found(ids(1, 2)) == 2
        assert reading.found(ids(1, 2, 3), timeout=0.1) == 2, "a pod of no service of the environment is not read"


def test_what_is_said_while_the_test_runs_is_found() -> None:
    cluster = Cluster(cart_1=[])
    with finder(cluster) as reading:
        assert cluster.followed["cart-1"].wait(10)
        cluster.said["cart-1"].append(line(ids(7)[0]))
        assert reading.found(ids(7)) == 1


def test_what_a_pod_said_that_is_gone_by_now_is_still_found() -> None:
    cluster = Cluster(cart_1=[line(ids(1)[0])])
    with finder(cluster) as reading:
        assert cluster.followed["cart-1"].wait(10)
        assert reading.found(ids(1)) == 1
        cluster.gone.add("cart-1")
        cluster.said["cart-2"], cluster.followed["cart-2"] = [line(ids(2)[0])], threading.Event()
        assert reading.found(ids(1, 2)) == 2


def test_an_id_that_nobody_wrote_is_not_found() -> None:
    with finder(Cluster(cart_1=[line(ids(1)[0]), line("load-r2-0-2"), line("load-r1-000007-tidy")])) as reading:
        assert reading.found(ids(1, 2), timeout=0.1) == 1


def away(cluster: Cluster) -> None:
    cluster.away = True


def broken(cluster: Cluster) -> None:
    cluster.broken.add("cart-1")


@pytest.mark.parametrize("trouble", [away, broken])
def test_logs_that_cannot_be_read_are_not_taken_for_silent(trouble: Callable[[Cluster], None]) -> None:
    cluster = Cluster(cart_1=[line(ids(1)[0])])
    trouble(cluster)
    with finder(cluster) as reading:
        assert reading.found(ids(1), timeout=0.1) is None


def test_of_an_hour_s_ids_those_are_kept_that_may_be_asked_for() -> None:
    cluster = Cluster(cart_1=[line(one) for one in ids(*range(60_000))])
    with Finder(cluster, "stage", SERVICES, RUN, each=20) as reading:
        assert reading.found(ids(20, 59_980)) == 2
        assert reading.found(ids(3, 20), timeout=0.1) == 1
        assert len(vars(reading)["_found"]) == 3000


def test_reading_ends_with_the_block() -> None:
    cluster = Cluster(cart_1=[])
    with finder(cluster) as reading:
        assert cluster.followed["cart-1"].wait(10)
    before = {thread.name for thread in threading.enumerate()} - {"log-cart-1", "load-logs"}
    for thread in threading.enumerate():
        if thread.name in ("log-cart-1", "load-logs"):
            thread.join(10)
    assert {thread.name for thread in threading.enumerate()} == before
    assert reading.trouble == ""


@pytest.mark.parametrize("name", ["", "a b", "x'; DROP TABLE orders; --", "a%", "a/b", "x" * 49])
def test_what_is_no_name_of_a_run_is_put_into_no_query(name: str) -> None:
    cluster = Cluster()
    with pytest.raises(ValueError, match="is no name of a run"):
        books.order_rows(cluster, "stage", name)
    assert cluster.executed == []


def test_orders_of_a_test_are_counted_by_the_id_of_their_request() -> None:
    cluster = Cluster()
    cluster.answers = "58\n"
    assert books.order_rows(cluster, "stage", RUN) == 58
    [argv] = cluster.executed
    assert argv[-1] == "--command=SELECT count(*) FROM orders WHERE starts_with(request_id, 'load-r1-')"


@pytest.mark.parametrize("answer", ["", "many", KubeError("postgresql-0 is not there")])
def test_a_database_that_does_not_tell_a_number_is_no_zero(answer: str | Exception) -> None:
    cluster = Cluster()
    cluster.answers = answer
    assert books.order_rows(cluster, "stage", RUN) is None


@pytest.fixture
def there() -> Iterator[tuple[Scraped, Prometheus]]:
    with scraped() as found:
        yield found


def test_requests_served_are_those_from_outside(there: tuple[Scraped, Prometheus]) -> None:
    """Six pods count four a second for a minute; two of them ask the others once a second."""
    _, source = there
    seen = books.served(source, "stage", BEGAN, ENDED + 10)
    assert seen
    assert (seen.least, seen.most) == pytest.approx((6 * 4 * 60 - 2 * 1 * 60, 6 * 4 * 60 - 2 * 1 * 60))


def test_what_services_asked_each_other_without_an_answer_may_have_been_served_or_not(there: tuple[Scraped, Prometheus]) -> None:
    server, source = there
    front = {"service": "storefront", "pod": "storefront-1"}
    server.raw["upstream_retries_total"] = [(front, steady(0.5))]
    server.raw["upstream_requests_total"].append(({**front, "result": "timeout"}, steady(0.25)))
    seen = books.served(source, "stage", BEGAN, ENDED + 10)
    assert seen
    assert (seen.least, seen.most) == pytest.approx((1320 - 30 - 15, 1320))


@pytest.mark.parametrize(("answered", "nearest"), [(95, 100), (105, 105), (120, 110)])
def test_of_what_nobody_is_sure_of_is_taken_what_fits_best(answered: int, nearest: float) -> None:
    assert Served(100, 110).nearest(answered) == nearest


def test_what_was_asked_before_the_test_is_not_counted(there: tuple[Scraped, Prometheus]) -> None:
    server, source = there
    server.raw["upstream_requests_total"] = []
    early = [(at, 40.0 if at <= BEGAN else 49.0) for at, _ in steady(0)]
    server.raw["http_requests_total"] = [({"service": "cart"}, early)]
    assert books.served(source, "stage", BEGAN, ENDED + 10) == Served(9.0, 9.0)


def test_what_nobody_counted_was_not_served_by_nobody(there: tuple[Scraped, Prometheus]) -> None:
    server, source = there
    server.raw["http_requests_total"] = []
    assert books.served(source, "stage", BEGAN, ENDED) is None
    server.refuses = {"upstream_retries_total"}
    assert books.served(source, "stage", BEGAN, ENDED) is None
    assert books.served(Prometheus(f"http://prometheus.localhost:{free_port(19090)}"), "stage", BEGAN, ENDED) is None


def test_the_books_are_closed_with_what_everybody_counted() -> None:
    assert books.close(loads.CLIENT, found=2, rows=100, served=Served(1220.0, 1220.0)) == loads.BOOKS
    nobody = books.close(loads.CLIENT, found=None, rows=None, served=None)
    assert (nobody.found, nobody.order_rows, nobody.requests_served) == (None, None, None)
