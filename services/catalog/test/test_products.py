from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import main
from products import Catalog, Product, fold


def product(identifier: str, name: str, *, description: str = "", tags: tuple[str, ...] = ()) -> Product:
    return Product(id=identifier, name=name, description=description, price_cents=100, tags=tags, stock="few")


def found(catalog: Catalog, query: str) -> list[str]:
    return [item.id for item in catalog.search(query, limit=100).items]


@pytest.fixture(scope="module")
def shelves() -> Catalog:
    return Catalog.read(main.PRODUCTS)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Bodø", "chart-bodo-tromso"),
        ("BODO", "chart-bodo-tromso"),
        ("tromso", "chart-bodo-tromso"),
        ("aland", "chart-aland"),
        ("Cafe\u0301", "cafe-press-steel"),
        ("CREME", "cafe-press-steel"),
        ("smorgas", "smorgas-board"),
        ("cotier", "pilot-book-bretagne"),
        ("ships", "bell-brass"),
        ("ship\u2019s", "bell-brass"),
    ],
)
def test_case_and_accents_make_no_difference(shelves: Catalog, query: str, expected: str) -> None:
    assert found(shelves, query) == [expected]


def test_a_word_in_the_name_counts_more_than_a_tag_and_a_tag_more_than_the_description() -> None:
    catalog = Catalog(
        [
            product("a-text", "Mug", description="with a rope handle"),
            product("b-part", "Tightrope"),
            product("c-tag", "Fid", tags=("rope",)),
            product("d-prefix", "Ropes"),
            product("e-name", "Rope"),
        ]
    )
    assert found(catalog, "rope") == ["e-name", "d-prefix", "c-tag", "b-part", "a-text"]


def test_every_word_must_be_found(shelves: Catalog) -> None:
    assert found(shelves, "anchor chain") == ["anchor-chain-8mm"]
    assert found(shelves, "anchor submarine") == []


def test_equal_matches_come_in_the_order_of_their_ids() -> None:
    catalog = Catalog([product(name, "Rope") for name in ("c", "a", "b")])
    assert found(catalog, "rope") == ["a", "b", "c"]


def test_punctuation_alone_finds_nothing(shelves: Catalog) -> None:
    assert found(shelves, "?!...") == []


@given(st.text(max_size=100))
def test_any_query_is_answered_and_every_find_holds_its_words(query: str) -> None:
    catalog = Catalog([product("rope", "Rope 8 mm", tags=("deck",)), product("mug", "Émaille mug")])
    for item in catalog.search(query, limit=100).items:
        text = fold(f"{item.name} {item.description} {' '.join(item.tags)}")
        assert all(word in text for word in fold(query).split())


@given(st.text(max_size=50))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.integers(1, 100), st.integers(0, 1_000_000), st.integers(0, 30))
def test_a_page_never_holds_more_than_asked_for_and_points_at_what_is_left(limit: int, offset: int, count: int) -> None:
    page = Catalog([product(f"p{number:02}", "Rope") for number in range(count)]).page(limit=limit, offset=offset)
    assert len(page.items) == max(0, min(limit, count - offset))
    assert page.next_offset == (offset + limit if offset + limit < count else None)


def test_an_id_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="given twice: mug"):
        Catalog([product("mug", "One"), product("mug", "Two")])


@pytest.mark.parametrize("line", ["- {id: mug}", "- {id: Mug!, name: x}", "mug: 1", "- 7"])
def test_a_product_that_is_not_complete_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "products.yaml"
    file.write_text(line)
    with pytest.raises(ValidationError):
        Catalog.read(file)
