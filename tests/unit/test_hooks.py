"""The Git server's hooks, run by real git on repositories in a temporary folder."""

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
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from slipway import gitserver
from slipway.settings import load

HOOKS = load().cluster / "git" / "hooks"
SECRET = "a shared secret"


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
            "SLIPWAY_RULES": str(self.folder / "rules.json"),
            "SLIPWAY_HOOKS": str(self.folder / "hooks.json"),
        }
        done = subprocess.run(["git", *words], cwd=self.tree, env=environ, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(done.stderr)
        return done

    def commit(self, files: dict[str, str | None], message: str = "Change") -> str:
        for name, content in files.items():
            file = self.tree / name
            if content is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, repository: str, *specs: str, user: str, force: bool = False) -> subprocess.CompletedProcess[str]:
        words = ["push", *(["--force"] if force else []), str(self.folder / f"{repository}.git"), *specs]
        return self.git(*words, user=user, check=False)

    def listeners(self, *urls: str) -> None:
        (self.folder / "secret").write_text(SECRET + "\n")
        data = {"base": "http://git.example", "branch": "main", "secret": str(self.folder / "secret")}
        (self.folder / "hooks.json").write_text(json.dumps({**data, "listeners": {"gitops-nonprod": urls}, "log": str(self.log)}))


@pytest.fixture
def server(tmp_path: Path) -> Server:
    folder, tree, hooks = tmp_path / "server", tmp_path / "tree", tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-receive", "post-receive"):
        file = hooks / name
        file.write_text((HOOKS / f"{name.replace('-', '_')}.py").read_text())
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    folder.mkdir()
    identity = "[user]\n name = someone\n email = someone@example\n[init]\n defaultBranch = main\n"
    (folder / "gitconfig").write_text(f"{identity}[core]\n hooksPath = {hooks}\n")
    (folder / "rules.json").write_text(json.dumps(gitserver.rules(load())))
    for name in gitserver.repositories(load()):
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", folder / f"{name}.git"], check=True)
    tree.mkdir()
    made = Server(folder, tree, tmp_path / "log")
    made.listeners()
    made.git("init", "-q", "-b", "main")
    return made


def record(environment: str, service: str = "catalog") -> dict[str, str | None]:
    return {f"envs/{environment}/{service}/{name}.yaml": "a: 1\n" for name in ("record", "values", "manifests")}


def refused(done: subprocess.CompletedProcess[str], rule: str, *words: str) -> None:
    assert done.returncode != 0, "the push landed"
    assert f"REFUSED by rule '{rule}'" in done.stderr, done.stderr
    assert "Allowed:" in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_developer_pushes_to_the_application(server: Server) -> None:
    server.commit({"main.py": "1"})
    assert server.push("app", "main", user="developer").returncode == 0


@pytest.mark.parametrize("user", ["developer", "lead"])
@pytest.mark.parametrize("repository", ["gitops-nonprod", "gitops-prod"])
def test_only_the_pipeline_pushes_records(server: Server, user: str, repository: str) -> None:
    environment = {"gitops-nonprod": "dev", "gitops-prod": "prod"}[repository]
    server.commit(record(environment))
    refused(server.push(repository, "main", user=user), "push", user, "Allowed: a push by pipeline")
    assert server.push(repository, "main", user="pipeline").returncode == 0


def test_nobody_pushes_without_a_name(server: Server) -> None:
    server.commit({"main.py": "1"})
    refused(server.push("app", "main", user=""), "identity")


@pytest.mark.parametrize(
    "path", ["envs/prod/catalog/record.yaml", "envs/dev/catalog/extra.yaml", "README.md", "envs/dev/record.yaml"]
)
def test_a_record_repository_takes_records_of_its_own_tier_alone(server: Server, path: str) -> None:
    server.commit({**record("dev"), path: "a: 1\n"})
    refused(server.push("gitops-nonprod", "main", user="pipeline"), "paths", path, "dev|qa")


