"""`urls`: the addresses of an instance, and `--open` with a browser that writes down what it is to show."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from slipway import shell, status, urls
from slipway.errors import SlipwayError
from slipway.settings import ROOT, Settings
from tests.unit import boards

URLS = {
    "storefront.dev": "http://storefront.dev.localhost:8080",
    "storefront.prod": "http://storefront.prod.localhost:8080",
    "git": "http://git.localhost:8080",
    "cart.dev": "http://cart.dev.localhost:8080",
}

# The module that knows browsers looks for them once in a process.
OPENS = """
import json, sys
from slipway import errors, urls
try:
    urls.browse(json.loads(sys.argv[1]))
except errors.SlipwayError as error:
    sys.exit(str(error))
"""


def opened(folder: Path, *, browser: str, path: str = os.defpath) -> shell.Result:
    """What came of opening, for a user without a desktop."""
    environ = {"BROWSER": browser, "PATH": path, "DISPLAY": "", "WAYLAND_DISPLAY": "", "TERM": "", "HOME": str(folder)}
    return shell.run([sys.executable, "-c", OPENS, json.dumps(URLS)], env=environ, cwd=ROOT, check=False)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Those of a test's own instance, which is whatever `status` is told to see."""
    monkeypatch.setattr(status, "status", lambda _: boards.seen(environments=("dev",)))
    return Settings(ROOT, tmp_path, "test")


def test_the_front_doors_and_the_platform_are_listed_and_every_service_when_asked(settings: Settings) -> None:
    found = urls.urls(settings)
    assert found["git"] == "http://git.localhost:8080"
    assert "cart.dev" not in found
    assert urls.urls(settings, every=True)["cart.dev"] == "http://cart.dev.localhost:8080"


def test_an_instance_that_is_not_there_has_no_addresses_and_says_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    away = boards.seen(urls={}, service_urls={}, trouble="There is no such instance. `./invoke up` makes it.")
    monkeypatch.setattr(status, "status", lambda _: away)
    with pytest.raises(SlipwayError, match=r"test has no URLs\. There is no such instance\."):
        urls.urls(settings)


@pytest.fixture
def browser(tmp_path: Path) -> Path:
    file = tmp_path / "browser"
    file.write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/shown"\n')
    file.chmod(0o755)
    return file


def test_the_storefront_of_each_environment_is_opened_and_nothing_else(browser: Path, tmp_path: Path) -> None:
    done = opened(tmp_path, browser=str(browser))
    assert done.code == 0, done.stderr
    assert (tmp_path / "shown").read_text().split() == [URLS["storefront.dev"], URLS["storefront.prod"]]


def test_without_a_browser_the_addresses_are_told(tmp_path: Path) -> None:
    done = opened(tmp_path, browser="", path=str(tmp_path))
    assert done.code == 1
    assert done.stderr.startswith("no browser was found. Open the storefronts yourself, or name a browser in BROWSER:\n")
    assert done.stderr.split("\n")[1:3] == [f"  {URLS['storefront.dev']}", f"  {URLS['storefront.prod']}"]


def test_what_the_browser_does_not_take_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\ncase "$1" in *prod*) exit 1 ;; esac\n')
    broken.chmod(0o755)
    done = opened(tmp_path, browser=str(broken))
    assert done.code == 1
    assert "did not take every address" in done.stderr
    assert URLS["storefront.prod"] in done.stderr
    assert URLS["storefront.dev"] not in done.stderr
