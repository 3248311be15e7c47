"""Helm as a renderer: a chart and values in, parsed objects out. Nothing is ever installed by it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from slipway import shell
from slipway.errors import SlipwayError

_HINT = "Helm comes with Slipway: ./invoke up makes it when the PATH has none of the right version."

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ChartError(SlipwayError):
    """A chart and its values do not make objects."""


def template(
    chart: Path,
    *,
    helm: Path,
    release: str,
    namespace: str,
    values: Mapping[str, Any],
    kubernetes: str,
) -> list[dict[str, Any]]:
    """The objects that a chart makes of these values.

    Args:
        chart: The chart's folder.
        helm: The program.
        release: The release's name.
        namespace: The release's namespace.
        values: What differs from the chart's defaults.
        kubernetes: The Kubernetes version that the chart is told, without "v".

    Raises:
        ChartError: Helm refused the chart or the values; the message carries its reason.
    """
    argv = [helm, "template", release, chart, "--namespace", namespace, "--kube-version", kubernetes, "--values", "-"]
    result = _helm(argv, stdin=json.dumps(values))
    if result.code != 0:
        raise ChartError(f"{chart.name}: {_reason(result.stderr)}\nCorrect the chart's values for {release} and repeat.")
    return [item for item in yaml.load_all(result.stdout, Loader=_Loader) if item]


def lint(chart: Path, *, helm: Path, values: Mapping[str, Any] | None = None) -> None:
    """Return when a chart has nothing that Helm warns of.

    Raises:
        ChartError: It has; the message carries the warnings.
    """
    result = _helm([helm, "lint", "--strict", "--quiet", chart, "--values", "-"], stdin=json.dumps(values or {}))
    if result.code != 0:
        raise ChartError(f"{chart.name}: {_reason(result.stdout + result.stderr)}")


def _helm(argv: shell.Argv, *, stdin: str) -> shell.Result:
    with tempfile.TemporaryDirectory(prefix="slipway-helm-") as home:
        env = {f"HELM_{part}_HOME": home for part in ("CACHE", "CONFIG", "DATA")}
        # Helm looks for the cluster of whoever runs it; rendering must not depend on there being one.
        return shell.run(argv, stdin=stdin, env={**env, "KUBECONFIG": f"{home}/none"}, check=False, hint=_HINT, timeout=60.0)


def _reason(output: str) -> str:
    return "\n".join(line for line in output.strip().splitlines() if line and not line.startswith("Use --debug"))
