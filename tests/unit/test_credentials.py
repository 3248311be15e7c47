"""An instance's secrets: made once, private, and never lost by a second `up`."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from dataclasses import replace
from pathlib import Path

import bcrypt
import pytest

from slipway import credentials
from slipway.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(credentials, "_BCRYPT_ROUNDS", 4)
    return replace(load(), home=tmp_path / "home")


def test_secrets_are_made_once(settings: Settings) -> None:
    first = credentials.keep(settings)
    assert set(first.passwords) == {"developer", "lead", "pipeline", credentials.READER}
    assert len(set(first.passwords.values())) == 4
    assert credentials.keep(settings) == first


def test_what_is_missing_is_made_and_what_is_there_stays(settings: Settings) -> None:
    first = credentials.keep(settings)
    file = credentials.file(settings)
    told = json.loads(file.read_text())
    for part in ("passwords", "bcrypt", "htpasswd"):
        del told[part]["lead"]
    del told["webhook"]
    file.write_text(json.dumps(told))
    second = credentials.keep(settings)
    assert second.passwords["lead"] != first.passwords["lead"]
    assert second.webhook not in ("", first.webhook)
    assert second.passwords["pipeline"] == first.passwords["pipeline"]
    assert (second.cache, second.session, second.made) == (first.cache, first.session, first.made)


def test_nobody_else_can_read_them(settings: Settings) -> None:
    credentials.keep(settings)
    file = credentials.file(settings)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_they_are_not_shown_by_accident(settings: Settings) -> None:
    made = credentials.keep(settings)
    for secret in (*made.passwords.values(), made.webhook, made.cache, made.session):
        assert secret not in repr(made)


def test_argo_cd_and_nginx_can_check_every_password(settings: Settings) -> None:
    made = credentials.keep(settings)
    lines = dict(line.split(":", 1) for line in made.htpasswd_file.splitlines())
    for user, password in made.passwords.items():
        assert bcrypt.checkpw(password.encode(), made.bcrypt[user].encode())
        assert lines[user].startswith("{SSHA}")
        decoded = base64.b64decode(lines[user].removeprefix("{SSHA}"))
        assert hashlib.sha1(password.encode() + decoded[20:]).digest() == decoded[:20]


def test_a_private_file_is_replaced_whole_and_stays_private(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file"
    credentials.write_private(file, "one")
    file.chmod(0o644)
    credentials.write_private(file, "two")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("two", 0o600)
    assert [path.name for path in file.parent.iterdir()] == ["file"]
