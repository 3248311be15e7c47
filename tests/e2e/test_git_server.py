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

from slipway import credentials, genesis, git, gitops, gitserver, ports, pushlog, recipes
from slipway import engine as engines
from slipway.credentials import Secrets
from slipway.errors import CommandFailed
from slipway.settings import Settings, load
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e.conftest import Instance
from tests.programs import program

AUTHOR = git.Identity("somebody", "somebody@example")


@dataclass
class Server:
    """A running Git server."""

    container: Any
    port: int
    secrets: Secrets
    settings: Settings

    def remote(self, repository: str, user: str) -> git.Remote:
        return git.Remote(f"http://127.0.0.1:{self.port}/{repository}.git", user, self.secrets.passwords[user])

    def ask(self, path: str, *, user: str = "", method: str = "GET", **more: str) -> urllib3.BaseHTTPResponse:
        headers = urllib3.make_headers(basic_auth=f"{user}:{self.secrets.passwords[user]}") if user else {}
        sent = {**headers, **{name.replace("_", "-"): value for name, value in more.items()}}
        return urllib3.request(method, f"http://127.0.0.1:{self.port}{path}", headers=sent, retries=False)

    def status(self, path: str, *, user: str = "", method: str = "GET") -> int:
        return self.ask(path, user=user, method=method).status


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    folder = tmp_path_factory.mktemp("git-server")
    settings = replace(load(), home=folder / "home")
    engine = engines.connect(load())
    known = [recipes.plan(load(), engine, source).image("git-server") for source in ("build", "pull")]
    image = next(filter(engine.has_image, known), "")
    if not image:  # making an instance makes it
        instance: Instance = request.getfixturevalue("instance")
        image = instance.plan.image("git-server")
    secrets = credentials.keep(settings)
    kept = {"htpasswd": secrets.htpasswd_file, "webhook": secrets.webhook, gitserver.SIGNERS: secrets.signers_file}
    told = gitserver.files(settings, listeners=())
    mounted: dict[str, dict[str, bytes]] = {
        "/etc/git-server": {**{name: text.encode() for name, text in told.items()}, gitserver.CODE: gitserver.code()},
        gitserver.SECRETS: {name: text.encode() for name, text in kept.items()},
        gitserver.TOOLS: {"helm": program("helm").read_bytes()},
    }
    for place, files in mounted.items():
        (folder / Path(place).name).mkdir()
        for name, content in files.items():
            file = folder / Path(place).name / name
            file.write_bytes(content)
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
        mem_limit="1g",
        volumes={**{str(folder / Path(place).name): {"bind": place, "mode": "ro"} for place in mounted}, **data},
    )
    made = Server(container, port, secrets, settings)

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
    git.push(tmp_path / "shallow", server.remote("app", "pipeline"), {"refs/heads/develop": third}, only_new=True)
    assert git.refs(server.remote("app", "pipeline"))["refs/heads/develop"] == third


def test_a_refusal_reaches_the_user_with_its_rule(server: Server, tree: Path) -> None:
    head = git.resolve(tree, "HEAD") or ""
    with pytest.raises(git.PushRefused, match=r"(?s)rule 'push': developer may not push to gitops-prod.*Allowed: pipeline"):
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
    git.init(base, branch="feature/race")
    git.push(base, remote, {"refs/heads/feature/race": commit(base, "a", "1")})
    for name in ("one", "two"):
        git.clone(remote, tmp_path / name, branch="feature/race")
    one, two = (commit(tmp_path / name, name, "1") for name in ("one", "two"))
    git.push(tmp_path / "one", remote, {"refs/heads/feature/race": one})
    with pytest.raises(git.PushConflict):
        git.push(tmp_path / "two", remote, {"refs/heads/feature/race": two})
    with pytest.raises(git.PushConflict):
        git.push(tmp_path / "two", remote, {"refs/heads/feature/race": two}, only_new=True)
    assert git.refs(remote)["refs/heads/feature/race"] == one


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


def test_who_pushed_what_is_read_over_http_and_only_by_known_users(server: Server, tree: Path) -> None:
    head = commit(tree, "logged", "1")
    remote = server.remote("app", "lead")
    argv = ["git", "-C", tree, "push", "-q", "-o", "deploy=dev", remote.url, f"{head}:refs/heads/feature/logged"]
    subprocess.run(argv, env={**os.environ, **git.environment(remote)}, check=True)
    seen = server.ask("/app.git/pushes", user="developer")
    newest = pushlog.parse(seen.data.decode())[-1]
    assert (newest.user, newest.branch, newest.after, newest.options) == ("lead", "feature/logged", head, {"deploy": "dev"})
    assert server.ask("/app.git/pushes", user="developer", If_None_Match=seen.headers["ETag"]).status == 304
    assert server.status("/app.git/pushes") == 401
    assert server.status("/app.git/pushes", user="lead", method="POST") == 403
    assert server.status("/gitops-prod.git/pushes", user="pipeline") == 404
    commit(tree, "logged", "2")
    git.push(tree, remote, {"refs/heads/feature/logged": git.resolve(tree, "HEAD") or ""})
    assert server.ask("/app.git/pushes", user="developer", If_None_Match=seen.headers["ETag"]).status == 200


def test_records_are_taken_as_they_follow_from_the_application_and_not_otherwise(server: Server, tmp_path: Path) -> None:
    settings, key = server.settings, credentials.signing_key(server.settings, "pipeline")
    records = server.remote("gitops-nonprod", "pipeline")
    origin = genesis.origin(settings).commit
    git.push(settings.root, server.remote("app", "pipeline"), {"refs/heads/main": origin})
    place = f"localhost:5001/services/{settings.instance}"
    parts = [genesis.Part(name, "0.1.0", f"{place}/{name}", "sha256:" + "a" * 64) for name in settings.services]
    made = genesis.seed_records(
        settings,
        {"gitops-nonprod": records},
        commit=origin,
        environments=["dev", "qa"],
        parts=parts,
        helm_program=program("helm"),
        key=key,
    )
    assert git.refs(records) == {"refs/heads/main": made["gitops-nonprod"]}
    git.clone(records, tmp_path / "records", branch="main")
    file = tmp_path / "records" / "envs/dev/catalog/manifests.yaml"
    file.write_text(file.read_text().replace("replicas: 1", "replicas: 7"))
    git.stage(tmp_path / "records", ["."])
    told = "Try\n\nKind: deploy\nEnvironment: dev\nService: catalog\nVersion: 0.1.0\nBranch: main\n"
    edited = git.commit(tmp_path / "records", f"{told}Source-Commit: {origin}\n", identity=gitops.PIPELINE, key=key)
    with pytest.raises(git.PushRefused, match=r"(?s)rule 'derived': .*envs/dev/catalog/manifests\.yaml is not what follows"):
        git.push(tmp_path / "records", records, {"refs/heads/main": edited})
    with pytest.raises(git.PushRefused, match="rule 'push': lead may not push to gitops-nonprod"):
        git.push(tmp_path / "records", server.remote("gitops-nonprod", "lead"), {"refs/heads/main": edited})


def test_a_restart_keeps_what_is_there(server: Server, tree: Path) -> None:
    remote = server.remote("app", "lead")
    git.push(tree, remote, {"refs/heads/feature/kept": git.resolve(tree, "HEAD") or ""})
    before = git.refs(remote)
    environment = {"REPOSITORIES": " ".join(gitserver.repositories(load())), "PREPARE_ONLY": "1"}
    code, said = server.container.exec_run(["/etc/git-server/start"], environment=environment)
    assert code == 0, said
    assert git.refs(remote) == before
