"""The generator's chart: workers are spread over the nodes there are, or stay on those that were asked for."""

from __future__ import annotations

from typing import Any

from tests.charts.rendering import only, render_shape


def template(part: str, **values: Any) -> dict[str, Any]:
    """What the pods of a part are made of."""
    objects = render_shape("load", "default", **values)
    return only(objects, "Job", f"load-20261123-020000-a1b2-{part}")["spec"]["template"]


def test_several_workers_are_spread_over_the_nodes_and_come_to_one_where_there_is_no_other() -> None:
    made = template("worker", workers=3)
    [spread] = made["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["maxSkew"]) == ("kubernetes.io/hostname", 1)
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    chosen = spread["labelSelector"]["matchLabels"]
    assert chosen.items() <= made["metadata"]["labels"].items()
    assert (chosen["app.kubernetes.io/component"], "slipway.dev/load-run" in chosen) == ("worker", True)


def test_one_process_has_nothing_to_be_spread() -> None:
    for part in ("master", "worker"):
        assert "topologySpreadConstraints" not in template(part, workers=1)["spec"]


def test_the_generator_stays_on_the_nodes_that_were_asked_for() -> None:
    for part in ("master", "worker"):
        spec = template(part, workers=2, nodeSelector={"slipway.dev/pool": "load"})["spec"]
        assert spec["nodeSelector"] == {"slipway.dev/pool": "load"}
