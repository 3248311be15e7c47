"""What `dev --ci` does about a service that never comes up; and what it takes for none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from slipway import shell
from slipway.dev import crashing
from slipway.dev.crashing import NeverUp, Watch
from slipway.errors import CommandFailed
from tests.unit.fake_cluster import FakeKube

SAID = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'nowhere'"


def pod(
    name: str = "catalog-1", *, waiting: str = "CrashLoopBackOff", code: int = 1, reason: str = "Error", namespace: str = "local"
) -> dict[str, Any]:
    """A pod whose container has ended twice."""
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    status = {"name": "app", "restartCount": 1, "state": state, "lastState": {"terminated": {"exitCode": code, "reason": reason}}}
    status = {"phase": "Running", "containerStatuses": [status]}
    return {"kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "status": status}


class World:
    """A cluster, and what a Tilt has deployed in it."""

    def __init__(self, *pods: Mapping[str, Any], **deployed: str) -> None:
        self.kube, self.asked = FakeKube(*pods), 0
        self.kube.texts = {("catalog-1/app", True): SAID}
        self.deployed = deployed
        self.watch = Watch(self.kube, self._tell)

    def _tell(self) -> Mapping[str, str]:
        self.asked += 1
        return self.deployed


def test_a_container_that_fails_again_and_again_ends_the_wait_with_its_name_and_its_last_lines() -> None:
    world = World(pod(), catalog="catalog-1", cart="cart-1")
    assert world.watch.hopeless()
    with pytest.raises(NeverUp) as never:
        world.watch.require()
    said = str(never.value)
    assert said.startswith("catalog does not come up: its container ended with exit code 1")
    assert "    ModuleNotFoundError: No module named 'nowhere'" in said
    assert "`./invoke logs catalog --env local`" in said
    assert "cart" not in said
    assert never.value.exit_code == 1


def test_every_service_that_does_not_come_up_is_named() -> None:
    world = World(pod(), pod("cart-1"), catalog="catalog-1", cart="cart-1")
    assert world.watch.hopeless()
    with pytest.raises(NeverUp, match=r"(?s)catalog does not come up.*cart does not come up.*It said nothing\."):
        world.watch.require()


def test_a_log_that_the_former_container_left_to_nobody_is_looked_for_in_the_new_one() -> None:
    world = World(pod(), catalog="catalog-1")
    world.kube.texts = {("catalog-1/app", False): "it is broken"}
    world.watch.hopeless()
    assert [crash.said for crash in world.watch.crashes] == ["it is broken"]


@pytest.mark.parametrize(
    ("found", "hopeless"),
    [
        (pod(code=0, reason="Completed"), True),
        (pod(code=78), True),
        (pod(code=137, reason="OOMKilled"), True),
        (pod(waiting=""), False),  # it runs again, and may come up
        (pod(waiting="ImagePullBackOff"), False),  # Tilt says so itself
        (pod(code=137), False),  # ended from outside, because it took too long: the deadline decides
        (pod(code=247), False),
        (pod(namespace="dev"), False),
    ],
)
def test_only_what_fails_by_itself_is_given_up(found: Mapping[str, Any], hopeless: bool) -> None:
    world = World(found, catalog="catalog-1")
    assert world.watch.hopeless() is hopeless
    assert bool(world.watch.crashes) is hopeless


def test_a_pod_that_is_being_removed_is_waited_for_by_nobody() -> None:
    leaving = pod()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not World(leaving, catalog="catalog-1").watch.hopeless()


def test_a_container_that_comes_before_the_service_counts_too() -> None:
    first = pod()
    first["status"]["initContainerStatuses"] = first["status"].pop("containerStatuses")
    assert World(first, catalog="catalog-1").watch.hopeless()


def test_what_an_earlier_run_has_left_may_crash_until_it_is_replaced() -> None:
    world = World(pod())
    assert not world.watch.hopeless()
    world.deployed = {"catalog": "catalog-2"}
    assert not world.watch.hopeless()
    world.watch.require()


def test_tilt_is_asked_only_when_something_fails() -> None:
    world = World(pod(waiting=""), catalog="catalog-1")
    world.watch.hopeless()
    assert world.asked == 0


def test_a_cluster_that_does_not_answer_is_no_reason_to_give_up() -> None:
    world = World(pod(), catalog="catalog-1")
    world.kube.failing["Pod"] = ConnectionError("refused")
    assert not world.watch.hopeless()
    world.kube.failing.clear()
    assert world.watch.hopeless()


def item(name: str, pod: str | None, deployed: str | None) -> dict[str, Any]:
    """A thing as Tilt tells it."""
    told = {"k8sResourceInfo": {"podName": pod} if pod else {}} if pod is not None else {}
    return {"metadata": {"name": name}, "status": {"lastDeployTime": deployed, **told}}


def test_tilt_tells_what_it_deployed_since_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    when = "2026-01-01T00:00:00.000000Z"
    told = {
        "items": [
            item("(Tiltfile)", None, when),
            item("catalog", "catalog-1", when),
            item("cart", "cart-1", None),
            item("orders", "", when),
            {"metadata": {"name": "storefront"}},
        ]
    }
    ran: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def run(argv: Sequence[Any], *, env: Mapping[str, str], **_: Any) -> shell.Result:
        ran.append(([str(word) for word in argv], env))
        return shell.Result(0, json.dumps(told), "")

    monkeypatch.setattr(shell, "run", run)
    assert crashing.deployed(Path("/tilt"), {"TILT_DEV_DIR": "/x"}, 12345) == {"catalog": "catalog-1"}
    [(argv, env)] = ran
    assert argv == ["/tilt", "get", "uiresources", "--host", "127.0.0.1", "--port", "12345", "--output=json"]
    assert env == {"TILT_DEV_DIR": "/x"}


def test_a_tilt_that_does_not_answer_yet_has_deployed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: Sequence[Any], **_: Any) -> shell.Result:
        raise CommandFailed([str(word) for word in argv], 1, "No tilt apiserver found: tilt-12345")

    monkeypatch.setattr(shell, "run", run)
    assert crashing.deployed(Path("/tilt"), {}, 12345) == {}
