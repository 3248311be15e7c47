from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import bill, engine, images, registry, status
from slipway.errors import SlipwayError, UsageError
from slipway.settings import ROOT, Settings

SETTINGS = Settings(ROOT, Path("/nowhere"), "test")

# Where the images of an instance's own services lie.
REPOSITORY = "localhost:5001/services/test"


def row(environment: str, digest: str) -> Any:
    return SimpleNamespace(environment=environment, service="catalog", kind="service", digest=digest)


@pytest.fixture(autouse=True)
def instance(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = SimpleNamespace(services=(row("dev", "sha256:1"), row("qa", "sha256:2"), row("prod", "")), instance="test", trouble="")
    monkeypatch.setattr(status, "status", lambda _: seen)
    monkeypatch.setattr(engine, "find", lambda _: object())
    monkeypatch.setattr(registry, "find", lambda _: registry.Registry(5001, "c", "running", "x"))
    monkeypatch.setattr(images, "bill", lambda reference: reference)


def test_the_bill_is_that_of_what_runs_in_the_environment() -> None:
    assert bill.bill(SETTINGS, "catalog", environment="qa") == f"{REPOSITORY}/catalog@sha256:2"
    assert bill.bill(SETTINGS, "catalog") == f"{REPOSITORY}/catalog@sha256:1"


def test_a_service_that_the_checkout_does_not_have_has_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fifth = SimpleNamespace(environment="dev", service="reviews", kind="service", digest="sha256:5")
    monkeypatch.setattr(status, "status", lambda _: SimpleNamespace(services=(fifth,), instance="test", trouble=""))
    assert bill.bill(SETTINGS, "reviews") == f"{REPOSITORY}/reviews@sha256:5"


def test_what_does_not_run_has_none() -> None:
    with pytest.raises(SlipwayError, match="does not run in prod of test"):
        bill.bill(SETTINGS, "catalog", environment="prod")


def test_an_unknown_service_or_environment_gets_the_list_of_valid_ones() -> None:
    with pytest.raises(UsageError, match="catalog"):
        bill.bill(SETTINGS, "catalogue")
    with pytest.raises(UsageError, match="stage"):
        bill.bill(SETTINGS, "catalog", environment="staging")
