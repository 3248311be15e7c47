"""The inner loop's way to run a service (services/live): a real service, real processes, files that change under it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Generator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import pytest

from slipway import ports, shell, waiting
from slipway.errors import WaitTimeout
from slipway.waiting import Pending, Ready
from tests.services import environments
from tests.services.running import NOTHING, TIMEOUT, Running, exchange, told

SERVICE = "catalog"
TITLE = "Slipway Chandlery"

# Seconds; after them a process that ends only waits for the requests that it has begun.
DRAIN = 0.3


@dataclass
class Live:
    """A service that runs as in `local`, with its files."""

    process: Running
    copy: Path
    control: Path
    variables: dict[str, str]

    def edit(self, old: str, new: str, *, name: str = "main.py") -> None:
        file = self.copy / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def reload(self) -> shell.Result:
        argv = [environments.python(SERVICE), "-P", "-S", "-m", "live", "reload", self.control]
        return shell.run(argv, env=self.variables, check=False, timeout=TIMEOUT)

    def title(self) -> str:
        return str(self.process.ask("/").json["title"])

    def serving(self) -> Ready[int] | Pending:
        try:
            answer = self.process.ask("/readyz")
        except (OSError, HTTPException) as error:
            return Pending(str(error))
        return Ready(answer.status)

    def children(self) -> list[int]:
        return [int(word) for word in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]

    def kill(self) -> None:
        """End the supervisor at once, as nothing that it can prepare for; its processes go with it."""
        children = self.children()
        assert children
        self.process.signal(signal.SIGKILL)
        self.process.ended()
        for child in children:
            waiting.wait_for(f"the end of process {child}", lambda child=child: _gone(child), timeout=TIMEOUT)


@contextlib.contextmanager
def living(folder: Path, *, broken: str = "", once: bool = False, waited: bool = True, code: str = "") -> Generator[Live]:
    """A service that runs as in `local`, its output and its files in a folder.

    Args:
        folder: The folder; it may hold what a former one has left.
        broken: Code at the start of its main.py.
        once: Whether nobody saves anything.
        waited: Whether it is waited for until it answers.
        code: What the supervisor's interpreter runs before it.
    """
    source, copy, control = folder / "image", folder / "copy", folder / "control"
    if not source.is_dir():
        ignored = shutil.ignore_patterns("test", "envs", "helm", "__pycache__")
        shutil.copytree(environments.SERVICES / SERVICE, source, ignore=ignored)
        shutil.copytree(environments.SERVICES / "chassis", source / "chassis", ignore=ignored)
    main = source / "main.py"
    main.write_text(main.read_text().replace("TITLE =", f"{broken}TITLE =", 1))
    with socket.socket() as probe:
        probe.bind((ports.LOOPBACK, 0))
        port = probe.getsockname()[1]
    variables = {
        **told(SERVICE, folder, NOTHING, config={"log_level": "info", "drain_seconds": DRAIN}),
        "SLIPWAY_HOST": ports.LOOPBACK,
        "SLIPWAY_PORT": str(port),
        "PYTHONUNBUFFERED": "",
        "LIVE": "once" if once else "on",
    }
    begin = (
        ["-c", f"{code}\nimport sys\nfrom live.__main__ import main\nsys.exit(main(sys.argv[1:]))"] if code else ["-m", "live"]
    )
    argv = [environments.python(SERVICE), "-P", *begin, "serve", source, copy, control]
    pid = shell.start(argv, log_file=folder / "output", env=variables)
    live = Live(Running(SERVICE, pid, port, folder / "output"), copy, control, variables)
    try:
        if waited and not once:
            waiting.wait_for("the service to answer", live.serving, timeout=TIMEOUT)
        yield live
    finally:
        if live.process.exit_code() is None:
            live.process.signal(signal.SIGTERM)
            try:
                live.process.ended()
            except WaitTimeout:
                live.process.signal(signal.SIGKILL)
                live.process.ended()
                raise


@pytest.fixture
def live(tmp_path: Path) -> Generator[Live]:
    with living(tmp_path) as made:
        yield made


def test_a_saved_file_is_served_after_a_reload(live: Live) -> None:
    live.edit(TITLE, "Changed")
    done = live.reload()
    assert (done.code, live.title()) == (0, "Changed")
    assert done.stdout.startswith("serving after ")


def test_a_saved_file_counts_without_being_asked_for(live: Live) -> None:
    live.edit(TITLE, "Seen")
    waiting.wait_for("the change", lambda: Ready(0) if live.title() == "Seen" else Pending("old"), timeout=TIMEOUT)
    (live.copy / "new").mkdir()
    (live.copy / "new" / "word.py").write_text('WORD = "one"\n')
    live.edit('TITLE = "Seen"', "from new.word import WORD as TITLE")
    assert live.reload().code == 0
    live.edit("one", "two", name="new/word.py")
    waiting.wait_for("the change", lambda: Ready(0) if live.title() == "two" else Pending("old"), timeout=TIMEOUT)


def test_what_was_not_changed_is_not_started_again(live: Live) -> None:
    live.reload()
    serving = live.children()
    assert live.reload().code == 0
    assert live.children() == serving


def test_a_file_of_what_is_shared_counts_too(live: Live) -> None:
    live.edit('status: str = "ok"', 'status: str = "fine"', name="chassis/service.py")
    assert live.reload().code == 0
    assert live.process.ask("/healthz").json == {"status": "fine"}


def test_code_that_does_not_start_leaves_the_former_process_serving_and_the_next_save_mends_it(live: Live) -> None:
    live.edit(f'TITLE = "{TITLE}"', f'TITLE = "{TITLE}')
    done = live.reload()
    assert done.code == 1
    assert "SyntaxError: unterminated string literal" in done.stderr
    assert "main.py" in done.stderr
    assert "live/process.py" not in done.stderr, "what only runs the service is no news"
    assert "the former process serves on" in done.stderr
    assert live.title() == TITLE
    assert "SyntaxError" in live.process.output.read_text()
    live.edit(f'TITLE = "{TITLE}', 'TITLE = "Mended"')
    assert live.reload().code == 0
    assert live.title() == "Mended"


def test_a_module_that_is_gone_is_missed_though_the_former_process_has_it(live: Live) -> None:
    (live.copy / "products.py").unlink()
    done = live.reload()
    assert done.code == 1
    assert "No module named 'products'" in done.stderr
    assert live.title() == TITLE


def test_a_service_that_gives_up_tells_its_own_reason(live: Live) -> None:
    (live.copy.parent / "config.yaml").write_text("no_such_key: 1\n")
    live.edit(TITLE, "Changed")
    done = live.reload()
    assert done.code == 1
    assert "no_such_key" in done.stderr
    assert "exit code 78" in done.stderr
    assert live.title() == TITLE


def test_no_request_is_lost_while_processes_take_turns(live: Live) -> None:
    answers: list[int] = []
    with contextlib.closing(live.process.connect()) as kept:
        exchange(kept, "/")
        for number in range(5):
            live.edit(TITLE if number == 0 else f"Title {number - 1}", f"Title {number}")
            reloading = shell.start(
                [environments.python(SERVICE), "-P", "-S", "-m", "live", "reload", live.control],
                log_file=live.copy.parent / "reloads",
                env=live.variables,
            )
            while os.waitpid(reloading, os.WNOHANG) == (0, 0):
                answers.append(live.process.ask("/products").status)
    assert len(answers) > 5
    assert set(answers) == {200}
    assert (live.copy.parent / "reloads").read_text().count("serving after") == 5


def test_a_request_under_way_is_answered_by_the_process_that_began_it(live: Live) -> None:
    assert live.process.arm({"route": "/", "latency_ms": 1500}).status == 200
    live.edit(TITLE, "Changed")
    with contextlib.closing(live.process.connect()) as slow:
        slow.request("GET", "/")
        waiting.wait_for("the slow request to be under way", lambda: _under_way(live), timeout=TIMEOUT)
        assert live.reload().code == 0
        assert live.title() == "Changed"
        assert json.loads(slow.getresponse().read())["title"] == TITLE


def _under_way(live: Live) -> Ready[None] | Pending:
    text = live.process.ask("/metrics").body.decode()
    lines = [line for line in text.splitlines() if line.startswith("http_requests_in_flight ")]
    return Ready(None) if lines and float(lines[0].split()[1]) >= 1 else Pending(str(lines))


def test_one_that_never_gets_ready_is_given_up_for_the_next_reload(live: Live) -> None:
    live.edit("class CatalogConfig", "import time\ntime.sleep(600)\nclass CatalogConfig")
    hanging = shell.start(
        [environments.python(SERVICE), "-P", "-S", "-m", "live", "reload", live.control],
        log_file=live.copy.parent / "hanging",
        env=live.variables,
    )
    waiting.wait_for("the new process", lambda: Ready(0) if len(live.children()) > 1 else Pending("one"), timeout=TIMEOUT)
    assert live.title() == TITLE
    live.edit("time.sleep(600)\n", "")
    assert live.reload().code == 0
    code = waiting.wait_for("the first answer", lambda: _ended(hanging), timeout=TIMEOUT)
    assert code == 1
    assert "Something else was saved" in (live.copy.parent / "hanging").read_text()


def _gone(pid: int) -> Ready[None] | Pending:
    """Whether a process is there no more, but for whoever still has to take note of its end."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return Ready(None)
    return Ready(None) if state == "Z" else Pending(f"its state is {state}")


