"""A comparison of releases puts each in place by the pipeline, and leaves the environment as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from slipway import releases, rollback
from slipway.errors import SlipwayError, UsageError
from slipway.load import command, compare, keeping, running
from slipway.load.model import Asked, Reason, Run, Verdict
from slipway.settings import Settings
from tests.delivery import releasing
from tests.delivery.receiving import SERVICES
from tests.delivery.releasing import Start, World
from tests.unit import loadruns

CATALOG = "services/catalog/envs/stage.yaml"
FIRST, SECOND, THIRD = "v0.1.0", "v0.2.0", "v0.3.0"


@pytest.fixture
def world(begun: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return releasing.world(begun, tmp_path, monkeypatch)


def cut(world: World, release: str = SECOND) -> None:
    world.put("develop", world.change(f"feature/other-{release[1:]}", {CATALOG: f"a: 'other in {release}'\n"}))
    releases.cut(world.settings, release, user="developer", progress=world.progress)


def runs_there(world: World) -> set[str]:
    return {entry.record.release for (where, name), entry in world.records().items() if where == "stage" and name in SERVICES}


def files(world: World) -> dict[str, dict[str, bytes]]:
    return {service: entry.files for (where, service), entry in world.records().items() if where == "stage"}


def turns(world: World, drive: compare.Drive, runs: int = 1) -> list[tuple[str, str, Run]]:
    return compare.turns(world.settings, FIRST, SECOND, drive, runs=runs, progress=world.progress, user="developer")


def test_each_run_is_of_its_release_and_what_ran_before_is_back_to_the_byte(world: World) -> None:
    cut(world)
    before, seen = files(world), list[set[str]]()

    def drive(release: str) -> Run:
        seen.append(runs_there(world))
        return loadruns.run(len(seen), release=release)

    made = turns(world, drive)
    assert [(release, part) for release, part, _ in made] == [
        (FIRST, "calibration"),
        (SECOND, "comparison"),
        (FIRST, "comparison"),
    ]
    assert seen == [{FIRST}, {SECOND}, {FIRST}]
    assert runs_there(world) == {SECOND}
    assert files(world) == before


def test_the_command_drives_two_locked_releases_past_the_git_server_s_own_hooks(
    begun: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = releasing.world(begun, tmp_path, monkeypatch)
    cut(world)
    cut(world, THIRD)
    world.guard()
    assert {SECOND, THIRD} <= {lock.release for lock in world.state().locks}
    before, seen = files(world), list[set[str]]()
    late = Verdict("invalid", (Reason("late", "worker 1 was 0.4 s late", {}, "client.workers"),), ())

    def run(settings: Settings, asked: Asked, _: object) -> Run:
        seen.append(runs_there(world))
        made = loadruns.run(len(seen), release=asked.release)
        made = replace(made, verdict=late) if len(seen) == 2 else made
        keeping.keep(settings, made)
        return made

    monkeypatch.setattr(running, "run", run)
    made = command.compared(world.settings, SECOND, THIRD, Asked(), runs=1, progress=world.progress)
    # Alone; then the other one, which was held up once, and is made again; then the first.
    assert seen == [{SECOND}, {THIRD}, {THIRD}, {SECOND}]
    assert [(ran.release, ran.part, ran.used) for ran in made.comparison.runs] == [
        (SECOND, "calibration", True),
        (THIRD, "comparison", False),
        (THIRD, "comparison", True),
        (SECOND, "comparison", True),
    ]
    assert (made.code, made.comparison.answer) == (2, "cannot tell")
    assert files(world) == before
    page = made.report.read_text()
    assert f"{THIRD} beside {SECOND}" in page
    assert "0.4 s late" in page
    for ran in made.comparison.runs:
        assert f"{THIRD} beside {SECOND}" in (made.report.parent.parent / ran.id / "report.html").read_text()


def test_what_an_instance_began_with_is_back_though_it_has_no_lock(world: World) -> None:
    before = files(world)
    assert runs_there(world) == {FIRST}
    cut(world)
    rolled = rollback.rollback(world.settings, "stage", user="developer", progress=world.progress)
    assert rolled.made and files(world) == before

    turns(world, lambda release: loadruns.run(release=release))
    assert files(world) == before


def test_what_ran_before_is_back_after_a_run_that_could_not_be_made(world: World) -> None:
    cut(world)
    before = files(world)

    def drive(release: str) -> Run:
        raise SlipwayError(f"the generator of {release} did not start")

    with pytest.raises(SlipwayError, match=f"the generator of {FIRST} did not start"):
        turns(world, drive)
    assert files(world) == before


def test_a_release_that_is_not_there_is_refused_before_anything_is_driven(world: World) -> None:
    before, driven = files(world), list[str]()

    def drive(release: str) -> Run:
        driven.append(release)
        return loadruns.run(release=release)

    with pytest.raises(UsageError, match="never ran"):
        compare.turns(world.settings, FIRST, "v9.9.9", drive, runs=1, progress=world.progress, user="developer")
    assert not driven
    assert files(world) == before


def test_releases_are_compared_where_the_policy_tries_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(world)
    asked = list[str]()

    def run(_: Settings, told: Asked, __: object) -> Run:
        asked.append(told.environment)
        raise SlipwayError("enough")

    monkeypatch.setattr(compare.running, "run", run)
    with pytest.raises(SlipwayError, match="enough"):
        compare.compare(world.settings, FIRST, SECOND, Asked(environment="prod"), world.progress)
    assert asked == ["stage"]


def test_a_release_and_itself_are_nothing_to_compare(world: World) -> None:
    with pytest.raises(UsageError, match="with itself anyway"):
        compare.compare(world.settings, FIRST, "0.1.0", Asked(), world.progress)
    with pytest.raises(UsageError, match="at least 5 runs"):
        compare.compare(world.settings, FIRST, SECOND, Asked(), world.progress, runs=0)
