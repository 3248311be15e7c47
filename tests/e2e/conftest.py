"""A real cluster for the tests: made by the product's own command, taken down by it, its evidence kept on failure."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from slipway import access, bundle, shell
from slipway.engine import connect
from slipway.kube import Kube
from slipway.recipes import Plan
from slipway.settings import ROOT, Settings, load

if TYPE_CHECKING:
    from tests.e2e.ledger import Sight

UP_TIMEOUT = 5400.0  # nothing may be built yet
COMMAND_TIMEOUT = 300.0

# So long that a change which arrives within minutes can only have come by webhook.
POLLING = "6h"


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def fetch(
    url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: Any = None, timeout: float = 10
) -> Reply:
    """What `url` answers; its host name is looked up by nobody: all of them are this machine."""
    parts = urlsplit(url)
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(
        f"http://127.0.0.1:{parts.port}{parts.path or '/'}{'?' + parts.query if parts.query else ''}", data, method=method
    )
    for name, value in {"Host": parts.netloc, "Content-Type": "application/json", **(headers or {})}.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return Reply(reply.status, dict(reply.headers), reply.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, dict(error.headers), error.read().decode(errors="replace"))


@dataclass(frozen=True)
class Instance:
    """An instance under test, spoken to as a user does."""

    settings: Settings
    environ: Mapping[str, str]

    def invoke(
        self, *words: str, check: bool = True, timeout: float = COMMAND_TIMEOUT, env: Mapping[str, str] | None = None
    ) -> shell.Result:
        """What `./invoke` with these words did."""
        return shell.run([ROOT / "invoke", *words], env={**self.environ, **(env or {})}, timeout=timeout, check=check, cwd=ROOT)

    def json(self, *words: str, check: bool = True, timeout: float = COMMAND_TIMEOUT) -> Any:
        """The JSON that `./invoke` with these words printed."""
        return json.loads(self.invoke(*words, "--json", check=check, timeout=timeout).stdout)

    def url(self, service: str, environment: str) -> str:
        """Where a service of an environment answers."""
        return self.json("urls", "--all")[f"{service}.{environment}"]

    @property
    def plan(self) -> Plan:
        """Its images and tools, by name, from the source that it was made with."""
        return access.open(self.settings).plan

    @property
    def kube(self) -> Kube:
        """The cluster, as its admin."""
        return Kube(self.settings.kubeconfig, self.settings.context)


def existing(name: str) -> Instance:
    """An instance's handle by its name; nothing is made."""
    return Instance(load(name), {"SLIPWAY_INSTANCE": name, "SLIPWAY_POLLING": POLLING})


@pytest.fixture(scope="session")
def named(request: pytest.FixtureRequest) -> Callable[[str], Instance]:
    """Makes an instance's handle by its name; whatever it became is removed at the end."""

    def make(name: str) -> Instance:
        made = existing(name)
        connect(made.settings)  # what is left of a former run is removed only while an engine says that it is gone
        made.invoke("down")
        if not request.config.getoption("--keep-instances"):
            request.addfinalizer(lambda: made.invoke("down"))
        return made

    return make


@pytest.fixture(scope="session")
def instance(request: pytest.FixtureRequest, named: Callable[[str], Instance]) -> Instance:
    """A full instance, brought up once for the whole run; or the one that the run is told to use, which stays."""
    if name := request.config.getoption("--instance"):
        return existing(name)
    made = named("e2e")
    made.invoke("up", timeout=UP_TIMEOUT)
    return made


@pytest.fixture(autouse=True)
def evidence(request: pytest.FixtureRequest) -> Generator[None]:
    """Keep what the cluster knows when a test that used it fails."""
    yield
    report = getattr(request.node, "report_call", None)
    if report is None or not report.failed or "instance" not in request.fixturenames:
        return
    if request.config.getoption("--instance"):
        return  # it stays, to be looked at
    used: Instance = request.getfixturevalue("instance")
    folder = ROOT / "build" / "reports" / "evidence" / request.node.name
    kube = used.kube if used.settings.kubeconfig.is_file() else None
    causes = bundle.collect(folder, kube, waited_for=str(report.longrepr))
    print(f"evidence: {folder}", *causes, sep="\n")


Keep = Callable[[str, "Mapping[str, Sight]"], None]


@pytest.fixture
def ledgers(instance: Instance, record_property: Callable[[str, object], None]) -> Keep:
    """Keeps what was seen step by step: all of it as JSON, and the last of it beside the result of the test."""
    from tests.e2e import ledger

    def keep(name: str, sights: Mapping[str, Sight]) -> None:
        steps = {step: ledger.rows(instance, sight) for step, sight in sights.items()}
        record_property("ledger", str(ledger.keep(name, steps)))
        for row in list(steps.values())[-1]:
            told = f"{row.version} {row.commit[:9]} {row.lock[:19]} {row.in_git} {row.in_registry} {' '.join(row.in_pods)}"
            record_property(f"{row.environment}/{row.service}", told)

    return keep


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any]:
    """Let fixtures see how the test ended."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.report_call = report  # type: ignore[attr-defined]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of these tests."""
    parser.addoption("--keep-instances", action="store_true", help="leave the instances of the tests running")
