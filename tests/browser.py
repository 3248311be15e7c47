"""A real browser for tests: this machine's own Chromium, driven by playwright, with an eye on what goes wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from slipway import machine, shell
from slipway.errors import CommandFailed
from slipway.settings import ROOT

SCREENSHOTS = ROOT / "build" / "reports" / "screenshots"

PHONE, DESKTOP = (390, 844), (1280, 900)

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_APT_TIMEOUT = 900.0
# Milliseconds that a page gets for anything it is asked.
_TIMEOUT = 15_000


@cache
def program() -> Path:
    """Where Chromium is; on Debian as root it is installed when it is not there. A test without one fails."""
    if found := _on_path():
        return found
    facts = machine.look()
    if not (facts.debian and facts.root):
        pytest.fail("There is no Chromium on the PATH. Install it (Debian: `sudo apt-get install chromium`).", pytrace=False)
    try:
        _apt("install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core")
    except CommandFailed:  # a package list that is missing or old shows by an install that fails
        _apt("update")
        _apt("install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core")
    found = _on_path()
    assert found, "apt installed chromium, and it is not on the PATH"
    return found


def _on_path() -> Path | None:
    return next((Path(found) for name in _NAMES if (found := shutil.which(name))), None)


def _apt(*words: str) -> None:
    shell.run(
        ["apt-get", "-q", *words],
        env={"DEBIAN_FRONTEND": "noninteractive"},
        timeout=_APT_TIMEOUT,
        hint="Install chromium yourself, then run the tests again.",
    )


class Chromium:
    """A running browser; its pages share nothing.

    Args:
        browser: Playwright's handle.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    @contextmanager
    def page(
        self,
        url: str,
        *,
        size: tuple[int, int] = DESKTOP,
        dark: bool = False,
        javascript: bool = True,
        allow: str = "",
    ) -> Generator[Page]:
        """A page that shows `url`.

        At the end the test fails if the page had an error, wrote one to its console, or asked a host that is not this machine.

        Args:
            url: What it shows; names below .localhost are this machine.
            size: Width and height of the window in pixels.
            dark: Whether the user prefers dark pages.
            javascript: Whether scripts run.
            allow: A part of the text of those errors that belong to the test.
        """
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            java_script_enabled=javascript,
            reduced_motion="reduce",
        )
        context.set_default_timeout(_TIMEOUT)
        troubles: list[str] = []

        def console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                troubles.append(f"console: {message.text}")

        def asked(request: Request) -> None:
            if not _own(request.url):
                troubles.append(f"asked for {request.url}")

        try:
            page = context.new_page()
            page.on("console", console)
            page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
            page.on("request", asked)
            page.goto(url)
            yield page
            troubles = [trouble for trouble in troubles if not (allow and allow in trouble)]
            assert not troubles, f"{url}: {'; '.join(troubles)}"
        finally:
            context.close()


@contextmanager
def browser() -> Generator[Chromium]:
    """A browser that runs as long as this block."""
    # Chromium's sandbox refuses to run as root.
    options = ["--no-sandbox"] if machine.look().root else []
    expect.set_options(timeout=_TIMEOUT)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program(), args=options)
        try:
            yield Chromium(started)
        finally:
            started.close()


def screenshot(page: Page, name: str, *, whole: bool = True) -> Path:
    """A picture of the whole page, or of what the window shows of it, kept with the reports of the tests."""
    file = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=file, full_page=whole)
    return file


def fits(page: Page) -> bool:
    """Whether the page is no wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def _own(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return (
        parts.scheme in ("data", "blob", "file", "about")
        or host == "127.0.0.1"
        or host == "localhost"
        or host.endswith(".localhost")
    )
