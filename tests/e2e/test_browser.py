"""The browser of the tests itself: it must not let pass what it is there to notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import PHONE, browser, fits

QUIET = "<!doctype html><title>x</title><link rel='icon' href='data:,'>"


@pytest.mark.parametrize(
    ("markup", "said"),
    [
        ("<script>console.error('broken')</script>", "console: broken"),
        ("<script>throw new Error('thrown')</script>", "error: thrown"),
        ("<img src='http://elsewhere.invalid/x.png'>", "asked for http://elsewhere.invalid/x.png"),
        ("<img src='http://localhost.invalid/x.png'>", "asked for http://localhost.invalid/x.png"),
    ],
)
def test_a_page_with_an_error_or_a_foreign_request_fails_its_test(tmp_path: Path, markup: str, said: str) -> None:
    file = tmp_path / "page.html"
    file.write_text(QUIET + markup)
    with browser() as chromium, pytest.raises(AssertionError, match=said), chromium.page(file.as_uri()):
        pass


def test_a_page_wider_than_its_window_does_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(f"{QUIET}<meta name=viewport content='width=device-width'><pre>{'x' * 400}</pre>")
    with browser() as chromium, chromium.page(file.as_uri(), size=PHONE) as page:
        assert not fits(page)
