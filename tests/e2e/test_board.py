"""The board, as a person sees it: a real browser on a real cluster, on a desk and on a phone."""

from __future__ import annotations

import re
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from slipway import names
from slipway.measures import Measured
from slipway.page import Pages, View
from slipway.serving import Reply, serving
from slipway.settings import load
from slipway.waiting import Pending, Ready, wait_for
from tests.browser import DESKTOP, PHONE, Chromium, browser, fits, screenshot
from tests.e2e.boarding import serving_board
from tests.e2e.conftest import COMMAND_TIMEOUT, Instance, fetch
from tests.unit import boards

# A scrape, an evaluation of the rules and a look of the board, with room for a busy machine.
RATE_TIMEOUT = 180.0
HEAL_TIMEOUT = 300.0
# Milliseconds until a change in the cluster is on the page.
SEEN = 60_000

SIZES = {"desktop": DESKTOP, "phone": PHONE}
CONTROLLER = "argocd-application-controller"


@pytest.fixture(scope="module")
def chromium() -> Generator[Chromium]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def url(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Where `./invoke board` serves the instance under test."""
    with serving_board(instance, tmp_path_factory.mktemp("board")) as address:
        yield address


def cell(page: Page, environment: str, service: str) -> Any:
    return page.locator(f'td[data-environment="{environment}"][data-service="{service}"]')


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_service_is_seen_in_every_environment(
    instance: Instance, chromium: Chromium, url: str, size: str, dark: bool
) -> None:
    status = instance.json("status", check=False)
    assert {row["environment"] for row in status["services"]} == {"dev", "qa", "stage", "prod"}
    with chromium.page(url, size=SIZES[size], dark=dark) as page:
        for row in status["services"]:
            expect(cell(page, row["environment"], row["service"])).to_contain_text(row["version"])
        expect(page.locator("header")).to_contain_text(status["kubernetes"])
        expect(page.locator("#age")).to_contain_text("live")
        assert fits(page)
        screenshot(page, f"board-{size}-{'dark' if dark else 'light'}")


def test_requests_become_a_rate_while_one_looks(instance: Instance, chromium: Chromium, url: str) -> None:
    target = instance.url("catalog", "qa")
    with chromium.page(url) as page:

        def measured() -> Ready[str] | Pending:
            for _ in range(5):
                assert fetch(f"{target}/products").status == 200
            text = " ".join(cell(page, "qa", "catalog").inner_text().split())
            return Ready(text) if "/s" in text else Pending(text)

        seen = wait_for("a rate of catalog in qa", measured, timeout=RATE_TIMEOUT)
        assert re.search(r"requests [\d.]+ ?/s errors 0 % p95 (<1|\d+) ms", seen), seen
        screenshot(page, "board-rate")
    rows = {(row["environment"], row["service"]): row for row in instance.json("board")["services"]}
    assert rows["qa", "catalog"]["request_rate"] > 0
    assert rows["qa", "catalog"]["error_ratio"] == 0


def test_a_deleted_deployment_is_seen_as_trouble_and_its_return_as_well(instance: Instance, chromium: Chromium, url: str) -> None:
    with chromium.page(url) as page:
        gone = cell(page, "stage", "catalog")
        expect(gone).to_have_class("well", timeout=SEEN)
        replicas(instance, 0)  # else it is back before anybody has seen it
        try:
            expect(page.locator("#platform")).to_contain_text(CONTROLLER, timeout=SEEN)
            assert instance.kube.delete("Deployment", "catalog", namespace="stage", api_version="apps/v1")
            expect(gone).to_have_class("bad", timeout=SEEN)
            expect(gone).to_contain_text("not running")
            expect(page.locator("header")).to_have_class("bad")
            expect(page.locator("h1")).not_to_contain_text("well")
            screenshot(page, "board-trouble")
        finally:
            replicas(instance, 1)
            wait_for("the instance to be well again", lambda: healthy(instance), timeout=HEAL_TIMEOUT)
        expect(gone).to_have_class("well", timeout=SEEN)


def replicas(instance: Instance, count: int) -> None:
    change = {"spec": {"replicas": count}}
    instance.kube.patch("StatefulSet", CONTROLLER, change, namespace=names.ARGOCD, api_version="apps/v1")


def healthy(instance: Instance) -> Ready[None] | Pending:
    seen = instance.invoke("status", check=False)
    return Ready(None) if seen.code == 0 else Pending(seen.stdout)


def test_the_links_of_the_page_lead_somewhere(instance: Instance, chromium: Chromium, url: str) -> None:
    with chromium.page(url) as page:
        links = {link.get_attribute("href") or "" for link in page.locator("main a").all()}
    followed = sorted(link for link in links if not link.startswith("#"))
    assert any("catalog.prod" in link for link in followed)
    assert set(instance.json("urls").values()) <= set(followed)

    def follow(link: str) -> int:
        return fetch(link if "://" in link else f"{url}/{link}", headers={"Accept": "text/html,*/*;q=0.8"}).status

    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(followed, pool.map(follow, followed), strict=True))
    assert {link: status for link, status in found.items() if status >= 400} == {}


def test_it_works_without_scripts(instance: Instance, chromium: Chromium, url: str) -> None:
    with chromium.page(url, javascript=False) as page:
        expect(cell(page, "prod", "catalog")).to_contain_text("/")
        with page.expect_request(f"{url}/"):  # the page comes anew by itself
            pass


def test_a_snapshot_is_a_page_of_its_own(instance: Instance, chromium: Chromium, tmp_path: Path) -> None:
    file = tmp_path / "board.html"
    instance.invoke("board", "--html", str(file), timeout=COMMAND_TIMEOUT)
    for size in SIZES.values():
        with chromium.page(file.as_uri(), size=size) as page:
            expect(cell(page, "prod", "catalog")).to_have_class("well")
            expect(page.locator("#age")).to_contain_text("as it was on")
            assert fits(page)


# What takes no cluster to be seen.
@pytest.mark.parametrize("size", SIZES)
def test_a_board_full_of_trouble_fits(chromium: Chromium, tmp_path: Path, size: str) -> None:
    file = tmp_path / "board.html"
    file.write_text(Pages(load()).page(View(boards.troubled()), live=False))
    with chromium.page(file.as_uri(), size=SIZES[size]) as page:
        assert fits(page)
        screenshot(page, f"board-full-{size}")


def test_a_page_whose_server_went_away_says_since_when_and_comes_back(chromium: Chromium) -> None:
    pages = Pages(load())
    shown = [View(boards.board(measures=boards.measured()))]

    def answer(path: str) -> Reply | None:
        made = {"": pages.page, "main": pages.main}.get(path)
        policy = {"Content-Security-Policy": pages.policy, "Data-Age": "0"}
        return Reply(made(shown[0], live=True), headers=policy) if made else None

    with ExitStack() as stack:
        with serving(answer, port=48300, fixed=False) as url:
            page = stack.enter_context(chromium.page(url, allow="ERR_CONNECTION_REFUSED"))
            expect(page.locator("#age")).to_contain_text("live")
            expect(page).to_have_title("All is well · test")
        expect(page.locator("#lost")).to_contain_text("Nothing was heard from the board's own server since")
        expect(page.locator("#age")).not_to_contain_text("live")
        expect(page).to_have_title("Not live · Slipway")
        screenshot(page, "board-lost")
        shown[0] = View(boards.board(boards.seen(), Measured(trouble="it answers 503.")))
        with serving(answer, port=int(url.rpartition(":")[2]), fixed=True):
            expect(page.locator("#lost")).to_be_hidden()
            expect(cell(page, "dev", "cart")).to_contain_text("no data")
            expect(page).to_have_title("Runs, but nobody watches · test")
