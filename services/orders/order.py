"""What an order is: what a caller may ask for, what it gets, and by which id it is found."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_LINES = 50
MAX_QUANTITY = 99

# Ten million: 50 lines of 99 such pieces are a number that a bigint holds, and JavaScript without a rounding error.
MAX_CENTS = 1_000_000_000

# Crockford's Base32: no letter that is mistaken for a digit, and none of them is U, so that few words come up.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

# 80 bits: nobody guesses an id, and no two are alike.
_ID_LETTERS, _ID_GROUP = 16, 4

_MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1"})

# No control characters: PostgreSQL takes no NUL, and a name is one line.
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^\P{Cc}+$")]
ProductId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]


class _Part(BaseModel):
    # A field that nobody here knows is refused: its sender believes that it counts.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Customer(_Part):
    """Who orders."""

    name: Name


class Line(_Part):
    """One product of an order, as it was called and what it cost when it was ordered."""

    product_id: ProductId
    name: Name
    unit_price_cents: int = Field(ge=0, le=MAX_CENTS, description="Price of one, in hundredths of the currency.")
    quantity: int = Field(ge=1, le=MAX_QUANTITY)


class Draft(_Part):
    """An order as a caller asks for it."""

    customer: Customer
    lines: Sequence[Line] = Field(min_length=1, max_length=MAX_LINES)

    @property
    def total_cents(self) -> int:
        """What all lines cost together."""
        return sum(line.unit_price_cents * line.quantity for line in self.lines)

    def digest(self) -> bytes:
        """A hash of the content: what is asked for twice has the same one.

        Versions of this service that run side by side must agree on it. So a field that is added later needs a default, and
        a default is not part of the content.
        """
        content = json.dumps(self.model_dump(exclude_defaults=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).digest()


class Order(BaseModel):
    """An order that was accepted."""

    id: str = Field(description="Case makes no difference, and O, I and L are read as 0 and 1.")
    status: Literal["accepted"] = "accepted"
    customer: Customer
    lines: Sequence[Line]
    total_cents: int
    created_at: datetime = Field(description="When it was accepted, in UTC.")


def new_id() -> str:
    """An id that nobody had, such as G7K2-9QXD-M3VA-04TZ."""
    # There are 32 letters, so that each is as likely as the others.
    return _grouped("".join(ALPHABET[byte % len(ALPHABET)] for byte in secrets.token_bytes(_ID_LETTERS)))


def read_id(text: str) -> str | None:
    """The id as it is stored, of what a person may have typed; None when it can be no id."""
    letters = text.upper().replace("-", "").translate(_MISREAD)
    return _grouped(letters) if re.fullmatch(f"[{ALPHABET}]{{{_ID_LETTERS}}}", letters) else None


def _grouped(letters: str) -> str:
    return "-".join(letters[start : start + _ID_GROUP] for start in range(0, _ID_LETTERS, _ID_GROUP))
