from __future__ import annotations

import contextlib
import errno
import gc
import http.server
import os
import socket
import socketserver
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest

from slipway import dockerd, engine, machine, shell, waiting
from slipway.address import Address
from slipway.engine import Engine, EngineError
from slipway.errors import ToolMissing, WaitFailed
from slipway.login import Credentials
from slipway.progress import Phase
from slipway.settings import Settings
from tests.unit.fakes import Screen

HERE = Address("unix:///var/run/docker.sock", "", {"DOCKER_HOST": "unix:///var/run/docker.sock"})
DIGEST = f"sha256:{'a' * 64}"


def made(**client: Any) -> Engine:
    return Engine(SimpleNamespace(**client), HERE)  # type: ignore[arg-type]


def clients(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Docker clients on the PATH: each with its version, and "+buildx" when it has that."""
    paths = {Path(f"/{name}/docker"): version for name, version in versions.items()}

    def run(argv: list[Any], **_: Any) -> shell.Result:
        version = paths[argv[0]]
        if argv[1] == "buildx":
            return shell.Result(0 if "+buildx" in version else 1, "", "")
        return shell.Result(0 if version else 1, version.partition("+")[0], "")

    monkeypatch.setattr(shell, "which", lambda _: list(paths))
    monkeypatch.setattr(shell, "run", run)


def test_a_new_client_without_buildx_is_passed_over_for_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clients(monkeypatch, new="28.2.2", old="20.10.24+dfsg1")
    path, env = made().build_cli
    assert path == Path("/old/docker")
    assert env["DOCKER_BUILDKIT"] == "1" and env["DOCKER_HOST"] == HERE.url


def test_a_new_client_with_buildx_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    clients(monkeypatch, new="28.2.2+buildx", old="20.10.24")
    assert made().build_cli[0] == Path("/new/docker")


def test_a_client_that_the_engine_refuses_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clients(monkeypatch, old="", new="29.0.0+buildx")
    assert made().build_cli[0] == Path("/new/docker")


def test_no_client_that_can_build_is_said_with_what_each_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    clients(monkeypatch, new="28.2.2", old="")
    with pytest.raises(ToolMissing, match=r"28\.2\.2 lacks the buildx plugin; /old/docker does not get on.*docker-buildx"):
        _ = made().build_cli


def test_other_programs_are_pointed_at_the_same_engine() -> None:
    assert made().environment == {"DOCKER_HOST": HERE.url, "KIND_EXPERIMENTAL_PROVIDER": "docker"}


def talk(*lines: dict[str, Any]) -> Any:
    return SimpleNamespace(push=lambda *_, **__: iter(lines), pull=lambda *_, **__: iter(lines))


def test_a_push_tells_the_digest() -> None:
    api = talk({"status": "Pushed", "id": "x"}, {"status": f"1: digest: {DIGEST} size: 528"})
    assert made(api=api).push("localhost:5001/a:1") == DIGEST


def test_a_push_of_a_part_of_an_index_tells_the_digest_of_that_part() -> None:
    api = talk({"status": f"1: digest: sha256:{'b' * 64} size: 528"}, {"aux": {"Digest": DIGEST}})
    assert made(api=api).push("localhost:5001/a:1") == DIGEST


def test_a_refused_push_is_an_error_although_the_engine_answers_200() -> None:
    with pytest.raises(EngineError, match=r"push localhost:5001/a:1: denied"):
        made(api=talk({"error": "denied"})).push("localhost:5001/a:1")


def test_a_push_that_names_no_digest_is_an_error() -> None:
    with pytest.raises(EngineError, match="without naming a digest"):
        made(api=talk({"status": "Pushed", "id": "x"})).push("localhost:5001/a:1")


def test_a_transfer_ends_when_everything_is_called_off() -> None:
    waiting.call_off()
    try:
        with pytest.raises(WaitFailed, match="interrupted"):
            made(api=talk({"status": f"1: digest: {DIGEST} size: 528"})).push("localhost:5001/a:1")
    finally:
        waiting.resume()


def test_a_pull_tells_the_digest_and_how_far_it_is() -> None:
    phase = Phase("pull")
    api = talk(
        {"status": "Pulling from a", "id": "1"},
        {"status": "Pulling fs layer", "id": "x"},
        {"status": "Pulling fs layer", "id": "y"},
        {"status": "Pull complete", "id": "x"},
        {"status": f"Digest: {DIGEST}"},
    )
    assert made(api=api).pull("localhost:5001/a:1", phase=phase) == DIGEST
    assert (phase.done, phase.total) == (1, 2)


def test_a_reference_with_a_port_and_a_digest_is_asked_for_whole() -> None:
    asked: list[tuple[str, str | None]] = []

    def pull(name: str, tag: str | None, **_: Any) -> Iterator[dict[str, str]]:
        asked.append((name, tag))
        return iter([{"status": f"Digest: {DIGEST}"}])

    engine = made(api=SimpleNamespace(pull=pull))
    engine.pull("localhost:5001/a:1")
    engine.pull(f"localhost:5001/a@{DIGEST}")
    assert asked == [("localhost:5001/a", "1"), (f"localhost:5001/a@{DIGEST}", None)]


def test_what_the_library_raises_names_what_was_asked_for() -> None:
    def get(_: str) -> None:
        raise docker.errors.APIError("500 Server Error", explanation="disk full")

    with pytest.raises(EngineError, match=r"^container x: the engine says: disk full$"):
        made(containers=SimpleNamespace(get=get)).container("x")


def test_what_is_not_there_is_none() -> None:
    def image(_: str) -> None:
        raise docker.errors.ImageNotFound("no")

    def container(_: str) -> None:
        raise docker.errors.NotFound("no")

    engine = made(images=SimpleNamespace(get=image), containers=SimpleNamespace(get=container))
    assert engine.image_id("x") is None and not engine.has_image("x") and engine.container("x") is None


def test_the_ports_of_containers_are_known_whether_they_run_or_not() -> None:
    bound = [
        {"30080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}], "53/udp": None},
        None,
        {
            "80/tcp": [{"HostIp": "", "HostPort": ""}, {"HostIp": "::1", "HostPort": "9000"}],
            "81/tcp": [{"HostPort": "7000-7009"}],
        },
    ]
    there = [SimpleNamespace(attrs={"HostConfig": {"PortBindings": one}}) for one in bound]

    def listed(*, all: bool, ignore_removed: bool) -> list[Any]:
        assert (all, ignore_removed) == (True, True)
        return there

    assert made(containers=SimpleNamespace(list=listed)).mapped() == {8081, 9000}


@pytest.mark.parametrize(("words", "wanted"), [(("a",), "a"), (("a", "b"), "a=b")])
def test_containers_are_found_by_a_label_whatever_it_says_or_by_what_it_says(words: tuple[str, ...], wanted: str) -> None:
    def listed(*, all: bool, ignore_removed: bool, filters: dict[str, str]) -> list[str]:
        assert all and ignore_removed
        return [filters["label"]]

    assert made(containers=SimpleNamespace(list=listed)).labelled(*words) == [wanted]


def test_only_our_own_image_names_are_removed() -> None:
    removed: list[str] = []
    ours = ["slipway/node:1", "localhost:5001/slipway/node:1", "localhost:5001/slipway-live_e2e_cart:tilt-0123456789abcdef"]
    theirs = ["python:3.13", "localhost:5001/app:1", "x/slipway/y:1", "x/slipway-live_e2e_cart:tilt-1", "slipway-lively:1"]
    registrys = "localhost:5001/services/slipway/catalog:1"
    # What stands on an image of ours has its label, and so has what was published and pulled again.
    others = ["mine:1", "localhost:5000/mine:1", "localhost:50010/mine:1", "registry.example/shop/catalog:0.2.0"]
    labelled = SimpleNamespace(tags=[registrys, *others])

    def listed(filters: Any = None) -> list[Any]:
        return [labelled] if filters else [labelled, SimpleNamespace(tags=[*ours, *theirs])]

    def remove(tag: str, *, force: bool) -> None:
        assert force
        removed.append(tag)

    images = SimpleNamespace(list=listed, remove=remove)
    assert made(images=images).remove_ours(registry="localhost:5001") == 4
    assert removed == sorted([*ours, registrys])
    removed.clear()
    assert made(images=images).remove_ours() == 3
    assert removed == sorted(ours)


@pytest.mark.parametrize(("status", "kept"), [(409, True), (500, False)])
def test_an_image_that_a_container_runs_is_kept_and_any_other_refusal_is_an_error(status: int, kept: bool) -> None:
    response = SimpleNamespace(status_code=status, reason="no", url="")

    def remove(tag: str, *, force: bool) -> None:
        raise docker.errors.APIError("no", response=response)  # type: ignore[arg-type]

    engine = made(images=SimpleNamespace(list=lambda filters=None: [SimpleNamespace(tags=["slipway/node:1"])], remove=remove))
    if kept:
        engine.remove_ours()
    else:
        with pytest.raises(EngineError):
            engine.remove_ours()


@pytest.mark.parametrize(("labels", "stopped"), [({"slipway.dev/owner": "slipway"}, True), ({}, False)])
def test_our_engine_is_not_stopped_while_anybody_elses_container_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, labels: dict[str, str], stopped: bool
) -> None:
    monkeypatch.setattr(dockerd, "stop", lambda _: True)
    containers = SimpleNamespace(list=lambda: [SimpleNamespace(labels=labels)])
    assert made(containers=containers).stop_if_ours(Settings(tmp_path, tmp_path, "x")) is stopped


def nothing_answers(monkeypatch: pytest.MonkeyPatch, why: str = "no such file or directory") -> None:
    def refuse(place: Address) -> Engine:
        raise EngineError(f"the engine at {place.url}: {why}")

    monkeypatch.setattr(engine, "_open", refuse)
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nowhere")


def test_finding_no_engine_is_none_and_starts_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing_answers(monkeypatch)
    assert engine.find(Settings(tmp_path, tmp_path, "x")) is None


def test_an_engine_that_the_user_chose_is_never_replaced_by_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing_answers(monkeypatch)
    monkeypatch.setenv("DOCKER_HOST", "unix:///colima.sock")
    monkeypatch.setattr(dockerd, "start", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(ToolMissing, match="the one that DOCKER_HOST names"):
        engine.connect(Settings(tmp_path, tmp_path, "x"), progress=Screen().progress)


def test_an_engine_that_refuses_the_user_is_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_answers(monkeypatch, "permission denied")
    assert "usermod -aG docker" in engine.refusal(machine.look())


@pytest.mark.parametrize("chosen", ["", "unix:///colima.sock"])
@pytest.mark.parametrize(
    ("why", "barred"), [("permission denied", True), ("no such file or directory", False), ("connection refused", False)]
)
def test_only_an_engine_that_is_there_and_refuses_the_user_bars_it(
    monkeypatch: pytest.MonkeyPatch, why: str, barred: bool, chosen: str
) -> None:
    nothing_answers(monkeypatch, why)
    if chosen:
        monkeypatch.setenv("DOCKER_HOST", chosen)
    assert ("permission denied" in engine.barred()) is barred
    assert bool(engine.barred()) is barred


def test_no_engine_and_no_right_to_start_one_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing_answers(monkeypatch)
    monkeypatch.setattr(dockerd, "possible", lambda _: "Install it.")
    with pytest.raises(ToolMissing, match=r"no Docker engine can be used\. Install it\."):
        engine.connect(Settings(tmp_path, tmp_path, "x"), progress=Screen().progress)


def test_an_engine_is_started_where_that_is_allowed_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing_answers(monkeypatch)
    monkeypatch.setattr(dockerd, "possible", lambda _: "")
    monkeypatch.setattr(dockerd, "started", lambda _: 7)

    def start(*_: Any, answers: Any, **__: Any) -> None:
        monkeypatch.setattr(engine, "_open", lambda _: made(info=lambda: {"ServerVersion": "20.10.24"}, close=lambda: None))
        assert answers()

    monkeypatch.setattr(dockerd, "start", start)
    screen = Screen()
    engine.connect(Settings(tmp_path, tmp_path, "x"), progress=screen.progress)
    assert "Docker 20.10.24 started" in screen.text


def test_a_running_engine_is_used_without_a_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    running = made()
    monkeypatch.setattr(engine, "_open", lambda _: running)
    screen = Screen()
    assert engine.connect(Settings(tmp_path, tmp_path, "x"), progress=screen.progress) is running
    assert screen.text == ""


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the engine of this test would be; nothing is there yet."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    return tmp_path / "docker.sock"


def left_open(do: Callable[[], object]) -> list[str]:
    """What doing something leaves to the garbage collector; pytest would blame a later test for it."""
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        do()
        gc.collect()
    return [str(one.message) for one in seen]


class Refused(socket.socket):
    """A socket of a user that may not use the engine's."""

    def connect(self, address: Any, /) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.parametrize("why", ["no such file or directory", "connection refused", "permission denied"])
def test_looking_for_an_engine_that_does_not_answer_says_why_and_leaves_no_socket_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: Path, why: str
) -> None:
    if why == "connection refused":  # what an engine that was killed leaves behind
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(chosen))
    if why == "permission denied":
        monkeypatch.setattr(socket, "socket", Refused)
    assert left_open(lambda: engine.find(Settings(tmp_path, tmp_path, "x"))) == []
    assert left_open(lambda: engine.refusal(machine.look())) == []
    assert engine.refusal(machine.look()).startswith(f"The engine at unix://{chosen}: {why}; ")


