"""The storefront, as a customer sees it: a real browser buys something on a real cluster, on a desk and on a phone."""

from __future__ import annotations

import re
from collections.abc import Generator

import pytest
from playwright.sync_api import expect

from tests.browser import DESKTOP, PHONE, Chromium, browser, fits, screenshot
from tests.e2e.conftest import Instance
from tests.e2e.shop import NAME, shop

SIZES = {"desktop": DESKTOP, "phone": PHONE}


@pytest.fixture(scope="module")
def chromium() -> Generator[Chromium]:
    with browser() as started:
        yield started


@pytest.mark.parametrize("size", SIZES)
def test_a_customer_browses_fills_a_cart_orders_and_finds_the_order_again(
    instance: Instance, chromium: Chromium, size: str
) -> None:
    sold = shop(instance, "dev")
    with chromium.page(sold.url, size=SIZES[size]) as page:
        assert fits(page)
        screenshot(page, f"storefront-browse-{size}")
        page.get_by_role("searchbox").fill("anchor")
        page.get_by_role("searchbox").press("Enter")
        page.get_by_role("link", name="Claw anchor").first.click()
        assert fits(page)
        page.get_by_label("Quantity").fill("2")
        page.get_by_role("button", name="Add to cart").click()
        expect(page).to_have_url(re.compile("/cart$"))
        expect(page.locator(".line")).to_have_count(1)
        assert fits(page)
        screenshot(page, f"storefront-cart-{size}")
        page.get_by_role("link", name="Check out").click()
        page.get_by_label("Your name").fill(NAME)
        assert fits(page)
        page.get_by_role("button", name="Place the order").click()
        expect(page).to_have_url(re.compile("/orders/[0-9A-Z-]+$"))
        order = page.locator(".order-id").inner_text()
        assert fits(page)
        screenshot(page, f"storefront-order-{size}")
        page.goto(f"{sold.url}/cart")
        expect(page.locator(".line")).to_have_count(0)
        page.goto(f"{sold.url}/orders")
        page.get_by_role("main").get_by_role("textbox").fill(order.lower())
        page.get_by_role("main").get_by_role("textbox").press("Enter")
        expect(page.locator(".order-id")).to_have_text(order)
    assert sold.holds(order)


@pytest.mark.parametrize("environment", ["dev", "qa", "stage", "prod"])
def test_the_page_says_which_environment_and_version_it_is(instance: Instance, chromium: Chromium, environment: str) -> None:
    sold = shop(instance, environment)
    version = sold.ask("/version").json
    with chromium.page(sold.url, dark=environment == "prod") as page:
        expect(page.locator("header")).to_contain_text(environment)
        expect(page.locator("header")).to_contain_text(version["version"])
        expect(page.locator("footer")).to_contain_text(version["commit"][:12])
        screenshot(page, f"storefront-{environment}")


def test_an_order_pressed_twice_is_one_order(instance: Instance, chromium: Chromium) -> None:
    sold = shop(instance, "qa")
    before = int(sold.rows("SELECT count(*) FROM orders")[0])
    with chromium.page(f"{sold.url}/products/{sold.product()['id']}") as page:
        page.get_by_role("button", name="Add to cart").click()
        page.get_by_role("link", name="Check out").click()
        page.get_by_label("Your name").fill(NAME)
        page.get_by_role("button", name="Place the order").dblclick()
        expect(page).to_have_url(re.compile("/orders/[0-9A-Z-]+$"))
    assert int(sold.rows("SELECT count(*) FROM orders")[0]) == before + 1
