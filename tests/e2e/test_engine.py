"""The engine as Slipway finds or starts it, and the shim that makes it useful on machines with fewer capabilities."""

from __future__ import annotations

import shutil

import pytest

from slipway import engine as engines
from slipway import names, shell
from slipway.engine import Engine
from slipway.settings import ROOT, load
from tests.e2e.mirror import registry_image

OURS = {names.OWNER_LABEL: names.OWNER}
SHIM = ROOT / "cluster" / "go" / "shim"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engines.connect(load())


def test_connecting_again_finds_the_same_engine(engine: Engine) -> None:
    assert engines.connect(load()).info["ID"] == engine.info["ID"]


def test_a_privileged_container_starts_and_can_be_entered_whatever_the_machine_lacks(engine: Engine) -> None:
    container = engine.client.containers.create(
        registry_image(engine), entrypoint=["registry"], command=["--help"], privileged=True, labels=OURS
    )
    try:
        container.start()
        assert container.wait(timeout=30)["StatusCode"] == 0
    finally:
        container.remove(force=True)


def test_a_docker_client_that_builds_with_buildkit_is_found(engine: Engine) -> None:
    path, env = engine.build_cli
    assert shell.run([path, "build", "--help"], env=env).code == 0
    assert env["DOCKER_BUILDKIT"] == "1"


@pytest.mark.skipif(not shutil.which("go"), reason="Go is not installed")
def test_the_shim_passes_its_own_tests() -> None:
    shell.run(["go", "vet", "./..."], cwd=SHIM)
    shell.run(["go", "test", "./..."], cwd=SHIM)