@contextlib.contextmanager
def serving(place: Path, status: int) -> Generator[list[int]]:
    """An engine that knows nothing but its version; the list says how many connections to it are open."""
    open_now = [0]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            open_now[0] += 1
            super().setup()

        def finish(self) -> None:
            super().finish()
            open_now[0] -= 1

        def do_GET(self) -> None:
            body = b'{"ApiVersion": "1.41"}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with socketserver.ThreadingUnixStreamServer(str(place), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield open_now
        server.shutdown()


def closed(connections: list[int]) -> waiting.Ready[None] | waiting.Pending:
    return waiting.Pending(f"{connections[0]} are open") if connections[0] else waiting.Ready(None)


def test_an_engine_that_is_not_ready_is_none_and_nothing_to_it_stays_open(tmp_path: Path, chosen: Path) -> None:
    with serving(chosen, 503) as connections:
        assert left_open(lambda: engine.find(Settings(tmp_path, tmp_path, "x"))) == []
        waiting.wait_for("the end of the connections", lambda: closed(connections), timeout=10)


def test_asking_whether_an_engine_answers_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: Path
) -> None:
    settings = Settings(tmp_path, tmp_path, "x")
    kept: list[Any] = []
    real = engine.find
    # Kept, so that it is closed because it is not needed any more, not because nobody has it.
    monkeypatch.setattr(engine, "find", lambda settings: kept.append(real(settings)) or kept[-1])  # type: ignore[misc]
    monkeypatch.setattr(engine, "refusal", lambda _: "")
    seen: list[bool] = []

    def start(*_: Any, answers: Any, **__: Any) -> None:
        seen.append(answers())
        with serving(chosen, 200) as connections:
            seen.append(answers())
            waiting.wait_for("the end of the connections", lambda: closed(connections), timeout=10)
        chosen.unlink()

    monkeypatch.setattr(dockerd, "start", start)
    with pytest.raises(EngineError, match="answered once and does no more"):
        engine.connect(settings, progress=Screen().progress)
    assert seen == [False, True]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("{}", None),
        ('{"auths": {"r.example:5000": {"auth": "dXNlcjpzZWNyZXQ="}}}', Credentials("user", "secret")),
        ('{"auths": {"https://r.example:5000/v1/": {"auth": "dXNlcjpzZWNyZXQ="}}}', Credentials("user", "secret")),
        ('{"auths": {"r.example:5000": {"identitytoken": "signed-on"}}}', Credentials(token="signed-on")),
        ('{"credHelpers": {"r.example:5000": "slipway-test"}}', Credentials("AWS", "from the helper")),
        ('{"credsStore": "slipway-test"}', Credentials("AWS", "from the helper")),
    ],
)
def test_what_docker_login_stored_is_found_as_docker_itself_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, found: Credentials | None
) -> None:
    helper(
        tmp_path,
        'read host; echo "{\\"ServerURL\\": \\"$host\\", \\"Username\\": \\"AWS\\", \\"Secret\\": \\"from the helper\\"}"',
    )
    (tmp_path / "config.json").write_text(config)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert engine.credentials("r.example:5000") == found


def test_a_credential_helper_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    helper(tmp_path, "echo the keychain is locked; exit 1")
    (tmp_path / "config.json").write_text('{"credsStore": "slipway-test"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EngineError, match=r"credentials that docker keeps for r\.example: .*keychain is locked"):
        engine.credentials("r.example")


def helper(folder: Path, body: str) -> None:
    """A program that knows credentials, as `docker login` uses one where it is told to."""
    program = folder / "docker-credential-slipway-test"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
