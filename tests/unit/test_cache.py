from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from slipway import cache, waiting
from slipway.cache import Artefact
from slipway.errors import WaitTimeout
from slipway.progress import Phase
from tests.unit.fakes import FakeClock


def tree(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("one")
    (folder / "sub" / "b").write_text("two")
    return folder


def write(folder: Path) -> None:
    (folder / "made").write_text("whole")


def test_the_key_does_not_depend_on_where_and_when_files_were_written(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    os.utime(two / "a", (0, 0))
    assert cache.key(files=[one]) == cache.key(files=[two])


def test_content_name_and_executable_bit_change_the_key(tmp_path: Path) -> None:
    one = tree(tmp_path / "one")
    keys = {cache.key(files=[one])}
    (one / "a").write_text("other")
    keys.add(cache.key(files=[one]))
    (one / "a").chmod(0o755)
    keys.add(cache.key(files=[one]))
    (one / "a").rename(one / "c")
    keys.add(cache.key(files=[one]))
    assert len(keys) == 4


def test_values_and_upstream_keys_change_the_key() -> None:
    assert cache.key(values={"a": 1}) != cache.key(values={"a": 2})
    assert cache.key(upstream=["x"]) != cache.key(upstream=["y"])
    assert cache.key(values={"a": 1, "b": 2}, upstream=["x", "y"]) == cache.key(values={"b": 2, "a": 1}, upstream=["y", "x"])


def test_what_python_compiles_beside_a_source_file_is_no_input(tmp_path: Path) -> None:
    one = tree(tmp_path / "one")
    before = cache.key(files=[one])
    (one / "__pycache__").mkdir()
    (one / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert cache.key(files=[one]) == before


def test_an_artefact_is_made_once(tmp_path: Path) -> None:
    artefact = Artefact(tmp_path, "thing", "k")
    assert artefact.ensure(write, phase=Phase("x"))
    assert not artefact.ensure(lambda _: pytest.fail("made again"), phase=Phase("x"))
    assert (artefact.use() / "made").read_text() == "whole"


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    artefact = Artefact(tmp_path, "thing", "k")

    def fail(folder: Path) -> None:
        write(folder)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        artefact.ensure(fail, phase=Phase("x"))
    assert not artefact.made
    assert list((tmp_path / "thing").iterdir()) == []


def test_what_an_interrupted_run_left_is_never_taken_for_whole(tmp_path: Path) -> None:
    artefact = Artefact(tmp_path, "thing", "k")
    half = tmp_path / "thing" / ".k.part"
    half.mkdir(parents=True)
    (half / "half").write_text("x")
    assert not artefact.made
    artefact.ensure(write, phase=Phase("x"))
    assert [path.name for path in artefact.folder.iterdir()] == ["made"]


def test_two_runs_do_not_make_the_same_thing(tmp_path: Path) -> None:
    artefact = Artefact(tmp_path, "thing", "k")
    (tmp_path / "locks").mkdir()

    class OtherRunEnds(FakeClock):
        def sleep(self, seconds: float) -> None:
            """The other run finishes what it makes, and gives the lock back."""
            super().sleep(seconds)
            artefact.folder.mkdir(parents=True)
            other.close()

    other = (tmp_path / "locks" / "thing-k.lock").open("w")
    fcntl.flock(other, fcntl.LOCK_EX)
    clock = OtherRunEnds()
    phase = Phase("x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "SystemClock", lambda: clock)
        assert not artefact.ensure(lambda _: pytest.fail("made twice"), phase=phase)
    assert "another run" in phase.detail
    assert clock.slept


def test_a_lock_that_is_never_given_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr(waiting, "SystemClock", lambda: clock)
    with cache.locked(tmp_path, "thing", phase=Phase("x")):  # noqa: SIM117 - the outer one is the other run
        with pytest.raises(WaitTimeout, match=r"thing\.lock"), cache.locked(tmp_path, "thing", phase=Phase("x")):
            pytest.fail("got it")


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    once = cache.size(tmp_path)
    os.link(tmp_path / "a", tmp_path / "b")
    assert cache.size(tmp_path) == once > 0
