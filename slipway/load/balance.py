"""Whether the books of a load test balance: what was counted twice, by parts that know nothing of each other, is the same."""

from __future__ import annotations

from collections.abc import Iterator

from slipway.load.evidence import Evidence, Found, found, known, named, ratio

# Requests, or the share of them, by which the services' counters may differ from what was sent: what somebody else asked
# meanwhile. And the seconds before a container's end of which its counters told nobody: between two scrapes, one of them late.
_FEW, _SLACK, _UNSCRAPED = 5, 0.01, 8.0

# How many requests a service makes of others for one that it is asked: of these the counters are lost with it as well.
_INNER = 2


def books(seen: Evidence) -> Iterator[Found]:
    """What was counted twice is the same."""
    yield from _journeys(seen)
    yield from _ids(seen)
    yield _orders(seen)
    yield from _requests(seen)


def _journeys(seen: Evidence) -> Iterator[Found]:
    client = seen.client
    odd = [
        one.name
        for one in client.journeys
        if one.started > one.planned
        or one.started != one.ok + one.failed + one.unfinished
        or min(one.ok, one.failed, one.unfinished) < 0
    ]
    # The books have what began and did not end; the workers tell whom they had to end. A journey that is lost is in the first.
    told = [worker.unfinished for worker in client.workers if worker.unfinished is not None]
    ended = sum(told) if client.workers and len(told) == len(client.workers) else None
    left = sum(one.unfinished for one in client.journeys)
    yield found(
        "books",
        "every started journey ends as ok or failed, or is ended",
        ended,
        ended == left,
        "nobody knows how many journeys the workers had to end"
        if ended is None
        else f"{left} journeys began and never ended by the books, and the workers had to end {ended}: the others are lost",
        source="client.journeys[].unfinished and client.workers[].unfinished",
        figures=known(books=left, workers=ended),
    )
    yield found(
        "books",
        "every started journey is ok, failed or unfinished",
        len(odd),
        not odd,
        f"the journeys do not add up: {named(odd)}",
        source="client.journeys",
        figures={"kinds": len(odd)},
    )
    sums = {
        "started": (sum(one.started for one in client.seconds), sum(one.started for one in client.journeys)),
        "ok": (sum(one.ok for one in client.seconds), sum(one.ok for one in client.journeys)),
        "failed": (sum(one.failed for one in client.seconds), sum(one.failed for one in client.journeys)),
    }
    wrong = [f"{name}: {one} by the second, {other} by kind" for name, (one, other) in sums.items() if one != other]
    yield found(
        "books",
        "journeys by the second are journeys by kind",
        len(wrong),
        not wrong,
        f"the generator's two books of its journeys differ: {named(wrong)}",
        source="client.seconds and client.journeys",
        figures={name: one - other for name, (one, other) in sums.items()},
    )


def _ids(seen: Evidence) -> Iterator[Found]:
    told = seen.books
    answered = sum(seen.client.answered.values())
    # Where nobody was answered there is no id to look for: that is the services' failure, and the limits say so.
    none_due = not told.sampled and not answered
    yield found(
        "books",
        "every sampled request is in the services' logs",
        0 if none_due else told.found if told.sampled else None,
        none_due or (told.found is not None and told.found == told.sampled),
        f"{told.found} of {told.sampled} sampled requests are in the services' logs: somebody else answered the others"
        if told.found is not None and told.sampled
        else "nobody could look for the sampled requests in the services' logs",
        source=f"the logs of the services in {seen.target.environment}, field request_id",
        figures=known(sampled=told.sampled, found=told.found),
    )


def _orders(seen: Evidence) -> Found:
    told, unsure = seen.books, seen.client.orders_unsure
    rows, accepted = told.order_rows, told.orders_accepted
    lost = rows is not None and rows < accepted
    return found(
        "books",
        f"{accepted}{f' to {accepted + unsure}' if unsure else ''} orders in PostgreSQL",
        rows,
        rows is not None and accepted <= rows <= accepted + unsure,
        "nobody could count the orders in PostgreSQL"
        if rows is None
        else f"customers were told of {accepted} orders, and PostgreSQL has {rows}: "
        + ("an accepted order was lost" if lost else "an order was accepted twice, or nobody was told of it"),
        source="orders.request_id in PostgreSQL",
        figures=known(accepted=accepted, unsure=unsure, rows=rows),
    )


def _requests(seen: Evidence) -> Iterator[Found]:
    served, sent = seen.books.requests_served, seen.books.requests_sent
    answered = sum(seen.client.answered.values())
    slack = max(_FEW, _SLACK * sent)
    left = {pod.name: pod.restarts for pod in seen.pods.after}
    silent = {service for service, seconds in seen.server.down.items() if seconds}
    # Whoever ended, for good or to begin anew, took along what it had counted since the last scrape, and who fell silent has it.
    ends = sum(max(one.service in silent, left[one.name] - one.restarts) if one.name in left else 1 for one in seen.pods.before)
    gone = ratio(ends, len(seen.pods.before)) or 0.0
    unscraped = gone * _UNSCRAPED * (ratio(sent, seen.client.ended - seen.client.began) or 0.0)
    least, most = answered - slack - unscraped, sent + slack + _INNER * unscraped
    yield found(
        "books",
        f"{max(0.0, least):.0f} to {most:.0f} requests served",
        served,
        served is not None and least <= served <= most,
        "nobody knows how many requests the services served"
        if served is None
        else f"{sent} requests were sent, {answered} were answered, and the services counted {served:.0f}: "
        + ("somebody else used them meanwhile" if served > most else "somebody else answered, or a counter was lost"),
        source="increase of http_requests_total less that of upstream_requests_total and upstream_retries_total",
        figures=known(sent=sent, answered=answered, served=served),
    )
