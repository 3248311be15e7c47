"""The checks of a service: what their container is given, what is remembered, and what a failure says."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import images, testing
from slipway.address import Address
from slipway.engine import Engine
from slipway.errors import SlipwayError
from slipway.records import Source
from slipway.runs import Recorded, Recorder
from slipway.settings import ROOT, Settings
from slipway.testing import ChecksFailed, sandbox


@dataclass
class FakeContainer:
    """A container that says what it is told to, and ends."""

    image: str
    options: dict[str, Any]
    said: str = "54 passed in 1.23s\n"
    code: int = 0
    id: str = "c0ffee"
    status: str = "running"
    given: bytes = b""
    started: bool = False
    removed: bool = False
    executed: list[Sequence[str]] = field(default_factory=list[Sequence[str]])
    hangs: bool = False

    def put_archive(self, path: str, content: bytes) -> None:
        assert path == "/src"
        self.given = content

    def start(self) -> None:
        self.started = True

    def logs(self, **_: Any) -> Iterator[bytes]:
        yield self.said.encode()
        while self.hangs:
            pass

    def wait(self, *, timeout: float) -> dict[str, int]:
        assert timeout
        return {"StatusCode": self.code}

    def kill(self) -> None:
        self.hangs, self.code = False, 137

    def reload(self) -> None:
        pass

    def exec_run(self, words: Sequence[str], *, environment: Any) -> Any:
        self.executed.append(words)
        return SimpleNamespace(exit_code=0, output=b"")

    def remove(self, *, force: bool, v: bool) -> None:
        assert force
        assert v
        self.removed = True


class FakeEngine(Engine):
    """Makes containers, and remembers them."""

    def __init__(self) -> None:
        self.client, self.address = self, Address("unix:///fake", "", {})  # type: ignore[assignment]
        self.containers, self.made, self.built = self, list[FakeContainer](), list[str]()
        self.next: dict[str, Any] = {}

    @property
    def info(self) -> dict[str, Any]:  # type: ignore[override]
        return {"NCPU": 1}

    def create(self, image: str, **options: Any) -> FakeContainer:
        self.made.append(FakeContainer(image, options, **(self.next if "checks" in image else {})))
        return self.made[-1]

    def image_id(self, reference: str) -> str | None:
        return "sha256:1" if reference in self.built else None

    def labelled(self, label: str, value: str = "") -> list[Any]:
        return [one for one in self.made if one.options["labels"].get(label) == value]


@dataclass
class World:
    """A commit of two services, and an engine."""

    settings: Settings
    source: Source
    engine: FakeEngine
    contexts: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    @property
    def plan(self) -> Any:
        return SimpleNamespace(image=lambda name: f"slipway/{name}:1")

    def write(self, name: str, text: str) -> None:
        file = self.source.folder / "services" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def check(self, service: str = "catalog", **options: Any) -> Recorded:
        phase = Recorded("test")
        testing.check(self, self.source, service, phase, **options)  # type: ignore[arg-type] # what it needs of access
        return phase

    @property
    def checks(self) -> list[FakeContainer]:
        return [one for one in self.engine.made if "checks" in one.image]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(Settings(ROOT, tmp_path / "home", "test"), Source(tmp_path / "source", "c0ffee"), FakeEngine())
    for service in ("catalog", "cart", "chassis"):
        made.write(f"{service}/main.py", service)
        made.write(f"{service}/requirements.txt", "starlette==1 --hash=sha256:1\n")
        made.write(f"{service}/test/test_it.py", "def test_it(): pass\n")
    made.write("test-requirements.txt", "pytest==9 --hash=sha256:2\n")
    made.write("pytest.ini", "[pytest]\n")

    def build(engine: FakeEngine, *, tag: str, context: Path, **_: Any) -> None:
        engine.built.append(tag)
        made.contexts.append({file.name: file.read_text() for file in context.iterdir()})

    monkeypatch.setattr(images, "build", build)
    return made


def test_the_container_of_a_branchs_code_reaches_nothing_and_may_do_nothing(world: World) -> None:
    world.check()
    (one,) = world.checks
    given = one.options
    assert given["network_mode"] == "none"
    assert given["read_only"] is True
    assert given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges"]
    assert given["user"] == "10001:10001"
    assert given["environment"] == {}
    assert given["volumes"] == ["/src"], "an anonymous volume for the source; nothing of the host"
    assert (given["mem_limit"], given["memswap_limit"], given["pids_limit"], given["nano_cpus"]) == ("1g", "1g", 256, 10**9)
    assert not {"privileged", "devices", "cap_add", "group_add", "pid_mode", "binds", "mounts"} & given.keys()
    assert (one.started, one.removed) == (True, True)


def test_what_is_installed_is_locked_and_the_linter_is_the_installed_slipways_own(world: World) -> None:
    world.check()
    (context,) = world.contexts
    assert context["requirements.txt"].startswith("starlette==1")
    assert context["test-requirements.txt"].startswith("pytest==9")
    assert re.fullmatch(
        r"ruff==[\d.]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+(    # .*\n)*", context["lint-requirements.txt"]
    )


def test_services_with_the_same_locks_share_an_image(world: World) -> None:
    world.check("catalog")
    world.check("cart")
    assert len(world.engine.built) == 1
    world.write("cart/requirements.txt", "valkey==6 --hash=sha256:3\n")
    world.check("cart")
    assert len(world.engine.built) == 2


def test_the_source_comes_without_links_and_without_owners(world: World) -> None:
    (world.source.folder / "services" / "catalog" / "passwd").symlink_to("/etc/passwd")
    world.check()
    with tarfile.open(fileobj=io.BytesIO(world.checks[0].given)) as archive:
        members = {member.name: member for member in archive.getmembers()}
    assert {"services/catalog/main.py", "services/chassis/main.py", "services/pytest.ini", "pyproject.toml"} <= members.keys()
    assert "services/catalog/passwd" not in members
    assert {(member.uid, member.mode & 0o022) for member in members.values()} == {(0, 0)}


def test_the_style_is_the_commits_own_where_it_says_one(world: World) -> None:
    own = world.source.folder / "pyproject.toml"
    own.write_text("[tool.ruff]\nline-length = 99\n")
    world.check()
    with tarfile.open(fileobj=io.BytesIO(world.checks[0].given)) as archive:
        found = archive.extractfile("pyproject.toml")
        assert found
        assert found.read().decode() == own.read_text()


def test_the_same_content_is_checked_once(world: World) -> None:
    world.check()
    assert "with the same content" in world.check().detail
    assert len(world.checks) == 1


@pytest.mark.parametrize(
    "name", ["catalog/main.py", "catalog/test/test_it.py", "chassis/main.py", "pytest.ini", "conftest.py", "ruff.toml"]
)
def test_any_change_is_checked(world: World, name: str) -> None:
    world.check()
    world.write(name, "changed = True\n")
    world.check()
    assert len(world.checks) == 2


def test_the_change_of_another_service_is_not_checked(world: World) -> None:
    world.check()
    world.write("cart/main.py", "changed = True\n")
    world.check()
    assert len(world.checks) == 1


def test_what_is_shared_is_tested_again_only_when_it_changed(world: World) -> None:
    def tested(number: int) -> str:
        (script,) = world.checks[number].options["command"]
        found = re.search(r"for folder in (.*); do tests", script)
        assert found
        return found[1]

    world.check()
    world.write("catalog/main.py", "changed = True\n")
    world.check()
    world.write("chassis/main.py", "changed = True\n")
    world.check()
    assert [tested(number) for number in range(3)] == ["catalog chassis", "catalog", "catalog chassis"]


def test_what_failed_is_checked_again(world: World) -> None:
    world.engine.next = {"code": 4, "said": "FAILED test_it\n"}
    for _ in range(2):
        with pytest.raises(ChecksFailed):
            world.check()
    assert len(world.checks) == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "the style of catalog is not right"),
        (4, "tests of catalog failed"),
        (137, "exit code 137 .out of memory"),
        (9, "exit code 9"),
    ],
)
def test_a_failure_says_what_failed_with_the_last_lines(world: World, code: int, words: str) -> None:
    world.engine.next = {"code": code, "said": "\n".join(f"line {number}" for number in range(100))}
    with pytest.raises(ChecksFailed, match=words) as raised:
        world.check()
    assert "line 99" in str(raised.value)
    assert "line 10\n" not in str(raised.value)
    assert world.checks[0].removed


def test_all_that_was_said_is_in_the_log_of_the_run(world: World) -> None:
    from slipway import runs

    recorder = Recorder(world.settings, runs.new(world.settings, branch="b", commit="c", pusher="developer"))
    world.engine.next = {"said": "the first of many lines\n54 passed in 1.23s\n"}
    with recorder.stage("test") as phase:
        testing.check(world, world.source, "catalog", phase)  # type: ignore[arg-type]
    assert "the first of many lines" in recorder.log_file.read_text()
    assert recorder.run.stages[0].said == "54 passed"


def test_a_check_that_hangs_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "DEADLINE", 0.05)
    world.engine.next = {"hangs": True}
    with pytest.raises(SlipwayError, match="the checks to end: not within"):
        world.check()
    assert world.checks[0].removed


def test_style_and_tests_are_checked_apart_when_asked(world: World) -> None:
    world.check(parts=["lint"])
    world.check(parts=["test"])
    lint, test = (one.options["command"][0] for one in world.checks)
    assert ("ruff check --no-cache --quiet --output-format=concise services/catalog" in lint, "for folder in ; do" in lint) == (
        True,
        True,
    )
    assert ('[ -n "" ]' in test, "for folder in catalog chassis; do" in test) == (True, True)
    assert "with the same content" in world.check().detail


@pytest.mark.parametrize(
    ("service", "store", "variable", "url"),
    [
        ("cart", "valkey", "VALKEY_URL", r"redis://:[0-9a-f]{32}@127\.0\.0\.1:6379/0"),
        ("orders", "postgresql", "DATABASE_URL", r"postgresql://orders:[0-9a-f]{32}@127\.0\.0\.1:5432/orders"),
    ],
)
def test_a_store_runs_beside_the_tests_with_nothing_else_in_their_network(
    world: World, service: str, store: str, variable: str, url: str
) -> None:
    world.write(f"{service}/main.py", service)
    world.write(f"{service}/requirements.txt", "")
    world.write(f"{service}/test/test_it.py", "")
    world.check(service)
    beside, one = world.engine.made
    assert (beside.image, beside.options["network_mode"], beside.options["user"]) == (f"slipway/{store}:1", "none", "999:999")
    assert one.options["network_mode"] == "container:c0ffee"
    assert re.fullmatch(url, one.options["environment"].pop(variable))
    assert one.options["environment"] == {}
    assert (beside.removed, one.removed) == (True, True)
    assert not {"volumes", "binds"} & beside.options.keys()


def test_a_store_goes_although_the_tests_fail(world: World) -> None:
    world.engine.next = {"code": 4}
    with pytest.raises(ChecksFailed):
        world.check("cart")
    assert all(one.removed for one in world.engine.made)


def test_a_service_without_a_lock_is_refused_with_the_file_that_lacks(world: World) -> None:
    (world.source.folder / "services" / "catalog" / "requirements.txt").unlink()
    with pytest.raises(ChecksFailed, match=r"services/catalog/requirements\.txt is not in this commit"):
        world.check()


@pytest.mark.parametrize("name", ["catalog/requirements.txt", "test-requirements.txt"])
def test_a_lock_by_which_a_package_could_build_itself_is_not_installed(world: World, name: str) -> None:
    world.write(name, "--no-binary :all:\n")
    with pytest.raises(ChecksFailed, match=rf"services/{name}, line 1"):
        world.check()
    assert world.engine.built == []


def test_containers_of_checks_that_were_killed_are_swept(world: World) -> None:
    left = world.engine.create("x", labels=testing.labels(world.settings))
    other = world.engine.create("x", labels=testing.labels(Settings(ROOT, world.settings.home, "other")))
    testing.sweep(world.settings, world.engine)
    assert (left.removed, other.removed) == (True, False)


def test_the_recipe_installs_nothing_without_a_hash() -> None:
    recipe = (ROOT / "cluster" / "checks" / "Dockerfile").read_text()
    assert recipe.count("pip --python") == recipe.count("--require-hashes") == recipe.count("--only-binary=:all:") == 2
