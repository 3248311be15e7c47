"""The master: says when it begins, notices who is lost, adds the books up, and prints them as lines of JSON.

Nothing but what it prints leaves the generator: a line each second, and at the end everything, in numbered pieces with a
checksum, so that a reader knows when one is missing and reads the log again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import sys
import time
import zlib
from collections import Counter
from typing import Any

import gevent
from locust.env import Environment

from . import closed, order
from .arrivals import DRAIN, phase_at
from .ledger import Ledger, Second
from .telling import Seen, broken, endpoint, journey, outcome, turned_away, windows, worker
from .worker import BEAT, BEGIN, ENDED, PREPARE, READY, STOP

log = logging.getLogger("load")

# Seconds that workers get to prepare their test data, far more than they give themselves; and between the word to begin and the
# plan's begin.
PREPARED, LEAD = 60.0, 1.0

# Seconds without a word after which a worker is lost: it speaks every second.
SILENCE = 6.0

# Seconds after its end until a second is shown: what workers know of it is on its way.
SHOWN_AFTER = 1.5

# Seconds beyond the drain in which workers tidy up and say their last word: far more than they give themselves.
LAST_WORDS = 45.0

# Exit codes: a worker was lost, or the test did not come to its end.
LOST = 3

# Characters of a piece: below the 16 KiB at which container runtimes split a line.
PIECE = 8192


class Master:
    """The master's part.

    Args:
        environment: Locust's.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runner: Any = environment.runner
        self._order = order.read()
        self._workers: dict[str, Seen] = {}
        self._began, self._zero = 0.0, 0.0
        self._shown = 0
        self._said: list[str] = []
        self._planned: Counter[int] = Counter()
        self._journeys: Counter[str] = Counter()
        for arrival in self._order.arrivals():
            self._planned[int(arrival.due)] += 1
            self._journeys[arrival.journey] += 1
        self._told = False
        environment.events.quitting.add_listener(self._quit)
        self._runner.register_message(READY, self._ready)
        self._runner.register_message(BEAT, self._hear)
        self._runner.register_message(ENDED, self._hear)

    def run(self) -> None:
        """See the test through, print what came of it, and end the process."""
        code = 1
        try:
            self._begin()
            while not all(seen.ended or seen.lost for seen in self._workers.values()):
                gevent.sleep(0.2)
                self._look()
                if self._now > self._order.seconds + self._order.drain + LAST_WORDS:
                    self._lose([seen for seen in self._workers.values() if not seen.ended], "did not come to an end")
            ended = self._began + self._now
            gevent.sleep(0.3)  # what Locust itself reported is taken in by another greenlet
            code = self._close(ended)
        except Exception:
            log.exception("the master broke")
        finally:
            self._environment.process_exit_code = code
            self._runner.quit()

    def _quit(self, environment: Environment, **_: Any) -> None:
        """Locust ends by itself when its last worker says goodbye, or when it is told to: what is known is told all the same."""
        if self._began and not self._told:
            gone = [seen for seen in self._workers.values() if not seen.ended and not seen.lost]
            self._lose(gone, "went before its end")
            environment.process_exit_code = self._close(self._began + self._now)

    def _close(self, ended: float) -> int:
        """Tell everything, once; the exit code that this is."""
        lost = any(seen.lost for seen in self._workers.values())
        if not self._told:
            self._told = True
            self._tell(self._whole(ended))
        return LOST if lost else 0

    @property
    def _now(self) -> float:
        return time.monotonic() - self._zero

    def _begin(self) -> None:
        names = sorted(client.id for client in self._runner.clients.all)[: self._order.workers]
        for index, name in enumerate(names):
            self._workers[name] = Seen(index, time.monotonic())
            self._runner.send_message(PREPARE, {"index": index}, name)
        until = time.monotonic() + PREPARED
        while time.monotonic() < until and not all(seen.ready for seen in self._workers.values()):
            gevent.sleep(0.1)
        # Every worker has the same time zero; clocks of several machines have to be kept together.
        self._began = float(int(time.time() + LEAD) + 1)
        self._zero = time.monotonic() + self._began - time.time()
        for name, seen in self._workers.items():
            seen.heard = time.monotonic()
            self._runner.send_message(BEGIN, {"began": self._began}, name)
        _print({"load": "begin", "began": self._began, "seconds": self._order.seconds, "workers": len(names)})
        unready = [seen for seen in self._workers.values() if not seen.ready]
        if unready:
            self._lose(unready, f"was not ready within {PREPARED:g} s")

    def _ready(self, environment: Environment, msg: Any, **_: Any) -> None:
        if msg.node_id in self._workers:
            self._workers[msg.node_id].ready = True

    def _hear(self, environment: Environment, msg: Any, **_: Any) -> None:
        seen = self._workers.get(msg.node_id)
        if seen is None or seen.lost:
            return
        told = json.loads(msg.data["text"])
        if told["sequence"] != seen.sequence:
            self._said.append(f"worker {seen.index}: word {seen.sequence} is missing")
            self._lose([seen], "has not told everything")
            return
        seen.sequence, seen.heard = seen.sequence + 1, time.monotonic()
        seen.ledger.merge(Ledger.of(told["ledger"]))
        seen.cpu += [(int(second), float(share)) for second, share in told["cpu"]]
        seen.under_way[int(told["at"] + 0.5) - 1] = told["under_way"]
        if msg.type == ENDED:
            seen.ended, seen.unfinished = True, told["unfinished"]
            seen.removed, seen.carts = told["removed"], told["carts"]

    def _look(self) -> None:
        now = time.monotonic()
        silent = [one for one in self._workers.values() if not one.ended and not one.lost and now - one.heard > SILENCE]
        if silent:
            self._lose(silent, f"has said nothing for {SILENCE:g} s")
        self._show()

    def _lose(self, lost: list[Seen], why: str) -> None:
        """A test without one of its workers is over: the others stop, and say what they know."""
        for seen in lost:
            seen.lost = True
            self._said.append(f"worker {seen.index} {why}")
            _print({"load": "lost", "worker": seen.index, "why": why})
        for name, seen in self._workers.items():
            if not seen.lost and not seen.ended:
                self._runner.send_message(STOP, {}, name)

    def _merged(self) -> Ledger:
        whole = Ledger()
        for seen in self._workers.values():
            whole.merge(seen.ledger)
        return whole

    def _show(self) -> None:
        """Print the seconds that are over, each once."""
        while self._shown < int(self._now - SHOWN_AFTER):
            _print({"load": "second", **self._second(self._shown, [seen.ledger for seen in self._workers.values()])})
            self._shown += 1

    def _second(self, index: int, ledgers: list[Ledger]) -> dict[str, Any]:
        merged = Second()
        for ledger in ledgers:
            if index in ledger.seconds:
                one = ledger.seconds[index]
                merged.counts.update(one.counts)
                merged.latency.merge(one.latency)
                merged.lateness.merge(one.lateness)
        phase = phase_at(self._order.phases, index + 0.5)
        return {
            "at": self._began + index,
            "phase": phase.name if phase else DRAIN,
            "planned": self._planned[index],
            **{name: merged.counts[name] for name in ("started", "ok", "failed", "requests", "failures")},
            "in_flight": sum(seen.under_way.get(index, 0) for seen in self._workers.values()),
            "p50": merged.latency.within(0.5),
            "p95": merged.latency.within(0.95),
            "p99": merged.latency.within(0.99),
            "late_p99": merged.lateness.within(0.99),
            "late_max": merged.lateness.most,
        }

    def _whole(self, ended: float) -> dict[str, Any]:
        """Everything, in the words of `Client` in slipway/load/model/client.py."""
        merged, seen, parts = self._merged(), list(self._workers.values()), windows(self._order.phases)
        last = max([int(self._order.seconds), *(index + 1 for index in merged.seconds)])
        return {
            "began": self._began,
            "ended": ended,
            "seconds": [self._second(index, [merged]) for index in range(last)],
            "endpoints": [endpoint(*where, kind) for where, kind in sorted(merged.endpoints.items())],
            "journeys": [journey(name, planned, merged.journeys[name]) for name, planned in sorted(self._journeys.items())],
            "streams": [{"name": name, **outcome(kind)} for name, kind in sorted(merged.streams.items())],
            "workers": [worker(one, parts) for one in sorted(seen, key=lambda one: one.index)],
            "expected_workers": self._order.workers,
            "locust": self._locusts(),
            "sampled": sorted(merged.sampled),
            "orders_accepted": merged.counts["orders_accepted"],
            "orders_unsure": merged.counts["orders_unsure"],
            "sent": dict(merged.sent),
            "answered": dict(merged.answered),
            "carts": sum(one.carts for one in seen),
            "removed": {"carts": None if any(one.lost for one in seen) else sum(one.removed for one in seen)},
            "said": [*self._said, *turned_away(merged), *broken(merged)],
            **closed.told(self._order, merged),
            "stale": merged.counts["stale"],
        }

    def _locusts(self) -> dict[str, Any]:
        total: Any = self._environment.stats.total
        found = {f"p{share:g}": total.get_response_time_percentile(share / 100) / 1000 for share in (50, 95, 99)}
        none = dict.fromkeys(found)
        counts = {"requests": total.num_requests, "failures": total.num_failures, "rps": float(total.total_rps)}
        return {**counts, **(found if total.num_requests else none)}

    def _tell(self, whole: dict[str, Any]) -> None:
        content = json.dumps(whole).encode()
        text = base64.b64encode(zlib.compress(content)).decode()
        pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
        for number, piece in enumerate(pieces):
            _print({"load": "piece", "number": number, "data": piece})
        _print({"load": "done", "pieces": len(pieces), "sha256": hashlib.sha256(content).hexdigest()})


def _print(told: dict[str, Any]) -> None:
    # Whoever started this as a process of its own may be reading the other one.
    sink = sys.stderr if os.environ.get("LOAD_OUTPUT") == "stderr" else sys.stdout
    sink.write(json.dumps(told) + "\n")
    sink.flush()
