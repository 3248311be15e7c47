"""The stores' secrets: every environment its own, and every service only what it needs."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from slipway import credentials, stores
from slipway.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(credentials, "_BCRYPT_ROUNDS", 4)
    return replace(load(), home=tmp_path)


def made(settings: Settings, *environments: str) -> dict[tuple[str, str], dict[str, str]]:
    """The content of every Secret, by environment and name."""
    objects: list[Any] = list(stores.manifests(settings, environments, credentials.keep(settings)))
    return {
        (item["metadata"]["namespace"], item["metadata"]["name"]): {
            key: base64.b64decode(value).decode() for key, value in item["data"].items()
        }
        for item in objects
    }


def test_every_environment_has_its_own_passwords_and_an_instance_only_its_environments(settings: Settings) -> None:
    found = made(settings, "dev", "prod")
    assert {environment for environment, _ in found} == {"dev", "prod"}
    assert not set(found["dev", "postgresql"].values()) & set(found["prod", "postgresql"].values())
    assert found["dev", "valkey"] != found["prod", "valkey"]


def test_orders_is_told_the_password_of_its_role_and_not_the_superusers(settings: Settings) -> None:
    found = made(settings, "qa")
    (url,) = found["qa", "orders-postgresql"].values()
    parts = urlsplit(url)
    assert (parts.username, parts.password) == ("orders", found["qa", "postgresql"]["orders"])
    assert found["qa", "postgresql"]["postgres"] not in url
    assert (parts.hostname, parts.port, parts.path) == ("postgresql", 5432, "/orders")


def test_cart_is_told_where_its_valkey_is(settings: Settings) -> None:
    found = made(settings, "qa")
    assert found["qa", "cart-valkey"] == {"VALKEY_URL": f"redis://:{found['qa', 'valkey']['password']}@valkey:6379/0"}


def test_no_service_has_the_name_of_a_store() -> None:
    assert not set(load().services) & set(load().stores)