def _ended(pid: int) -> Ready[int] | Pending:
    done, status = os.waitpid(pid, os.WNOHANG)
    return Ready(os.waitstatus_to_exitcode(status)) if done else Pending("it runs")


def test_a_container_that_begins_with_broken_code_says_so_and_stays_for_the_next_save(tmp_path: Path) -> None:
    with living(tmp_path, broken="\ndef broken(:\n") as live:
        ready = live.process.ask("/readyz")
        assert (ready.status, ready.headers["content-type"]) == (503, "application/problem+json")
        assert "SyntaxError" in ready.json["detail"]
        assert live.process.ask("/products").status == 503
        assert live.process.ask("/healthz").status == 200, "a new container would not help, and lose what was saved"
        live.edit("\ndef broken(:\n", "")
        assert live.reload().code == 0
        assert live.title() == TITLE


def test_a_process_that_died_comes_back_with_the_next_save_at_the_latest(live: Live) -> None:
    [serving] = live.children()
    os.kill(serving, signal.SIGKILL)
    live.edit(TITLE, "After")
    assert live.reload().code == 0
    assert live.title() == "After"


def test_where_nobody_saves_one_that_does_not_start_ends_its_container(tmp_path: Path) -> None:
    with living(tmp_path, broken="\nimport no_such_module\n", once=True) as live:
        assert live.process.ended() == 1
    said = live.process.output.read_text()
    assert "no_such_module" in said
    assert "live: The new code does not start (exit code 1); its container ends.\n" in said


