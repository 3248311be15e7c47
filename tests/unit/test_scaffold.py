"""Which names a new service can have, and that its folder is there whole or not at all."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from jinja2 import UndefinedError

from slipway import scaffold
from slipway.errors import UsageError
from slipway.settings import ROOT, Settings
from tests.unit.fakes import Screen

FAR_TOO_LONG = "a" * 41


@pytest.fixture
def checkout(tmp_path: Path) -> Settings:
    """As much of a checkout as a new service is made from."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "cluster" / "new-service", root / "cluster" / "new-service")
    for name in ("policy.yaml", "stores.yaml"):
        shutil.copyfile(ROOT / "cluster" / name, root / "cluster" / name)
    for name in ("catalog/main.py", "catalog/products.py", "chassis/__init__.py"):
        (root / "services" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "services" / name).touch()
    for name in (".gitignore", "services/.dockerignore", "services/chassis/requirements.txt"):
        shutil.copyfile(ROOT / name, root / name)
    return Settings(root, tmp_path / "home", "slipway")


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["", "Reviews", "1st", "-a", "a-", "a_b", "a.b", "a/b", "../a", "ä", "a b", "a\n", FAR_TOO_LONG])
def test_a_name_that_is_no_host_name_is_refused(checkout: Settings, name: str) -> None:
    before = tree(checkout.root)
    with pytest.raises(UsageError, match="it becomes a host name"):
        scaffold.new_service(checkout, name)
    assert tree(checkout.root) == before


@pytest.mark.parametrize("name", ["a", "b2", "gift-cards", "a" * 40])
def test_a_name_that_is_taken_is_one_that_the_chart_takes(checkout: Settings, name: str) -> None:
    chart = (ROOT / "charts" / "microservice" / "templates" / "_helpers.tpl").read_text()
    found = re.search(r'dnsLabel := "(.+?)"', chart)
    assert found
    scaffold.check(checkout, name)
    assert re.search(found[1], name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("catalog", "there is such a service already"),
        ("chassis", "holds what the services share"),
        ("catalog-migrate", "migrations are called that"),
        ("postgresql", "a store of that name"),
        ("valkey", "a store of that name"),
        ("slipway", "own images"),
        ("build", "Git ignores"),
        ("envs", "images leave out"),
        ("json", "Python has a module"),  # the standard library's
        ("test", "images leave out"),
        ("fastapi", "Python has a module"),  # a service's
        ("docker", "Python has a module"),  # Slipway's own
        ("products", "Python has a module"),  # the catalog's
    ],
)
def test_a_name_that_means_something_else_is_refused_with_the_reason(checkout: Settings, name: str, why: str) -> None:
    before = tree(checkout.root)
    with pytest.raises(UsageError, match=f"^'{name}' cannot be .*{why}.*Choose another name"):
        scaffold.new_service(checkout, name)
    assert tree(checkout.root) == before


def test_a_service_whose_migrations_would_be_called_like_another_service_is_refused(checkout: Settings) -> None:
    (checkout.root / "services" / "tides-migrate").mkdir()
    (checkout.root / "services" / "tides-migrate" / "main.py").touch()
    with pytest.raises(UsageError, match="migrations are called that"):
        scaffold.check(checkout, "tides")


def test_a_folder_that_is_there_is_left_alone(checkout: Settings) -> None:
    mine = checkout.root / "services" / "reviews" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"there already, though it has no main\.py"):
        scaffold.new_service(checkout, "reviews")
    assert tree(mine.parent) == {"notes.txt"}


def test_a_folder_that_appears_meanwhile_is_left_alone(checkout: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = checkout.root / "services" / "reviews" / "main.py"

    def somebody_is_faster(settings: Settings, name: str) -> None:
        mine.parent.mkdir()
        mine.write_text("mine")

    monkeypatch.setattr(scaffold, "check", somebody_is_faster)
    with pytest.raises(UsageError, match="services/reviews cannot be made"):
        scaffold.new_service(checkout, "reviews")
    assert (tree(mine.parent), mine.read_text()) == ({"main.py"}, "mine")
    assert tree(checkout.root / "build") == set()


def test_nothing_is_left_of_a_folder_that_could_not_be_filled(checkout: Settings) -> None:
    (checkout.cluster / "new-service" / "zzz.md").write_text("{{ nobody_knows }}")
    with pytest.raises(UndefinedError):
        scaffold.new_service(checkout, "reviews")
    assert "reviews" not in tree(checkout.root / "services")
    assert tree(checkout.root / "build") == set()


def test_a_new_service_has_the_layout_of_the_others_and_is_one_of_them(checkout: Settings) -> None:
    made = scaffold.new_service(checkout, "reviews")
    folder = checkout.root / made.folder
    environments = list(checkout.environments)
    assert set(made.files) == {
        "README.md",
        "main.py",
        "requirements.in",
        "requirements.txt",
        "test/test_api.py",
        *(f"envs/{name}.yaml" for name in environments),
        *(f"helm/{name}-values.yaml" for name in environments),
    }
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(made.files)
    assert Settings(checkout.root, checkout.home, "slipway").services == ("catalog", "reviews")
    assert folder.stat().st_mode & 0o777 == (folder / "envs").stat().st_mode & 0o777


def test_nothing_of_the_template_is_left_unfilled(checkout: Settings) -> None:
    made = scaffold.new_service(checkout, "gift-cards")
    for name in made.files:
        text = (checkout.root / made.folder / name).read_text()
        assert not re.search(r"{{|}}|{%|%}|ENVIRONMENT\b(?!=)", text), name


def test_a_new_environment_of_the_policy_gets_its_files(checkout: Settings) -> None:
    policy = yaml.safe_load((checkout.cluster / "policy.yaml").read_text())
    policy["environments"]["blue"] = {"tier": "prod"}
    (checkout.cluster / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    made = scaffold.new_service(checkout, "reviews")
    folder = checkout.root / made.folder
    assert yaml.safe_load((folder / "envs" / "blue.yaml").read_text()) == {"notice": "This is blue."}
    replicas = {
        name: yaml.safe_load((folder / "helm" / f"{name}-values.yaml").read_text())["replicas"] for name in policy["environments"]
    }
    assert replicas == {"dev": 1, "qa": 1, "stage": 2, "prod": 2, "blue": 2}


def test_its_lock_is_the_shared_packages_with_its_own_comments(checkout: Settings) -> None:
    made = scaffold.new_service(checkout, "reviews")
    shared = (checkout.root / "services" / "chassis" / "requirements.txt").read_text().splitlines()
    own = (checkout.root / made.folder / "requirements.txt").read_text().splitlines()
    assert [line for line in own if "#" not in line] == [line for line in shared if "#" not in line]
    assert {line.split("-r ")[1] for line in own if "-r " in line} == {"services/reviews/../chassis/requirements.in"}


def test_it_says_how_to_go_on_and_how_to_be_rid_of_it(checkout: Settings) -> None:
    screen = Screen()
    scaffold.show(scaffold.new_service(checkout, "reviews"), screen.progress.console)
    for command in (
        "./invoke test.services --only reviews",
        "git add services/reviews",
        "./invoke push --to dev",
        "./invoke up",
        "rm -r services/reviews",
        "the pipeline retires the service",
    ):
        assert command in screen.text
