"""Access to an instance: only to one that runs, in the name of a role; and a mirror of the application beside it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import access, engine, git, roles
from slipway.errors import ToolMissing, UsageError
from slipway.settings import Settings, load
from tests.delivery import promoting
from tests.delivery.promoting import World
from tests.delivery.receiving import Site
from tests.unit.fake_cluster import FakeEngine, FakeNode


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(load(), home=tmp_path, instance="test")


def running(monkeypatch: pytest.MonkeyPatch, settings: Settings, node: FakeNode | None) -> None:
    found = FakeEngine(**({settings.instance: node} if node else {}))
    monkeypatch.setattr(engine, "find", lambda _: found)
    for role in settings.roles:
        file = roles.kubeconfig(settings, role)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")


def test_an_instance_that_runs_is_reached_in_a_roles_name(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    running(monkeypatch, settings, FakeNode(port=8123, profile="minimal"))
    found = access.open(settings, "lead")
    assert (found.user, found.port, found.facts.profile) == ("lead", 8123, "minimal")
    remote = found.records("qa")
    assert remote.url.endswith(":8123/gitops-nonprod.git")
    assert (remote.user, remote.password) == ("lead", found.secrets.passwords["lead"])
    assert (found.identity.name, found.identity.email) == ("lead", "lead@slipway.localhost")
    assert found.kube.kubeconfig == roles.kubeconfig(settings, "lead")
    assert found.environments == tuple(name for name in settings.environments if name in settings.profile("minimal").environments)


def test_the_password_is_not_in_what_is_printed_of_it(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    running(monkeypatch, settings, FakeNode())
    found = access.open(settings)
    assert found.secrets.passwords["pipeline"] not in repr(found)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (None, "there is no instance"),
        (FakeNode(profile=None), "was not finished"),
        (FakeNode(status="exited"), "its node is exited"),
    ],
)
def test_one_that_does_not_run_is_an_error_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, node: FakeNode | None, said: str
) -> None:
    running(monkeypatch, settings, node)
    with pytest.raises(UsageError, match=rf"{said}.*`./invoke up --name test`"):
        access.open(settings)


def test_one_that_nobody_can_look_for_is_not_said_to_be_gone(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    running(monkeypatch, settings, None)
    monkeypatch.setattr(engine, "find", lambda _: None)
    monkeypatch.setattr(engine, "barred", lambda: "Join its group.")
    with pytest.raises(ToolMissing, match=r"^instance 'test' cannot be reached\. Join its group\.$"):
        access.open(settings)
    monkeypatch.setattr(engine, "barred", lambda: "")
    with pytest.raises(UsageError, match="there is no instance 'test'"):
        access.open(settings)
    monkeypatch.setattr(engine, "refusal", lambda _: "Start it.")
    settings.kubeconfig.touch()
    with pytest.raises(ToolMissing, match=r"^instance 'test' cannot be reached\. .* none answers\. Start it\."):
        access.open(settings)


def test_nobody_else_is_let_in(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    running(monkeypatch, settings, FakeNode())
    with pytest.raises(UsageError, match="there is no user 'root'; valid: developer, lead, pipeline"):
        access.open(settings, "root")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return promoting.start(tmp_path_factory.mktemp("begun"))


@pytest.fixture
def world(begun: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = promoting.world(begun, tmp_path, monkeypatch)
    made.settings = replace(made.settings, home=tmp_path / "own")
    return made


def test_the_mirror_has_what_the_server_has_and_forgets_what_it_has_not(world: World) -> None:
    commit = world.site.change("feature/x", {"README.md": "1"})
    mirror = world.access.fetch()
    assert git.resolve(mirror, "refs/heads/feature/x") == commit
    assert "refs/tags/v0.1.0" in git.local_refs(mirror, "refs/tags")
    world.site.git("update-ref", "-d", "refs/heads/feature/x", at=world.site.bare("app"))
    world.access.fetch()
    assert git.resolve(mirror, "refs/heads/feature/x") is None
    assert git.count(mirror, commit, without="refs/heads/main") == 1


def test_several_may_fetch_at_a_time(world: World) -> None:
    failures: list[BaseException] = []
    mine = world.access

    def fetch() -> None:
        try:
            mine.fetch()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_commit_that_nobody_pushed_is_an_error(world: World) -> None:
    world.access.fetch()
    with pytest.raises(UsageError, match=r"app.git has no commit fffffffff. Push it first"), world.access.source("f" * 40):
        pass


def test_what_is_said_of_a_commit_is_on_the_server_once(world: World) -> None:
    commit = world.site.tip("develop")
    told = '{"state": "passed"}\n'
    assert world.access.say(commit, told, kind="ci")
    assert not world.access.say(commit, told, kind="ci")
    assert git.note(world.site.bare("app"), commit, kind="ci") == told
    assert world.access.say(commit, '{"state": "failed"}\n', kind="ci")
    assert git.note(world.site.bare("app"), commit, kind="ci") == '{"state": "failed"}\n'


def test_one_who_notes_something_else_meanwhile_is_not_overwritten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, push = world.site.tip("develop"), git.push
    other = replace(world.settings, home=world.settings.home / "other")

    def slow(*arguments: Any, **more: Any) -> None:
        monkeypatch.setattr(git, "push", push)
        replace(world.access, settings=other).say(world.site.tip("main"), "first", kind="ci")
        push(*arguments, **more)

    monkeypatch.setattr(git, "push", slow)
    with pytest.raises(git.PushConflict):
        world.access.say(commit, "second", kind="ci")
    assert world.access.say(commit, "second", kind="ci")
