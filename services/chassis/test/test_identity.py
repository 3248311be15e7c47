from __future__ import annotations

from chassis.identity import Identity, identify


def test_what_nobody_told_is_unknown() -> None:
    assert identify("catalog", environ={}) == Identity("catalog", "unknown", "unknown", "unknown", "unknown")


def test_it_is_what_image_and_chart_say() -> None:
    told = {
        "SLIPWAY_SERVICE": "search",
        "SLIPWAY_ENVIRONMENT": "qa",
        "SLIPWAY_VERSION": "1.2.3",
        "SLIPWAY_COMMIT": "abc",
        "SLIPWAY_DIGEST": "sha256:0",
    }
    assert identify("catalog", environ=told) == Identity("search", "qa", "1.2.3", "abc", "sha256:0")
