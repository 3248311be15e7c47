from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import machine, pull
from slipway.engine import Engine
from slipway.errors import PinMismatch, SlipwayError, UsageError
from slipway.machine import Machine
from slipway.progress import Phase
from slipway.settings import Settings

ONE, TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
THING = "docker.io/library/thing:1.0"
FACTS: Machine = replace(machine.look(Path("/nowhere")), system="linux", cgroup=2)


class FakeEngine(Engine):
    """Remembers what it holds; a registry serves `serves`, whatever it is asked for."""

    def __init__(self, serves: str) -> None:
        self.serves, self.held, self.pulled = serves, dict[str, str](), list[str]()

    def remote_digest(self, reference: str) -> str:
        return self.serves

    def has_image(self, reference: str) -> bool:
        return reference in self.held

    def pull(self, reference: str, *, phase: Phase | None = None) -> str:
        self.pulled.append(reference)
        self.held[reference] = self.serves
        return self.serves

    def tag(self, source: str, target: str) -> None:
        self.held[target] = self.held[source]

    def untag(self, reference: str) -> None:
        self.held.pop(reference, None)


def settings(folder: Path, pin: str = THING) -> Settings:
    file = folder / "versions.toml"
    file.write_text(f'[pull]\nthing = "{pin}"\nnode = "docker.io/kindest/node:v1@{ONE}"\n')
    return Settings(folder, folder / "home", "test", file)


def fetch(where: Settings, engine: Engine, **environ: str) -> pull.Pulled:
    return pull.image(where, engine, "thing", target="slipway/thing:1.0", phase=Phase("x"), environ=environ)


def test_a_pinned_image_is_pulled_by_its_digest(tmp_path: Path) -> None:
    engine = FakeEngine(ONE)
    assert fetch(settings(tmp_path, f"{THING}@{ONE}"), engine) == pull.Pulled(ONE, "pinned")
    assert engine.pulled == [f"docker.io/library/thing@{ONE}"]
    assert engine.held == {"slipway/thing:1.0": ONE}


def test_something_else_than_the_pinned_digest_is_refused_and_not_kept(tmp_path: Path) -> None:
    engine = FakeEngine(TWO)
    with pytest.raises(PinMismatch, match=f"was to be {ONE}, but is {TWO}"):
        fetch(settings(tmp_path, f"{THING}@{ONE}"), engine)
    assert engine.held == {}


def test_an_unpinned_image_is_trusted_at_its_first_pull_and_recorded(tmp_path: Path) -> None:
    where = settings(tmp_path)
    phase = Phase("x")
    pulled = pull.image(where, FakeEngine(ONE), "thing", target="slipway/thing:1.0", phase=phase, environ={})
    assert pulled == pull.Pulled(ONE, "first use")
    assert "trusted at its first pull" in phase.detail
    entry = json.loads((where.home / "trust.json").read_text())[THING]
    assert (entry["digest"], entry["place"]) == (ONE, THING)
    assert entry["when"]


def test_the_same_again_is_taken_as_recorded(tmp_path: Path) -> None:
    where = settings(tmp_path)
    fetch(where, FakeEngine(ONE))
    before = (where.home / "trust.json").read_text()
    assert fetch(where, FakeEngine(ONE)) == pull.Pulled(ONE, "recorded")
    assert (where.home / "trust.json").read_text() == before


def test_a_later_change_is_refused_naming_both_and_the_cure_before_anything_is_pulled(tmp_path: Path) -> None:
    where, engine = settings(tmp_path), FakeEngine(TWO)
    fetch(where, FakeEngine(ONE))
    with pytest.raises(PinMismatch) as refused:
        fetch(where, engine)
    assert all(part in str(refused.value) for part in (ONE, TWO, "trust.json", "--source=build"))
    assert engine.pulled == []


