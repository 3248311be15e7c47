"""The README's pictures, taken of an instance whose shops have customers."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import expect

from slipway.board import look
from slipway.measures import Traffic
from slipway.waiting import Pending, Ready, wait_for
from tests.browser import Chromium, browser, screenshot
from tests.e2e.boarding import serving_board
from tests.e2e.conftest import Instance
from tests.e2e.shop import Shop, shop
from tests.long.lent import own_or_lent

# How long a line is in the pictures, half a minute a point; and how long that may take.
POINTS = 8
PICTURE_TIMEOUT = 420.0


@pytest.fixture(scope="module")
def instance(request: pytest.FixtureRequest) -> Generator[Instance]:
    """An instance that the README could speak of."""
    with own_or_lent(request, "slipway-pictures") as made:
        yield made


def test_the_pictures_of_the_readme_show_a_shop_at_work(instance: Instance, tmp_path: Path) -> None:
    sold = {name: shop(instance, name) for name in ("dev", "qa", "stage", "prod")}
    rounds = itertools.count(1)

    def buy(name: str, often: int) -> None:
        for _ in range(often):
            sold[name].order()
            assert sold[name].ask("/").status == 200

    def drawn() -> Ready[None] | Pending:
        # Customers of the four shops come in waves of their own, so that no line is like another.
        now = next(rounds)
        often = {name: 1 + now // (7 + 4 * number) % 3 for number, name in enumerate(sold)}
        with ThreadPoolExecutor(len(sold)) as pool:
            list(pool.map(buy, often, often.values()))
        measured = look(instance.settings).measured
        assert measured
        lines = {
            (where, service): sum(1 for rate in measured.traffic.get((where, service), Traffic()).history if rate)
            for where in sold
            for service in instance.settings.services
        }
        short = sorted(f"{service} in {where}: {points}" for (where, service), points in lines.items() if points < POINTS)
        return Pending(f"fewer than {POINTS} points: {', '.join(short)}") if short else Ready(None)

    wait_for("a line in every cell of the board", drawn, timeout=PICTURE_TIMEOUT)
    with browser() as chromium, serving_board(instance, tmp_path) as url:
        _taken(chromium, url, sold)


def _taken(chromium: Chromium, url: str, sold: Mapping[str, Shop]) -> None:
    with chromium.page(url) as page:
        for name in sold:
            expect(page.locator(f'th[data-environment="{name}"]')).to_contain_text("orders/min")
        expect(page.locator("#age")).to_contain_text("live")
        screenshot(page, "readme/board")
    with chromium.page(sold["dev"].url, size=(1280, 800)) as page:
        screenshot(page, "readme/storefront", whole=False)
