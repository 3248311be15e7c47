"""How a request goes out: on connections that are kept, on a new one each, or on one that its sender is slow on.

The first two are Locust's own fast client, so that its figures stand beside ours. Nothing is ever sent again by this code.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent import socket
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment

from .connections import Pool

KEEP_ALIVE, NEW_CONNECTION, SLOW = "keep-alive", "new-connection", "slow"

# Requests that may be under way at a time: far more than a generator that is well ever has.
CONNECTIONS = 5000

# The gateway says by it that an answer is its own, and no service's (charts/gateway/nginx.conf).
OWN_ANSWER = "X-Gateway-Answer"

# Seconds over which a slow sender sends its request.
SLOW_SECONDS = 3.0
_SLOW_PIECES = 6

_PLACE = re.compile(r"https?://\S+|\b\d+\.\d+\.\d+\.\d+(:\d+)?")


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: Of the answer; 0 when there was none.
        body: The answer's, as text.
        trouble: Why there was none.
        held: Seconds that the sender itself took to send it: nobody else is charged for them.
    """

    status: int
    body: str = ""
    trouble: str = ""
    held: float = 0.0

    @property
    def content(self) -> Any:
        """The body's JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Roads:
    """Every way to the services.

    Args:
        environment: Locust's, which counts what its clients send.
        patience: Seconds until a request is given up.
    """

    def __init__(self, environment: Environment, *, patience: float) -> None:
        self._environment, self._patience = environment, patience
        self._pools: dict[tuple[str, str], FastHttpSession] = {}

    def ask(
        self,
        stream: str,
        base: str,
        method: str,
        path: str,
        *,
        name: str,
        headers: Mapping[str, str],
        body: Any,
        patience: float = math.inf,
    ) -> Answer:
        """The answer to one request, or why there was none; it is never waited for longer than the patience lasts.

        Args:
            stream: How it goes out.
            base: Where the service is.
            method: The request's.
            path: The request's.
            name: What Locust counts it as.
            headers: The request's.
            body: The request's; None for none.
            patience: Seconds until it is given up, when that is less than a customer waits.
        """
        patience = min(patience, self._patience)
        content = json.dumps(body).encode() if body is not None else b""
        told = {**headers, **({"Content-Type": "application/json"} if content else {})}
        if stream == SLOW:
            return self._slowly(base, method, path, name=name, headers=told, content=content)
        if stream == NEW_CONNECTION:
            told["Connection"] = "close"
        session = self._session(stream, base)
        payload: Any = content or None
        silent: Any = False
        with gevent.Timeout(patience, silent):
            sent: Any = session.request(method, path, name=name, headers=told, data=payload, catch_response=True)
            with sent as response:
                status = int(response.status_code or 0)
                if status == 0:
                    error = response.error
                    response.failure(error or "no answer")
                    return Answer(0, trouble=_told(error, patience))
                text = response.text or ""
                # Which statuses are good is the journey's business; Locust's own count goes by what it always does.
                return _answer(status, text, response.headers.get(OWN_ANSWER))
        trouble = _late(patience)
        self._tell_locust(method, name, patience, 0, TimeoutError(trouble))
        return Answer(0, trouble=trouble)

    @property
    def stale(self) -> int:
        """Kept connections that were found closed by the servers while nothing was asked on them, so far."""
        # Those of the other kind are closed as they were asked to be.
        pools: list[Any] = [session.client.clientpool for (stream, _), session in self._pools.items() if stream == KEEP_ALIVE]
        return sum(pool.stale for pool in pools)

    def _session(self, stream: str, base: str) -> FastHttpSession:
        key = stream, base
        if key not in self._pools:
            # Each of a kind has its own connections: one that closes after every request must not find one that was kept.
            # The patience of the whole request ends first: the library's own limits are for each step of it.
            pool = Pool(concurrency=CONNECTIONS, connection_timeout=2 * self._patience, network_timeout=2 * self._patience)
            session = FastHttpSession(
                base, self._environment.events.request, None, client_pool=pool, max_retries=0, max_redirects=0
            )
            session.client.cookiejar = None  # customers share connections, and nothing else
            self._pools[key] = session
        return self._pools[key]

    def _slowly(self, base: str, method: str, path: str, *, name: str, headers: Mapping[str, str], content: bytes) -> Answer:
        place = urlsplit(base)
        host, port = place.hostname or "", place.port or 80
        told = {"Host": place.netloc, "Connection": "close", **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {value}" for key, value in told.items())]
        lines += [f"Content-Length: {len(content)}"] if content else []
        whole = "\r\n".join([*lines, "", ""]).encode() + content
        began = time.monotonic()
        held, wire = 0.0, None
        try:
            with gevent.Timeout(self._patience + SLOW_SECONDS, TimeoutError(_late(self._patience))):
                wire = socket.create_connection((host, port), timeout=self._patience)
                size = max(1, -(-len(whole) // _SLOW_PIECES))
                pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
                for number, piece in enumerate(pieces):
                    if number:
                        gevent.sleep(SLOW_SECONDS / (len(pieces) - 1))
                        held += SLOW_SECONDS / (len(pieces) - 1)
                    wire.sendall(piece)
                response = http.client.HTTPResponse(wire, method=method)
                response.begin()
                text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException, TimeoutError) as error:
            self._tell_locust(method, name, time.monotonic() - began - held, 0, error)
            return Answer(0, trouble=_told(error, self._patience), held=held)
        finally:
            if wire is not None:
                wire.close()
        self._tell_locust(method, name, time.monotonic() - began - held, len(text), None)
        return _answer(response.status, text, response.getheader(OWN_ANSWER), held=held)

    def _tell_locust(self, method: str, name: str, seconds: float, size: int, error: BaseException | None) -> None:
        self._environment.events.request.fire(
            request_type=method, name=name, response_time=seconds * 1000, response_length=size, exception=error, context={}
        )


def _answer(status: int, text: str, own: str | None, *, held: float = 0.0) -> Answer:
    """A service's answer; what the gateway says for one that gave none is none."""
    return Answer(0, trouble=f"the gateway: {own}", held=held) if own else Answer(status, text, held=held)


def _told(error: object, patience: float) -> str:
    """Why there was no answer, in words that are the same for the same reason: they are counted by it."""
    # The client library wraps what it would have tried again.
    cause = getattr(error, "original", None) or error
    if cause is None or isinstance(cause, TimeoutError | gevent.Timeout):
        return _late(patience)
    if isinstance(cause, OSError) and cause.errno:
        return f"{type(cause).__name__}: {os.strerror(cause.errno)}"
    text = f"{type(cause).__name__}: {cause}" if isinstance(cause, BaseException) else str(cause)
    return " ".join(_PLACE.sub("", text).split())[:120]


def _late(patience: float) -> str:
    return f"no answer within {patience:g} s"
