"""How the inner loop begins and ends: once for CI, by Ctrl-C, by its removal, and with a reason when it cannot come up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from slipway import git, names, shell
from tests.e2e import tilting
from tests.e2e.conftest import Instance, fetch
from tests.e2e.tilting import START_TIMEOUT, Loop

# Seconds: enough for four images that are cached and their pods, on a machine that has other things to do.
CI_SECONDS = 420


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working tree of these tests' own."""
    return tilting.clone(tmp_path_factory.mktemp("dev"))


@pytest.fixture(autouse=True)
def cleared(instance: Instance) -> Generator[None]:
    """Nothing is left in `local`."""
    yield
    instance.invoke("dev", "--down")


def test_for_ci_everything_is_brought_up_once_and_the_command_ends_well(instance: Instance, clone: Path) -> None:
    done = _ci(instance, clone)
    assert done.code == 0, f"{done.stdout}\n{done.stderr}"
    loop = Loop(instance, clone, clone.parent / "stream.log")
    for service in instance.settings.services:
        assert loop.ask(service, "/readyz").status == 200, service


def test_for_ci_code_of_which_no_image_can_be_made_ends_the_command_with_the_reason(instance: Instance, clone: Path) -> None:
    main = clone / "services" / "catalog" / "main.py"
    main.write_text(f"{main.read_text()}\ndef broken(:\n")
    try:
        done = _ci(instance, clone, "catalog")
    finally:
        shell.run(["git", "-C", clone, "checkout", "--quiet", "."], env=git.environment())
    assert done.code not in (0, 130), f"{done.stdout}\n{done.stderr}"
    assert "SyntaxError" in done.stdout + done.stderr


def test_for_ci_a_service_that_crashes_ends_the_command_with_its_last_words(instance: Instance, clone: Path) -> None:
    main = clone / "services" / "catalog" / "main.py"
    whole = main.read_text()
    try:
        main.write_text(whole.replace("TITLE =", 'raise SystemExit("no wind")\nTITLE =', 1))
        broken = _ci(instance, clone, "catalog")
    finally:
        main.write_text(whole)
    assert broken.code == 1, f"{broken.stdout}\n{broken.stderr}"
    assert "catalog does not come up" in broken.stderr, "it ends when that is certain, and not at the deadline"
    assert "no wind" in broken.stderr
    mended = _ci(instance, clone, "catalog")
    assert mended.code == 0, f"{mended.stdout}\n{mended.stderr}"


def test_for_ci_the_deadline_ends_a_start_that_does_not_end(instance: Instance, clone: Path) -> None:
    done = _ci(instance, clone, seconds=1)
    assert done.code not in (0, 130)
    assert "timeout" in (done.stdout + done.stderr).lower()


def test_an_interrupt_ends_tilt_and_leaves_local_serving_until_it_is_removed(instance: Instance, clone: Path) -> None:
    with tilting.running(instance, clone) as loop:
        twice = instance.invoke("dev", check=False)
        assert twice.code != 0, "there is one Tilt for an instance"
    assert "./invoke dev --down" in loop.said()
    front = loop.url("storefront")
    assert fetch(f"{front}/readyz").status == 200
    removed = instance.json("dev", "--down")
    assert set(instance.settings.services) <= set(removed["workloads"])
    assert not instance.kube.list("Pod", namespace=names.LOCAL)
    assert instance.kube.get("Namespace", names.LOCAL), "it is emptied; whose it is stays"
    assert fetch(f"{front}/readyz").status >= 400
    assert fetch(f"{instance.url('storefront', 'dev')}/readyz").status == 200


def _ci(instance: Instance, clone: Path, *services: str, seconds: int = CI_SECONDS) -> shell.Result:
    done = subprocess.run(
        ["./invoke", "dev", *services, "--ci", f"--timeout={seconds}"],
        cwd=clone,
        env={**os.environ, **instance.environ},
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        check=False,
    )
    return shell.Result(done.returncode, done.stdout, done.stderr)
