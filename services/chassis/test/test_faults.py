from __future__ import annotations

import pytest

from chassis import ConfigError, Fault, Identity, Problem
from chassis.faults import Faults
from chassis.test.conftest import Make

FAULT = Fault(status=500)


@pytest.mark.parametrize("environment", ["prod", "unknown"])
def test_prod_and_nowhere_take_no_faults(environment: str) -> None:
    with pytest.raises(ConfigError, match="are refused"):
        Faults(Identity("sample", environment)).arm([FAULT])


@pytest.mark.parametrize("environment", ["prod", "unknown"])
def test_a_configuration_with_faults_is_refused_there(make: Make, environment: str) -> None:
    with pytest.raises(ConfigError, match="are refused"):
        make(environment, faults=[{"status": 500}])


@pytest.mark.parametrize("environment", ["local", "dev", "qa", "stage"])
def test_other_environments_take_them_from_the_configuration(make: Make, environment: str) -> None:
    assert make(environment, faults=[{"status": 500}]).faults.current() == [FAULT]


def test_prod_takes_an_empty_list() -> None:
    Faults(Identity("sample", "prod")).arm([])


def test_a_refused_list_leaves_the_armed_ones() -> None:
    faults = Faults(Identity("sample", "dev"))
    faults.arm([FAULT])
    faults._identity = Identity("sample", "prod")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(ConfigError):
        faults.arm([Fault(status=502)])
    assert faults.current() == [FAULT]


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_ratio_is_exact_at_its_ends(ratio: float) -> None:
    import asyncio

    faults = Faults(Identity("sample", "dev"))
    faults.arm([Fault(status=503, ratio=ratio)])

    async def hits() -> int:
        count = 0
        for _ in range(50):
            try:
                await faults.strike(method="GET", route="/x")
            except Problem:
                count += 1
        return count

    assert asyncio.run(hits()) == 50 * ratio


def test_a_fault_lives_as_long_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("chassis.faults.time.monotonic", lambda: now)
    faults = Faults(Identity("sample", "dev"))
    faults.arm([Fault(status=500, seconds=30), Fault(status=502)])
    now = 129.9
    assert [fault.status for fault in faults.current()] == [500, 502]
    now = 130.0
    assert [fault.status for fault in faults.current()] == [502]
