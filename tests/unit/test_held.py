"""Who has a file that one may have at a time, and how they are ended: with real processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from slipway import held
from slipway.errors import WaitTimeout
from slipway.waiting import Pending, Ready, wait_for

# A starter takes the file, starts a program that gets it too, and waits for that, as `dev` does with Tilt.
STARTER = """
import os, signal, subprocess, sys
from pathlib import Path
from slipway import held

with held.take(Path(sys.argv[1]), page="x") as hold:
    program = subprocess.Popen([sys.executable, "-c", sys.argv[2]], pass_fds=[hold.descriptor], stdout=subprocess.DEVNULL)
    hold.share(program.pid)
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())
    print(program.pid, flush=True)
    program.wait()
"""

SLEEP = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
# It says how often it was asked, and takes its time to end.
COUNT = """
import signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
while not asked: time.sleep(0.01)
time.sleep(0.5)
open({0!r}, "w").write(str(len(asked)))
"""


class Pair:
    """A starter and its program."""

    def __init__(self, file: Path, code: str) -> None:
        self.file = file
        self.starter = subprocess.Popen([sys.executable, "-c", STARTER, file, code], stdout=subprocess.PIPE, text=True)
        assert self.starter.stdout
        self.program = int(self.starter.stdout.readline())

    def kill_starter(self) -> None:
        self.starter.kill()
        self.starter.wait()


@pytest.fixture
def pairs(tmp_path: Path) -> Generator[list[Pair]]:
    made: list[Pair] = []
    yield made
    for pair in made:
        for pid in (pair.starter.pid, pair.program):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pair.starter.wait()
        assert pair.starter.stdout
        pair.starter.stdout.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "it.json"


def gone(pid: int) -> Ready[None] | Pending:
    """Whether a process runs no more; nobody may have waited for it yet."""
    stat = Path(f"/proc/{pid}/stat")
    return Pending("it runs") if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z" else Ready(None)


def test_whoever_has_a_file_is_known_until_the_block_ends(file: Path) -> None:
    assert held.find(file) is None
    with held.take(file, page="http://x") as hold:
        assert held.find(file) == held.Holder((os.getpid(),), {"page": "http://x"})
        hold.share(1)
        assert held.find(file) == held.Holder((os.getpid(), 1), {"page": "http://x"})
    assert held.find(file) is None
    assert not held.end(file, "it", patience=1)
    with held.take(file):
        assert held.find(file) == held.Holder((os.getpid(),), {}), "nothing is left of what it said before"


def test_one_has_it_at_a_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_LOOK_TIMEOUT", 0.1)
    with held.take(file, page="first"), pytest.raises(held.Taken, match=r"it\.json"), held.take(file, page="second"):
        pytest.fail("both have it")
    with held.take(file):
        pass


def test_whoever_only_looks_at_that_moment_keeps_nobody_from_it(file: Path) -> None:
    with held.take(file):
        pass
    looking = file.open()
    fcntl.flock(looking, fcntl.LOCK_SH)
    timer = threading.Timer(0.2, looking.close)
    timer.start()
    with held.take(file):
        assert held.find(file)
    timer.join()


def test_a_file_that_cannot_be_read_has_somebody_all_the_same(file: Path) -> None:
    with held.take(file, page="x"):
        for content in ("", "{", "[]", "{}", '{"pids": 1}'):
            file.write_text(content)
            assert held.find(file) == held.Holder((), {}), content


def test_a_program_has_the_file_when_its_starter_was_killed_and_is_ended_by_name(file: Path, pairs: list[Pair]) -> None:
    pairs.append(Pair(file, SLEEP))
    pairs[0].kill_starter()
    there = held.find(file)
    assert there and there.pids == (pairs[0].starter.pid, pairs[0].program) and there.said == {"page": "x"}
    assert held.end(file, "it", patience=20)
    wait_for("its end", lambda: gone(pairs[0].program), timeout=10)
    assert held.find(file) is None


def test_a_program_is_asked_once_when_its_starter_asks_it_too(file: Path, pairs: list[Pair], tmp_path: Path) -> None:
    count = tmp_path / "count"
    pairs.append(Pair(file, COUNT.format(str(count))))
    wait_for("it to listen", lambda: _minds(pairs[0].program, "SigCgt"), timeout=10)
    assert held.end(file, "it", patience=20)
    assert count.read_text() == "1"
    assert pairs[0].starter.wait(10) == 0


def test_one_that_does_not_listen_is_killed_with_its_starter(file: Path, pairs: list[Pair]) -> None:
    pairs.append(Pair(file, DEAF))
    wait_for("it to be deaf", lambda: _minds(pairs[0].program, "SigIgn"), timeout=10)
    assert held.end(file, "it", patience=0.3)
    assert pairs[0].starter.wait(10) == -signal.SIGKILL
    wait_for("its end", lambda: gone(pairs[0].program), timeout=10)


def test_a_number_that_is_another_processs_by_now_is_not_asked_to_end(file: Path, pairs: list[Pair]) -> None:
    pairs.append(Pair(file, SLEEP))
    pairs[0].kill_starter()
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as stranger:
        try:
            file.write_text(f'{{"pids": [{stranger.pid}, {pairs[0].program}]}}')
            assert held.end(file, "it", patience=20)
            wait_for("its end", lambda: gone(pairs[0].program), timeout=10)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_program_that_was_not_named_in_time_is_found_and_ended(file: Path, pairs: list[Pair]) -> None:
    pairs.append(Pair(file, SLEEP))
    pairs[0].kill_starter()
    file.write_text(f'{{"pids": [{pairs[0].starter.pid}]}}')
    assert held.end(file, "it", patience=20)
    assert held.find(file) is None
    wait_for("its end", lambda: gone(pairs[0].program), timeout=10)


def test_what_nobody_can_name_is_told_with_a_way_to_find_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_KILL_TIMEOUT", 0.1)
    with held.take(file):
        file.write_text("")
        with pytest.raises(WaitTimeout, match=r"`fuser .*it\.json`"):
            held.end(file, "it", patience=0.1)


def _minds(pid: int, how: str) -> Ready[None] | Pending:
    """Whether a process has chosen to catch SIGTERM (SigCgt) or not to hear it (SigIgn)."""
    chosen = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(how))
    return Ready(None) if int(chosen.split()[1], 16) & 1 << (signal.SIGTERM - 1) else Pending("not yet")
