from __future__ import annotations

import importlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.context import Context

import cli
import tasks
from slipway import shell
from slipway.errors import SlipwayError, UsageError


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    logger = logging.getLogger("slipway")
    handlers, level = list(logger.handlers), logger.level
    yield
    for handler in set(logger.handlers) - set(handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)


def fresh() -> Collection:
    """The tasks as a new process has them: Invoke takes the meaning of each flag out of a task when it parses."""
    return importlib.reload(tasks).namespace


def run(*words: str, body: Callable[[], int | None] | None = None, unfinished: str = "", code: int = 0) -> int:
    """The exit code of a command line; with a body, of a program that has it as its only task, `act`."""
    namespace = fresh()
    if body:

        def act(_: Context, json: bool = False, name: str = "") -> int | None:
            """Act."""
            return body()

        namespace = Collection(cli.door("Look", help=tasks.FLAGS, unfinished=unfinished, code=code)(act))
    with pytest.raises(SystemExit) as ended:
        cli.Slipway(namespace=namespace, binary="./invoke").run(["./invoke", *words])
        raise SystemExit(0)
    exited = ended.value.code
    assert isinstance(exited, int) or exited is None
    return exited or 0


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_an_error_is_a_sentence_on_standard_error_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("act", body=raising(SlipwayError("no engine runs. Start one."))) == 1
    assert capsys.readouterr() == ("", "error: no engine runs. Start one.\n")


def test_a_request_that_cannot_be_carried_out_has_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("act", body=raising(UsageError("no"))) == 2


def test_the_exit_code_of_a_body_is_that_of_the_command() -> None:
    assert run("act", body=lambda: 7) == 7
    assert run("act", body=lambda: None) == 0
    assert run("act", body=lambda: 0) == 0


def test_a_bug_is_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run("act", body=raising(ZeroDivisionError()))


