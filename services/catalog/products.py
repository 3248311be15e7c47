"""The products, and how they are found."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

# What a word is worth, by where it is found.
NAME, NAME_PREFIX, TAG, NAME_PART, DESCRIPTION = 8, 5, 4, 2, 1


class Product(BaseModel):
    """One thing the shop sells."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
    name: str = Field(min_length=1, max_length=80)
    description: str = Field(max_length=400)
    price_cents: int = Field(gt=0, description="Price of one, in hundredths of the currency.")
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    tags: tuple[str, ...] = ()
    stock: Literal["plenty", "few", "none"] = Field(description="A hint, not a promise.")


class Page(BaseModel):
    """Some products of a list, and where they lie in it."""

    items: Sequence[Product]
    total: int = Field(description="Products in the whole list.")
    limit: int
    offset: int
    next_offset: int | None = Field(description="The offset of the next page; null on the last one.")


class Found(Page):
    """Some products that match."""

    query: str


class Tag(BaseModel):
    """A tag, and how many products carry it."""

    name: str
    products: int


class Catalog:
    """All products, in memory, by id."""

    def __init__(self, products: Sequence[Product]) -> None:
        self.products: Mapping[str, Product] = {product.id: product for product in sorted(products, key=lambda item: item.id)}
        if len(self.products) != len(products):
            twice = [name for name, count in Counter(product.id for product in products).items() if count > 1]
            raise ValueError(f"product ids given twice: {', '.join(twice)}")
        self._texts = {
            product.id: (fold(product.name).split(), frozenset(map(fold, product.tags)), fold(product.description))
            for product in self.products.values()
        }
        self._tags = Counter(tag for product in products for tag in product.tags)

    @classmethod
    def read(cls, path: Path) -> Catalog:
        """The catalog of a YAML file.

        Raises:
            ValueError: A product in it is not complete, or its id is given twice.
        """
        return cls(TypeAdapter(list[Product]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8"))))

    def page(self, *, tag: str | None = None, limit: int, offset: int = 0) -> Page:
        """Products in the order of their ids."""
        return Page.model_validate(_cut([item for item in self.products.values() if _tagged(item, tag)], limit, offset))

    def search(self, query: str, *, tag: str | None = None, limit: int, offset: int = 0) -> Found:
        """Products in which every word of the query is found, best first, then in the order of their ids."""
        words = list(dict.fromkeys(fold(query).split()))
        scored = [(self._score(item, words), item) for item in self.products.values() if _tagged(item, tag)]
        found = [item for score, item in sorted(scored, key=lambda pair: -pair[0]) if score]
        return Found.model_validate({**_cut(found, limit, offset), "query": query})

    def tags(self) -> list[Tag]:
        """Every tag, in alphabetical order."""
        return [Tag(name=name, products=count) for name, count in sorted(self._tags.items())]

    def _score(self, product: Product, words: Sequence[str]) -> int:
        name, tags, description = self._texts[product.id]
        total = 0
        for word in words:
            if word in name:
                worth = NAME
            elif any(part.startswith(word) for part in name):
                worth = NAME_PREFIX
            elif word in tags:
                worth = TAG
            elif any(word in part for part in name):
                worth = NAME_PART
            elif word in description:
                worth = DESCRIPTION
            else:
                return 0
            total += worth
        return total


def fold(text: str) -> str:
    """The text without case, accents and punctuation: what two spellings of one word have in common."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    kept = (char if char.isalnum() else "" if char in _JOINING or unicodedata.combining(char) else " " for char in decomposed)
    return "".join(kept).casefold().translate(_LETTERS)


# Part of a word, and left out of it by most who type it.
_JOINING = "'\u2019"

# Letters of their own to Unicode, which most keyboards lack.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "æ": "ae", "œ": "oe", "đ": "d", "ð": "d", "þ": "th"})


def _tagged(product: Product, tag: str | None) -> bool:
    return tag is None or tag in product.tags


def _cut(products: Sequence[Product], limit: int, offset: int) -> dict[str, object]:
    after = offset + limit
    return {
        "items": products[offset:after],
        "total": len(products),
        "limit": limit,
        "offset": offset,
        "next_offset": after if after < len(products) else None,
    }
