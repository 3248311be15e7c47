"""Every product of the catalog has a picture of its own kind, and every picture a place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import artwork

PRODUCTS = yaml.safe_load((Path(artwork.__file__).parent.parent / "catalog" / "products.yaml").read_text())
STYLE = (Path(artwork.__file__).parent / "static" / "style.css").read_text()


@dataclass(frozen=True)
class Thing:
    id: str
    tags: tuple[str, ...] = ()


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product["id"])
def test_every_product_has_a_picture_and_a_tint(product: dict[str, object]) -> None:
    thing = Thing(str(product["id"]), tuple(product["tags"]))  # type: ignore[arg-type]
    assert artwork.picture(thing) in artwork.DRAWN - {artwork.FALLBACK}
    assert f".tone-{artwork.tone(thing)} " in STYLE


@pytest.mark.parametrize(
    ("identifier", "tags", "picture"),
    [
        ("anchor-chain-8mm", (), "chain"),
        ("lantern-anchor-led", ("anchoring",), "lantern"),
        ("boat-hook-telescopic", (), "hook"),
        ("kettle", ("galley",), "mug"),
        ("thing", ("new",), "boat"),
        ("thing", (), "boat"),
    ],
)
def test_a_picture_is_told_by_id_then_by_tag_then_by_the_shop(identifier: str, tags: tuple[str, ...], picture: str) -> None:
    assert artwork.picture(Thing(identifier, tags)) == picture


def test_no_picture_was_drawn_for_nothing() -> None:
    shown = {artwork.picture(Thing(product["id"], tuple(product["tags"]))) for product in PRODUCTS}
    assert shown | {artwork.FALLBACK} == artwork.DRAWN
