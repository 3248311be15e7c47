from __future__ import annotations

import fcntl
import io
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest
import yaml

from slipway import oci, ports, registry, waiting
from slipway.address import Address
from slipway.engine import Engine, EngineError
from slipway.errors import UsageError, WaitTimeout
from slipway.progress import Phase
from slipway.settings import Settings
from tests.unit.fakes import FakeClock

IMAGE = "slipway/registry:1"


class FakeContainer:
    def __init__(self, fake: Fake, image: str, options: dict[str, Any]) -> None:
        self.fake, self.status, self.labels, self.name = fake, "created", options["labels"], options["name"]
        ((inner, (_, port)),) = options["ports"].items()
        self.attrs = {"HostConfig": {"PortBindings": {inner: [{"HostPort": str(port)}]}}, "Config": {"Image": image}}
        self.options, self.config = options, {}

    def put_archive(self, _: str, content: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            file = archive.extractfile("etc/slipway/registry.yml")
            assert file
            self.config = yaml.safe_load(file)

    def start(self) -> None:
        if self.fake.start_fails:
            raise docker.errors.APIError(self.fake.start_fails)
        if self.status == "paused":
            raise docker.errors.APIError("cannot start a paused container, try unpause instead")
        self.status = "running"

    def unpause(self) -> None:
        assert self.status == "paused"
        self.status = "running"

    def remove(self, **_: Any) -> None:
        self.fake.held = None


class Fake:
    """An engine with room for one container, and a table of networks."""

    def __init__(self, folder: Path) -> None:
        self.held: FakeContainer | None = None
        self.made, self.start_fails, self.image, self.six = 0, "", "sha256:1", True
        self.networks: list[dict[str, Any]] = []
        self.beside: list[Any] = []
        self.settings = Settings(folder, folder, "test")
        self.volumes: set[str] = set()
        client = SimpleNamespace(
            containers=SimpleNamespace(get=self._get, create=self._create, list=self._list),
            images=SimpleNamespace(get=self._image),
            volumes=SimpleNamespace(create=lambda name, **_: self.volumes.add(name), list=self._volumes),
            networks=SimpleNamespace(
                list=self._networks,
                create=self._network,
                get=lambda _: SimpleNamespace(attrs={"Options": {registry_mtu: "1400"}}),
            ),
        )
        self.engine = Engine(client, Address("unix:///x", "", {}))  # type: ignore[arg-type]

    def _get(self, _: str) -> FakeContainer:
        if self.held is None:
            raise docker.errors.NotFound("no")
        return self.held

    def _create(self, image: str, **options: Any) -> FakeContainer:
        self.made += 1
        with (self.settings.cache / "locks" / "registry.lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever makes another one at the same time has to wait
        self.held = FakeContainer(self, image, options)
        return self.held

    def _list(self, *, all: bool, ignore_removed: bool) -> list[Any]:
        assert all and ignore_removed
        return self.beside

    def _image(self, _: str) -> Any:
        if not self.image:
            raise docker.errors.ImageNotFound("no")
        return SimpleNamespace(id=self.image)

    def _volumes(self, **_: Any) -> list[Any]:
        return [SimpleNamespace(remove=lambda **_: self.volumes.clear()) for _ in self.volumes]

    def _networks(self, **_: Any) -> list[Any]:
        return [SimpleNamespace(attrs=network, reload=lambda: None, remove=self.networks.clear) for network in self.networks]

    def _network(self, name: str, **options: Any) -> None:
        if options.get("enable_ipv6") and not self.six:
            raise docker.errors.APIError("Cannot read IPv6 setup for bridge")
        self.networks.append({"name": name, **options})


registry_mtu = "com.docker.network.driver.mtu"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setattr(ports, "free", lambda port: port >= 5001)
    monkeypatch.setattr(oci, "answers", lambda _: True)
    clock = FakeClock()
    monkeypatch.setattr(waiting, "SystemClock", lambda: clock)
    return Fake(tmp_path)


def ensure(fake: Fake) -> registry.Registry:
    return registry.ensure(fake.settings, fake.engine, IMAGE, phase=Phase("registry"))


def test_the_registry_is_made_with_its_data_apart_and_its_port_on_this_machine_alone(fake: Fake) -> None:
    made = ensure(fake)
    assert (made.name, made.inner_url, made.state) == ("localhost:5001", "http://slipway-registry:5000", "running")
    assert fake.held
    options = fake.held.options
    assert options["ports"] == {"5000/tcp": ("127.0.0.1", 5001)}
    assert options["network"] == "kind"
    assert options["restart_policy"]["Name"] == "unless-stopped"
    assert options["volumes"] == {"slipway-registry": {"bind": "/var/lib/registry", "mode": "rw"}}
    assert fake.held.config["storage"]["delete"] == {"enabled": True}


def test_a_taken_port_is_replaced(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "free", lambda port: port >= 5002)
    assert ensure(fake).name == "localhost:5002"


def test_a_port_of_a_container_that_stands_still_is_left_to_it(fake: Fake) -> None:
    bindings = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5001"}]}
    fake.beside.append(SimpleNamespace(attrs={"HostConfig": {"PortBindings": bindings}}))
    assert ensure(fake).name == "localhost:5002"


def test_somebody_elses_container_of_that_name_is_neither_used_nor_removed(fake: Fake) -> None:
    ensure(fake)
    fake.volumes.clear()  # it is not ours either
    theirs = fake.held
    assert theirs
    theirs.labels = {}
    theirs.status = "created"
    with pytest.raises(UsageError, match="docker rename slipway-registry NAME"):
        ensure(fake)
    assert registry.find(fake.engine) is None
    assert not registry.remove(fake.engine)
    assert fake.held is theirs
    assert fake.made == 1


def test_a_registry_that_runs_is_left_alone(fake: Fake) -> None:
    ensure(fake)
    held = fake.held
    assert ensure(fake).port == 5001
    assert fake.held is held and fake.made == 1


@pytest.mark.parametrize("status", ["exited", "paused"])
def test_a_registry_that_stands_still_is_started_again(fake: Fake, status: str) -> None:
    ensure(fake)
    assert fake.held
    fake.held.status = status
    assert ensure(fake).state == "running"
    assert fake.made == 1


def test_a_new_image_renews_the_container_and_keeps_its_port_and_data(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "free", lambda port: port == 5009)
    ensure(fake)
    monkeypatch.setattr(ports, "free", lambda port: port == 5010)
    fake.image = "sha256:2"
    assert ensure(fake).port == 5009
    assert fake.made == 2
    assert fake.volumes == {"slipway-registry"}


def test_what_an_interrupted_run_left_is_made_anew(fake: Fake) -> None:
    ensure(fake)
    assert fake.held
    fake.held.status = "created"
    ensure(fake)
    assert fake.made == 2


def test_a_port_that_another_program_has_taken_since_is_refused_with_the_cure(fake: Fake) -> None:
    ensure(fake)
    assert fake.held
    fake.held.status, fake.start_fails = "exited", "driver failed: port is already allocated"
    with pytest.raises(
        EngineError, match=r"port 5001 is taken by another program.*ss -ltnp.*`\./invoke down --purge --name test`"
    ):
        ensure(fake)


def test_another_failure_to_start_is_told_as_it_is(fake: Fake) -> None:
    ensure(fake)
    assert fake.held
    fake.held.status, fake.start_fails = "exited", "no space left on device"
    with pytest.raises(EngineError, match="no space left"):
        ensure(fake)


def test_a_registry_that_does_not_answer_is_given_up(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci, "answers", lambda _: False)
    with pytest.raises(WaitTimeout, match="docker logs slipway-registry"):
        ensure(fake)


def test_a_registry_without_its_image_is_refused(fake: Fake) -> None:
    fake.image = ""
    with pytest.raises(EngineError, match=r"does not hold slipway/registry:1\. Run `\./invoke up --name test`"):
        ensure(fake)


def test_removing_takes_its_data_and_the_empty_network_and_twice_is_fine(fake: Fake) -> None:
    ensure(fake)
    assert registry.remove(fake.engine)
    assert not registry.remove(fake.engine)
    assert registry.find(fake.engine) is None
    assert fake.volumes == set() and fake.networks == []


@pytest.mark.parametrize(("networks", "stays"), [(("bridge", "kind"), True), (("kindest",), False), ((), False)])
def test_a_network_that_somebody_is_on_or_comes_back_to_stays(fake: Fake, networks: tuple[str, ...], stays: bool) -> None:
    ensure(fake)
    settings = {"Networks": {name: {} for name in networks}}
    # One that does not run is not among the containers that the network tells of.
    fake.beside.append(SimpleNamespace(status="exited", attrs={"NetworkSettings": settings}))
    registry.remove(fake.engine)
    assert bool(fake.networks) is stays


def test_the_network_is_made_as_kind_makes_it_and_only_once(fake: Fake) -> None:
    registry.network(fake.engine)
    registry.network(fake.engine)
    (network,) = fake.networks
    assert network["driver"] == "bridge" and network["enable_ipv6"]
    assert network["options"] == {"com.docker.network.bridge.enable_ip_masquerade": "true", registry_mtu: "1400"}
    assert network["ipam"]["Config"][0]["Subnet"].startswith("fd")


def test_where_there_is_no_ipv6_the_network_has_none(fake: Fake) -> None:
    fake.six = False
    registry.network(fake.engine)
    assert "enable_ipv6" not in fake.networks[0]
