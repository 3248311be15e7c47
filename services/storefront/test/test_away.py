"""Other services that are away, slow or confused: the answer says so, in time, and never as an error of our own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import main
from chassis import Config, Identity, load
from chassis.config import ConfigError
from chassis.context import remaining
from chassis.wire import Lost, Nonsense, Request, Silent, Unsent, UnsentInTime
from storefront.test.backstage import SILENCE, Backstage, Misfortune

CART = "cart-0123456789abcdef"

FAILURES: list[Misfortune] = [
    Unsent,
    UnsentInTime,
    Silent,
    Lost,
    Nonsense,
    500,
    503,
    418,
    b"",
    b"<html>",
    b"[]",
    b'{"items": 7}',
    b"\xff",
]

# What each path needs; "/" stands on the catalog alone, since tags and the cart's number may be missing.
PAGES = {
    "/": "catalog",
    "/search?q=mug": "catalog",
    "/products/mug-enamel": "catalog",
    "/cart": "cart",
    "/checkout": "cart",
    "/orders/ORDER-0": "orders",
}
API = {
    "/api/products": "catalog",
    "/api/products/mug-enamel": "catalog",
    "/api/search?q=mug": "catalog",
    f"/api/carts/{CART}": "cart",
    "/api/orders/ORDER-0": "orders",
}


@pytest.fixture
def filled(backstage: Backstage, visitor: TestClient) -> Backstage:
    backstage.carts[CART] = {"mug-enamel": 2}
    visitor.cookies.set("cart", CART)
    return backstage


@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.parametrize(("path", "service"), PAGES.items())
def test_a_page_whose_service_is_away_says_so_in_plain_words(
    visitor: TestClient, filled: Backstage, path: str, service: str, failure: Misfortune
) -> None:
    filled.failing[service] = failure
    answer = visitor.get(path)
    assert answer.status_code in (502, 503)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert int(answer.headers["retry-after"]) > 0
    assert f"{service} " in answer.text
    assert "Becalmed for a moment." in answer.text
    assert answer.headers["x-request-id"] in answer.text


@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.parametrize(("path", "service"), API.items())
def test_a_route_whose_service_is_away_names_it(
    program: TestClient, backstage: Backstage, path: str, service: str, failure: Misfortune
) -> None:
    backstage.failing[service] = failure
    answer = program.get(path)
    assert answer.status_code in (502, 503)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(service)
    assert int(answer.headers["retry-after"]) > 0


def test_a_priced_cart_needs_the_catalog_too(program: TestClient, filled: Backstage) -> None:
    filled.failing["catalog"] = Unsent
    answer = program.get(f"/api/carts/{CART}")
    assert (answer.status_code, answer.json()["detail"].startswith("catalog")) == (503, True)


def test_a_request_waits_for_the_others_no_longer_than_it_is_told(program: TestClient, backstage: Backstage) -> None:
    left = list[float]()
    backstage.before = lambda request: left.append(remaining())
    program.get("/api/products")
    assert 0 < left[0] <= 1


@pytest.mark.parametrize("path", ["/", "/api/products"])
def test_silence_has_an_end(visitor: TestClient, filled: Backstage, path: str) -> None:
    filled.failing["catalog"] = SILENCE
    assert visitor.get(path).status_code == 503


@pytest.mark.parametrize("failure", [SILENCE, *FAILURES], ids=str)
@pytest.mark.parametrize("path", ["/", "/search?q=mug", "/products/mug-enamel", "/orders"])
def test_a_cart_that_does_not_answer_takes_no_page_along(
    visitor: TestClient, filled: Backstage, path: str, failure: Misfortune
) -> None:
    assert 'class="pill">2<' in visitor.get(path).text
    filled.failing["cart"] = failure
    answer = visitor.get(path)
    assert (answer.status_code, "pill" in answer.text) == (200, False)


def test_products_are_shown_without_departments_rather_than_not_at_all(visitor: TestClient, backstage: Backstage) -> None:
    def fail(request: Request) -> None:
        backstage.failing = {"catalog": 503} if request.url.path == "/tags" else {}

    assert "Departments" in visitor.get("/").text
    backstage.before = fail
    answer = visitor.get("/")
    assert (answer.status_code, "Enamel mug" in answer.text, "Departments" in answer.text) == (200, True, False)


@pytest.mark.parametrize("failure", [SILENCE, *FAILURES], ids=str)
def test_without_the_catalogs_greeting_the_front_page_has_words_of_its_own(
    visitor: TestClient, backstage: Backstage, failure: Misfortune
) -> None:
    def fail(request: Request) -> None:
        backstage.failing = {"catalog": failure} if request.url.path == "/" else {}

    backstage.before = fail
    answer = visitor.get("/")
    assert (answer.status_code, "<h1>Welcome aboard.</h1>" in answer.text, "Enamel mug" in answer.text) == (200, True, True)


def test_a_product_is_shown_without_its_neighbours_rather_than_not_at_all(visitor: TestClient, backstage: Backstage) -> None:
    def fail(request: Request) -> None:
        backstage.failing = {} if request.url.path == "/products/mug-enamel" else {"catalog": 503}

    assert "Stove" in visitor.get("/products/mug-enamel").text
    backstage.before = fail
    answer = visitor.get("/products/mug-enamel")
    assert (answer.status_code, "Enamel mug" in answer.text, "Stove" in answer.text) == (200, True, False)


def test_an_order_nobody_heard_of_may_be_sent_again_with_the_same_key(visitor: TestClient, filled: Backstage) -> None:
    def lose(request: Request) -> None:
        filled.losing = {"orders"} if request.method == "POST" else set()

    (seen,) = re.findall('name="seen" value="([^"]+)"', visitor.get("/checkout").text)
    form = {"name": 'Ada "B"', "key": "key-00000001", "seen": seen}
    filled.before = lose
    answer = visitor.post("/checkout", data=form)
    assert (answer.status_code, "retry-after" in answer.headers, len(filled.orders)) == (503, True, 1)
    assert 'name="key" value="key-00000001"' in answer.text
    assert 'name="name" value="Ada &#34;B&#34;"' in answer.text
    assert f'name="seen" value="{seen}"' in answer.text
    filled.before, filled.losing = lambda request: None, set()
    again = visitor.post("/checkout", data=form)
    assert (again.status_code, again.headers["location"], len(filled.orders)) == (303, "/orders/ORDER-0", 1)


def test_it_is_ready_whoever_is_away(program: TestClient, backstage: Backstage) -> None:
    backstage.failing = dict.fromkeys(("catalog", "cart", "orders"), Unsent)
    assert program.get("/readyz").status_code == 200
    assert backstage.requests == []


def test_calls_are_counted_by_service(program: TestClient, backstage: Backstage, numbers: Callable[[str], float]) -> None:
    program.get("/api/products")
    backstage.failing["catalog"] = 500
    program.get("/api/products")
    assert [
        numbers(f'upstream_requests_total{{method="GET",result="{result}",upstream="catalog"}}') for result in ("2xx", "5xx")
    ] == [1, 1]


@pytest.mark.parametrize("url", ["catalog", "ftp://catalog", "http://", "http://catalog/path", "http://a b", "http://c?x=1"])
def test_an_address_that_is_none_stops_the_start(tmp_path: Path, url: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"orders_url: '{url}'\n")
    with pytest.raises(ConfigError, match="orders_url"):
        load(main.StorefrontConfig, path)


def test_the_others_are_where_the_cluster_has_them() -> None:
    config = main.StorefrontConfig()
    assert isinstance(config, Config)
    assert (config.catalog_url, config.cart_url, config.orders_url) == ("http://catalog", "http://cart", "http://orders")
    assert main.create(config, Identity("storefront", "dev")).config is config
