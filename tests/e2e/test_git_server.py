"""The Git server alone, as it runs in its image: its own start script, nginx, fcgiwrap, git-http-backend and hooks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import urllib3

from slipway import credentials, git, gitserver, ports, recipes
from slipway import engine as engines
from slipway.credentials import Secrets
from slipway.errors import CommandFailed
from slipway.settings import load
from slipway.waiting import Pending, Ready, wait_for

AUTHOR = git.Identity("somebody", "somebody@example")


@dataclass
class Server:
    """A running Git server."""

    container: Any
    port: int
    secrets: Secrets

    def remote(self, repository: str, user: str) -> git.Remote:
        return git.Remote(f"http://127.0.0.1:{self.port}/{repository}.git", user, self.secrets.passwords[user])

    def status(self, path: str, *, user: str = "", method: str = "GET") -> int:
        headers = urllib3.make_headers(basic_auth=f"{user}:{self.secrets.passwords[user]}") if user else {}
        return urllib3.request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers, retries=False).status


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    folder = tmp_path_factory.mktemp("git-server")
    settings = replace(load(), home=folder / "home")
    engine = engines.connect(load())
    image = recipes.plan(load(), engine, "build").image("git-server")
    if not engine.has_image(image):
        request.getfixturevalue("instance")  # making an instance makes the image
    secrets = credentials.keep(settings)
    kept = {"htpasswd": secrets.htpasswd_file, "webhook": secrets.webhook}
    mounted = {"/etc/git-server": gitserver.files(settings, listeners=()), "/etc/git-secrets": kept}
    for place, files in mounted.items():
        (folder / Path(place).name).mkdir()
        for name, content in files.items():
            file = folder / Path(place).name / name
            file.write_text(content)
            file.chmod(0o755)
    (folder / "data").mkdir()
    (folder / "data").chmod(0o777)
    data = {str(folder / "data"): {"bind": "/srv/git", "mode": "rw"}}
    port = ports.free_port(18080)
    container = engine.client.containers.run(
        image,
        ["/etc/git-server/start"],
        detach=True,
        environment={"REPOSITORIES": " ".join(gitserver.repositories(settings))},
        ports={"8080/tcp": (ports.LOOPBACK, port)},
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},
        user="10001:10001",
        volumes={**{str(folder / Path(place).name): {"bind": place, "mode": "ro"} for place in mounted}, **data},
    )
    made = Server(container, port, secrets)

    def probe() -> Ready[None] | Pending:
        return Ready(None) if made.status("/healthz") == 200 else Pending("it does not answer 200")

    try:
        wait_for("the Git server", probe, timeout=30, tolerate=(urllib3.exceptions.HTTPError, OSError))
        yield made
    finally:
        container.stop(timeout=20)
        code, said = container.wait()["StatusCode"], container.logs().decode()
        container.remove(force=True, v=True)
    assert code == 0, f"it did not end by itself when it was told to:\n{said}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    at = tmp_path / "tree"
    git.init(at, branch="main")
    commit(at, "main.py", "1")
    return at


def commit(at: Path, name: str, content: str) -> str:
    file = at / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    git.stage(at, [name])
    return git.commit(at, f"Change {name}", identity=AUTHOR)


def test_a_pushed_branch_can_be_cloned_by_every_role(server: Server, tree: Path, tmp_path: Path) -> None:
    made = commit(tree, "big.bin", "x" * 3_000_000 + os.urandom(2_000_000).hex())  # more than git sends in one piece
    git.push(tree, server.remote("app", "developer"), {"refs/heads/feature/clone": made})
    for user in ("developer", "lead", "pipeline", credentials.READER):
        git.clone(server.remote("app", user), tmp_path / user, branch="feature/clone")
        assert git.resolve(tmp_path / user, "HEAD") == made


def test_a_shallow_clone_can_seed_the_application(server: Server, tree: Path, tmp_path: Path) -> None:
    commit(tree, "second", "2")
    third = commit(tree, "third", "3")
    git.clone(git.Remote(f"file://{tree}"), tmp_path / "shallow", branch="main", depth=1)
    git.push(tmp_path / "shallow", server.remote("app", "pipeline"), {"refs/heads/feature/shallow": third}, only_new=True)
    assert git.refs(server.remote("app", "pipeline"))["refs/heads/feature/shallow"] == third


def test_a_refusal_reaches_the_user_with_its_rule(server: Server, tree: Path) -> None:
    head = git.resolve(tree, "HEAD") or ""
    with pytest.raises(
        git.PushRefused, match=r"(?s)rule 'push': developer may not push to gitops-prod.*Allowed: a push by pipeline"
    ):
        git.push(tree, server.remote("gitops-prod", "developer"), {"refs/heads/main": head})
    assert git.refs(server.remote("gitops-prod", "developer")) == {}


def test_the_user_is_whom_the_password_says_and_no_header_changes_that(server: Server, tree: Path) -> None:
    remote = server.remote("gitops-nonprod", "developer")
    environ = git.environment(remote)
    number = int(environ["GIT_CONFIG_COUNT"])
    for header in ("Remote-User: pipeline", "REMOTE_USER: pipeline", "X-Remote-User: pipeline"):
        environ |= {f"GIT_CONFIG_KEY_{number}": f"http.{remote.url}.extraHeader", f"GIT_CONFIG_VALUE_{number}": header}
        number += 1
    environ["GIT_CONFIG_COUNT"] = str(number)
    commit(tree, "envs/dev/catalog/record.yaml", "a: 1")
    argv = ["git", "-C", tree, "push", remote.url, "main"]
    done = subprocess.run(argv, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "developer may not push to gitops-nonprod" in done.stderr


def test_two_pushes_at_once_leave_one_history(server: Server, tmp_path: Path) -> None:
    remote = server.remote("app", "lead")
    base = tmp_path / "base"
    git.init(base, branch="race")
    git.push(base, remote, {"refs/heads/race": commit(base, "a", "1")})
    for name in ("one", "two"):
        git.clone(remote, tmp_path / name, branch="race")
    one, two = (commit(tmp_path / name, name, "1") for name in ("one", "two"))
    git.push(tmp_path / "one", remote, {"refs/heads/race": one})
    with pytest.raises(git.PushConflict):
        git.push(tmp_path / "two", remote, {"refs/heads/race": two})
    with pytest.raises(git.PushConflict):
        git.push(tmp_path / "two", remote, {"refs/heads/race": two}, only_new=True)
    assert git.refs(remote)["refs/heads/race"] == one


def test_a_wrong_password_and_no_password_are_refused(server: Server) -> None:
    wrong = replace(server.remote("app", "developer"), password="wrong")
    for remote in (wrong, git.Remote(wrong.url)):
        with pytest.raises(CommandFailed) as caught:
            git.refs(remote)
        assert "wrong" not in str(caught.value).replace("password was wrong", "")
        assert server.secrets.passwords["developer"] not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "/app.git/HEAD",
        "/app.git/config",
        "/app.git/objects/info/packs",
        "/",
        "/htpasswd",
        "/app.git/../../htpasswd",
        "/app.git/hooks/pre-receive",
    ],
)
def test_no_file_is_ever_served(server: Server, path: str) -> None:
    assert server.status(path, user="pipeline") in (400, 403, 404)


def test_the_dumb_protocol_is_off(server: Server) -> None:
    assert server.status("/app.git/info/refs", user="pipeline") == 403


def test_a_repository_that_is_not_there_is_not_found(server: Server) -> None:
    assert server.status("/other.git/info/refs?service=git-upload-pack", user="pipeline") == 404


def test_a_restart_keeps_what_is_there(server: Server, tree: Path) -> None:
    remote = server.remote("app", "lead")
    git.push(tree, remote, {"refs/heads/feature/kept": git.resolve(tree, "HEAD") or ""})
    before = git.refs(remote)
    environment = {"REPOSITORIES": " ".join(gitserver.repositories(load())), "PREPARE_ONLY": "1"}
    code, said = server.container.exec_run(["/etc/git-server/start"], environment=environment)
    assert code == 0, said
    assert git.refs(remote) == before
