"""How the inner loop begins and ends: once for CI, by Ctrl-C, by its removal, and with a reason when it cannot come up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from slipway import git, names, ports, roles, shell
from slipway.dev.running import PREFERRED_PORT
from slipway.settings import ROOT
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
    instance.invoke("dev", "--down")
    assert not instance.kube.list("Pod", namespace=names.LOCAL)
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


@pytest.mark.long
def test_for_ci_the_deadline_ends_a_start_that_does_not_end(instance: Instance, clone: Path) -> None:
    done = _ci(instance, clone, seconds=1)
    assert done.code not in (0, 130)
    assert "Timeout after 1s: " in done.stdout + done.stderr, "Tilt says it, with what it still waited for"


@pytest.mark.long
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


@pytest.mark.long
def test_however_dev_is_ended_nothing_of_its_tilt_is_left(instance: Instance, clone: Path) -> None:
    with tilting.begun(instance, clone) as (process, page):
        assert tilting.left(instance), "there is something to be left"
        tilting.interrupt(process)
        tilting.gone(instance, page)
    with tilting.begun(instance, clone) as (process, page):
        process.send_signal(signal.SIGTERM)  # to ./invoke alone, as a supervisor does
        process.wait(timeout=tilting.END_TIMEOUT)
        tilting.gone(instance, page)


@pytest.mark.long
def test_a_tilt_whose_starter_was_killed_is_known_and_goes_with_a_removal(instance: Instance, clone: Path) -> None:
    with tilting.begun(instance, clone) as (process, page):
        process.kill()
        process.wait()
        assert tilting.left(instance)
        assert instance.json("status", check=False)["tilt"] == page
        twice = instance.invoke("dev", check=False)
        assert twice.code == 2 and page in twice.stderr, twice.stderr
        instance.invoke("dev", "--down")
        tilting.gone(instance, page)


@pytest.mark.long
def test_a_removal_that_was_cut_off_is_made_good_by_the_next_start(instance: Instance, clone: Path) -> None:
    instance.kube.delete("Namespace", names.LOCAL)
    with tilting.begun(instance, clone):
        there = instance.kube.get("Namespace", names.LOCAL)
        assert there and not there["metadata"].get("deletionTimestamp")
        assert instance.kube.get("RoleBinding", "developer", namespace=names.LOCAL, api_version="rbac.authorization.k8s.io/v1")


@pytest.mark.long
def test_the_tiltfile_refuses_any_context_but_the_instances(instance: Instance, clone: Path) -> None:
    done = _tilt(instance, clone, instance.settings.kubeconfig, instance.settings.context)
    assert done.code != 0
    ours = f"{instance.settings.context}-developer"
    assert f"This is for the context {ours} alone, and you are in {instance.settings.context}." in done.stdout + done.stderr


@pytest.mark.long
def test_the_tiltfile_refuses_a_tilt_that_is_too_old(instance: Instance, tmp_path: Path) -> None:
    facts = {**instance.json("dev.facts"), "tilt": "99.0.0"}
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    (tmp_path / "Tiltfile").write_text((ROOT / "Tiltfile").read_text())
    teller = tmp_path / "invoke"
    teller.write_text("#!/bin/sh\ncat facts.json\n")
    teller.chmod(0o755)
    done = _tilt(instance, tmp_path, roles.kubeconfig(instance.settings, "developer"), facts["context"])
    assert done.code != 0
    assert "doesn't match the version constraint specified in your Tiltfile: '>=99.0.0'" in done.stdout + done.stderr


def _tilt(instance: Instance, folder: Path, kubeconfig: Path, context: str) -> shell.Result:
    """What Tilt's ci mode made of a folder's Tiltfile."""
    argv = [tilting.program(instance), "ci", "--file", folder / "Tiltfile", "--context", context, "--timeout=60s"]
    argv += ["--host", ports.LOOPBACK, "--port", str(ports.free_port(PREFERRED_PORT))]
    env = {**tilting.environment(instance), "KUBECONFIG": str(kubeconfig), "TILT_DEV_DIR": str(folder.parent / "tilt")}
    return shell.run(argv, env=env, cwd=folder, check=False, timeout=120)


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
