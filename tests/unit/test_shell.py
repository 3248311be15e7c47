from __future__ import annotations

import os
import pty
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slipway import shell
from slipway.errors import CommandFailed, ToolMissing
from slipway.waiting import Pending, Ready, stays, wait_for


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def eventually(what: str, true: Callable[[], bool]) -> None:
    wait_for(what, lambda: Ready(None) if true() else Pending("not yet"), timeout=5)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # what has ended may wait to be reaped


def ended(pid: int) -> None:
    eventually(f"process {pid} to end", lambda: not alive(pid))


def test_a_result_holds_exit_code_and_both_outputs() -> None:
    result = shell.run(["sh", "-c", "echo out; echo err >&2"])
    assert result == shell.Result(0, "out\n", "err\n")


def test_no_shell_reads_the_arguments() -> None:
    assert shell.run(["echo", "$HOME; rm *"]).stdout == "$HOME; rm *\n"


def test_a_program_that_asks_finds_an_end_instead_of_a_terminal() -> None:
    assert shell.run(["cat"]).stdout == ""


@pytest.mark.parametrize("given", ["text ä", "text ä".encode()])
def test_text_and_bytes_go_to_standard_input(given: str | bytes) -> None:
    assert shell.run(["cat"], stdin=given).stdout == "text ä"


def test_a_file_goes_to_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "in"
    file.write_text("content")
    assert shell.run(["cat"], stdin=file).stdout == "content"


def test_more_input_than_a_pipe_holds_does_not_block() -> None:
    given = "x" * 1_000_000
    assert shell.run(["cat"], stdin=given).stdout == given


def test_a_program_may_end_without_reading_its_input() -> None:
    assert shell.run(["true"], stdin="x" * 1_000_000).code == 0


def test_a_file_takes_standard_output(tmp_path: Path) -> None:
    file = tmp_path / "out"
    assert shell.run(["echo", "hello"], stdout=file).stdout == ""
    assert file.read_text() == "hello\n"


def test_environment_is_added_for_the_program_alone() -> None:
    result = shell.run(["sh", "-c", "echo $SLIPWAY_TEST $HOME"], env={"SLIPWAY_TEST": "yes"})
    assert result.stdout.split() == ["yes", os.environ["HOME"]]
    assert "SLIPWAY_TEST" not in os.environ


def test_a_failure_raises_with_command_code_and_output() -> None:
    with pytest.raises(CommandFailed) as caught:
        shell.run(["sh", "-c", "echo said; exit 4"], hint="Do this.")
    assert caught.value.code == 4
    assert "said" in str(caught.value)
    assert str(caught.value).endswith("Do this.")


def test_a_failure_that_is_expected_is_a_result() -> None:
    assert shell.run(["false"], check=False).code == 1


def test_a_program_that_is_not_there_is_named_with_its_cure() -> None:
    with pytest.raises(ToolMissing, match=r"^no-such-program is not installed\. Install it\.$"):
        shell.run(["no-such-program"], hint="Install it.")


def test_a_folder_that_is_not_there_is_not_mistaken_for_the_program(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match=r"the folder .*gone is not there"):
        shell.run(["true"], cwd=tmp_path / "gone")


