"""Charts as the product renders them, and what tests ask of the result."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from slipway import helm
from slipway.settings import ROOT, load
from tests.programs import program

CHARTS = ROOT / "charts"

Object = dict[str, Any]

# A chart and the name of one of the shapes in its folder ci/.
Shape = tuple[str, str]

SHAPES: Sequence[Shape] = sorted(
    (path.parent.parent.name, path.name.removesuffix("-values.yaml")) for path in CHARTS.glob("*/ci/*-values.yaml")
)
NAMES = sorted(path.parent.name for path in CHARTS.glob("*/Chart.yaml"))

# Where each chart is installed; those of an environment go wherever their values say.
NAMESPACES = {"monitoring": "monitoring", "local-path": "local-path-storage", "load": "load"}


def shape_values(chart: str, shape: str) -> dict[str, Any]:
    """The values of one of a chart's shapes."""
    return yaml.safe_load((CHARTS / chart / "ci" / f"{shape}-values.yaml").read_text())


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values as Helm merges them: maps key by key, everything else whole."""
    result: dict[str, Any] = copy.deepcopy(dict(base))
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def render(chart: str, values: Mapping[str, Any]) -> list[Object]:
    """The objects that a chart makes of these values."""
    return copy.deepcopy(_render(chart, json.dumps(values, sort_keys=True)))


def render_shape(chart: str, shape: str, **changes: Any) -> list[Object]:
    """The objects of one of a chart's shapes, with some values changed."""
    return render(chart, merged(shape_values(chart, shape), changes))


@cache
def _render(chart: str, values: str) -> list[Object]:
    return helm.template(
        CHARTS / chart,
        helm=program("helm"),
        release=chart,
        namespace=NAMESPACES.get(chart, "slipway-system"),
        values=json.loads(values),
        kubernetes=load().versions["versions"]["kubernetes"],
    )


def only(objects: Sequence[Object], kind: str, name: str | None = None) -> Object:
    """The one object of that kind (and name)."""
    found = [item for item in objects if item["kind"] == kind and name in (None, item["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} {name or ''}: {[item['metadata']['name'] for item in found]}"
    return found[0]


def kinds(objects: Sequence[Object]) -> set[str]:
    """The kinds among the objects."""
    return {item["kind"] for item in objects}


def pods(objects: Sequence[Object]) -> Iterator[tuple[Object, Object]]:
    """Each workload with the template of its pods."""
    for item in objects:
        if item["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield item, item["spec"]["template"]


def containers(template: Object) -> list[Object]:
    """Every container of a pod, those that run first included."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def container(objects: Sequence[Object], workload: str | None = None) -> Object:
    """The only container of a Deployment."""
    (found,) = only(objects, "Deployment", workload)["spec"]["template"]["spec"]["containers"]
    return found


def pod_annotations(objects: Sequence[Object], workload: str | None = None) -> dict[str, str]:
    """The annotations of a Deployment's pods."""
    return only(objects, "Deployment", workload)["spec"]["template"]["metadata"]["annotations"]


def text(path: Path) -> str:
    """The content of a file of the charts' folder."""
    return (CHARTS / path).read_text()