def test_a_pin_by_digest_outranks_what_was_recorded(tmp_path: Path) -> None:
    fetch(settings(tmp_path), FakeEngine(ONE))
    assert fetch(settings(tmp_path, f"{THING}@{TWO}"), FakeEngine(TWO)).trust == "pinned"


def test_a_damaged_record_is_never_taken_for_an_empty_one(tmp_path: Path) -> None:
    where = settings(tmp_path)
    where.home.mkdir()
    (where.home / "trust.json").write_text("[]")
    with pytest.raises(SlipwayError, match="cannot be read"):
        fetch(where, FakeEngine(ONE))


def test_what_is_trusted_through_a_mirror_is_recorded_under_its_upstream_name(tmp_path: Path) -> None:
    where, engine = settings(tmp_path), FakeEngine(ONE)
    fetch(where, engine, SLIPWAY_MIRROR="mirror.example:5000/cache")
    assert engine.pulled == [f"mirror.example:5000/cache/docker.io/library/thing@{ONE}"]
    assert pull.trusted(where)[THING].place == "mirror.example:5000/cache/docker.io/library/thing:1.0"
    with pytest.raises(PinMismatch):
        fetch(where, FakeEngine(TWO))


def test_an_image_that_the_user_has_pulled_stays_theirs(tmp_path: Path) -> None:
    engine = FakeEngine(ONE)
    engine.held[f"docker.io/library/thing@{ONE}"] = ONE
    fetch(settings(tmp_path), engine)
    assert engine.pulled == []
    assert f"docker.io/library/thing@{ONE}" in engine.held


class Beside(FakeEngine):
    """While it pulls for the first time, another run begins, and comes to its end if nothing keeps it."""

    def __init__(self, where: Settings) -> None:
        super().__init__(ONE)
        self.phase, self.results = Phase("other"), list[pull.Pulled]()
        self.other = threading.Thread(target=self._other, args=(where,))

    def _other(self, where: Settings) -> None:
        self.results.append(pull.image(where, self, "thing", target="slipway/thing:1.0", phase=self.phase, environ={}))

    def pull(self, reference: str, *, phase: Phase | None = None) -> str:
        if self.other.ident is None:
            self.other.start()
            self.other.join(0.3)
            if not self.other.is_alive():
                return self.serves  # what both had pulled under one name has lost that
        return super().pull(reference)


@pytest.mark.parametrize("name", [THING, f"{THING}@{ONE}"])
def test_two_runs_that_pull_an_image_at_once_both_get_it_and_it_is_pulled_once(tmp_path: Path, name: str) -> None:
    where = settings(tmp_path, name)
    engine = Beside(where)
    first = fetch(where, engine)
    engine.other.join(10)
    assert [first, *engine.results] == [
        pull.Pulled(ONE, "pinned" if "@" in name else "first use"),
        pull.Pulled(ONE, "pinned" if "@" in name else "recorded"),
    ]
    assert engine.pulled == [f"docker.io/library/thing@{ONE}"]
    assert engine.held == {"slipway/thing:1.0": ONE}
    assert engine.phase.skipped


def test_what_is_held_is_not_taken_for_what_is_trusted_only_now(tmp_path: Path) -> None:
    engine = FakeEngine(ONE)
    engine.held["slipway/thing:1.0"] = TWO
    assert fetch(settings(tmp_path), engine) == pull.Pulled(ONE, "first use")
    assert engine.held == {"slipway/thing:1.0": ONE}


def test_an_image_that_upstream_does_not_publish_can_only_be_built(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="publishes no image git-server"):
        pull.pin(settings(tmp_path), "git-server")


def test_an_explicit_source_is_taken_without_asking_anybody(tmp_path: Path) -> None:
    def ask(_: str) -> str:
        raise AssertionError

    assert pull.choose("build", settings(tmp_path), facts=FACTS, answers=ask) == pull.Choice("build", "as asked for")


