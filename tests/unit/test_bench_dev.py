from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from slipway import access, bench_dev, instance, toolbox
from slipway.bench_dev import Report, bench, ways
from slipway.bench_report import leg
from slipway.errors import UsageError
from slipway.instance import Tilt
from slipway.progress import Phase, Progress
from slipway.settings import ROOT, Settings


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


def test_a_new_image_has_other_requirements(tmp_path: Path) -> None:
    tree: Any = Tree(tmp_path)
    assert len(ways.rebuilds(tree, "cart", 2, Phase("cart", 0.0))) == 2
    assert all(tree.at_build)


def test_an_answer_without_the_text_or_with_an_error_is_not_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: Any = type("Found", (), {"port": 1, "settings": Settings(ROOT, tmp_path, "test")})()
    tested = bench.Bench(made, tmp_path, tmp_path / "stream.log")
    tested.stream.write_text("Tilt said this\n")
    answers = iter([(0, "refused"), (503, "Saved x."), (200, "something else"), (200, "Saved x.")])
    monkeypatch.setattr(tested, "ask", lambda *_: next(answers))
    tested.served("cart", "Saved x.", timeout=30)
    assert next(answers, None) is None, "all four were looked at"


@pytest.mark.parametrize(("p95", "said"), [(1.5, "(budget 2 s)"), (2.5, "over the budget of 2 s")])
def test_a_person_is_told_whether_the_budget_was_kept(p95: float, said: str) -> None:
    report = Report((leg("cart: saved until served", [0.5, 0.7], floors=[0.4], budget=1.0),), p95, 40)
    console = Console(width=200)
    with console.capture() as captured:
        bench_dev.show(report, console)
    assert said in captured.get()
    assert "0.60 s" in captured.get()
