"""What the Git server does after a push, by real git on repositories in a temporary folder."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from slipway import gitserver, pushlog, receive
from slipway.settings import load
from tests.laying import lay

HOOKS = load().cluster / "git" / "hooks"
SECRET = "a shared secret"
ZERO = "0" * 40


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HOOKS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Server:
    """Bare repositories with the hooks, and a working tree to push from."""

    folder: Path
    tree: Path
    log: Path

    def git(self, *words: str, user: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.folder / "gitconfig"),
            "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
            "REMOTE_USER": user,
            "SLIPWAY_HOOKS": str(self.folder / "hooks.json"),
        }
        done = subprocess.run(["git", *words], cwd=self.tree, env=environ, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(done.stderr)
        return done

    def commit(self, files: dict[str, str | None], message: str = "Change") -> str:
        lay(self.tree, files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, repository: str, *specs: str, user: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        given = [word for option in options for word in ("-o", option)]
        return self.git("push", *given, str(self.folder / f"{repository}.git"), *specs, user=user, check=False)

    def listeners(self, *urls: str) -> None:
        (self.folder / "secret").write_text(SECRET + "\n")
        data = {"base": "http://git.example", "branch": "main", "secret": str(self.folder / "secret")}
        (self.folder / "hooks.json").write_text(
            json.dumps({**data, "listeners": {"gitops-nonprod": urls}, "log": str(self.log), "logged": ["app"]})
        )


@pytest.fixture
def server(tmp_path: Path) -> Server:
    folder, tree, hooks = tmp_path / "server", tmp_path / "tree", tmp_path / "hooks"
    hooks.mkdir()
    file = hooks / "post-receive"  # what pre-receive refuses is tried elsewhere
    file.write_text((HOOKS / "post_receive.py").read_text())
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    folder.mkdir()
    identity = "[user]\n name = someone\n email = someone@example\n[init]\n defaultBranch = main\n"
    (folder / "gitconfig").write_text(f"{identity}[core]\n hooksPath = {hooks}\n[receive]\n advertisePushOptions = true\n")
    for name in gitserver.repositories(load()):
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", folder / f"{name}.git"], check=True)
    tree.mkdir()
    made = Server(folder, tree, tmp_path / "log")
    made.listeners()
    made.git("init", "-q", "-b", "main")
    return made


def record(environment: str, service: str = "catalog") -> dict[str, str | None]:
    return {f"envs/{environment}/{service}/{name}.yaml": "a: 1\n" for name in ("record", "values", "manifests")}


def pushes(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (server.folder / "app.git/slipway/pushes.jsonl").read_text().splitlines()]


def test_every_push_to_the_application_is_written_down_with_who_pushed_it(server: Server) -> None:
    first = server.commit({"main.py": "1"})
    assert server.push("app", "main", "main:refs/tags/v0.1.0", user="lead").returncode == 0
    second = server.commit({"main.py": "2"})
    assert server.push("app", "main", user="developer", options=["deploy=dev", "quiet"]).returncode == 0
    told = pushes(server)
    assert [(one["user"], one["reference"], one["before"], one["after"], one["options"]) for one in told] == [
        ("lead", "refs/heads/main", ZERO, first, {}),
        ("lead", "refs/tags/v0.1.0", ZERO, first, {}),
        ("developer", "refs/heads/main", first, second, {"deploy": "dev", "quiet": ""}),
    ]
    assert {one["repository"] for one in told} == {"app"}
    assert abs(datetime.fromisoformat(told[0]["time"]).timestamp() - time.time()) < 60


def test_the_log_is_what_the_pipeline_reads(server: Server) -> None:
    server.commit({"main.py": "1"})
    server.push("app", "main", user="lead")
    text = (server.folder / "app.git/slipway/pushes.jsonl").read_text()
    [read] = pushlog.parse(text)
    assert (read.user, read.branch) == ("lead", "main")
    assert [(one.user, one.reference) for one in receive.pushes.read(server.folder / "app.git")] == [("lead", "refs/heads/main")]


def test_two_pushes_at_once_are_both_written_down_whole(server: Server) -> None:
    server.commit({"main.py": "1"})
    branches = [f"feature/{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda branch: server.push("app", f"main:refs/heads/{branch}", user="lead"), branches))
    assert [one.returncode for one in done] == [0] * 6
    assert sorted(one["reference"] for one in pushes(server)) == [f"refs/heads/{branch}" for branch in branches]


def test_a_push_of_records_is_not_written_down(server: Server) -> None:
    server.commit(record("dev"))
    server.push("gitops-nonprod", "main", user="pipeline")
    assert not (server.folder / "gitops-nonprod.git/slipway").exists()


@dataclass
class Listener:
    """A server that remembers what it was sent; `answers` are given in turn, the last one for ever."""

    answers: list[int]
    delay: float = 0.0
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list[tuple[dict[str, str], bytes]])
    url: str = ""

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.seen) < count:
            assert time.monotonic() < deadline, f"{len(self.seen)} of {count} came"
            time.sleep(0.01)


@pytest.fixture
def listen() -> Generator[Callable[..., Listener]]:
    servers: list[HTTPServer] = []

    def make(*answers: int, delay: float = 0.0) -> Listener:
        listener = Listener(list(answers) or [200], delay)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(listener.delay)
                listener.seen.append((dict(self.headers), body))
                answer = listener.answers.pop(0) if len(listener.answers) > 1 else listener.answers[0]
                self.send_response(answer)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        made = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(made)
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        listener.url = f"http://127.0.0.1:{made.server_port}/api/webhook"
        return listener

    yield make
    for made in servers:
        made.shutdown()
        made.server_close()


def test_every_listener_is_told_what_was_pushed(server: Server, listen: Callable[..., Listener]) -> None:
    one, two = listen(), listen()
    server.listeners(one.url, two.url)
    first = server.commit(record("dev"))
    server.push("gitops-nonprod", "main", user="pipeline")
    one.wait(1)
    two.wait(1)
    second = server.commit({"envs/dev/catalog/values.yaml": "a: 2\n"}, "More")
    third = server.commit({"envs/dev/catalog/values.yaml": None, **record("qa")}, "And more")
    server.push("gitops-nonprod", "main", user="pipeline")
    one.wait(2)
    headers, body = one.seen[1]
    assert headers["X-Github-Event"] == "push"
    assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    told = json.loads(body)
    assert (told["ref"], told["before"], told["after"]) == ("refs/heads/main", first, third)
    assert told["repository"]["html_url"] == "http://git.example/gitops-nonprod"
    assert told["repository"]["clone_url"] == "http://git.example/gitops-nonprod.git"
    assert told["repository"]["default_branch"] == "main"
    assert told["pusher"]["name"] == "pipeline"
    assert [commit["id"] for commit in told["commits"]] == [second, third]
    assert told["commits"][0]["modified"] == ["envs/dev/catalog/values.yaml"]
    assert told["commits"][1]["removed"] == ["envs/dev/catalog/values.yaml"]
    assert sorted(told["commits"][1]["added"]) == sorted(record("qa"))
    assert json.loads(one.seen[0][1])["commits"][0]["added"] == sorted(record("dev"))


def test_nobody_is_told_of_a_repository_that_nobody_asked_about(server: Server, listen: Callable[..., Listener]) -> None:
    one = listen()
    server.listeners(one.url)
    server.commit(record("dev"))
    server.push("app", "main", user="developer")
    server.push("gitops-nonprod", "main", user="pipeline")
    one.wait(1)
    assert [json.loads(body)["repository"]["name"] for _, body in one.seen] == ["gitops-nonprod"]


def test_a_push_does_not_wait_for_a_listener(server: Server, listen: Callable[..., Listener]) -> None:
    slow = listen(delay=2.0)
    server.listeners(slow.url)
    server.commit(record("dev"))
    started = time.monotonic()
    assert server.push("gitops-nonprod", "main", user="pipeline").returncode == 0
    assert time.monotonic() - started < 1.5
    slow.wait(1)


def test_a_listener_that_starts_is_tried_again_and_the_log_says_so(server: Server, listen: Callable[..., Listener]) -> None:
    starting = listen(503, 503, 200)
    server.listeners(starting.url)
    server.commit(record("dev"))
    server.push("gitops-nonprod", "main", user="pipeline")
    starting.wait(3)
    deadline = time.monotonic() + 5
    while not server.log.is_file() or "200 at attempt 3" not in server.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert SECRET not in server.log.read_text()


def test_a_listener_that_says_no_is_not_asked_again(listen: Callable[..., Listener]) -> None:
    closed = listen(400)
    assert hook("post_receive").send(closed.url, b"{}", b"s", rests=(0.0, 0.0)).startswith("refused: 400")
    assert len(closed.seen) == 1


def test_a_listener_that_is_not_there_is_given_up() -> None:
    outcome = hook("post_receive").send("http://127.0.0.1:1/api/webhook", b"{}", b"s", rests=(0.0, 0.0), timeout=0.5)
    assert outcome.startswith("given up after 3 attempts: ")