def test_what_was_saved_outlives_the_container_but_not_the_pod(tmp_path: Path) -> None:
    with living(tmp_path) as live:
        live.edit(TITLE, "Saved")
        live.kill()
    with living(tmp_path) as again:
        assert again.title() == "Saved"
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "copy.whole").unlink()
    with living(tmp_path) as fresh:
        assert fresh.title() == TITLE


def test_a_file_that_was_saved_before_the_copy_was_made_is_kept(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "main.py").write_text((environments.SERVICES / SERVICE / "main.py").read_text().replace(TITLE, "Early"))
    with living(tmp_path) as live:
        assert live.title() == "Early"


def test_it_ends_as_the_service_does(live: Live) -> None:
    live.process.signal(signal.SIGTERM)
    assert live.process.ended() == 0
    assert '"message": "stopped"' in live.process.output.read_text()


def test_it_tells_a_process_that_it_has_only_just_begun_to_end_too(tmp_path: Path) -> None:
    # The signal comes between the fork and the moment in which the supervisor knows of it.
    code = """
import os, signal
fork = os.fork
def forked():
    pid = fork()
    if pid: os.kill(os.getpid(), signal.SIGTERM)
    return pid
os.fork = forked
"""
    with living(tmp_path, waited=False, code=code) as live:
        live.process.ended()
    assert "does not start" not in live.process.output.read_text(), "it was not meant to"


def test_a_process_that_is_told_to_end_as_it_begins_ends(tmp_path: Path) -> None:
    # It still has the supervisor's ways then, which is to take note of it and go on.
    code = """
import os, signal, time
fork = os.fork
def forked():
    pid = fork()
    if pid: os.kill(pid, signal.SIGTERM)
    else: time.sleep(0.2)
    return pid
os.fork = forked
"""
    with living(tmp_path, waited=False, once=True, code=code) as live:
        assert live.process.ended() == -signal.SIGTERM % 256


