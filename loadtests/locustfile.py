"""What Locust loads: one user in each worker, which lets the customers in when they are due.

Locust's own users wait for their answers before they ask again, so that a server that stalls is spared the rest. Here the
user is the doorkeeper: it starts every journey at its moment, whatever became of those before.
"""

from __future__ import annotations

import logging
from typing import Any

import gevent
from generator.master import Master
from generator.worker import Worker
from locust import User, constant, events, runners, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

# Seconds without a heartbeat after which Locust itself gives a worker up, and ends when it was the last. The master has a rule of
# its own for that, which comes first and tells what is known; a machine that is very busy must not end a test on the quiet.
runners.HEARTBEAT_LIVENESS = 12

_workers: list[Worker] = []


@events.init.add_listener
def _ready(environment: Environment, **_: Any) -> None:
    # Its tables would stand between the lines that are read by machines.
    logging.getLogger("locust.stats_logger").disabled = True
    if isinstance(environment.runner, WorkerRunner):
        _workers.append(Worker(environment))


@events.test_start.add_listener
def _started(environment: Environment, **_: Any) -> None:
    if isinstance(environment.runner, MasterRunner):
        gevent.spawn(Master(environment).run)


class Doorkeeper(User):
    """Lets customers in; there is one in each worker."""

    wait_time = constant(3600)

    @task
    def let_in(self) -> None:
        """See the worker's part through."""
        _workers[0].run()
