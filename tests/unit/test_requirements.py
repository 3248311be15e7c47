from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slipway import requirements, shell
from slipway.settings import Settings


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    commands: list[list[str]] = []

    def run(argv: list[str], **_: Any) -> shell.Result:
        commands.append(argv)
        return shell.Result(0, "", "")

    monkeypatch.setattr(shell, "run", run)
    return commands


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("cart", "catalog"):
        (tmp_path / "services" / name).mkdir(parents=True)
        (tmp_path / "services" / name / "main.py").touch()
    (tmp_path / ".venv").mkdir()
    for folder in (tmp_path, tmp_path / ".venv"):
        (folder / requirements.FOR_TESTS).write_text("lock")
    return Settings(tmp_path, tmp_path / "home", "slipway")


def test_everything_that_is_installed_anywhere_is_locked(ran: list[list[str]], settings: Settings) -> None:
    assert requirements.lock(settings) == [
        "requirements.txt",
        "requirements-dev.txt",
        "loadtests/requirements.txt",
        "cluster/tilt/requirements.txt",
        "services/chassis/requirements.txt",
        "services/cart/requirements.txt",
        "services/catalog/requirements.txt",
        "services/test-requirements.txt",
    ]
    assert [argv[argv.index("--output-file") + 1] for argv in ran] == requirements.lock(settings)


def test_a_lock_has_hashes_for_every_platform_and_names_no_place(ran: list[list[str]], settings: Settings) -> None:
    requirements.lock(settings)
    needed = {"--generate-hashes", "--universal", "--only-binary", "--no-emit-index-url", "--no-emit-find-links"}
    assert all(needed <= set(argv) for argv in ran)


def test_what_the_tests_of_services_need_agrees_with_every_service(ran: list[list[str]], settings: Settings) -> None:
    requirements.lock(settings)
    [tests] = [argv for argv in ran if "services/test-requirements.in" in argv]
    limits = {tests[index + 1] for index, word in enumerate(tests) if word == "--constraints"}
    assert limits == {"services/cart/requirements.txt", "services/catalog/requirements.txt"}


def test_a_lock_that_services_limit_does_not_name_them(ran: list[list[str]], settings: Settings) -> None:
    requirements.lock(settings)
    assert ["--constraints" in argv for argv in ran] == ["--no-annotate" in argv for argv in ran]


def test_pins_move_only_when_asked_to(ran: list[list[str]], settings: Settings) -> None:
    requirements.lock(settings)
    assert not any("--upgrade" in argv for argv in ran)
    ran.clear()
    requirements.lock(settings, upgrade=True)
    assert all("--upgrade" in argv for argv in ran)


def test_what_locks_is_installed_first(ran: list[list[str]], settings: Settings) -> None:
    (settings.root / requirements.FOR_TESTS).write_text("another lock")
    requirements.lock(settings)
    assert [str(word) for word in ran[0][1:]] == ["-I", str(settings.root / "bootstrap.py"), requirements.FOR_TESTS]
