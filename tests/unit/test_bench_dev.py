from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from slipway import access, bench_dev, git, instance, shell, toolbox
from slipway.bench_dev import Report, bench, ways
from slipway.bench_report import leg
from slipway.errors import UsageError, WaitFailed
from slipway.instance import Tilt
from slipway.progress import Phase, Progress
from slipway.settings import ROOT, Settings
from slipway.waiting import Pending, Ready, wait_for


def test_so_few_runs_that_there_is_nothing_to_measure_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--runs 1"):
        bench_dev.bench_dev(Settings(ROOT, tmp_path, "test"), runs=0, progress=Progress())


def test_nothing_is_measured_beside_a_tilt_that_runs_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(ROOT, tmp_path, "test")
    found: Any = type("Found", (), {"settings": settings, "port": 1})()
    monkeypatch.setattr(access, "open", lambda *_: found)
    monkeypatch.setattr(toolbox, "get", lambda *_: Path("kubectl"))
    monkeypatch.setattr(instance, "find_tilt", lambda _: Tilt("http://127.0.0.1:10350"))
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:10350"):
        bench_dev.bench_dev(settings, runs=1, progress=Progress())


def test_ninety_five_of_a_hundred_keep_to_p95() -> None:
    assert bench_dev.p95([float(number) for number in range(101)]) == 95.0
    assert bench_dev.p95([3.0]) == 3.0


class Tree:
    """A bench without Tilt: what is saved is served at once, and remembered."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.served_texts = folder, list[str]()
        self.at_build: list[bool] = []
        main = folder / "services" / "cart" / "main.py"
        main.parent.mkdir(parents=True)
        main.write_text('"""The cart."""\nimport this\n')
        main.with_name("requirements.txt").write_text("a==1\n")
        self.main = main

    def served(self, service: str, text: str, *, timeout: float) -> None:
        assert self.main.read_text() == f'"""{text}"""\nimport this\n'
        self.at_build.append(text in self.main.with_name("requirements.txt").read_text())
        self.served_texts.append(text)


def test_every_save_is_another_and_the_first_which_finds_caches_cold_does_not_count(tmp_path: Path) -> None:
    tree: Any = Tree(tmp_path)
    assert len(ways.saves(tree, "cart", 3, Phase("cart", 0.0))) == 3
    assert len(set(tree.served_texts)) == 4
    assert not any(tree.at_build)


def test_the_floor_leaves_out_its_first_time_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree: Any = Tree(tmp_path)
    labels = {"app.kubernetes.io/name": "cart"}
    pods = [{"metadata": {"name": "cart-1", "labels": labels}}]
    tree.found = SimpleNamespace(kube=SimpleNamespace(list=lambda *_, **__: pods))
    tree.settings = Settings(ROOT, tmp_path, "test")
    copied: list[str] = []

    def run(argv: list[Any], **_: Any) -> None:
        if "cp" in argv:
            copied.append(str(argv[-2]))
            tree.main.write_text(Path(argv[argv.index("cp") + 1]).read_text())

    monkeypatch.setattr(shell, "run", run)
    assert len(ways.floors(tree, "cart", 3, Path("kubectl"), Phase("cart", 0.0))) == 3
    assert copied == ["cart-1:/tmp/app/main.py"] * 4


def test_a_new_image_has_other_requirements(tmp_path: Path) -> None:
    tree: Any = Tree(tmp_path)
    assert len(ways.rebuilds(tree, "cart", 2, Phase("cart", 0.0))) == 2
    assert all(tree.at_build)


def test_an_answer_without_the_text_or_with_an_error_is_not_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: Any = type("Found", (), {"port": 1, "settings": Settings(ROOT, tmp_path, "test")})()
    tested = bench.Bench(made, tmp_path, tmp_path / "stream.log", bench.Process(1))
    tested.stream.write_text("Tilt said this\n")
    answers = iter([(0, "refused"), (503, "Saved x."), (200, "something else"), (200, "Saved x.")])
    monkeypatch.setattr(tested, "ask", lambda *_: next(answers))
    tested.served("cart", "Saved x.", timeout=30)
    assert next(answers, None) is None, "all four were looked at"


class Instance:
    """What the bench is given: an instance whose `dev` is a program of the test's, and whose services answer when told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
        self.settings, self.port = Settings(ROOT, folder / "home", "test"), 1
        self.answers: Iterator[int] = iter(())
        self.number = folder / "pid"

        def export(_: Path, __: str, ___: list[str], tree: Path) -> None:
            tree.mkdir()
            program = tree / "invoke"
            program.write_text(f"#!{sys.executable}\nimport os\nopen({str(self.number)!r}, 'w').write(str(os.getpid()))\n{code}")
            program.chmod(0o755)

        monkeypatch.setattr(git, "export", export)
        monkeypatch.setattr(bench.Bench, "ask", lambda *_: (next(self.answers, 200), ""))

    def gone(self) -> bool:
        return not Path(f"/proc/{self.number.read_text()}").exists()


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"])
def test_a_dev_that_has_ended_is_waited_for_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    made: Any = Instance(tmp_path, monkeypatch, f"print('no wind', flush=True); {code}")
    made.answers = iter([0] * 1000)
    with (
        pytest.raises(WaitFailed, match=r"(?s)dev has ended \(exit code (3|-9)\):\nno wind"),
        bench.started(made, Phase("x", 0.0)),
    ):
        pytest.fail("nothing serves")


def test_a_compiler_that_speaks_of_errors_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = Instance(tmp_path, monkeypatch, "import time; print('compiling error.go', flush=True); time.sleep(600)")
    made.answers = iter([0, 0, 0, 0])
    with bench.started(made, Phase("x", 0.0)) as running:
        assert isinstance(running.process.ended(), Pending)
    assert made.gone()


def test_a_dev_that_does_not_listen_is_killed_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child"
    code = f"""
import signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
open({str(child)!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    made: Any = Instance(tmp_path, monkeypatch, code)
    monkeypatch.setattr(bench, "END_TIMEOUT", 0.3)
    with pytest.raises(ValueError, match="broken"), bench.started(made, Phase("x", 0.0)):
        wait_for("its child", lambda: Ready(0) if child.exists() and child.read_text() else Pending("none"), timeout=10)
        raise ValueError("broken")
    assert made.gone()
    stat = Path(f"/proc/{child.read_text()}/stat")
    wait_for(
        "the end of its child",
        lambda: Pending("it runs") if stat.exists() and " Z " not in stat.read_text() else Ready(0),
        timeout=10,
    )


@pytest.mark.parametrize(
    ("slow", "edits", "said", "unsaid"),
    [(1.5, 20, "cart 0.7 s, orders 1.5 s (budget 2 s)", "--runs"), (2.5, 19, "Over the budget of 2 s: orders.", "(budget")],
)
def test_a_person_is_told_whether_each_service_kept_to_the_budget(slow: float, edits: int, said: str, unsaid: str) -> None:
    report = Report(
        (leg("cart: saved until served", [0.5, 0.7], floors=[0.4], budget=1.0),), {"cart": 0.7, "orders": slow}, edits
    )
    console = Console(width=200)
    with console.capture() as captured:
        bench_dev.show(report, console)
    assert said in captured.get() and unsaid not in captured.get()
    assert "0.60 s" in captured.get()
    assert ("19 saves" in captured.get()) is (edits == 19)
