"""The pages, over stand-ins: what they hold, what they refuse, and what they never do."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import main
from chassis.wire import Request
from order_pages import NAME
from storefront.test.backstage import Backstage

CART = "cart-0123456789abcdef"

# Also names that would be markup if nobody minded.
ANY_NAME = st.text(st.characters(codec="utf-8"), max_size=110) | st.sampled_from(
    ["<b>Ada</b>", "<script>", '"><img>', "Zoë O'Hara"]
)

PATHS = ["/", "/?tag=galley", "/search?q=mug", "/products/rope-hemp", "/cart", "/checkout", "/orders", "/orders/nope", "/nope"]


@pytest.fixture
def filled(backstage: Backstage, visitor: TestClient) -> Backstage:
    backstage.carts[CART] = {"mug-enamel": 2, "rope-hemp": 1}
    visitor.cookies.set("cart", CART)
    return backstage


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]* value="([^"]*)"', page)
    assert found, f"no field {name}"
    return html.unescape(found[1])


@pytest.mark.parametrize("path", PATHS)
def test_every_page_says_what_runs_and_is_whole(visitor: TestClient, filled: Backstage, path: str) -> None:
    answer = visitor.get(path)
    page = answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for said in ("1.2.3", "0123456789ab", "555555555555", ">qa<", answer.headers["x-request-id"], "a &lt;notice&gt;"):
        assert said in page
    assert len(re.findall(r"<h1[ >]", page)) == 1
    assert page.rstrip().endswith("</html>")
    for identifier in re.findall(r'<input(?![^>]*hidden)[^>]* id="([^"]+)"', page):
        assert f'<label class="hidden" for="{identifier}"' in page or f'<label for="{identifier}"' in page


@pytest.mark.parametrize("path", PATHS)
def test_no_page_needs_anything_from_elsewhere(visitor: TestClient, filled: Backstage, path: str) -> None:
    answer = visitor.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert (answer.headers["x-content-type-options"], answer.headers["referrer-policy"]) == ("nosniff", "same-origin")
    assert not re.search(r"<script|<style| style=| on\w+=|https?://", answer.text)
    needed = set(re.findall(r'(?:href|src)="(/static/[^"#]+)', answer.text))
    assert len(needed) >= 3
    for address in needed:
        file = visitor.get(html.unescape(address))
        assert (file.status_code, file.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert visitor.get(address, headers={"If-None-Match": file.headers["etag"]}).status_code == 304


def test_a_file_of_another_version_is_not_kept(visitor: TestClient) -> None:
    assert visitor.get("/static/style.css?v=old").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nope.css", "..%2fmain.py", "style.css%00"])
def test_a_file_that_is_not_there_is_not_found(visitor: TestClient, name: str) -> None:
    assert visitor.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html", True),
        ("text/html;q=0.5, application/json;q=0.4", True),
        ("application/json, text/html", False),
        ("application/json;q=0.9, text/html;q=0.8", False),
        ("text/html;q=0", False),
        ("text/html;q=many", False),
        ("*/*", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("path", ["/products/nope", "/nope", "/?offset=x"])
def test_an_error_is_a_page_for_who_asks_for_pages(visitor: TestClient, accept: str, page: bool, path: str) -> None:
    answer = visitor.get(path, headers={"Accept": accept})
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == ("text/html; charset=utf-8" if page else "application/problem+json")


def test_who_browses_past_the_end_of_the_quay_is_told_in_plain_words(visitor: TestClient) -> None:
    page = visitor.get("/nope").text
    assert ("There is no such page in this shop." in page, "openapi" in page) == (True, False)


@pytest.mark.parametrize("path", ["/api/nope", "/api/products/nope", "/api/products?limit=x"])
def test_an_error_of_a_json_route_is_never_a_page(visitor: TestClient, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_front_page_begins_with_the_catalogs_greeting_and_no_other_does(visitor: TestClient, backstage: Backstage) -> None:
    assert "<h1>Mind the &lt;boom&gt;.</h1>" in visitor.get("/").text
    for path in ("/?tag=galley", "/?offset=2"):
        assert "Mind the" not in visitor.get(path).text


def test_no_two_environments_look_alike() -> None:
    envs = Path(main.__file__).parent / "envs"
    themes = {path.stem: yaml.safe_load(path.read_text())["theme"] for path in envs.iterdir()}
    assert {"local", "dev", "qa", "stage", "prod"} <= set(themes)
    assert len(set(themes.values())) == len(themes)
    style = (envs.parent / "static" / "style.css").read_text()
    assert [theme for theme in themes.values() if f".theme-{theme} " not in style] == []


def test_the_list_goes_on_and_back(visitor: TestClient) -> None:
    first = visitor.get("/?tag=galley&offset=0").text
    assert "1–2 of 2" not in first  # one page needs no pager
    everything = visitor.get("/").text
    (after,) = re.findall(r'rel="next" href="([^"]+)"', everything)
    last = visitor.get(html.unescape(after)).text
    assert ("Stove" in last, "1–2 of 3" in everything, "3–3 of 3" in last, 'rel="next"' in last) == (True, True, True, False)
    (before,) = re.findall(r'rel="prev" href="([^"]+)"', last)
    assert html.unescape(before) == "/?offset=0"


def test_a_search_for_nothing_is_the_whole_shop(visitor: TestClient) -> None:
    answer = visitor.get("/search?q=++")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_first_product_makes_a_cart_that_no_script_can_read(visitor: TestClient, backstage: Backstage) -> None:
    assert "set-cookie" not in visitor.get("/").headers
    answer = visitor.post("/cart/lines", data={"product_id": "mug-enamel", "quantity": "2"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/cart")
    cookie = answer.headers["set-cookie"]
    assert re.match(r"cart=[A-Za-z0-9_-]{32}; HttpOnly; Max-Age=2592000; Path=/; SameSite=lax$", cookie)
    (lines,) = backstage.carts.values()
    assert lines == {"mug-enamel": 2}
    assert "€25.80" in visitor.get("/cart").text


def test_where_customers_come_by_https_the_cookie_does_too(backstage: Backstage, shop: object) -> None:
    service = main.create(main.StorefrontConfig(secure_cookies=True), main.Identity("storefront"), transport=backstage)
    with TestClient(service.asgi, follow_redirects=False) as visitor:
        assert "; Secure" in visitor.post("/cart/lines", data={"product_id": "stove"}).headers["set-cookie"]


@pytest.mark.parametrize("cookie", ["", "short", "../../orders/0123456789", "x" * 65, 'a"0123456789abcdef'])
def test_a_cookie_that_is_not_ours_is_no_cart(visitor: TestClient, backstage: Backstage, cookie: str) -> None:
    answer = visitor.get("/cart", headers={"Cookie": f"cart={cookie}"})
    assert (answer.status_code, "Nothing in it yet." in answer.text, backstage.requests) == (200, True, [])


def test_more_of_the_same_adds_up_to_what_a_cart_takes(visitor: TestClient, filled: Backstage) -> None:
    for quantity in (3, 99):
        visitor.post("/cart/lines", data={"product_id": "mug-enamel", "quantity": str(quantity)})
    assert filled.carts[CART]["mug-enamel"] == 99


def test_an_addition_whose_answer_gets_lost_is_made_once(visitor: TestClient, filled: Backstage) -> None:
    def lose(request: Request) -> None:
        filled.losing = {"cart"} if request.method == "POST" and not filled.done else set()

    filled.before = lose
    assert visitor.post("/cart/lines", data={"product_id": "mug-enamel", "quantity": "3"}).status_code == 303
    assert [request.method for request in filled.requests if request.url.host == "cart"] == ["POST", "POST"]
    assert filled.carts[CART]["mug-enamel"] == 5


def test_a_quantity_is_changed_and_none_of_it_removes_it(visitor: TestClient, filled: Backstage) -> None:
    assert visitor.post("/cart/lines/mug-enamel", data={"quantity": "7"}).headers["location"] == "/cart"
    assert filled.carts[CART]["mug-enamel"] == 7
    visitor.post("/cart/lines/mug-enamel", data={"quantity": "0"})
    visitor.post("/cart/lines/rope-hemp/remove")
    assert filled.carts[CART] == {}


def test_unknown_products_get_into_no_cart(visitor: TestClient, filled: Backstage) -> None:
    assert visitor.post("/cart/lines", data={"product_id": "nope"}).status_code == 404
    assert visitor.post("/cart/lines/nope", data={"quantity": "1"}).status_code == 404
    assert set(filled.carts[CART]) == {"mug-enamel", "rope-hemp"}


@given(quantity=st.text(max_size=12) | st.integers().map(str))
def test_a_quantity_is_a_whole_number_that_a_cart_takes_or_refused(visitor: TestClient, filled: Backstage, quantity: str) -> None:
    filled.carts[CART]["mug-enamel"] = 1
    answer = visitor.post("/cart/lines/mug-enamel", data={"quantity": quantity})
    after = filled.carts[CART].get("mug-enamel", 0)
    assert (answer.status_code == 303 and 0 <= after <= 99) or (answer.status_code == 422 and after == 1)


@pytest.mark.parametrize("path", ["/cart/lines", "/cart/lines/mug-enamel", "/cart/lines/mug-enamel/remove", "/checkout"])
def test_a_form_of_another_site_is_refused(visitor: TestClient, filled: Backstage, path: str) -> None:
    data = {"product_id": "stove", "quantity": "1", "name": "Eve", "key": "key-00000001", "seen": "0" * 32}
    answer = visitor.post(path, data=data, headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, filled.requests) == (403, [])


def test_a_form_that_is_sent_twice_makes_one_order(visitor: TestClient, filled: Backstage) -> None:
    page = visitor.get("/checkout")
    assert page.headers["cache-control"] == "no-store"
    form = {"name": " Ada ", "key": field(page.text, "key"), "seen": field(page.text, "seen")}
    first, again = visitor.post("/checkout", data=form), visitor.post("/checkout", data=form)
    assert (first.status_code, again.status_code) == (303, 303)
    assert first.headers["location"] == again.headers["location"]
    assert len(filled.orders) == 1
    order = visitor.get(first.headers["location"]).text
    assert ("Thank you, Ada." in order, "€28.30" in order, "Hemp &amp; &lt;rope&gt;" in order) == (True, True, True)


def test_each_form_has_a_key_of_its_own(visitor: TestClient, filled: Backstage) -> None:
    assert len({field(visitor.get("/checkout").text, "key") for _ in range(5)}) == 5


@pytest.mark.parametrize(
    "wrong", [{"key": None}, {"key": "short"}, {"key": "a key with spaces"}, {"seen": None}, {"seen": "€38.70"}]
)
def test_an_order_without_what_the_form_carries_is_refused(
    visitor: TestClient, filled: Backstage, wrong: dict[str, str | None]
) -> None:
    seen = field(visitor.get("/checkout").text, "seen")
    data = {"name": "Ada", "key": "key-00000001", "seen": seen, **wrong}
    sent = {name: value for name, value in data.items() if value is not None}
    assert (visitor.post("/checkout", data=sent).status_code, filled.orders) == (422, {})


def test_a_customer_who_agreed_to_something_else_is_asked_again(visitor: TestClient, filled: Backstage) -> None:
    form = {"name": "Ada", "key": "key-00000001"}
    page = visitor.get("/checkout").text
    assert ("€28.30" in page, "has changed" in page) == (True, False)
    for change in (
        lambda: filled.carts[CART].update({"mug-enamel": 1}),
        lambda: filled.products["mug-enamel"].update(price_cents=1),
        lambda: filled.carts.update({CART: {"rope-hemp": 1, "stove": 1}}),
    ):
        change()
        again = visitor.post("/checkout", data={**form, "seen": field(page, "seen")})
        assert (again.status_code, "has changed" in again.text, filled.orders) == (409, True, {})
        page = again.text
        assert (field(page, "key"), field(page, "name")) == ("key-00000001", "Ada")
    assert "€331.50" in page
    order = visitor.post("/checkout", data={**form, "seen": field(page, "seen")})
    assert "€331.50" in visitor.get(order.headers["location"]).text


def test_a_form_that_was_answered_before_is_answered_alike_whatever_the_cart_holds(
    visitor: TestClient, filled: Backstage
) -> None:
    form = {"name": "Ada", "key": "key-00000001", "seen": field(visitor.get("/checkout").text, "seen")}
    first = visitor.post("/checkout", data=form)
    filled.carts[CART] = {"stove": 1}
    again = visitor.post("/checkout", data=form)
    assert (again.status_code, again.headers["location"], len(filled.orders)) == (303, first.headers["location"], 1)


def test_a_form_that_is_sent_twice_at_once_meets_its_own_order(visitor: TestClient, filled: Backstage) -> None:
    """The other attempt is accepted, and the customer goes on shopping, after this one asked about its key."""
    form = {"name": "Ada", "key": "key-00000001", "seen": field(visitor.get("/checkout").text, "seen")}

    def meanwhile(request: Request) -> None:
        if request.url.host == "cart" and not filled.orders:
            filled.carts[CART] = {"stove": 1}
            made = {"id": "OTHER", "status": "accepted", "created_at": "2026-11-22T18:58:00Z", "total_cents": 2}
            filled.orders["key-00000001"] = {"customer": {"name": "Ada"}, "lines": [], **made}

    filled.before = meanwhile
    answer = visitor.post("/checkout", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/orders/OTHER")


def test_without_anything_in_it_a_cart_is_not_checked_out(visitor: TestClient) -> None:
    assert visitor.get("/checkout").headers["location"] == "/cart"
    assert visitor.post("/checkout", data={"name": "Ada", "key": "key-00000001", "seen": "0" * 32}).status_code == 409


def test_what_is_no_longer_sold_can_only_be_removed(visitor: TestClient, filled: Backstage) -> None:
    del filled.products["rope-hemp"]
    page = visitor.get("/cart").text
    assert ("No longer sold" in page, 'href="/checkout"' in page) == (True, False)
    assert visitor.get("/checkout").headers["location"] == "/cart"
    visitor.post("/cart/lines/rope-hemp/remove")
    assert 'href="/checkout"' in visitor.get("/cart").text


@given(name=ANY_NAME)
def test_whatever_a_customer_is_called_comes_back_as_it_is_or_is_asked_again(
    visitor: TestClient, filled: Backstage, name: str
) -> None:
    filled.orders.clear()
    filled.carts[CART] = {"mug-enamel": 1}
    seen = field(visitor.get("/checkout").text, "seen")
    answer = visitor.post("/checkout", data={"name": name, "key": "key-00000001", "seen": seen})
    if answer.status_code == 303:
        (order,) = filled.orders.values()
        assert order["customer"]["name"] == NAME.validate_python(name)
        told = visitor.get(answer.headers["location"]).text
        assert f"Thank you, {order['customer']['name']}." in html.unescape(told)
        assert not re.search(r"<script|<img|<b>", told)
    else:
        assert (answer.status_code, filled.orders) == (422, {})
        assert field(answer.text, "key") == "key-00000001"


@pytest.mark.parametrize(
    ("typed", "asked"), [("ORDER-0", "/orders/ORDER-0"), (" ab cd ", "/orders/abcd"), ("a/b?c", "/orders/a%2Fb%3Fc")]
)
def test_an_order_is_found_by_what_was_typed(visitor: TestClient, typed: str, asked: str) -> None:
    answer = visitor.get("/orders", params={"order_id": typed})
    assert (answer.status_code, answer.headers["location"]) == (303, asked)


def test_an_order_that_is_not_there_is_not_found(visitor: TestClient) -> None:
    answer = visitor.get("/orders/NOPE-NOPE")
    assert (answer.status_code, "compare it with your confirmation" in answer.text) == (404, True)


def test_what_tells_of_a_customer_is_kept_by_nobody(visitor: TestClient, filled: Backstage) -> None:
    assert {visitor.get(path).headers["cache-control"] for path in ("/cart", "/checkout", "/orders", "/orders/nope")} == {
        "no-store"
    }
    assert visitor.get("/").headers["cache-control"] == "private, no-cache"