def test_auto_takes_pull_when_the_registry_of_the_node_image_answers(tmp_path: Path) -> None:
    asked: list[str] = []
    choice = pull.choose("auto", settings(tmp_path), facts=FACTS, environ={}, answers=lambda host: asked.append(host) or "")
    assert choice == pull.Choice("pull", "docker.io answers")
    assert asked == ["docker.io"]


def test_auto_takes_build_when_nothing_answers_and_says_why(tmp_path: Path) -> None:
    choice = pull.choose("auto", settings(tmp_path), facts=FACTS, environ={}, answers=lambda _: "timed out")
    assert choice == pull.Choice("build", "docker.io does not answer (timed out)")


def test_auto_asks_the_mirror_when_there_is_one(tmp_path: Path) -> None:
    environ = {"SLIPWAY_MIRROR": "mirror.example:5000/cache"}
    choice = pull.choose("auto", settings(tmp_path), facts=FACTS, environ=environ, answers=lambda _: "")
    assert choice == pull.Choice("pull", "mirror.example:5000 answers (the mirror that SLIPWAY_MIRROR names)")


MIRRORS = ["localhost", "127.0.0.1:5000", "mirror.example/a/b-c", "mirror:5000", "[::1]:5000/cache"]


@pytest.mark.parametrize("mirror", MIRRORS)
def test_a_mirror_is_a_host_with_or_without_port_and_prefix(tmp_path: Path, mirror: str) -> None:
    engine = FakeEngine(ONE)
    fetch(settings(tmp_path), engine, SLIPWAY_MIRROR=f"{mirror}/")
    assert engine.pulled == [f"{mirror}/docker.io/library/thing@{ONE}"]


NO_MIRRORS = ["https://mirror.example", "mirror.example:port", "mirror .example", "mirror", "mirror.example:70000", "a.b/C", ":1"]


@pytest.mark.parametrize("mirror", NO_MIRRORS)
def test_what_can_be_no_mirror_is_refused_before_anybody_is_asked(tmp_path: Path, mirror: str) -> None:
    environ, engine = {"SLIPWAY_MIRROR": mirror}, FakeEngine(ONE)
    with pytest.raises(UsageError, match=r"SLIPWAY_MIRROR is '.*names no registry: write HOST\[:PORT\]\[/PREFIX\]"):
        fetch(settings(tmp_path), engine, **environ)
    with pytest.raises(UsageError, match="SLIPWAY_MIRROR"):
        pull.choose("auto", settings(tmp_path), facts=FACTS, environ=environ, answers=lambda _: "")
    assert engine.pulled == []


def test_auto_takes_build_where_the_upstream_node_would_not_start(tmp_path: Path) -> None:
    old = replace(FACTS, cgroup=1)
    upstream = replace(settings(tmp_path), pins=Settings.pins)
    assert pull.choose("auto", upstream, facts=old, environ={}, answers=lambda _: "").source == "build"
    assert pull.choose("auto", settings(tmp_path), facts=old, environ={}, answers=lambda _: "").source == "pull"


def test_a_host_that_can_be_none_or_does_not_speak_http_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pull.probe("localhost:port") == "nonnumeric port: 'port'"

    def urlopen(url: str, **_: Any) -> None:
        raise pull.http.client.BadStatusLine("SSH-2.0")

    monkeypatch.setattr(pull.urllib.request, "urlopen", urlopen)
    assert pull.probe("localhost:22") == "SSH-2.0"


@pytest.mark.parametrize(("code", "why"), [(401, ""), (503, "it says 503")])
def test_a_registry_that_asks_who_we_are_answers(monkeypatch: pytest.MonkeyPatch, code: int, why: str) -> None:
    seen: list[str] = []

    def urlopen(url: str, **_: Any) -> None:
        seen.append(url)
        raise pull.urllib.error.HTTPError(url, code, "x", {}, None)  # type: ignore[arg-type]

    monkeypatch.setattr(pull.urllib.request, "urlopen", urlopen)
    assert pull.probe("docker.io") == why
    assert seen == ["https://registry-1.docker.io/v2/"]
