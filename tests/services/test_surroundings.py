"""What a service does with what it depends on: its own stores, which may be away, and the services it calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from slipway import waiting
from slipway.waiting import Pending, Ready
from tests.services.conftest import SERVICES
from tests.services.routes import got
from tests.services.running import Running, Surroundings, running, starting
from tests.services.stores import Store, Stores
from tests.services.surroundings import secrets_of

DEPENDENCIES = [(service, secret) for service in SERVICES for secret in secrets_of(service)]

EXIT_CONFIG = 78


@pytest.fixture
def store(secret: str, stores: Stores) -> Generator[Store]:
    """The store that the Secret is about, which runs again afterwards whatever was done to it."""
    found = stores.of(secret)
    yield found
    found.container.reload()
    if found.container.status == "paused":
        found.thaw()
    found.start()


@pytest.mark.parametrize(("service", "secret"), DEPENDENCIES, scope="session", indirect=["service"])
@pytest.mark.parametrize(("away", "back"), [(Store.stop, Store.start), (Store.freeze, Store.thaw)], ids=["stopped", "frozen"])
def test_while_its_store_is_away_it_is_alive_says_why_it_is_not_ready_and_heals_by_itself(
    service: str,
    surroundings: Surroundings,
    store: Store,
    folder: Path,
    away: Callable[[Store], None],
    back: Callable[[Store], None],
) -> None:
    with running(service, folder, surroundings) as process:
        paths = [path for _, path in got(process.ask("/openapi.json").json)]
        before = [process.ask(path).status for path in paths]
        away(store)
        reason = process.answers_readiness_with(503).json["detail"]
        assert store.kind in reason
        assert process.ask("/healthz").status == 200
        answers = [process.ask(path) for path in paths]
        lost = [answer for answer in answers if answer.status == 503]
        assert lost, "no route of its own says that the store is away"
        for answer in lost:
            assert (answer.headers["content-type"], answer.headers["retry-after"].isdecimal()) == (
                "application/problem+json",
                True,
            )
        back(store)
        process.answers_readiness_with(200)
        assert [process.ask(path).status for path in paths] == before
        assert process.exit_code() is None
        process.signal()
        assert process.ended() == 0
        # Its password is in the variable, and must be nowhere else.
        output = process.output.read_text()
        assert not [secret for secret in passwords(surroundings.variables) if secret in output]


def passwords(variables: Mapping[str, str]) -> list[str]:
    return [value.partition("@")[0].rpartition(":")[2] for value in variables.values()]


@pytest.mark.parametrize("service", dict(DEPENDENCIES), scope="session", indirect=True)
def test_without_its_secret_it_does_not_start_and_names_what_is_missing(
    service: str, surroundings: Surroundings, folder: Path
) -> None:
    with starting(service, folder, Surroundings()) as process:
        assert process.ended() == EXIT_CONFIG
        (line,) = process.log()
    assert line["level"] == "critical"
    assert [name for name in surroundings.variables if name not in line["message"]] == []


@pytest.mark.parametrize(("service", "secret"), DEPENDENCIES, scope="session", indirect=["service"])
def test_it_starts_without_its_store_and_is_ready_once_that_comes(
    service: str, surroundings: Surroundings, store: Store, folder: Path
) -> None:
    store.stop()
    with starting(service, folder, surroundings) as process:
        process.answers_readiness_with(503)
        assert process.ask("/healthz").status == 200
        store.start()
        process.answers_readiness_with(200)
        process.signal()
        assert process.ended() == 0


def test_the_request_id_goes_along_to_every_service_that_is_called(dev: Running, surroundings: Surroundings) -> None:
    identifier = f"walk-{dev.pid}"
    for _, path in got(dev.ask("/openapi.json").json):
        assert dev.ask(path, headers={"X-Request-ID": identifier}).headers["x-request-id"] == identifier
    for name, callee in surroundings.callees.items():

        def told(callee: Running = callee) -> Ready[None] | Pending:
            seen = [line for line in logged(callee.output) if line.get("request_id") == identifier]
            return Ready(None) if seen else Pending(f"none of its lines has the id {identifier}")

        waiting.wait_for(f"a request of {dev.service} in the log of {name}", told, timeout=5)


def logged(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text().splitlines() if line.endswith("}")]
