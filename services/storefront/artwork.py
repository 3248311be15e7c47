"""Which picture stands for a product: told by its id and tags, so that new products have one too."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

PICTURES = Path(__file__).with_name("static") / "artwork.svg"

FALLBACK = "boat"

# Words of an id that the pictures do not bear themselves.
_BY_WORD = {
    "cafe": "press",
    "bilge": "pump",
    "lifejacket": "lifejacket",
    "oilskin": "jacket",
    "pilot": "book",
    "sail": "needles",
    "smorgas": "board",
    "splicing": "fid",
    "winch": "handle",
}

_BY_TAG = {
    "anchoring": "anchor",
    "cabin": "lantern",
    "clothing": "jacket",
    "dinghy": "fender",
    "galley": "mug",
    "maintenance": "brush",
    "mooring": "fender",
    "navigation": "compass",
    "rigging": "shackle",
    "rope": "rope",
    "safety": "lifejacket",
}

# Tints of the tiles (in static/style.css), so that what belongs together looks it.
_TONES = {
    "anchoring": "slate",
    "cabin": "brass",
    "clothing": "brick",
    "galley": "brass",
    "maintenance": "moss",
    "mooring": "sea",
    "navigation": "sea",
    "rigging": "slate",
    "rope": "moss",
    "safety": "brick",
}


class Thing(Protocol):
    """What a picture is wanted for."""

    @property
    def id(self) -> str:
        """Its id: words with hyphens between them."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags, the most telling first."""
        ...


def _drawn() -> frozenset[str]:
    root = ElementTree.parse(PICTURES).getroot()  # noqa: S314 - a file of our own
    return frozenset(symbol.get("id", "") for symbol in root)


DRAWN = _drawn()


def picture(thing: Thing) -> str:
    """The name of the picture: of the first telling word of the id, else of a tag, else of the shop."""
    return named(thing.id) or next((_BY_TAG[tag] for tag in thing.tags if tag in _BY_TAG), FALLBACK)


@lru_cache(maxsize=1024)
def named(product_id: str) -> str:
    """The name of the picture that the id alone tells; "" when none does."""
    words = product_id.split("-")
    # "anchor-chain-8mm" and "lantern-anchor-led" both hold an anchor: what a thing is made for says less than what it is.
    found = [name for name in (_BY_WORD.get(word, word) for word in words) if name in DRAWN and name != FALLBACK]
    return "chain" if "chain" in found else next(iter(found), "")


def tone(thing: Thing) -> str:
    """The tint of the tile it is shown on."""
    return next((_TONES[tag] for tag in thing.tags if tag in _TONES), "slate")
