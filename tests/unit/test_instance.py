"""Who works on an instance, and where it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway import instance
from slipway.errors import UsageError
from slipway.settings import ROOT, Settings, instances


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(ROOT, tmp_path, "test")


def test_while_one_command_works_on_an_instance_another_is_refused_and_told_which(settings: Settings) -> None:
    with (
        instance.locked(settings, "up"),
        pytest.raises(UsageError, match=r"`\./invoke up` is working on instance 'test'"),
        instance.locked(settings, "down"),
    ):
        pytest.fail("both work")


def test_the_lock_goes_with_the_command_even_one_that_failed(settings: Settings) -> None:
    with pytest.raises(KeyboardInterrupt), instance.locked(settings, "up --a-long-command-line"):
        raise KeyboardInterrupt
    with (
        instance.locked(settings, "down"),
        pytest.raises(UsageError, match=r"^`\./invoke down` is"),
        instance.locked(settings, "up"),
    ):
        pytest.fail("both work")


def test_a_state_folder_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(ROOT, tmp_path / "file" / "home", "test")
    with (
        pytest.raises(UsageError, match=rf"state folder {settings.home} .*Not a directory.*SLIPWAY_HOME"),
        instance.locked(settings, "up"),
    ):
        pytest.fail("worked on")


def test_a_lock_that_cannot_be_written_is_named_with_what_to_do(settings: Settings) -> None:
    lock = settings.home / "instances" / "test.lock"
    lock.mkdir(parents=True)  # root may write any file, and no folder
    with (
        pytest.raises(UsageError, match=rf"state folder {settings.home} .*{lock}: .*SLIPWAY_HOME"),
        instance.locked(settings, "up"),
    ):
        pytest.fail("worked on")


def test_what_fails_under_the_lock_is_not_taken_for_the_lock(settings: Settings) -> None:
    with pytest.raises(PermissionError), instance.locked(settings, "up"):
        raise PermissionError


def test_two_instances_are_worked_on_side_by_side(settings: Settings, tmp_path: Path) -> None:
    with instance.locked(settings, "up"), instance.locked(Settings(ROOT, tmp_path, "other"), "up"):
        pass


def test_a_lock_is_not_taken_for_an_instance(settings: Settings) -> None:
    with instance.locked(settings, "up"):
        assert instances(settings) == ()


def test_the_lock_of_a_removed_instance_goes_with_it_and_that_of_another_stays(settings: Settings) -> None:
    lock = settings.home / "instances" / f"{settings.instance}.lock"
    settings.folder.mkdir(parents=True)
    with instance.locked(settings, "up"):
        pass
    assert lock.exists()
    settings.folder.rmdir()
    with instance.locked(settings, "down"):
        pass
    assert not lock.exists()


def test_a_command_that_was_refused_before_it_made_anything_leaves_no_lock(settings: Settings) -> None:
    with pytest.raises(UsageError), instance.locked(settings, "up"):
        raise UsageError("no")
    assert not list((settings.home / "instances").iterdir())


def test_a_full_instance_opens_at_every_front_door_and_part(settings: Settings) -> None:
    urls = instance.urls(settings, instance.Facts("full", "build"), 8081)
    assert urls["storefront.prod"] == "http://storefront.prod.localhost:8081"
    assert {name for name in urls if "." not in name} == {"argocd", "git", "prometheus", "alertmanager"}
    assert {name.partition(".")[2] for name in urls if "." in name} == {"dev", "qa", "stage", "prod"}


def test_every_service_has_an_address_of_its_own_in_every_environment(settings: Settings) -> None:
    urls = instance.service_urls(settings, instance.Facts("full", "build"), 8081)
    assert urls["catalog.prod"] == "http://catalog.prod.localhost:8081"
    assert len(urls) == len(settings.services) * 4


def test_a_minimal_instance_names_nothing_that_it_does_not_have(settings: Settings) -> None:
    urls = instance.urls(settings, instance.Facts("minimal", "build"), 8081)
    assert {name for name in urls if "." not in name} == {"argocd", "git"}
    assert {name.partition(".")[2] for name in urls if "." in name} == {"dev"}
