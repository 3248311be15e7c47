"""What a load test is, as facts: what was planned, what was seen by the client, the servers and the cluster, and the verdict.

Seconds, and journeys or requests per second, everywhere. A moment is a Unix time in seconds. None stands for "nothing was
measured": it is never a zero, which somebody could mistake for a good value.
"""

from __future__ import annotations

from slipway.load.model.client import Client, Closed, Endpoint, Journey, Locusts, Second, Stage, Stream, Worker
from slipway.load.model.planned import KEEP_ALIVE, NEW_CONNECTION, SLOW, Asked, Phase, Plan, Sending, Target
from slipway.load.model.run import SCHEMA, Change, Host, Run, from_json, to_json
from slipway.load.model.servers import Books, Pod, Pods, Rollout, Series, Server
from slipway.load.model.verdict import CODES, ENVIRONMENT_CODE, FAIL, INVALID, PASS, Check, Reason, Verdict

__all__ = [
    "CODES",
    "ENVIRONMENT_CODE",
    "FAIL",
    "INVALID",
    "KEEP_ALIVE",
    "NEW_CONNECTION",
    "PASS",
    "SCHEMA",
    "SLOW",
    "Asked",
    "Books",
    "Change",
    "Check",
    "Client",
    "Closed",
    "Endpoint",
    "Host",
    "Journey",
    "Locusts",
    "Phase",
    "Plan",
    "Pod",
    "Pods",
    "Reason",
    "Rollout",
    "Run",
    "Second",
    "Sending",
    "Series",
    "Server",
    "Stage",
    "Stream",
    "Target",
    "Verdict",
    "Worker",
    "from_json",
    "to_json",
]
