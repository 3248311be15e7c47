from __future__ import annotations

import pytest
from starlette.testclient import TestClient

import main
from products import Catalog

PRODUCTS = Catalog.read(main.PRODUCTS).products


def ids(shop: TestClient, path: str) -> list[str]:
    answer = shop.get(path)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_the_front_door_says_which_shop_and_where(shop: TestClient) -> None:
    assert shop.get("/").json() == {
        "title": main.TITLE,
        "greeting": main.GREETING,
        "notice": "a notice",
        "environment": "qa",
        "products": len(PRODUCTS),
    }


def test_a_page_is_as_long_as_the_configuration_says(shop: TestClient) -> None:
    page = shop.get("/products").json()
    assert (len(page["items"]), page["limit"], page["offset"], page["next_offset"], page["total"]) == (7, 7, 0, 7, len(PRODUCTS))


@pytest.mark.parametrize("limit", [1, 5, 100])
def test_the_pages_together_are_the_whole_list_in_order(shop: TestClient, limit: int) -> None:
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = shop.get("/products", params={"limit": limit, "offset": offset}).json()
        seen += [item["id"] for item in page["items"]]
        offset = page["next_offset"]
    assert seen == sorted(PRODUCTS)


def test_beyond_the_end_there_is_an_empty_page(shop: TestClient) -> None:
    page = shop.get("/products?offset=1000").json()
    assert (page["items"], page["next_offset"], page["total"]) == ([], None, len(PRODUCTS))


def test_a_tag_narrows_the_list(shop: TestClient) -> None:
    assert ids(shop, "/products?tag=galley") == ["cafe-press-steel", "mug-enamel", "smorgas-board", "stove-gimballed"]


def test_an_unknown_tag_finds_nothing(shop: TestClient) -> None:
    assert ids(shop, "/products?tag=submarine") == []


def test_the_tags_say_how_many_products_carry_them(shop: TestClient) -> None:
    tags = {tag["name"]: tag["products"] for tag in shop.get("/tags").json()}
    assert list(tags) == sorted(tags)
    assert all(len(ids(shop, f"/products?limit=100&tag={name}")) == count for name, count in tags.items())


def test_each_product_is_found_by_its_id(shop: TestClient) -> None:
    for product in PRODUCTS.values():
        assert shop.get(f"/products/{product.id}").json() == product.model_dump(mode="json")


@pytest.mark.parametrize("identifier", ["nope", "MUG-ENAMEL", "..%2f..%2fetc", "%00", "%ff", "x" * 5000])
def test_a_product_that_is_not_there_is_a_problem(shop: TestClient, identifier: str) -> None:
    answer = shop.get(f"/products/{identifier}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "offset=-1", "offset=1000001", "limit=1e3", "tag="])
def test_a_list_that_makes_no_sense_is_refused_with_the_reason(shop: TestClient, query: str) -> None:
    answer = shop.get(f"/products?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == f"query.{query.split('=', maxsplit=1)[0]}"


@pytest.mark.parametrize("query", ["", "q=", f"q={'x' * 101}"])
def test_a_search_needs_words(shop: TestClient, query: str) -> None:
    assert shop.get(f"/search?{query}").status_code == 422


def test_a_search_may_be_narrowed_and_paged(shop: TestClient) -> None:
    everything = ids(shop, "/search?q=rope&limit=100")
    assert ids(shop, "/search?q=rope&limit=2&offset=1") == everything[1:3]
    assert ids(shop, "/search?q=rope&tag=mooring") == ["rope-mooring-14mm"]


@pytest.mark.parametrize("path", ["/products", "/products?tag=rope", "/products/mug-enamel", "/search?q=anchor"])
def test_what_did_not_change_is_not_sent_again(shop: TestClient, path: str) -> None:
    first = shop.get(path)
    assert first.headers["cache-control"] == "public, max-age=60"
    again = shop.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_no_two_answers_share_a_tag(shop: TestClient) -> None:
    paths = ["/products", "/products?offset=7", "/products/mug-enamel", "/search?q=mug", "/search?q=MUG"]
    assert len({shop.get(path).headers["etag"] for path in paths}) == len(paths)
