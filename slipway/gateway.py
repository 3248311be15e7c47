"""Whether what lies behind the gateway answers."""

from __future__ import annotations

import urllib3

from slipway.waiting import Pending, Ready

_TIMEOUT = 2.0


def answers(port: int, host: str, path: str = "/healthz") -> Ready[None] | Pending:
    """Whether the gateway hands on a good answer; looks once.

    Args:
        port: Where the gateway listens on this machine.
        host: The host name of the service or the part of the platform that is asked.
        path: What it is asked for.
    """
    # A connection that is kept may lead for ever to a pod that got the address of one that is gone: each look makes its own.
    try:
        with urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as fresh:
            seen = fresh.request("GET", f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    except urllib3.exceptions.HTTPError as error:
        return Pending(f"port {port} does not answer: {type(error).__name__}")
    return Ready(None) if seen.status == 200 else Pending(f"it answers {seen.status}")
