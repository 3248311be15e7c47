"""Instances come and go: side by side, interrupted, stopped, removed twice, and nothing else is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator

import pytest

from slipway import registry
from slipway.engine import Container, connect
from slipway.load.generator import NAMESPACE
from slipway.load.model import PASS
from slipway.settings import ROOT
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e import loading
from tests.e2e.conftest import COMMAND_TIMEOUT, Instance, fetch

# A shell makes programs in its background ignore Ctrl-C, and so all that they start; these words undo that.
HEEDING_INTERRUPTS = ("env", "--default-signal=INT", str(ROOT / "invoke"))


@pytest.fixture(scope="module")
def second(named: Callable[[str], Instance], instance: Instance) -> Instance:
    """A minimal instance beside the first, whose making was interrupted once and then resumed."""
    made = named("e2e-second")
    words = ["up", "--profile", "minimal"]
    environ = {**os.environ, **made.environ}
    process = subprocess.Popen([*HEEDING_INTERRUPTS, *words], env=environ, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    wait_for(
        "kind to be making the node",
        lambda: Ready(None) if _container(made) else Pending("there is no node yet"),
        timeout=COMMAND_TIMEOUT,
    )
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "./invoke up" in errors
    made.invoke(*words, timeout=900)
    return made


def test_an_interrupted_up_is_resumed_by_the_next(second: Instance) -> None:
    assert second.json("status")["state"] == "healthy"


def test_a_second_instance_runs_beside_the_first_on_ports_of_its_own(instance: Instance, second: Instance) -> None:
    first_url, second_url = instance.url("catalog", "dev"), second.url("catalog", "dev")
    assert first_url != second_url
    assert fetch(f"{first_url}/healthz").status == fetch(f"{second_url}/healthz").status == 200


def test_a_minimal_instance_holds_one_environment_and_no_monitoring(second: Instance) -> None:
    seen = second.json("status")
    assert {row["environment"] for row in seen["services"]} == {"dev"}
    assert "monitoring" not in {part["namespace"] for part in seen["platform"]}


def test_another_cluster_s_load_is_judged_and_booked_as_the_cluster_s_own(instance: Instance, second: Instance) -> None:
    """All that the generator needs comes to the other cluster, and nothing of it stays there."""
    name = second.settings.instance
    assert second.kube.get("Namespace", NAMESPACE) is None
    words = ("--from-instance", name, "--env", "dev", "--rate", str(loading.RATE), "--duration", "15")
    made = loading.trusted(lambda: loading.load(instance, *words))
    assert (made.verdict.outcome, made.code) == (PASS, 0), made.why
    assert made.run.target.sender == name
    assert made.run.books.found == made.run.books.sampled > 0
    assert made.run.books.order_rows == made.run.client.orders_accepted > 0
    assert second.kube.get("Namespace", NAMESPACE)

    def gone() -> Ready[None] | Pending:
        left = [pod["metadata"]["name"] for pod in loading.pods(second, loading.WORKER)]
        return Pending(f"{', '.join(left)} is still there") if left else Ready(None)

    wait_for("the generator's pods to be gone", gone, timeout=COMMAND_TIMEOUT)


def test_another_profile_for_a_running_instance_is_refused(second: Instance) -> None:
    result = second.invoke("up", "--profile", "full", check=False)
    assert result.code == 2
    assert "minimal" in result.stderr


def test_an_instance_comes_back_after_its_node_was_stopped(second: Instance) -> None:
    node = _container(second)
    assert node
    node.stop(timeout=10)
    stopped = second.json("status", check=False)
    assert stopped["state"] == "stopped"
    second.invoke("up", timeout=600)
    assert second.json("status")["state"] == "healthy"
    assert fetch(second.url("catalog", "dev") + "/products").status == 200


def test_down_twice_is_fine_and_leaves_what_is_not_its_own(instance: Instance, second: Instance, stranger: str) -> None:
    second.invoke("down")
    again = second.invoke("down")
    assert again.code == 0
    assert _container(second) is None
    assert not second.settings.folder.exists()
    assert second.json("status", check=False)["state"] == "absent"
    for name in (stranger, registry.CONTAINER):
        container = connect(second.settings).container(name)
        assert container
        assert container.status == "running"
    assert instance.json("status")["state"] == "healthy"


def test_ephemeral_gives_the_exit_code_of_the_command_and_leaves_nothing(instance: Instance) -> None:
    script = "kubectl --kubeconfig $KUBECONFIG get namespace dev && exit 7"
    result = instance.invoke("ephemeral", "--profile", "minimal", "--", "sh", "-c", script, check=False, timeout=900)
    assert result.code == 7, result.stderr
    assert "dev" in result.stdout
    names = [item.name or "" for item in connect(instance.settings).client.containers.list(all=True)]
    assert not [name for name in names if name.startswith("ephemeral-")]


@pytest.fixture
def stranger(instance: Instance) -> Generator[str]:
    """A container that has nothing to do with Slipway, on the same engine and network."""
    engine = connect(instance.settings)
    name = f"stranger-{time.time_ns()}"
    image = instance.plan.image("debian")
    words = ["sleep", "3600"]
    made = engine.client.containers.run(image, words, name=name, network=registry.NETWORK, init=True, detach=True)
    yield name
    made.remove(force=True, v=True)


def _container(instance: Instance) -> Container | None:
    return connect(instance.settings).container(instance.settings.node)