def test_a_file_that_comes_and_goes_within_one_push_is_seen(server: Server) -> None:
    server.commit(record("dev"))
    assert server.push("gitops-nonprod", "main", user="pipeline").returncode == 0
    server.commit({"smuggled.txt": "1"})
    server.commit({"smuggled.txt": None})
    refused(server.push("gitops-nonprod", "main", user="pipeline"), "paths", "smuggled.txt")


@pytest.mark.parametrize(("repository", "environment"), [("app", "dev"), ("gitops-nonprod", "dev")])
def test_history_is_never_rewritten(server: Server, repository: str, environment: str) -> None:
    server.commit(record(environment))
    assert server.push(repository, "main", user="pipeline").returncode == 0
    server.git("commit", "--quiet", "--amend", "-m", "Another story")
    refused(server.push(repository, "main", user="pipeline", force=True), "history", "would lose commits")


def test_records_have_a_linear_history(server: Server) -> None:
    server.commit(record("dev"))
    server.push("gitops-nonprod", "main", user="pipeline")
    server.git("checkout", "-q", "-b", "side")
    server.commit(record("qa"))
    server.git("checkout", "-q", "main")
    server.commit(record("dev", "cart"))
    server.git("merge", "-q", "--no-ff", "-m", "Merge", "side")
    refused(server.push("gitops-nonprod", "main", user="pipeline"), "linear")


def test_merges_are_welcome_in_the_application(server: Server) -> None:
    server.commit({"a": "1"})
    server.git("checkout", "-q", "-b", "feature/x")
    server.commit({"b": "1"})
    server.git("checkout", "-q", "main")
    server.git("merge", "-q", "--no-ff", "-m", "Merge", "feature/x")
    assert server.push("app", "main", user="developer").returncode == 0


@pytest.mark.parametrize("branch", ["main", "develop", "release/v1.2.3"])
def test_a_branch_that_others_rely_on_is_never_deleted(server: Server, branch: str) -> None:
    server.commit({"a": "1"})
    server.push("app", f"main:refs/heads/{branch}", user="lead")
    # git itself protects the branch that HEAD names; the rule must hold without that
    subprocess.run(["git", "-C", server.folder / "app.git", "config", "receive.denyDeleteCurrent", "ignore"], check=True)
    refused(server.push("app", f":refs/heads/{branch}", user="lead"), "removable", "feature|bugfix|hotfix")


def test_a_finished_feature_branch_may_go(server: Server) -> None:
    server.commit({"a": "1"})
    server.push("app", "main:refs/heads/feature/x", user="developer")
    assert server.push("app", ":refs/heads/feature/x", user="developer").returncode == 0


@pytest.mark.parametrize("reference", ["refs/heads/side", "refs/tags/v1.0.0", "refs/notes/commits"])
def test_a_record_repository_has_one_branch(server: Server, reference: str) -> None:
    server.commit(record("dev"))
    refused(server.push("gitops-nonprod", f"main:{reference}", user="pipeline"), "references", reference)


def test_all_of_a_push_is_refused_when_one_part_is(server: Server) -> None:
    server.commit(record("dev"))
    done = server.push("gitops-nonprod", "main", "main:refs/heads/side", user="pipeline")
    refused(done, "references")
    assert not server.git("ls-remote", str(server.folder / "gitops-nonprod.git")).stdout


def test_a_guard_that_cannot_judge_refuses(server: Server) -> None:
    (server.folder / "rules.json").write_text("{")
    server.commit({"a": "1"})
    done = server.push("app", "main", user="developer")
    assert done.returncode != 0
    assert "the rules could not be applied" in done.stderr


def test_the_rules_follow_the_policy() -> None:
    rules = gitserver.rules(load())
    assert rules["app"]["push"] == ["developer", "lead", "pipeline"]
    assert rules["gitops-prod"]["push"] == ["pipeline"]
    assert rules["gitops-prod"]["paths"] == ["envs/(stage|prod)/[a-z][a-z0-9-]*/(record|values|manifests)[.]yaml"]


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
