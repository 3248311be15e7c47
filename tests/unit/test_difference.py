"""Two environments side by side: what differs, and why."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import cli
from slipway import access, difference, git, gitops, helm
from slipway.difference import Difference
from slipway.errors import UsageError
from slipway.gitops import Entry, Record
from slipway.settings import load
from tests.unit.deliveries import Deliveries, commit, digest, entry, record


def nobody(_: Record, __: str) -> Mapping[str, Any] | None:
    raise AssertionError("app.git need not be asked")


def compared(first: Entry, second: Entry, *, expected: difference.Expected = nobody) -> difference.Service:
    sides = [{one.record.service: one} for one in (first, second)]
    return difference.compare(sides[0], sides[1], second.record.environment, expected=expected)[0]


def test_two_environments_that_run_the_same_have_no_difference() -> None:
    seen = compared(entry(record("stage")), entry(record("prod")))
    assert (seen.artifact, seen.values, seen.objects, seen.same) == ((), (), {}, True)


def test_a_value_that_the_same_artifact_says_for_another_environment_follows_from_it() -> None:
    one = entry(record("stage"), {"replicas": 1, "config": {"log_level": "info", "page": {"size": 20}}})
    other = entry(record("prod", config=digest("d")), {"replicas": 2, "config": {"log_level": "warn", "page": {"size": 20}}})
    seen = compared(one, other)
    assert seen.same
    assert [(item.name, item.first, item.second, item.cause) for item in seen.values] == [
        ("config.log_level", "info", "warn", "environment"),
        ("replicas", 1, 2, "environment"),
    ]
    assert seen.objects == {"ConfigMap catalog": 1, "Deployment catalog": 1}


def test_a_value_that_the_artifact_would_not_have_said_is_drift() -> None:
    newer = {"version": "0.2.0-rc.1", "digest": digest("b"), "source_commit": commit("b"), "inputs": digest("f")}
    one = entry(record("stage", **newer), {"replicas": 1, "config": {"log_level": "info", "limit": 30}})
    other = entry(record("prod"), {"replicas": 2, "config": {"log_level": "info", "limit": 20, "old": True}})
    asked: list[tuple[str, str]] = []

    def expected(made: Record, environment: str) -> Mapping[str, Any]:
        asked.append((made.source_commit, environment))
        return {"replicas": 2, "config": {"log_level": "warn", "limit": 30}}

    seen = compared(one, other, expected=expected)
    assert asked == [(commit("b"), "prod")]
    assert not seen.same
    assert {item.name: item.cause for item in seen.values} == {
        "config.limit": "artifact",
        "config.log_level": "artifact",  # equal only by chance: what stage runs says something else for prod
        "config.old": "artifact",
        "replicas": "environment",
    }
    assert [item.name for item in seen.artifact] == ["digest", "inputs", "version", "source_commit"]


def test_what_nobody_can_tell_is_said_to_be_unknown() -> None:
    one = entry(record("stage", source_commit=commit("b"), inputs=digest("f")), {"replicas": 1})
    seen = compared(one, entry(record("prod"), {"replicas": 2}), expected=lambda _, __: None)
    assert [(item.name, item.cause) for item in seen.values] == [("replicas", "unknown")]


def test_the_same_artifact_by_another_name_is_no_drift() -> None:
    seen = compared(
        entry(record("stage", version="0.2.0-rc.1", source_commit=commit("b"), branch="release/v0.2.0")), entry(record("prod"))
    )
    assert seen.same
    assert [item.name for item in seen.artifact] == ["version", "branch", "source_commit"]


def test_an_older_record_without_a_key_is_compared_by_its_source() -> None:
    seen = compared(
        entry(record("stage", inputs="", source_commit=commit("b")), {"replicas": 1}),
        entry(record("prod", inputs=""), {"replicas": 2}),
        expected=lambda _, __: {"replicas": 1, "config": {"log_level": "info"}},
    )
    assert [(item.name, item.cause) for item in seen.values] == [("replicas", "artifact")]


def test_what_only_says_which_environment_it_is_does_not_count() -> None:
    def labelled(environment: str, tier: str, limit: int) -> Entry:
        made = entry(record(environment))
        meta = {"name": "catalog", "namespace": environment, "labels": {"tier": tier}}
        return Entry(made.record, {**made.values, "tier": tier}, [{"kind": "Service", "metadata": meta, "limit": limit}])

    assert compared(labelled("qa", "nonprod", 1), labelled("stage", "prod", 1)).objects == {}
    assert compared(labelled("qa", "nonprod", 1), labelled("stage", "prod", 2)).objects == {"Service catalog": 1}


def test_a_migration_with_another_name_is_the_same_object() -> None:
    def job(name: str, more: int) -> Entry:
        made = entry(record("stage" if more else "prod", "orders"))
        item = {"kind": "Job", "metadata": {"name": name, "namespace": made.record.environment}, "n": more}
        return Entry(made.record, made.values, [item])

    seen = compared(job("orders-migrate-8f9e3a6b", 1), job("orders-migrate-12345678", 0))
    assert seen.objects == {"Job orders-migrate": 2}  # its name and the number


def test_the_values_that_records_tell_are_those_that_rendering_adds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(helm, "template", lambda *_, **__: [])
    (tmp_path / "Chart.yaml").write_text("name: microservice\nversion: 1.0.0\n")
    made = gitops.render(record("dev"), {"mine": 1}, tier="t", chart=tmp_path, helm_program=Path("helm"), kubernetes="1")
    seen = compared(Entry(made.record, made.values, []), Entry(record("qa"), {"mine": 1}, []))
    assert seen.values == ()


class Reader:
    """Reads repositories in a folder, as somebody with access would."""

    environments = ("stage", "prod")

    def __init__(self, made: Deliveries, app: Path) -> None:
        self.made, self.mirror, self.fetched = made, app, 0

    def remote(self, _: str) -> git.Remote:
        return self.made.remote

    def fetch(self) -> Path:
        self.fetched += 1
        return self.mirror

    @contextmanager
    def source(self, name: str, paths: tuple[str, ...]):
        assert paths == ("services",)
        into = self.mirror.parent / "source"
        git.export(self.mirror, name, paths, into)
        yield gitops.Source(into, name)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    app = tmp_path / "app"
    git.init(app, branch="main")
    for name, content in {"helm/prod-values.yaml": "replicas: 3\n", "envs/prod.yaml": "log_level: info\n"}.items():
        (app / "services/cart" / name).parent.mkdir(parents=True, exist_ok=True)
        (app / "services/cart" / name).write_text(content)
    git.stage(app, ["."])
    source = git.commit(app, "Begin", identity=gitops.PIPELINE)
    made = Deliveries(tmp_path / "gitops", monkeypatch)
    fresh = record("stage", "cart", version="0.2.0-rc.1", digest=digest("b"), source_commit=source, inputs=digest("f"))
    made.begin(fresh, record("prod", "cart"), record("prod", "catalog"))
    seen = Reader(made, app)
    monkeypatch.setattr(access, "open", lambda *_: seen)
    return seen


def test_two_environments_are_read_from_git_and_the_source_that_one_of_them_runs(reader: Reader) -> None:
    seen = difference.diff(load("h7"), "stage", "prod")
    cart, catalog = seen.services
    assert [(item.name, item.first, item.second, item.cause) for item in cart.values] == [("replicas", 1, 1, "artifact")]
    assert (catalog.first, catalog.second) == (None, record("prod", "catalog"))
    assert seen.drifted == ("cart", "catalog")
    assert reader.fetched == 1


def test_an_environment_that_the_instance_does_not_have_is_refused(reader: Reader) -> None:
    with pytest.raises(UsageError, match=r"has no dev\. It has stage, prod"):
        difference.diff(load("h7"), "dev", "prod")
    with pytest.raises(UsageError, match="no environment 'moon'"):
        difference.diff(load("h7"), "stage", "moon")
    assert reader.fetched == 0


def shown(seen: Difference) -> str:
    written = io.StringIO()
    difference.show(seen, Console(file=written, width=120, soft_wrap=True))
    return written.getvalue()


def test_a_person_reads_what_differs_and_why(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    seen = difference.diff(load("h7"), "stage", "prod")
    printed = shown(seen)
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert max(map(len, printed.splitlines())) <= 120
    assert "cart digest bbbbbbbbbbbb aaaaaaaaaaaa another artifact" in lines
    assert "catalog record - 0.1.0 only in one of them" in lines
    assert lines[-1] == "stage and prod run different artifacts of 2 of 2: cart, catalog."
    same = Difference("a", "b", (compared(entry(record("stage")), entry(record("prod"))),))
    assert "a and b run the same artifacts of all 1." in shown(same)
    cli.answer(seen, json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["services"][0]["same_artifact"] is False
    assert told["services"][0]["values"] == [{"name": "replicas", "first": 1, "second": 1, "cause": "artifact"}]
