"""The runner's container: what it is given, when it is made anew, and what it says of itself."""

from __future__ import annotations

import io
import json
import stat
import tarfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from slipway import agent, credentials, images, roles, runs
from slipway.address import Address
from slipway.engine import Engine, EngineError
from slipway.errors import UsageError, WaitFailed, WaitTimeout
from slipway.progress import Phase
from slipway.settings import ROOT, Settings

IMAGE = "slipway/runner:1"


@dataclass
class FakeContainer:
    """A container whose program says that it looks for pushes, or ends."""

    settings: Settings
    name: str
    options: dict[str, Any]
    status: str = "created"
    works: bool = True
    given: bytes = b""
    removed: bool = False
    stopped: bool = False
    attrs: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def labels(self) -> dict[str, str]:
        return self.options["labels"]

    def put_archive(self, path: str, content: bytes) -> None:
        assert (path, self.status) == ("/", "created")
        self.given = content

    def start(self) -> None:
        self.status = "running" if self.works else "exited"
        self.began(time.time())
        if self.works:
            agent.write_beat(agent.folder(self.settings), agent.Beat(time.time()))

    def began(self, at: float) -> None:
        """Remember a start as the engine writes it: to the nanosecond, in UTC."""
        self.attrs["State"] = {"StartedAt": f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"}

    def stop(self, *, timeout: int) -> None:
        assert timeout
        self.stopped, self.status = True, "exited"

    def remove(self, *, force: bool, v: bool) -> None:
        assert force
        assert v
        self.removed = True

    def logs(self, *, stream: bool, follow: bool | None = None, **_: Any) -> list[bytes]:
        # A stream follows what runs unless it is told not to, and then it never ends.
        assert not (stream if follow is None else follow)
        return [b"Traceback: no such module\n"]

    @property
    def files(self) -> dict[str, tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(self.given)) as archive:
            return {member.name: member for member in archive.getmembers()}

    def read(self, name: str) -> str:
        with tarfile.open(fileobj=io.BytesIO(self.given)) as archive:
            found = archive.extractfile(name)
            assert found
            return found.read().decode()


class FakeEngine(Engine):
    """Makes containers, and remembers them."""

    def __init__(self, settings: Settings) -> None:
        self.client, self.address = self, Address("unix:///var/run/docker.sock", "", {})  # type: ignore[assignment]
        self.settings, self.containers, self.made = settings, self, list[FakeContainer]()
        self.holds, self.works = {IMAGE: "sha256:1"}, True
        self.said: dict[str, Any] = {}

    @property
    def info(self) -> dict[str, Any]:  # type: ignore[override]
        return self.said

    def create(self, image: str, *, name: str, **options: Any) -> FakeContainer:
        assert image in self.holds
        self.made.append(FakeContainer(self.settings, name, options, works=self.works))
        return self.made[-1]

    def container(self, name: str) -> Any:
        return next((one for one in self.made if one.name == name and not one.removed), None)

    def image_id(self, reference: str) -> str | None:
        return self.holds.get(reference)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("cluster", "slipway"):
        (tmp_path / "root" / name / "deep").mkdir(parents=True)
        (tmp_path / "root" / name / "deep" / "file").write_text(name)
    for name in ("pyproject.toml", "requirements.txt", "requirements-dev.txt"):
        (tmp_path / "root" / name).write_text(name)
    monkeypatch.setattr(images, "ca_bundle", lambda: None)
    monkeypatch.setattr(images, "pip_settings", lambda: "")
    made = Settings(
        tmp_path / "root", tmp_path / "home", "test", tmp_path / "root" / "pins.toml", ROOT / "cluster" / "policy.yaml"
    )
    made.pins.write_text("")
    made.folder.mkdir(parents=True)
    roles.kubeconfig(made, "pipeline").write_text("the pipeline's")
    return made


@pytest.fixture
def secrets(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> credentials.Secrets:
    users = ("developer", "lead", "pipeline")
    return credentials.Secrets(
        passwords={user: f"password of {user}" for user in users},
        webhook="the webhook's",
        stores={"prod/postgresql/orders": "the database's"},
        signing={user: f"key of {user}" for user in users},
        signers={user: f"public key of {user}" for user in users},
    )


@pytest.fixture
def engine(settings: Settings) -> FakeEngine:
    return FakeEngine(settings)


def ensure(settings: Settings, engine: FakeEngine, secrets: credentials.Secrets, *, helm: Path | None = None) -> Phase:
    phase = Phase("runner")
    helm = helm or settings.home / "tools" / "helm"
    agent.ensure(settings, engine, image=IMAGE, helm=helm, secrets=secrets, phase=phase)
    return phase


def test_it_is_kept_running_and_known_as_the_instances(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets
) -> None:
    ensure(settings, engine, secrets)
    (made,) = engine.made
    assert (made.name, made.status) == ("test-runner", "running")
    assert made.labels.items() >= {"slipway.dev/owner": "slipway", "slipway.dev/instance": "test"}.items()
    assert made.options["restart_policy"] == {"Name": "unless-stopped"}
    assert made.options["cap_drop"] == ["ALL"]
    assert made.options["security_opt"] == ["no-new-privileges"]
    assert "privileged" not in made.options


def test_it_knows_the_pipelines_credentials_and_nobody_elses(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets
) -> None:
    (settings.folder / "kubeconfig").write_text("the admin's")
    ensure(settings, engine, secrets)
    (made,) = engine.made
    seen = agent.folder(settings)
    everything = "".join(file.read_text() for file in seen.rglob("*") if file.is_file())
    assert "password of pipeline" in everything
    assert "key of pipeline" in everything
    assert "the pipeline's" in everything
    for other in ("password of lead", "key of developer\\n", "the admin's", "the database's", "the webhook's"):
        assert other not in everything
    assert '"key of lead"' not in everything
    # What it sees of the host: that folder in place of the instance's, its runs, the shared artefacts, the engine.
    assert {source: bind["bind"] for source, bind in made.options["volumes"].items()} == {
        str(seen): str(settings.folder),
        str(runs.folder(settings)): str(runs.folder(settings)),
        str(settings.cache): str(settings.cache),
        str(settings.home / "tools"): str(settings.home / "tools"),
        "/var/run/docker.sock": "/var/run/docker.sock",
    }


def test_what_it_knows_is_for_its_owner_alone(settings: Settings, engine: FakeEngine, secrets: credentials.Secrets) -> None:
    ensure(settings, engine, secrets)
    seen = agent.folder(settings)
    for file in (seen / "kubeconfig-pipeline", seen / "secrets" / "secrets.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads((seen / "secrets" / "secrets.json").read_text())["only"] == "pipeline"


def test_it_runs_the_installed_slipway(settings: Settings, engine: FakeEngine, secrets: credentials.Secrets) -> None:
    (settings.root / "slipway" / "__pycache__").mkdir()
    (settings.root / "slipway" / "__pycache__" / "x.pyc").touch()
    (settings.root / "services").mkdir()
    (settings.root / "services" / "main.py").touch()
    (settings.root / "services" / "Dockerfile").touch()
    ensure(settings, engine, secrets)
    (made,) = engine.made
    names = set(made.files)
    assert {"opt/slipway/slipway/deep/file", "opt/slipway/cluster/deep/file", "opt/slipway/requirements-dev.txt"} <= names
    # Of the services only the recipe, which those of branches are compared with.
    assert [name for name in names if "services" in name or "__pycache__" in name] == ["opt/slipway/services/Dockerfile"]
    assert made.options["environment"]["PYTHONPATH"] == "/opt/slipway"
    assert made.options["environment"]["SLIPWAY_HOME"] == str(settings.home)
    assert made.options["environment"]["SLIPWAY_INSTANCE"] == "test"


def test_files_of_the_users_own_come_along(settings: Settings, engine: FakeEngine, secrets: credentials.Secrets) -> None:
    settings.pins.write_text("# my pins")
    ensure(settings, engine, secrets)
    (made,) = engine.made
    assert made.read(made.options["environment"]["SLIPWAY_PINS"].lstrip("/")) == "# my pins"
    assert made.read(made.options["environment"]["SLIPWAY_POLICY"].lstrip("/")) == settings.policy_file.read_text()


def test_a_helm_of_the_users_own_comes_along_and_ours_is_there_already(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets, tmp_path: Path
) -> None:
    ensure(settings, engine, secrets)
    assert "usr/local/bin/helm" not in engine.made[-1].files
    own = tmp_path / "helm"
    own.write_text("helm")
    ensure(settings, engine, secrets, helm=own)
    assert engine.made[-1].files["usr/local/bin/helm"].mode == 0o755


def test_one_that_runs_as_it_should_is_left_alone(settings: Settings, engine: FakeEngine, secrets: credentials.Secrets) -> None:
    ensure(settings, engine, secrets)
    assert ensure(settings, engine, secrets).skipped
    assert len(engine.made) == 1


def test_one_that_has_not_noticed_that_its_trouble_is_over_is_waited_for(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(settings, engine, secrets)
    agent.write_beat(agent.folder(settings), agent.Beat(time.time(), trouble="the Git server does not answer"))
    monkeypatch.setattr(agent, "START_TIMEOUT", 0.05)
    with pytest.raises(WaitTimeout, match="the Git server does not answer"):
        ensure(settings, engine, secrets)
    agent.write_beat(agent.folder(settings), agent.Beat(time.time()))
    assert ensure(settings, engine, secrets).skipped


def test_one_that_runs_and_says_nothing_any_more_is_made_anew(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets
) -> None:
    ensure(settings, engine, secrets)
    engine.made[0].began(time.time() - agent.SILENT_AFTER - 2)
    agent.write_beat(agent.folder(settings), agent.Beat(time.time() - agent.SILENT_AFTER - 1))
    assert not ensure(settings, engine, secrets).skipped
    assert [(one.stopped, one.removed) for one in engine.made] == [(True, True), (False, False)]


def test_one_that_the_engine_has_just_started_again_gets_the_time_to_say_something(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(settings, engine, secrets)
    engine.made[0].began(time.time() - 2)
    agent.write_beat(agent.folder(settings), agent.Beat(time.time() - agent.SILENT_AFTER - 1))
    monkeypatch.setattr(agent, "START_TIMEOUT", 0.05)
    with pytest.raises(WaitTimeout, match="it has not said so yet"):
        ensure(settings, engine, secrets)
    assert not engine.made[0].stopped


@pytest.mark.parametrize("change", ["code", "image", "rules"])
def test_another_slipway_another_image_and_other_rules_make_another_container(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets, change: str, tmp_path: Path
) -> None:
    ensure(settings, engine, secrets)
    if change == "code":
        (settings.root / "slipway" / "deep" / "file").write_text("changed")
    elif change == "image":
        engine.holds[IMAGE] = "sha256:2"
    else:
        (tmp_path / "policy.yaml").write_text("changed")
        settings = Settings(settings.root, settings.home, "test", settings.pins, tmp_path / "policy.yaml")
    ensure(settings, engine, secrets)
    first, second = engine.made
    assert (first.stopped, first.removed, second.status) == (True, True, "running")


def test_one_that_was_stopped_is_started_again(settings: Settings, engine: FakeEngine, secrets: credentials.Secrets) -> None:
    ensure(settings, engine, secrets)
    engine.made[0].status = "exited"
    ensure(settings, engine, secrets)
    assert [one.status for one in engine.made] == ["running"]


@pytest.mark.parametrize("status", ["created", "paused"])
def test_one_that_never_ran_or_was_paused_is_made_anew(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets, status: str
) -> None:
    ensure(settings, engine, secrets)
    engine.made[0].status = status
    ensure(settings, engine, secrets)
    assert [one.removed for one in engine.made] == [True, False]


@pytest.mark.parametrize("label", ["slipway.dev/owner", "slipway.dev/instance"])
@pytest.mark.parametrize("status", ["running", "created", "exited"])
def test_somebody_elses_container_of_that_name_is_left_alone(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets, label: str, status: str
) -> None:
    ensure(settings, engine, secrets)
    engine.made[0].status = status
    del engine.made[0].labels[label]
    with pytest.raises(UsageError, match="container test-runner is not Slipway's: choose another --name"):
        ensure(settings, engine, secrets)
    assert [(one.status, one.stopped, one.removed) for one in engine.made] == [(status, False, False)]


def test_one_that_ends_at_once_is_told_with_what_it_said(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets
) -> None:
    engine.works = False
    with pytest.raises(WaitFailed, match=r"ends as soon as it starts: Traceback: no such module(?s:.*)docker logs test-runner"):
        ensure(settings, engine, secrets)


def test_without_its_image_it_is_not_made(settings: Settings, engine: FakeEngine, secrets: credentials.Secrets) -> None:
    engine.holds.clear()
    with pytest.raises(EngineError, match=r"does not hold slipway/runner:1. Run `\./invoke up --name test`"):
        ensure(settings, engine, secrets)


def test_it_writes_as_who_may_remove_it_or_as_the_engines_own_user(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "_user", lambda: (1000, 1001))
    ensure(settings, engine, secrets)
    assert engine.made[-1].options["user"] == "1000:1001"
    assert "runner:x:1000:1001::" in engine.made[-1].read("etc/passwd")
    assert (engine.made[-1].files["home/runner"].uid, engine.made[-1].files["home/runner"].isdir()) == (1000, True)
    engine.said = {"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}
    ensure(settings, engine, secrets)
    assert engine.made[-1].options["user"] == "0:0", "there, that is who runs the engine"


def test_an_engine_over_plain_tcp_needs_no_socket_and_any_other_is_refused(
    settings: Settings, engine: FakeEngine, secrets: credentials.Secrets, tmp_path: Path
) -> None:
    engine.address = Address("tcp://127.0.0.1:2375", "DOCKER_HOST", {})
    ensure(settings, engine, secrets)
    assert engine.made[-1].options["environment"]["DOCKER_HOST"] == "tcp://127.0.0.1:2375"
    assert not [source for source in engine.made[-1].options["volumes"] if source.endswith(".sock")]
    for address in (Address("ssh://host", "DOCKER_HOST", {}), Address("tcp://host:2376", "DOCKER_HOST", {}, tmp_path)):
        engine.address = address
        with pytest.raises(EngineError, match="cannot reach the engine at"):
            ensure(settings, engine, secrets)


def test_the_archive_depends_on_its_content_alone(settings: Settings) -> None:
    first = agent.pack(settings, settings.home / "helm")
    (settings.root / "slipway" / "deep" / "file").touch()
    assert agent.pack(settings, settings.home / "helm") == first


def test_what_a_half_written_word_means_is_nothing(settings: Settings, engine: FakeEngine, secrets: credentials.Secrets) -> None:
    ensure(settings, engine, secrets)
    (agent.folder(settings) / "beat.json").write_text("{")
    assert agent.beat(settings) is None
    assert "has not looked for pushes yet" in agent.trouble(settings, engine)


def test_what_it_printed_is_evidence(settings: Settings, engine: FakeEngine, secrets: credentials.Secrets) -> None:
    assert agent.said(settings, engine) == ""
    ensure(settings, engine, secrets)
    assert agent.said(settings, engine) == "Traceback: no such module\n"
