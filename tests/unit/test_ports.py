from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from slipway import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind((ports.LOOPBACK, 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_on_which_somebody_listens_is_not_free(taken: int) -> None:
    assert not ports.free(taken)


def test_a_port_that_is_taken_on_every_address_is_not_free() -> None:
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        assert not ports.free(server.getsockname()[1])


def test_a_taken_port_is_replaced_by_another_free_one(taken: int) -> None:
    found = ports.free_port(taken)
    assert found != taken
    assert ports.free(found)


def test_a_port_that_somebody_will_ask_for_is_left_to_them(taken: int) -> None:
    free = ports.free_port(taken)
    assert ports.free_port(free, reserved={free}) != free


def test_the_preferred_port_is_taken_when_it_is_free(taken: int) -> None:
    free = ports.free_port(taken)
    assert ports.free_port(free) == free


def test_beyond_the_last_port_any_free_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "free", lambda port: False)
    assert 0 < ports.free_port(65530) < 65536
