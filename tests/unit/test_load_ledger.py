"""The generator's books: times exact to a percent, and parts that add up to the whole."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.generator.buckets import GROWTH, SMALLEST, Times, bucket, upper
from loadtests.generator.ledger import Ledger

seconds = st.floats(min_value=0.0, max_value=600.0)

# What happens to books: a journey starts, a request ends, a journey ends.
started = st.builds(lambda due, late: lambda books: books.started("browse", due=due, late=late), seconds, seconds)
ended = st.builds(
    lambda at, took, ok: lambda books: books.ended("browse", at=at, seconds=took, ok=ok), seconds, seconds, st.booleans()
)
asked = st.builds(
    lambda at, took, error, counted, phase, sent: (
        lambda books: books.asked(
            ("catalog", "GET /products", "browse"),
            stream="keep-alive",
            at=at,
            seconds=took,
            error=error,
            counted=counted,
            phase=phase,
            sent=sent,
        )
    ),
    seconds,
    seconds,
    st.sampled_from(["", "status 500"]),
    st.booleans(),
    st.sampled_from(["", "plateau", "after"]),
    st.none() | seconds,
)
broke = st.builds(lambda why: lambda books: books.broke("browse", why), st.sampled_from(["KeyError: 'id'", "TypeError"]))
counted = st.builds(lambda by: lambda books: books.counts.update({"orders_unsure": by}), st.sampled_from([1, -1]))
happenings = st.lists(started | ended | asked | broke | counted, max_size=20)

Happening = Callable[[Ledger], None]


def books(*things: Happening) -> Ledger:
    made = Ledger()
    for thing in things:
        thing(made)
    return made


def times(*values: float) -> Times:
    made = Times()
    for value in values:
        made.add(value)
    return made


@given(value=st.floats(min_value=SMALLEST, max_value=3600.0))
def test_a_time_is_told_at_most_a_percent_too_long_and_never_too_short(value: float) -> None:
    told = upper(bucket(value))
    assert value * (1 - 1e-9) <= told <= value * GROWTH * (1 + 1e-9)


@given(index=st.integers(min_value=0, max_value=2500))
def test_a_bound_lies_in_its_own_bucket_after_as_many_trips_as_it_likes(index: int) -> None:
    assert bucket(upper(index)) == index


@given(values=st.lists(st.floats(min_value=1e-4, max_value=60.0), min_size=1, max_size=50), share=st.floats(0.01, 1.0))
def test_a_percentile_is_that_of_the_values_themselves_to_a_percent(values: list[float], share: float) -> None:
    exact = sorted(values)[max(1, math.ceil(share * len(values) - 1e-9)) - 1]
    found = times(*values).within(share)
    assert found is not None
    assert exact * (1 - 1e-9) <= found <= exact * GROWTH * (1 + 1e-9)


def test_of_no_times_nothing_is_told() -> None:
    assert (Times().within(0.5), Times().most, Times().histogram) == (None, None, [])


def test_the_longest_time_is_told_exactly() -> None:
    assert times(0.1, 0.123456789).most == times(0.1, 0.123456789).within(1.0) == 0.123456789


@given(first=happenings, second=happenings)
def test_parts_of_books_add_up_to_the_whole_in_any_order(first: list[Happening], second: list[Happening]) -> None:
    whole = books(*first, *second).plain()
    there, back = books(*first), books(*second)
    there.merge(books(*second))
    back.merge(books(*first))
    assert ordered(there.plain()) == ordered(back.plain()) == ordered(whole)


@given(things=happenings)
def test_books_that_were_sent_are_read_as_they_were(things: list[Happening]) -> None:
    sent = json.loads(json.dumps(books(*things).plain()))
    assert ordered(Ledger.of(sent).plain()) == ordered(books(*things).plain())


def ordered(plain: dict[str, object]) -> str:
    """Books as text; a count of nothing is the same as none."""

    def without(value: object) -> object:
        if isinstance(value, dict):
            return {key: kept for key, inner in sorted(value.items()) if (kept := without(inner)) != 0}
        if isinstance(value, list):
            return [without(inner) for inner in value]
        return value

    return json.dumps(without(plain), sort_keys=True)


def test_a_request_counts_for_its_endpoint_in_the_phases_that_count_and_for_its_second_always() -> None:
    made = Ledger()
    where = ("catalog", "GET /products", "browse")
    made.asked(where, stream="keep-alive", at=3.5, seconds=0.1, error="", counted=False)
    assert not made.endpoints
    made.asked(where, stream="keep-alive", at=3.9, seconds=0.2, error="status 500", counted=True)
    assert made.endpoints[where].counts == {"requests": 1, "failures": 1}
    assert made.endpoints[where].errors == {"status 500": 1}
    assert made.seconds[3].counts == {"requests": 2, "failures": 1}
    assert made.streams["keep-alive"].counts["requests"] == 2


def test_a_journey_counts_as_started_when_it_was_due_and_as_ended_when_it_ended() -> None:
    made = books(
        lambda one: one.started("browse", due=1.9, late=0.3), lambda one: one.ended("browse", at=4.2, seconds=2.3, ok=False)
    )
    assert made.seconds[1].counts == {"started": 1}
    assert made.seconds[4].counts == {"failed": 1}
    assert made.journeys["browse"].counts == {"started": 1, "failed": 1}
    assert made.lateness.most == pytest.approx(0.3)
