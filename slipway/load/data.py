"""The test's own data in an environment, and its removal: everything carries the run's name, and nothing else is touched."""

from __future__ import annotations

import re

from slipway.kube import Kube, KubeError

# The store of the orders, as the checkout's chart delivers it.
_POD, _CONTAINER = "postgresql-0", "postgresql"
_TIMEOUT = 60.0

_PREFIX = re.compile(r"load-[A-Za-z0-9._-]{1,48}-")

# One statement, so one transaction: an order goes with its lines, or not at all.
_DELETE = """
WITH mine AS (SELECT id FROM orders WHERE starts_with(request_id, '{prefix}')),
lines AS (DELETE FROM order_lines WHERE order_id IN (SELECT id FROM mine)),
gone AS (DELETE FROM orders WHERE id IN (SELECT id FROM mine) RETURNING 1)
SELECT count(*) FROM gone
"""


def remove_orders(kube: Kube, environment: str, prefix: str) -> int | None:
    """How many orders of a test were removed from an environment's PostgreSQL; None when that could not be done.

    Args:
        kube: The cluster.
        environment: The environment.
        prefix: What the ids of the test's requests begin with ("load-<run>-").

    Raises:
        ValueError: It is no such prefix; one that is goes into a statement as it is.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} is nothing that a test's requests begin with")
    words = ["psql", "--username=postgres", "--dbname=orders", "--no-psqlrc", "--tuples-only", "--no-align"]
    try:
        said = kube.execute(
            _POD,
            [*words, f"--command={_DELETE.format(prefix=prefix)}"],
            namespace=environment,
            container=_CONTAINER,
            timeout=_TIMEOUT,
        )
        return int(said)
    except (KubeError, ValueError):
        return None
