from __future__ import annotations

import re
import threading

import pytest

from slipway import progress
from slipway.progress import Progress
from tests.unit.fakes import Screen


def test_a_phase_is_one_line_with_its_seconds_when_it_ends() -> None:
    screen = Screen()
    with screen.progress.phase("cluster"):
        assert screen.text == ""
    assert re.fullmatch(r"✓ cluster +0\.0 s\n", screen.text)


def test_a_phase_shows_what_it_said_last() -> None:
    screen = Screen()
    with screen.progress.phase("cluster") as phase:
        phase.say("first")
        phase.say("3 nodes")
    assert screen.lines[0].endswith("s  3 nodes")


def test_a_phase_that_raises_ends_with_a_cross_and_the_error_goes_on() -> None:
    screen = Screen()
    with pytest.raises(ValueError, match="broken"), screen.progress.phase("cluster"):
        raise ValueError("broken")
    assert screen.text.startswith("✗ cluster")


def test_a_phase_that_fails_without_raising_ends_with_a_cross_too() -> None:
    screen = Screen()
    with screen.progress.phase("lint") as phase:
        phase.fail("1 failed")
    assert screen.text.startswith("✗ lint")
    assert screen.text.endswith("1 failed\n")


def test_a_skipped_phase_says_why_unless_nobody_wants_to_know() -> None:
    screen = Screen()
    with screen.progress.phase("image node") as phase:
        phase.skip("cached")
    with screen.progress.phase("image git", quiet_when_skipped=True) as phase:
        phase.skip("cached")
    assert len(screen.lines) == 1
    assert screen.lines[0].startswith("· image node")
    assert screen.lines[0].endswith("cached")


def test_the_seconds_of_every_phase_are_remembered() -> None:
    screen = Screen()
    with screen.progress.phase("a"), screen.progress.phase("b"):
        pass
    assert set(screen.progress.timings) == {"a", "b"}
    assert all(0 <= seconds < 5 for seconds in screen.progress.timings.values())


def test_what_looks_like_markup_is_printed_as_it_is() -> None:
    screen = Screen()
    with screen.progress.phase("[bold]a[/bold]") as phase:
        phase.say("[1/2]")
    screen.progress.note("[red]note[/red]")
    assert "[bold]a[/bold]" in screen.text
    assert "[1/2]" in screen.text
    assert "[red]note[/red]" in screen.text


def test_elsewhere_than_on_a_terminal_there_are_no_control_characters() -> None:
    screen = Screen()
    with screen.progress.showing(), screen.progress.phase("cluster") as phase:
        phase.parts(1, 2)
    assert "\x1b" not in screen.text
    assert "\r" not in screen.text


def test_a_long_phase_reminds_a_plain_log_that_it_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_REMINDER", 0.0)
    reminded = threading.Event()
    screen = Screen()
    printed = screen.progress.console.print

    def listen(*words: object, **options: object) -> None:
        printed(*words, **options)  # pyright: ignore[reportArgumentType]
        reminded.set()

    monkeypatch.setattr(screen.progress.console, "print", listen)
    with screen.progress.showing(), screen.progress.phase("image node") as phase:
        phase.parts(2, 7)
        phase.say("containerd")
        assert reminded.wait(10)
    assert re.match(r"… image node +\d+ s 2/7  containerd", screen.lines[0])


def test_on_a_terminal_the_phases_under_way_are_shown_and_then_replaced_by_their_lines() -> None:
    screen = Screen(terminal=True)
    with screen.progress.showing():
        with screen.progress.phase("image node") as phase:
            phase.parts(2, 7)
            phase.say("containerd")
            shown = screen.progress._live.get_renderable()  # type: ignore[union-attr]
            with screen.progress.console.capture() as captured:
                screen.progress.console.print(shown)
        assert "image node" in captured.get()
        assert "2/7 containerd" in captured.get()
    assert re.search(r"✓ image node +0\.\d s", screen.text)


def test_showing_within_showing_changes_nothing() -> None:
    screen = Screen(terminal=True)
    with screen.progress.showing() as outer:
        with screen.progress.showing() as inner:
            assert inner is outer
        with screen.progress.phase("still shown"):
            assert screen.progress._live is not None  # pyright: ignore[reportPrivateUsage]
    with screen.progress.showing(), screen.progress.phase("again"):
        pass
    assert "again" in screen.text


def test_phases_of_several_threads_do_not_mix_their_lines() -> None:
    screen = Screen()

    def work(name: str) -> None:
        for _ in range(50):
            with screen.progress.phase(name):
                pass

    threads = [threading.Thread(target=work, args=[f"thread-{number}"]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(screen.lines) == 200
    assert all(re.fullmatch(r"✓ thread-\d +\d\.\d s", line) for line in screen.lines)


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().phase("cluster"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert "cluster" in err
