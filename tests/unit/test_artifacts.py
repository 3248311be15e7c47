"""Which services a commit changes: by what they are made of, not by what was pushed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from slipway import artifacts
from slipway.records import Record, Source

FILES = {
    "charts/microservice/Chart.yaml": "name: microservice\nversion: 1.0.0\n",
    "charts/microservice/templates/all.yaml": "kind: Deployment\n",
    "charts/postgresql/Chart.yaml": "name: postgresql\n",
    "services/Dockerfile": "FROM ${BASE}\n",
    "services/.dockerignore": "**/test\n**/*.md\n**/envs\n**/helm\n",
    "services/chassis/server.py": "serve\n",
    **{
        f"services/{name}/{file}": f"{name}\n"
        for name in ("cart", "catalog")
        for file in ("main.py", "requirements.txt", "README.md", "test/test_it.py", "envs/dev.yaml", "helm/prod-values.yaml")
    },
}
BASES = {"base": "slipway/python:1", "build_base": "slipway/python-build:1"}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    write(tmp_path, FILES)
    return Source(tmp_path, "c" * 40)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def keys(source: Source) -> dict[str, str]:
    return {name: artifacts.inputs(source, name, **BASES) for name in artifacts.services(source)}


def record(service: str, key: str, **more: str) -> Record:
    made = Record("dev", service, "0.1.0", f"localhost:5001/{service}", "sha256:" + "a" * 64, "c" * 40, inputs=key)
    return replace(made, **more)


def test_the_services_are_the_folders_with_a_program(source: Source) -> None:
    assert artifacts.services(source) == ("cart", "catalog")


def test_the_key_is_the_whole_hash_and_the_same_in_another_place(source: Source, tmp_path: Path) -> None:
    write(tmp_path / "again", FILES)
    again = Source(tmp_path / "again", "d" * 40)
    assert keys(again) == keys(source)
    assert all(len(key) == len("sha256:") + 64 for key in keys(source).values())


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("services/catalog/main.py", {"catalog"}),
        ("services/catalog/requirements.txt", {"catalog"}),
        ("services/catalog/new.py", {"catalog"}),
        ("services/catalog/envs/dev.yaml", {"catalog"}),
        ("services/catalog/envs/qa.yaml", {"catalog"}),
        ("services/catalog/helm/prod-values.yaml", {"catalog"}),
        ("services/chassis/server.py", {"cart", "catalog"}),
        ("services/Dockerfile", {"cart", "catalog"}),
        ("charts/microservice/templates/all.yaml", {"cart", "catalog"}),
        ("charts/microservice/Chart.yaml", {"cart", "catalog"}),
        ("services/catalog/test/test_it.py", set[str]()),
        ("services/catalog/README.md", set[str]()),
        ("charts/postgresql/Chart.yaml", set[str]()),
        ("README.md", set[str]()),
    ],
)
def test_a_file_changes_those_services_that_are_made_of_it(source: Source, file: str, changed: set[str]) -> None:
    before = keys(source)
    write(source.folder, {file: "something else\n"})
    assert {name for name, key in keys(source).items() if key != before[name]} == changed


def test_a_file_that_is_renamed_or_gone_is_a_change(source: Source) -> None:
    before = keys(source)
    values = source.folder / "services/catalog/envs/dev.yaml"
    values.rename(values.with_name("qa.yaml"))
    renamed = keys(source)
    (values.with_name("qa.yaml")).unlink()
    gone = keys(source)
    assert len({before["catalog"], renamed["catalog"], gone["catalog"]}) == 3
    assert before["cart"] == renamed["cart"] == gone["cart"]


def test_another_base_changes_everything(source: Source) -> None:
    other = {name: artifacts.inputs(source, name, **{**BASES, "base": "slipway/python:2"}) for name in ("cart", "catalog")}
    assert not set(other.values()) & set(keys(source).values())


def test_what_runs_of_the_same_inputs_is_not_changed(source: Source) -> None:
    there = keys(source)
    running = {"cart": record("cart", there["cart"]), "catalog": record("catalog", "sha256:other")}
    cart, catalog = artifacts.survey(there, running)
    assert (cart.changed, cart.record) == (False, running["cart"])
    assert (catalog.changed, catalog.record, catalog.inputs) == (True, running["catalog"], there["catalog"])


def test_a_service_that_runs_nowhere_is_changed(source: Source) -> None:
    assert [(one.service, one.changed, one.record) for one in artifacts.survey(keys(source), {})] == [
        ("cart", True, None),
        ("catalog", True, None),
    ]


def test_what_was_made_of_the_same_inputs_elsewhere_is_taken(source: Source) -> None:
    there = keys(source)
    elsewhere = [record("cart", there["catalog"]), record("catalog", there["catalog"], environment="qa", version="0.2.0")]
    running = {"catalog": record("catalog", "sha256:other")}
    _, catalog = artifacts.survey(there, running, elsewhere)
    assert (catalog.changed, catalog.record) == (False, elsewhere[1])


def test_a_record_that_does_not_say_what_it_is_made_of_is_never_taken(source: Source) -> None:
    assert all(one.changed for one in artifacts.survey(keys(source), {name: record(name, "") for name in keys(source)}))


def test_a_service_that_the_commit_lacks_is_told_and_a_store_is_not(source: Source) -> None:
    running = [record("cart", ""), record("payments", ""), record("postgresql", "", chart="postgresql")]
    assert artifacts.removed(source, running) == ("payments",)
