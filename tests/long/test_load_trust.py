"""What a load test trusts and what it tells, in the cases that take their time: see tests/e2e/test_load.py."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from slipway.load import data
from slipway.load.model import FAIL, INVALID, from_json
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e import loading, shop
from tests.e2e.conftest import Instance
from tests.long.lent import own_or_lent

DEV = ("--env", "dev", "--rate", str(loading.RATE), "--duration", "10")
ROLL = ("--during", "rollout", "--env", "dev", "--rate", "4", "--duration", "90")


@pytest.fixture(scope="module")
def instance(request: pytest.FixtureRequest) -> Generator[Instance]:
    """An instance of these tests' own, or the one that they are lent."""
    with own_or_lent(request, "long-load-trust") as made:
        yield made


def test_a_service_that_stands_still_to_the_end_fails_whoever_looks_at_it(instance: Instance) -> None:
    """It answers neither customers nor Prometheus, nor whoever tidies up; the others and the measurement are well."""

    def test() -> loading.Made:
        with ExitStack() as stands:
            freeze = partial(loading.frozen, instance, "dev", "cart")
            return loading.meanwhile(instance, *DEV[:-1], "20", do=lambda _: stands.enter_context(freeze()))

    made = loading.trusted(test)
    assert (made.verdict.outcome, made.code) == (FAIL, 1), made.why
    assert "cart did not answer Prometheus" in made.why or "cart restarts" in made.why
    assert [worker.lost for worker in made.run.client.workers] == [False]


def test_an_order_that_is_lost_makes_the_books_of_a_test_void(instance: Instance) -> None:
    def lose(run: str) -> None:
        """Remove the first order of the test, of which its customer was told."""
        one = f"({_orders('id', run)} ORDER BY id LIMIT 1)"
        lines = f"lines AS (DELETE FROM order_lines WHERE order_id IN {one})"
        gone = f"gone AS (DELETE FROM orders WHERE id IN {one} RETURNING 1)"
        found = wait_for(
            "an order to lose", lambda: _some(instance, f"WITH {lines}, {gone} SELECT count(*) FROM gone"), timeout=20
        )
        assert found == "1"

    made = loading.meanwhile(instance, *DEV, do=lose)
    assert (made.verdict.outcome, made.code) == (INVALID, 2), made.why
    assert "an accepted order was lost" in made.why


def test_orders_that_cannot_be_removed_are_told_in_the_table_and_in_the_report(instance: Instance) -> None:
    function = "CREATE FUNCTION kept() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'orders are kept'; END $$ LANGUAGE plpgsql"
    shop.sql(instance, "dev", function)
    shop.sql(instance, "dev", "CREATE TRIGGER kept BEFORE DELETE ON orders EXECUTE FUNCTION kept()")
    try:
        told = instance.invoke("load", *DEV, check=False, timeout=loading.TIMEOUT)
    finally:
        shop.sql(instance, "dev", "DROP FUNCTION kept CASCADE")
    made = from_json(Path(instance.json("load.report", "last")["folder"], "run.json").read_text())
    assert made.client.removed["orders"] is None
    assert shop.sql(instance, "dev", _orders("count(*)", made.id)) == [str(made.books.order_rows)]
    assert f"nobody could remove the orders; all begin with load-{made.id}" in " ".join(told.stdout.split())
    page = Path(instance.json("load.report", made.id)["report"]).read_text()
    assert f"nobody could remove the orders; all begin with load-{made.id}" in page
    assert told.code == made.code
    assert data.remove_orders(instance.kube, "dev", f"load-{made.id}-") == made.books.order_rows


def test_customers_notice_a_roll_out_without_draining(instance: Instance) -> None:
    """Several slow senders are on their way to the storefront at every moment: one that does not wait for them drops some."""
    with loading.undrained(instance, "dev", "storefront"):
        made = loading.trusted(lambda: loading.load(instance, *ROLL))
    assert (made.verdict.outcome, made.code) == (FAIL, 1), made.why
    assert {stream.name: stream.failures for stream in made.run.client.streams}["slow"] > 0
    assert made.run.change
    assert made.run.change.failed == ""


def _orders(what: str, run: str) -> str:
    return f"SELECT {what} FROM orders WHERE starts_with(request_id, 'load-{run}-')"


def _some(instance: Instance, query: str) -> Ready[str] | Pending:
    [number] = shop.sql(instance, "dev", query)
    return Ready(number) if number != "0" else Pending("there is none yet")