@pytest.mark.parametrize("error", [UsageError("no"), SlipwayError("no"), ZeroDivisionError("no")])
def test_a_task_whose_codes_say_something_has_one_for_not_coming_to_its_end(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("act", body=raising(error), code=3) == 3
    told = capsys.readouterr().err
    assert told == "error: no\n" or "Traceback" in told
    assert run("act", body=lambda: 2, code=3) == 2
    assert run("act", body=raising(KeyboardInterrupt()), code=3) == 130


@pytest.mark.parametrize("words", [["--rate", "fast"], ["--profil", "smoke"], ["--workers", "many"], ["--rate"]])
def test_a_load_test_that_is_asked_for_wrongly_is_no_verdict(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("load", *words) == 3
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "./invoke load --help" in told


@pytest.mark.parametrize("words", [["v0.1.0"], ["v0.1.0", "v0.2.0", "--runs", "many"], ["v0.1.0", "v0.2.0", "--fast"]])
def test_a_comparison_that_is_asked_for_wrongly_is_no_answer(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("load.compare", *words) == 3
    assert capsys.readouterr().err.startswith("error: ")


def test_a_value_of_another_kind_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench.images", "--runs", "many") == 2
    assert capsys.readouterr().err.startswith("error: bench.images: invalid literal for int()")


def test_an_error_is_red_on_a_terminal_unless_colours_are_unwanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    run("act", body=raising(SlipwayError("no")))
    assert capsys.readouterr().err == "\033[31;1merror:\033[0m no\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    run("act", body=raising(SlipwayError("no")))
    assert capsys.readouterr().err == "error: no\n"


def test_an_interrupt_ends_what_runs_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(shell, "end_all", lambda: ended.append(True))
    assert run("act", body=raising(KeyboardInterrupt()), unfinished="Go on by up.") == 130
    assert ended == [True]
    assert capsys.readouterr().err == "\nInterrupted. Go on by up.\n"


def test_an_interrupt_of_what_leaves_nothing_says_only_that(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("act", body=raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"


def test_a_request_to_end_is_treated_as_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def ask_oneself() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert run("act", body=ask_oneself, unfinished="Go on by up.") == 143
    assert capsys.readouterr().err == "\nEnded. Go on by up.\n"
    assert signal.getsignal(signal.SIGTERM) is before


IN_A_TERMINAL = """
import fcntl, os, signal, sys, termios, time
from pathlib import Path
from invoke.collection import Collection
import cli

def act(_):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGHUP)
        print("ending", flush=True)
        Path(sys.argv[1]).touch()

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
cli.Slipway(namespace=Collection(cli.door("Look")(act)), binary="./invoke").run(["./invoke", "act"])
"""


def test_a_terminal_that_is_closed_lets_a_task_end_what_it_began(tmp_path: Path) -> None:
    terminal, inner = os.openpty()
    words = [sys.executable, "-c", IN_A_TERMINAL, tmp_path / "tidy"]
    process = subprocess.Popen(words, stdin=inner, stdout=inner, stderr=inner, cwd=cli.ROOT, start_new_session=True)
    os.close(inner)
    assert os.read(terminal, 100).strip() == b"begun"
    os.close(terminal)
    assert process.wait(timeout=30) == 143
    assert (tmp_path / "tidy").exists()


@pytest.mark.parametrize("ignored", [True, False])
def test_what_nohup_started_outlives_its_terminal(ignored: bool) -> None:
    wanted = signal.SIG_IGN if ignored else signal.SIG_DFL
    before = signal.signal(signal.SIGHUP, wanted)
    try:
        during: list[object] = []
        run("act", body=lambda: during.append(signal.getsignal(signal.SIGHUP)))
        assert (during == [signal.SIG_IGN]) is ignored
        assert signal.getsignal(signal.SIGHUP) == wanted
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_pythons_invoke_starts_again_by_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[Path, list[str]]] = []

    def start(path: Path, words: list[str]) -> None:
        started.append((path, words))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", start)
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/invoke", "act", "--", "two words"])
    run("act", body=lambda: 5)
    assert started == [(cli.ROOT / "invoke", [str(cli.ROOT / "invoke"), "act", "--", "two words"])]


def test_the_list_has_every_group_in_order_and_one_line_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in cli.GROUPS] == list(cli.GROUPS)
    listed = [line for line in lines if line.startswith("  ")]
    names = [line.split()[0] for line in listed]
    assert {"up", "down", "status", "images", "images.prune", "test", "test.unit", "bench.up"} <= set(names)
    assert len(names) == len(set(names))
    assert all(len(line.split(maxsplit=1)) == 2 for line in listed), "every task has its line"
    assert max(map(len, lines)) <= 105


def test_the_list_can_be_limited_to_a_collection(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list", "bench") == 0
    out = capsys.readouterr().out
    assert "bench.up" in out
    assert "status" not in out


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_without_a_task_the_manual_is_shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 0
    out = capsys.readouterr().out
    assert out.startswith("Slipway: ")
    assert "  up " in out


@pytest.mark.parametrize("words", [["logs", "--help"], ["logs", "-h"], ["--help", "logs"]])
def test_the_help_of_a_task_shows_its_words_and_every_flag(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 0
    out = capsys.readouterr().out
    assert out.startswith("./invoke logs SERVICE [--flags]\n\nPrint what a service says")
    assert "go on until interrupted" in out


@pytest.mark.parametrize(
    ("name", "usage", "told"),
    [
        ("rollback", "ENV", "the release, version or commit to go back to (default: what ran before)"),
        ("rollback", "ENV", "--env=STRING the environment -"),
        ("history", "ENV", "--env=STRING the environment -"),
        ("explain", "SERVICE ENV", "--env=STRING the environment -"),
        ("images.sbom", "SERVICE", "the environment (default: the first one that runs it)"),
        ("logs", "SERVICE", "one environment (default: all)"),
        ("merge", "BRANCH", "a branch of the application's repository"),
        ("push", "[BRANCH]", "a branch of yours (default: the one that is checked out)"),
        ("approve", "RELEASE", "a release, as vX.Y.Z -"),
        ("promote", "TO", "a release, as vX.Y.Z (default: the one that stage runs)"),
        ("images.promote", "RELEASE", "X.Y.Z-rc.N, or vX.Y.Z for its newest candidate"),
        ("images.build", "[SERVICE...]", "one of the services"),
        ("images.publish", "[SERVICE...]", "one of the services"),
        ("new.service", "SERVICE", "the new service's name"),
        ("board", "", "(default: 8090, or the next free one)"),
        ("dev", "[SERVICE...]", "(default: 10350, or the next free one)"),
    ],
)
def test_the_help_of_a_task_is_about_that_task(name: str, usage: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert first == " ".join(filter(None, ["./invoke", name, usage, "[--flags]"]))
    assert told in " ".join(rest.split())


@pytest.mark.parametrize(
    "words", [["cart", "catalog"], ["--service", "cart", "--service", "catalog"], ["cart", "catalog", "--json"]]
)
@pytest.mark.parametrize("task", ["build", "publish"])
def test_the_services_whose_images_are_wanted_are_words(task: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from slipway import publishing

    def take(_: object, asked: publishing.Asked | None = None, services: tuple[str, ...] = (), **__: object) -> None:
        seen.append(asked.services if asked else services)

    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(publishing, task, take)
    monkeypatch.setattr(publishing, "show", lambda *_: None)
    assert run(f"images.{task}", *words) == 0
    assert seen == [("cart", "catalog")]


@pytest.mark.parametrize("name", sorted(tasks.namespace.task_names))
def test_every_flag_of_every_task_is_explained(name: str) -> None:
    task: Any = fresh()[name]
    unexplained = [argument.name for argument in task.get_arguments() if not argument.help and not argument.positional]
    assert unexplained == []


def test_an_unknown_task_gets_those_that_are_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stauts") == 2
    assert capsys.readouterr().err == "error: there is no task 'stauts'; did you mean status?\nSee `./invoke --list`.\n"


def test_an_unknown_flag_gets_those_that_are_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--jsn") == 2
    err = capsys.readouterr().err
    assert err == "error: status has no flag '--jsn'; did you mean --json?\nSee `./invoke status --help`.\n"


def test_an_unknown_flag_with_a_value_is_named_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--nme=x") == 2
    assert "status has no flag '--nme=x'; did you mean --name?" in capsys.readouterr().err


def test_a_word_that_lacks_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("logs") == 2
    assert "'service'" in capsys.readouterr().err


def test_words_after_the_dashes_are_passed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    line = shlex.split("./invoke ephemeral --profile=minimal -- make 'two words' --flag -- '' $HOME")
    monkeypatch.setattr(sys, "argv", line)
    assert cli.words_after_dashes() == ["make", "two words", "--flag", "--", "", "$HOME"]
    monkeypatch.setattr(sys, "argv", ["./invoke", "ephemeral"])
    assert cli.words_after_dashes() == []


def test_a_help_flag_after_the_dashes_belongs_to_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from slipway import ephemeral

    seen: list[list[str]] = []

    def take(words: list[str], **_: object) -> int:
        seen.append(words)
        return 3

    monkeypatch.setattr(ephemeral, "ephemeral", take)
    monkeypatch.setattr(sys, "argv", ["./invoke", "ephemeral", "--", "make", "--help"])
    assert run("ephemeral", "--", "make", "--help") == 3
    assert seen == [["make", "--help"]]


@dataclass(frozen=True)
class Result:
    """Something a command answers."""

    what: tuple[str, ...]
    path: Path
    bulk: list[str] = field(default_factory=list[str], repr=False)


def test_an_answer_for_machines_is_json_without_what_is_only_bulk(capsys: pytest.CaptureFixture[str]) -> None:
    cli.answer([Result(("a",), Path("/p"), ["x"])], json=True)
    assert json.loads(capsys.readouterr().out) == [{"what": ["a"], "path": "/p"}]


def test_an_answer_for_a_person_is_a_line_for_each_item(capsys: pytest.CaptureFixture[str]) -> None:
    cli.answer({"argocd": "http://a", "git": "http://b"}, json=False)
    cli.answer(["one", "two"], json=False)
    assert capsys.readouterr().out == "argocd  http://a\ngit     http://b\none\ntwo\n"


def test_a_reader_that_has_read_enough_ends_a_command_without_a_word() -> None:
    words = [sys.executable, str(cli.ROOT / "cli.py"), "policy", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cli.ROOT)
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    with process.stderr as errors:
        said = errors.read()
    assert (process.wait(timeout=60), said) == (141, "")


def test_exports_survive_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    cli.answer({"KUBECONFIG": "/a path/[x]"}, json=False, show=cli.show_exports)
    assert capsys.readouterr().out == "export KUBECONFIG='/a path/[x]'\n"


def test_every_command_run_is_logged_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def work() -> None:
        shell.run(["true", "with words"])

    monkeypatch.setenv("SLIPWAY_LOG", "debug")
    run("act", body=work)
    assert "slipway.shell run true 'with words'" in capsys.readouterr().err
    monkeypatch.setenv("SLIPWAY_LOG", str(tmp_path / "log"))
    run("act", body=work)
    assert "slipway.shell run true 'with words'" in (tmp_path / "log").read_text()


def test_a_log_that_cannot_be_written_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("SLIPWAY_LOG", str(tmp_path / "no" / "folder"))
    assert run("act", body=lambda: None) == 2
    assert "neither a level such as debug nor a file to write" in capsys.readouterr().err


def test_what_makes_or_removes_says_how_to_go_on_after_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from slipway import down

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.delenv("SLIPWAY_INSTANCE", raising=False)
    monkeypatch.setattr(down, "down", interrupted)
    assert run("down") == 130
    assert "`./invoke up` goes on from here; `./invoke down` removes what there is." in capsys.readouterr().err
    for words in (("down", "--name", "second"), ("down", "--name=second", "--purge")):
        assert run(*words) == 130
        said = "`./invoke up --name second` goes on from here; `./invoke down --name second` removes what there is."
        assert said in capsys.readouterr().err
    monkeypatch.setenv("SLIPWAY_INSTANCE", "second")
    assert run("down", "--name", "slipway") == 130
    assert "`./invoke down --name slipway` removes what there is." in capsys.readouterr().err


def test_tasks_are_doors_and_not_rooms() -> None:
    import ast

    tree = ast.parse((cli.ROOT / "tasks.py").read_text())
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        last = function.body[-1].end_lineno or 0
        first = function.body[1].lineno  # after the docstring
        assert last - first < 8, f"{function.name} is {last - first + 1} lines long"


def test_listing_loads_nothing_heavy() -> None:
    code = "import sys, cli, tasks; print(*{'kubernetes', 'docker', 'rich', 'urllib3'} & set(sys.modules))"
    assert shell.run([sys.executable, "-c", code], cwd=cli.ROOT).stdout.split() == []
