"""Helm as a renderer: what it is asked, and what its refusal becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slipway import helm, shell
from slipway.helm import ChartError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, Any]]]:
    calls: list[tuple[list[str], dict[str, Any]]] = []

    def run(argv: shell.Argv, **options: Any) -> shell.Result:
        calls.append(([str(word) for word in argv], options))
        return shell.Result(0, "kind: A\n---\n# nothing\n---\nkind: B\n", "")

    monkeypatch.setattr(shell, "run", run)
    return calls


def render() -> list[dict[str, Any]]:
    return helm.template(
        Path("charts/x"), helm=Path("/bin/helm"), release="catalog", namespace="dev", values={"a": 1}, kubernetes="1.36.3"
    )


def test_a_chart_becomes_objects_and_empty_documents_do_not(asked: list[tuple[list[str], dict[str, Any]]]) -> None:
    assert render() == [{"kind": "A"}, {"kind": "B"}]
    argv, options = asked[0]
    assert argv[:4] == ["/bin/helm", "template", "catalog", "charts/x"]
    assert json.loads(options["stdin"]) == {"a": 1}


def test_no_cluster_and_nobodys_helm_settings_are_looked_at(asked: list[tuple[list[str], dict[str, Any]]]) -> None:
    render()
    environ = asked[0][1]["env"]
    assert set(environ) == {"HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECONFIG"}
    assert not Path(environ["KUBECONFIG"]).exists()


def test_a_refusal_is_the_charts_own_sentence(
    asked: list[tuple[list[str], dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "Error: image.digest is not set\n\nUse --debug flag to render out invalid YAML\n"
    monkeypatch.setattr(shell, "run", lambda *_, **__: shell.Result(1, "", said))
    with pytest.raises(ChartError) as caught:
        render()
    assert str(caught.value) == "x: Error: image.digest is not set\nCorrect the chart's values for catalog and repeat."


def test_a_warning_fails_a_lint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "run", lambda *_, **__: shell.Result(1, "[WARNING] icon is recommended\n", ""))
    with pytest.raises(ChartError, match="icon"):
        helm.lint(Path("charts/x"), helm=Path("helm"))