def test_its_processes_end_with_it_however_it_ends(live: Live) -> None:
    live.kill()
    with socket.create_server((ports.LOOPBACK, live.process.port)):
        pass


def test_one_that_ends_while_a_new_process_comes_up_answers_what_it_has_begun(tmp_path: Path) -> None:
    slow = """
import asyncio, pathlib, uvicorn
startup = uvicorn.Server.startup
async def late(self, sockets=None):
    pathlib.Path({0!r}).touch()
    await asyncio.sleep(1)
    await startup(self, sockets=sockets)
uvicorn.Server.startup = late
"""
    begun = tmp_path / "begun"
    with living(tmp_path) as live:
        assert live.process.arm({"route": "/", "latency_ms": 2500}).status == 200
        with contextlib.closing(live.process.connect()) as asked:
            asked.request("GET", "/")
            waiting.wait_for("the slow request to be under way", lambda: _under_way(live), timeout=TIMEOUT)
            live.edit("TITLE =", f"{slow.format(str(begun))}\nTITLE =")
            waiting.wait_for("the new process", lambda: Ready(0) if begun.exists() else Pending("none"), timeout=TIMEOUT)
            live.process.signal(signal.SIGTERM)
            assert json.loads(asked.getresponse().read())["title"] == TITLE
        assert live.process.ended() == 0


@pytest.mark.parametrize("answer", [b"", b'{"ok": tr'])
def test_a_container_that_ends_while_it_is_asked_is_told_in_a_line(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tmp_path / "control"))
        control.listen()
        control.settimeout(TIMEOUT)
        log = tmp_path / "log"
        argv = [environments.python(SERVICE), "-P", "-S", "-m", "live", "reload", tmp_path / "control"]
        asking = shell.start(argv, log_file=log, env={"PYTHONPATH": str(environments.SERVICES)})
        connection, _ = control.accept()
        with connection:
            connection.sendall(answer)
        assert waiting.wait_for("its end", lambda: _ended(asking), timeout=TIMEOUT) == 1
    assert log.read_text() == "the container ended while it was asked; the next one begins with what was saved\n"


def test_a_reload_that_nobody_answers_is_told_in_a_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tmp_path / "control"))
        control.listen()
        code = "import sys, live.__main__ as live; live._PATIENCE = 0.2; sys.exit(live.main(sys.argv[1:]))"
        argv = [environments.python(SERVICE), "-P", "-c", code, "reload", tmp_path / "control"]
        done = shell.run(argv, env={"PYTHONPATH": str(environments.SERVICES)}, check=False, timeout=TIMEOUT)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("no answer within 0.2 s;") and done.stderr.count("\n") == 1


def test_libraries_are_there_before_a_reload_and_the_service_is_not(live: Live) -> None:
    live.reload()  # answered once what the first process had loaded is loaded
    maps = Path(f"/proc/{live.process.pid}/maps").read_text()
    assert "pydantic_core" in maps
    assert live.title() == TITLE
    live.edit("from products import", "assert 'chassis' in __import__('sys').modules\nfrom products import")
    live.edit("from chassis import", "assert 'chassis' not in __import__('sys').modules\nfrom chassis import")
    assert live.reload().code == 0


def test_a_reload_before_the_service_begins_is_none(tmp_path: Path) -> None:
    argv = [environments.python(SERVICE), "-P", "-S", "-m", "live", "reload", tmp_path / "control"]
    done = shell.run(argv, env={"PYTHONPATH": str(environments.SERVICES)}, check=False, timeout=TIMEOUT)
    assert (done.code, done.stdout.strip()) == (0, "the service is about to start, with what was saved")


def test_a_wrong_word_gets_the_usage(tmp_path: Path) -> None:
    argv = [environments.python(SERVICE), "-P", "-m", "live", "start"]
    done = shell.run(argv, env={"PYTHONPATH": str(environments.SERVICES)}, check=False, timeout=TIMEOUT)
    assert done.code == 2
    assert "python -m live serve FOLDER COPY SOCKET" in done.stderr
