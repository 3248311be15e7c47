"""What kind's binary is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from slipway import kind, shell

KIND, CONFIG, KUBECONFIG = Path("/tools/kind"), Path("/state/kind.yaml"), Path("/state/kubeconfig")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, Any]]]:
    seen: list[tuple[list[str], dict[str, Any]]] = []

    def run(argv: Sequence[Any], **options: Any) -> shell.Result:
        seen.append(([str(word) for word in argv], options))
        return shell.Result(0, "", "")

    monkeypatch.setattr(shell, "run", run)
    return seen


def test_a_cluster_is_made_with_a_kubeconfig_of_its_own_and_kept_when_that_fails(calls: list[Any]) -> None:
    kind.create(KIND, name="test", image="slipway/node:1", config=CONFIG, kubeconfig=KUBECONFIG, env={"DOCKER_HOST": "x"})
    ((argv, options),) = calls
    assert argv[:3] == ["/tools/kind", "create", "cluster"]
    assert "--retain" in argv
    told = dict(zip(argv[4::2], argv[5::2], strict=True))
    assert told == {
        "--name": "test",
        "--image": "slipway/node:1",
        "--config": "/state/kind.yaml",
        "--kubeconfig": "/state/kubeconfig",
    }
    assert options["env"] == {"DOCKER_HOST": "x"}


def test_the_users_own_kubeconfig_is_never_touched(calls: list[Any]) -> None:
    kind.delete(KIND, name="test", kubeconfig=KUBECONFIG, env={})
    kind.export_kubeconfig(KIND, name="test", kubeconfig=KUBECONFIG, env={})
    for argv, _ in calls:
        assert argv[-2:] == ["--kubeconfig", "/state/kubeconfig"]


def test_logs_that_cannot_be_had_whole_are_no_error(calls: list[Any]) -> None:
    kind.export_logs(KIND, name="test", folder=Path("/evidence"), env={})
    ((argv, options),) = calls
    assert argv == ["/tools/kind", "export", "logs", "/evidence", "--name", "test"]
    assert options["check"] is False
