"""The report of a load test, as a person sees it: a real browser, on a desk and on a phone, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from slipway.load import compare, report
from slipway.load.model import Run
from slipway.settings import ROOT, load
from tests.browser import DESKTOP, PHONE, Chromium, browser, fits, screenshot
from tests.unit import loadruns

SETTINGS = load()
SCENES = {
    "pass": loadruns.run(),
    "fail": loadruns.run(slow=5, failures=3),
    "invalid": loadruns.run(lost=True),
    "hour": loadruns.run(seconds=3600),
    "phases": loadruns.phased(),
}
# The longest that the services have.
PATH = "PUT /api/carts/{cart_id}/lines/{product_id}"

# Words of a drawing that lie over one another.
TOUCHING = """() => [...document.querySelectorAll(".plot svg, figure svg")].flatMap((svg) => {
  if (!svg.getClientRects().length) return [];
  const words = [...svg.querySelectorAll("text")].map((one) => [one.textContent, one.getBoundingClientRect()]);
  return words.flatMap(([said, a], index) => words.slice(index + 1)
    .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > Math.min(a.height, b.height) / 2)
    .map(([other]) => `${said} | ${other}`));
})"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with browser() as started:
        yield started


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scene", SCENES)
def test_the_page_fits_and_its_words_do_not_touch(
    chromium: Chromium, tmp_path: Path, scene: str, size: tuple[int, int], dark: bool
) -> None:
    file = tmp_path / "report.html"
    file.write_text(report.page(SETTINGS, SCENES[scene]), encoding="utf-8")
    with chromium.page(file.as_uri(), size=size, dark=dark) as page:
        screenshot(page, f"load-report-{scene}-{'phone' if size == PHONE else 'desk'}-{'dark' if dark else 'light'}")
        assert fits(page)
        assert page.evaluate(TOUCHING) == []


def test_the_longest_endpoint_leaves_room_for_every_column_of_its_table(chromium: Chromium, tmp_path: Path) -> None:
    assert f'"{PATH.partition(" ")[2]}"' in (ROOT / "services" / "storefront" / "web_api.py").read_text()
    run = SCENES["pass"]
    long = replace(run.client.endpoints[0], name=PATH, journey="checkout", p50=0.1234, requests=12345)
    file = tmp_path / "report.html"
    file.write_text(report.page(SETTINGS, replace(run, client=replace(run.client, endpoints=(long, *run.client.endpoints)))))
    with chromium.page(file.as_uri(), size=DESKTOP) as page:
        scroll = page.locator(".scroll", has=page.locator(".endpoints"))
        assert scroll.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_whoever_points_at_a_second_is_told_what_it_had(chromium: Chromium, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(report.page(SETTINGS, SCENES["fail"]), encoding="utf-8")
    with chromium.page(file.as_uri()) as page:
        plot = page.locator("#timeline")
        box = plot.bounding_box()
        assert box and page.locator("#told").is_hidden()
        plot.hover(position={"x": box["width"] * 0.6, "y": 200})
        told = page.locator("#told").inner_text()
        assert "plateau" in told and "planned" in told and "under way" in told
        page.mouse.move(0, 0)
        assert page.locator("#told").is_hidden()


def test_a_report_says_everything_to_whoever_runs_no_scripts(chromium: Chromium, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(report.page(SETTINGS, SCENES["invalid"]), encoding="utf-8")
    with chromium.page(file.as_uri(), javascript=False) as page:
        assert "Invalid" in page.locator("h1").inner_text()
        assert page.locator("#timeline path").count() > 5


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_the_page_of_a_comparison_fits_and_its_words_do_not_touch(
    chromium: Chromium, tmp_path: Path, size: tuple[int, int]
) -> None:
    seeds = iter(range(1, 100))

    def drive(release: str) -> Run:
        return loadruns.run(next(seeds), slow=1.3 if release == "v0.2.0" else 1.0, release=release)

    told = compare.judge("v0.1.0", "v0.2.0", compare.series("v0.1.0", "v0.2.0", 6, lambda _: None, drive))
    file = tmp_path / "report.html"
    file.write_text(report.compared_page(SETTINGS, told), encoding="utf-8")
    with chromium.page(file.as_uri(), size=size) as page:
        screenshot(page, f"load-comparison-{'phone' if size == PHONE else 'desk'}")
        assert page.locator("h1").inner_text().strip() == "Worse"
        assert fits(page)
        assert page.evaluate(TOUCHING) == []
