"""An instance's secrets: made once, private, and never lost by a second `up`."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from dataclasses import asdict, replace
from pathlib import Path

import bcrypt
import pytest

from slipway import credentials, git, shell
from slipway.errors import UsageError
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
    del told["stores"]["prod/postgresql/orders"]
    file.write_text(json.dumps(told))
    second = credentials.keep(settings)
    assert second.passwords["lead"] != first.passwords["lead"]
    assert second.webhook not in ("", first.webhook)
    changed = {use for use, password in second.stores.items() if password != first.stores[use]}
    assert changed == {"prod/postgresql/orders"}
    assert second.passwords["pipeline"] == first.passwords["pipeline"]
    assert (second.cache, second.session, second.made) == (first.cache, first.session, first.made)


def test_no_two_uses_of_a_store_share_a_password(settings: Settings) -> None:
    made = credentials.keep(settings).stores
    assert {use.partition("/")[0] for use in made} == {"dev", "qa", "stage", "prod", "local"}
    assert len(set(made.values())) == len(made)


def test_nobody_else_can_read_them(settings: Settings) -> None:
    credentials.keep(settings)
    file = credentials.file(settings)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_they_are_not_shown_by_accident(settings: Settings) -> None:
    made = credentials.keep(settings)
    for secret in (*made.passwords.values(), *made.stores.values(), made.webhook, made.cache, made.session):
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


def test_every_role_signs_with_a_key_of_its_own_that_git_can_check(settings: Settings, tmp_path: Path) -> None:
    made = credentials.keep(settings)
    assert set(made.signing) == set(made.signers) == set(settings.roles)
    assert len(set(made.signing.values())) == len(made.signing)
    (tmp_path / "signers").write_text(made.signers_file)
    tree = tmp_path / "tree"
    git.init(tree, branch="main")
    (tree / "a").write_text("1")
    git.stage(tree, ["a"])
    identity = git.Identity("lead", credentials.address("lead"))
    git.commit(tree, "Signed", identity=identity, key=credentials.signing_key(settings, "lead"))
    argv = ["git", "-C", tree, "-c", f"gpg.ssh.allowedSignersFile={tmp_path / 'signers'}", "log", "--format=%G? %GS"]
    assert shell.run(argv).stdout.strip() == "G lead@slipway.localhost"


def test_a_signing_key_is_its_owners_alone_and_stays(settings: Settings) -> None:
    file = credentials.signing_key(settings, "pipeline")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = file.read_text()
    file.unlink()
    assert credentials.signing_key(settings, "pipeline").read_text() == kept
    assert kept not in repr(credentials.keep(settings))
    with pytest.raises(UsageError, match="there is no role 'nobody'"):
        credentials.signing_key(settings, "nobody")


def test_what_one_role_is_handed_holds_nobody_elses_secrets(settings: Settings) -> None:
    whole = credentials.keep(settings)
    part = credentials.of(whole, "pipeline")
    assert (set(part.passwords), set(part.signing), part.only) == ({"pipeline"}, {"pipeline"}, "pipeline")
    kept = json.dumps(asdict(part))
    secret = [
        *whole.passwords.values(),
        *whole.signing.values(),
        whole.webhook,
        whole.cache,
        whole.session,
        *whole.stores.values(),
    ]
    own = {whole.passwords["pipeline"], whole.signing["pipeline"]}
    assert [text for text in secret if text not in own and json.dumps(text)[1:-1] in kept] == []


def test_who_holds_one_roles_secrets_makes_no_others(settings: Settings) -> None:
    part = credentials.of(credentials.keep(settings), "pipeline")
    credentials.file(settings).write_text(json.dumps(asdict(part)))
    assert credentials.keep(settings) == part
    assert credentials.signing_key(settings, "pipeline").read_text() == part.signing["pipeline"]
