"""What kubectl is asked to print, and what points a shell at an instance."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import applications, logs, shell
from slipway.errors import UsageError
from slipway.kube import Kube
from slipway.settings import ROOT, Settings
from tests.unit.test_shell import alive, eventually


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(ROOT, tmp_path, "test")
    made.folder.mkdir(parents=True)
    made.kubeconfig.touch()
    return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    seen: list[list[str]] = []

    def interactive(argv: Sequence[Any]) -> int:
        seen.append([str(word) for word in argv])
        return 3 if "qa" in seen[-1] else 0

    monkeypatch.setattr(shell, "interactive", interactive)
    return seen


def ask(settings: Settings, *, service: str = "catalog", environment: str | None = None, follow: bool = False) -> int:
    return logs.logs(settings, kubectl=Path("/kubectl"), service=service, environment=environment, follow=follow, tail=7)


def test_one_environment_is_asked_by_the_instances_own_kubeconfig_and_context(settings: Settings, calls: list[list[str]]) -> None:
    assert ask(settings, environment="dev") == 0
    (argv,) = calls
    assert argv[:7] == ["/kubectl", "--kubeconfig", str(settings.kubeconfig), "--context", "kind-test", "--namespace", "dev"]
    assert argv[7:10] == ["logs", "--selector", "app.kubernetes.io/name in (catalog, catalog-migrate)"]
    assert "--tail=7" in argv
    assert "--follow" not in argv


def test_following_goes_on_until_interrupted(settings: Settings, calls: list[list[str]]) -> None:
    ask(settings, environment="dev", follow=True)
    assert calls[0][-1] == "--follow"


def test_all_environments_are_asked_in_order_and_the_worst_exit_code_is_told(settings: Settings, calls: list[list[str]]) -> None:
    assert ask(settings) == 3
    assert [argv[6] for argv in calls] == ["dev", "qa", "stage", "prod"]


def test_what_is_worked_on_has_a_log_too(settings: Settings, calls: list[list[str]]) -> None:
    ask(settings, environment="local")
    assert [argv[6] for argv in calls] == ["local"]


def test_a_wrong_name_gets_the_list_of_valid_ones(settings: Settings, calls: list[list[str]]) -> None:
    with pytest.raises(UsageError, match="catalog"):
        ask(settings, service="catlog")
    with pytest.raises(UsageError, match="dev, local, prod, qa, stage"):
        ask(settings, environment="test")
    assert calls == []


def test_a_service_that_the_pipeline_brought_from_a_branch_has_a_log_too(
    settings: Settings, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kube, "healthy", lambda _: True)
    monkeypatch.setattr(applications, "applications", lambda _: [SimpleNamespace(service="reviews", retired=False)])
    ask(settings, service="reviews", environment="dev")
    assert len(calls) == 1
    with pytest.raises(UsageError, match=r"no service 'ratings'; valid: .*catalog.*reviews"):
        ask(settings, service="ratings", environment="dev")


def test_an_instance_that_is_not_there_is_said(tmp_path: Path, calls: list[list[str]]) -> None:
    nowhere = Settings(ROOT, tmp_path, "other")
    with pytest.raises(UsageError, match=r"no instance 'other'.*invoke up"):
        ask(nowhere)
    with pytest.raises(UsageError, match=r"no instance 'other'.*invoke up"):
        logs.exports(nowhere)
    assert calls == []


# Follows as the command does; its last word is that it was asked to end.
FOLLOWS = """
import signal, sys
from pathlib import Path
from slipway import logs, shell
from slipway.settings import ROOT, Settings
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    settings, kubectl = Settings(ROOT, Path(sys.argv[1]), "test"), Path(sys.argv[2])
    logs.logs(settings, kubectl=kubectl, service="catalog", environment=None, follow=True, tail=1)
except KeyboardInterrupt:
    shell.end_all()
    sys.exit(143)
"""


def test_whoever_is_asked_to_end_while_it_follows_leaves_no_kubectl_behind(settings: Settings, tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho $$ > "{tmp_path}/$6.new"\nmv "{tmp_path}/$6.new" "{tmp_path}/$6.pid"\nexec sleep 60\n')
    kubectl.chmod(0o755)
    argv = [sys.executable, "-c", FOLLOWS, str(settings.home), str(kubectl)]
    pid = shell.start(argv, log_file=tmp_path / "log", cwd=ROOT)
    places = [tmp_path / f"{name}.pid" for name in settings.environments]
    try:
        eventually("every kubectl to run", lambda: all(place.is_file() for place in places))
        os.kill(pid, signal.SIGTERM)
        eventually("it to end", lambda: not alive(pid))
    except BaseException:
        os.killpg(pid, signal.SIGKILL)
        raise
    finally:
        _, code = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(code) == 143, (tmp_path / "log").read_text()
    assert not [place.name for place in places if alive(int(place.read_text()))]


def test_a_shell_is_pointed_at_the_instance(settings: Settings) -> None:
    assert logs.exports(settings) == {"KUBECONFIG": str(settings.kubeconfig), "SLIPWAY_INSTANCE": "test"}