def test_a_file_that_is_no_program_says_why(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("no program")
    with pytest.raises(ToolMissing, match="cannot be run: Permission denied"):
        shell.run([file])


def test_lines_of_standard_error_are_told_as_they_come(tmp_path: Path) -> None:
    told: list[str] = []
    flag = tmp_path / "flag"
    code = f"import os, sys; print('one', file=sys.stderr, flush=True)\nwhile not os.path.exists({str(flag)!r}): pass"

    def hear(line: str) -> None:
        told.append(line)
        flag.touch()  # the program ends only when its line has been heard

    result = shell.run(python(code), on_line=hear, timeout=20)
    assert told == ["one"]
    assert result.stderr == "one\n"


def test_a_listener_that_breaks_does_not_block_the_program() -> None:
    def hear(_: str) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        shell.run(["sh", "-c", "for i in 1 2 3; do head -c 100000 /dev/zero >&2; echo >&2; done"], on_line=hear, timeout=20)


def test_a_program_that_is_late_is_ended_and_says_so() -> None:
    started = time.monotonic()
    with pytest.raises(CommandFailed, match=r"(?s)ended by signal 15 from: sleep 60.*It was ended after 0\.1 s"):
        shell.run(["sleep", "60"], timeout=0.1)
    assert time.monotonic() - started < 4


def test_a_late_program_is_ended_with_its_children(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(CommandFailed):
        shell.run(["sh", "-c", f"sleep 60 & echo $! > {file}; wait"], timeout=0.3)
    ended(int(file.read_text()))


def test_a_program_that_ignores_the_request_to_end_is_killed_after_its_grace(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    with pytest.raises(CommandFailed, match="ended by signal 9"):
        shell.run(python(code), timeout=0.5, grace=0.2)


def test_a_child_that_outlives_its_parent_and_ignores_the_request_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    code = (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-S', '-c', {child!r}])\n"
        f"open({str(file)!r}, 'w').write(str(child.pid))"
    )
    with pytest.raises(CommandFailed):
        shell.run(python(code), timeout=0.7, grace=0.2)  # the child holds the pipes open
    ended(int(file.read_text()))


def test_a_program_with_a_longer_grace_may_tidy_up(tmp_path: Path) -> None:
    file = tmp_path / "tidied"
    script = f"trap 'sleep 0.3; touch {file}; exit 0' TERM; echo ready >&2; while :; do sleep 0.05; done"
    with pytest.raises(CommandFailed):
        shell.run(["sh", "-c", script], timeout=0.5, grace=10)
    assert file.exists()


def run_in_thread(argv: list[str], **options: float) -> tuple[threading.Thread, list[BaseException]]:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            shell.run(argv, **options)  # pyright: ignore[reportArgumentType]
        except CommandFailed as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, raised


def test_end_all_ends_what_other_threads_run(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b")]
    running = [run_in_thread(["sh", "-c", f"touch {file}; sleep 60"]) for file in files]
    eventually("both programs to run", lambda: all(file.exists() for file in files))
    started = time.monotonic()
    shell.end_all()
    for thread, raised in running:
        thread.join(timeout=5)
        assert not thread.is_alive()
        assert raised
    assert time.monotonic() - started < 4


def test_while_called_off_no_long_program_starts_but_a_short_one_may_tidy_up(monkeypatch: pytest.MonkeyPatch) -> None:
    shell.call_off()
    try:
        with pytest.raises(CommandFailed, match="It was not started"):
            shell.run(["true"], timeout=shell.DEFAULT_TIMEOUT + 1)
        assert shell.run(["true"]).code == 0
        monkeypatch.setattr(shell, "TIDY_SECONDS", 0.1)
        with pytest.raises(CommandFailed, match=r"It was ended after 0\.1 s"):
            shell.run(["sleep", "60"])
    finally:
        shell.resume()
    assert shell.run(["true"], timeout=shell.DEFAULT_TIMEOUT + 1).code == 0


def test_an_interrupt_ends_the_program_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = (
        "import sys; from slipway import shell\n"
        f"try: shell.run(['sh', '-c', 'echo $$ > {file}; sleep 60'], timeout=600)\n"
        "except KeyboardInterrupt: sys.exit(130)"
    )
    here = Path(shell.__file__).parent.parent
    pid = shell.start([sys.executable, "-c", code], log_file=tmp_path / "log", cwd=here)
    eventually("the inner program to run", lambda: file.exists() and bool(file.read_text().strip()))
    os.kill(pid, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130, (tmp_path / "log").read_text()
    ended(int(file.read_text()))


def test_a_started_program_outlives_the_call_and_writes_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    pid = shell.start(["sh", "-c", "echo hello; echo trouble >&2; exec sleep 60"], log_file=log)
    try:
        eventually("its output", lambda: log.read_text() == "before\nhello\ntrouble\n")
        shell.end_all()
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="no-such-program is not installed"):
        shell.start(["no-such-program"], log_file=tmp_path / "log")
    with pytest.raises(ToolMissing, match="no-such-program is not installed"):
        shell.interactive(["no-such-program"])


def test_an_interactive_program_gives_its_exit_code() -> None:
    assert shell.interactive(["sh", "-c", "exit 7"]) == 7


def test_an_interactive_program_that_a_signal_ended_gives_what_a_shell_would() -> None:
    assert shell.interactive(["sh", "-c", "kill -9 $$"]) == 137


def test_a_program_gets_the_descriptors_that_are_meant_for_it_and_its_number_is_told(tmp_path: Path) -> None:
    told: list[int] = []
    kept = os.open(tmp_path / "kept", os.O_WRONLY | os.O_CREAT)
    code = "import os, sys; os.write(int(sys.argv[1]), str(os.getpid()).encode())"
    try:
        assert shell.interactive([*python(code), str(kept)], keep=[kept], started=told.append) == 0
        assert (tmp_path / "kept").read_text() == str(told[0])
        assert shell.interactive([*python(code), str(kept)]) != 0, "it is meant for nobody else"
        pid = shell.start([*python(code), str(kept)], log_file=tmp_path / "log", keep=[kept])
        os.waitpid(pid, 0)
        assert (tmp_path / "kept").read_text().endswith(str(pid))
    finally:
        os.close(kept)


def test_an_interactive_program_that_cannot_be_noted_is_ended(tmp_path: Path) -> None:
    def broken(pid: int) -> None:
        (tmp_path / "pid").write_text(str(pid))
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        shell.interactive(["sleep", "60"], started=broken)
    ended(int((tmp_path / "pid").read_text()))


def test_an_interactive_program_that_waits_for_what_never_comes_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_LOOK", 0.02)
    begun = tmp_path / "begun"
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); open(sys.argv[1], 'w'); time.sleep(60)"
    )
    assert shell.interactive([*python(code), str(begun)], timeout=60, hopeless=begun.exists) == 9
    assert shell.interactive(["sh", "-c", "exit 7"], hopeless=lambda: False) == 7


def test_an_interactive_program_outlives_nobody_who_looks_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_LOOK", 0.02)
    kept = tmp_path / "pid"

    def broken() -> bool:
        eventually("its start", lambda: kept.is_file() and bool(kept.read_text()))
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        shell.interactive(["sh", "-c", 'echo $$ > "$0"; exec sleep 60', str(kept)], hopeless=broken)
    ended(int(kept.read_text()))


def test_an_interactive_program_has_its_time_whoever_looks_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_LOOK", 0.02)
    with pytest.raises(CommandFailed, match=r"ended after 0\.2 s"):
        shell.interactive(["sleep", "60"], timeout=0.2, hopeless=lambda: False)


def test_end_all_ends_an_interactive_program_of_another_thread_and_nothing_that_ended_before() -> None:
    told: list[int] = []
    assert shell.interactive(["true"], started=told.append) == 0
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(shell.interactive(["sleep", "60"], started=told.append)))
    thread.start()
    eventually("the program to run", lambda: len(told) == 2)
    shell.end_all()
    thread.join(timeout=5)
    assert codes == [128 + signal.SIGTERM]
    assert not shell._interactive  # pyright: ignore[reportPrivateUsage]


# Counts interrupts, a line for each; another signal ends it.
COUNTS = """
import os, signal, sys
seen = []
def count(*_):
    seen.append(1)
    print("interrupt", len(seen), flush=True)
signal.signal(signal.SIGINT, count)
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
print("ready", os.getpid(), flush=True)
while True:
    signal.pause()
"""

# Runs such a program; at a terminal, if it is told one.
RUNS = """
import fcntl, os, sys, termios
from slipway import shell
program, *terminal = sys.argv[1:]
for name in terminal:
    fcntl.ioctl(os.open(name, os.O_RDWR), termios.TIOCSCTTY, 0)
sys.exit(shell.interactive([sys.executable, "-S", "-c", program]))
"""


@contextmanager
def counting(log: Path, *terminal: str) -> Generator[int]:
    """The process id of one that runs such a program, which is ready; it gives the program's exit code when the block ends."""
    pid = shell.start([sys.executable, "-c", RUNS, COUNTS, *terminal], log_file=log, cwd=Path(shell.__file__).parent.parent)
    try:
        eventually("the program to be ready", lambda: log.read_text().endswith("\n"))
        yield pid
        os.kill(int(log.read_text().split()[1]), signal.SIGTERM)
    except BaseException:
        os.killpg(pid, signal.SIGKILL)
        raise
    finally:
        _, code = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(code) == 7, log.read_text()


def interrupts(log: Path) -> int:
    return log.read_text().count("interrupt")


@pytest.fixture
def terminal() -> Generator[tuple[int, str]]:
    """A terminal: where its keys are typed, and its name."""
    keys, screen = pty.openpty()
    yield keys, os.ttyname(screen)
    os.close(keys)
    os.close(screen)


def test_an_interrupt_is_handed_on_to_an_interactive_program_without_a_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with counting(log) as pid:
        os.kill(pid, signal.SIGINT)
        eventually("the interrupt", lambda: interrupts(log) == 1)


def test_ctrl_c_reaches_an_interactive_program_once(tmp_path: Path, terminal: tuple[int, str]) -> None:
    log, (keys, name) = tmp_path / "log", terminal
    with counting(log, name):
        os.write(keys, b"\x03")
        eventually("the interrupt", lambda: interrupts(log) == 1)
        stays("the only one", lambda: Ready(None) if interrupts(log) == 1 else Pending("there is another"), seconds=0.5)


def test_whoever_interrupts_this_process_alone_at_a_terminal_is_heard_at_the_second_time(
    tmp_path: Path, terminal: tuple[int, str]
) -> None:
    log, (_, name) = tmp_path / "log", terminal
    with counting(log, name) as pid:
        os.kill(pid, signal.SIGINT)
        stays("not heard", lambda: Ready(None) if interrupts(log) == 0 else Pending("it was heard"), seconds=0.5)
        os.kill(pid, signal.SIGINT)
        eventually("the interrupt", lambda: interrupts(log) == 1)


def test_which_finds_every_program_of_a_name_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").touch(mode=0o755)
    (tmp_path / "two" / "data").touch(mode=0o644)
    monkeypatch.setenv("PATH", f"{tmp_path}/one:{tmp_path}/two::{tmp_path}/one")
    assert shell.which("tool") == [tmp_path / "one" / "tool", tmp_path / "two" / "tool"]
    assert shell.which("data") == []
