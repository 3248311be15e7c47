from __future__ import annotations

from pathlib import Path

import pytest

from slipway.errors import UsageError
from slipway.settings import ROOT, command, instances, load


@pytest.mark.parametrize("name", ["a", "slipway", "ci-42", "a" * 30])
def test_a_name_of_small_letters_digits_and_dashes_is_an_instance(name: str) -> None:
    assert load(name, environ={}).instance == name


@pytest.mark.parametrize("name", ["A", "1a", "-a", "a-", "a b", "a/b", "..", "a" * 31, "ä"])
def test_any_other_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(UsageError, match="1 to 30 lower-case letters, digits and dashes"):
        load(name, environ={})


def test_the_name_given_comes_before_the_environment_and_that_before_the_default() -> None:
    assert load("given", environ={"SLIPWAY_INSTANCE": "other"}).instance == "given"
    assert load("", environ={"SLIPWAY_INSTANCE": "other"}).instance == "other"
    assert load(None, environ={}).instance == "slipway"


@pytest.mark.parametrize(
    ("instance", "chosen", "named"),
    [
        ("slipway", {}, ""),
        ("second", {}, " --name second"),
        ("second", {"SLIPWAY_INSTANCE": "second"}, ""),
        ("slipway", {"SLIPWAY_INSTANCE": "second"}, " --name slipway"),
        ("", {"SLIPWAY_INSTANCE": "second"}, ""),
    ],
)
def test_a_command_names_the_instance_unless_it_is_the_one_that_is_meant_anyway(
    instance: str, chosen: dict[str, str], named: str
) -> None:
    assert command("down --purge", instance, environ=chosen) == f"./invoke down --purge{named}"


def test_a_command_of_an_instance_acts_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_INSTANCE", raising=False)
    assert load("second").command("down") == "./invoke down --name second"
    assert load().command("down") == "./invoke down"


def test_state_lies_where_the_user_says_else_where_the_desktop_says_else_at_home() -> None:
    both = {"SLIPWAY_HOME": "/state", "XDG_DATA_HOME": "/data"}
    assert load(environ=both).home == Path("/state")
    assert load(environ={"XDG_DATA_HOME": "/data"}).home == Path("/data/slipway")
    assert load(environ={}).home == (Path.home() / ".local" / "share" / "slipway").resolve()


def test_everything_of_an_instance_lies_in_its_own_folder() -> None:
    settings = load("two", environ={"SLIPWAY_HOME": "/state"})
    assert settings.folder == Path("/state/instances/two")
    assert settings.kubeconfig.parent == settings.folder
    assert settings.cache == Path("/state/cache")
    assert (settings.context, settings.node) == ("kind-two", "two-control-plane")


def test_environments_stand_in_the_order_of_promotion_each_with_its_repository() -> None:
    environments = load(environ={}).environments
    assert list(environments) == ["dev", "qa", "stage", "prod"]
    assert {name: found.tier for name, found in environments.items()} == {
        "dev": "nonprod",
        "qa": "nonprod",
        "stage": "prod",
        "prod": "prod",
    }
    assert environments["qa"].repository == environments["dev"].repository != environments["prod"].repository


def test_profiles_hold_only_environments_that_there_are() -> None:
    settings = load(environ={})
    assert {"full", "minimal"} <= set(settings.profiles)
    for profile in settings.profiles.values():
        assert set(profile.environments) <= set(settings.environments)
    assert list(settings.profile("full").environments) == list(settings.environments)


def test_services_are_the_folders_that_have_a_program() -> None:
    services = load(environ={}).services
    assert "catalog" in services
    assert all((ROOT / "services" / name / "main.py").is_file() for name in services)


def test_roles_come_from_the_policy() -> None:
    assert {"developer", "lead", "pipeline"} <= set(load(environ={}).roles)


@pytest.mark.parametrize(("kind", "valid"), [("profile", "minimal"), ("environment", "qa"), ("service", "catalog")])
def test_an_unknown_name_gets_the_valid_ones(kind: str, valid: str) -> None:
    with pytest.raises(UsageError, match=rf"there is no {kind} 'nope'; valid: .*\b{valid}\b"):
        getattr(load(environ={}), kind)("nope")


@pytest.mark.parametrize(
    ("content", "lacks"), [("", "versions"), ("[versions]", r"versions\.kind"), ("[versions.kind]", r"versions\.kind\.x")]
)
def test_pins_that_lack_something_say_what_and_in_which_file(tmp_path: Path, content: str, lacks: str) -> None:
    file = tmp_path / "pins.toml"
    file.write_text(content)
    versions = load(environ={"SLIPWAY_PINS": str(file)}).versions
    with pytest.raises(UsageError, match=rf"{file} has no {lacks}\. SLIPWAY_PINS"):
        assert versions["versions"]["kind"]["x"]
    assert versions.get("pull") is None


def test_pins_that_are_no_text_are_refused_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "pins.toml"
    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match=f"the file of pins {file} cannot be read"):
        assert load(environ={"SLIPWAY_PINS": str(file)}).versions


def test_instances_are_those_with_state_on_this_host(tmp_path: Path) -> None:
    settings = load(environ={"SLIPWAY_HOME": str(tmp_path)})
    assert instances(settings) == ()
    for name in ("two", "one"):
        (tmp_path / "instances" / name).mkdir(parents=True)
    (tmp_path / "instances" / "note").touch()
    assert instances(settings) == ("one", "two")
