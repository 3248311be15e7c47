"""What a closed client would have told, told beside ours: of the same requests, those that its few users would have sent.

The requests that fall due are given to the users in turns. Who still waits for an answer leaves its turn out, so that a server
that stalls is asked less, and only a few of its answers are slow. It is shown to whoever wonders where the difference is from.
"""

from __future__ import annotations

import math
from typing import Any

from .ledger import Kind, Ledger
from .order import Order

# Requests that a user sends in a second when its answers come at once; and requests of a journey, about.
PER_USER, PER_JOURNEY = 10.0, 3


def users(order: Order) -> int:
    """How many users each worker has."""
    most = max(max(phase.begin_rate, phase.end_rate) for phase in order.phases)
    return max(1, math.ceil(most * PER_JOURNEY / PER_USER / order.workers))


def told(order: Order, merged: Ledger) -> dict[str, Any]:
    """What came of each phase, and what a closed client would have told, in the words of slipway/load/model/client.py."""
    stages = [{"name": one.name, **_outcome(merged.phases[one.name])} for one in order.phases if one.name in merged.phases]
    kind = merged.closed
    more = {"users": users(order) * order.workers, "left_out": kind.counts["left_out"], "maximum": kind.times.most}
    return {"phases": stages, "closed": {**_outcome(kind), **more}}


def _outcome(kind: Kind) -> dict[str, Any]:
    times = kind.times
    shares = {"p50": times.within(0.5), "p95": times.within(0.95), "p99": times.within(0.99)}
    return {"requests": kind.counts["requests"], "failures": kind.counts["failures"], **shares}


class Closed:
    """The users of one worker.

    Args:
        users: How many there are.
    """

    def __init__(self, users: int) -> None:
        self._waits, self._turn = [False] * users, 0

    def send(self) -> int | None:
        """Who sends the request that is due now; None when it still waits for an answer, and leaves it out."""
        user, self._turn = self._turn, (self._turn + 1) % len(self._waits)
        if self._waits[user]:
            return None
        self._waits[user] = True
        return user

    def answered(self, user: int) -> None:
        """It has its answer, or has given up."""
        self._waits[user] = False
