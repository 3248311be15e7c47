"""Calls to other services: the request id goes along, every wait has an end, retries are few and safe, and all is counted."""

from __future__ import annotations

import asyncio
import json as encoding
import logging
import random
import time
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from multidict import CIMultiDict
from yarl import URL

from chassis.context import HEADER, remaining, request_id
from chassis.idempotency import KEY_HEADER
from chassis.identity import MEANT_FOR, addressed
from chassis.metrics import Metrics
from chassis.problems import Problem
from chassis.wire import Crowded, Failure, Late, Nonsense, Request, Response, Transport, Unsent, Wire

log = logging.getLogger("chassis")

# Seconds until one attempt is given up because no (more of the) answer comes; for connecting see chassis/wire.py.
READ = 1.5

# Seconds until a call with all its attempts is given up.
TOTAL = 2.5

# Seconds before the first retry; each next one waits up to twice as long, at random, so that callers do not return together.
BACKOFF = 0.05

# Seconds after which a caller is told to come back, when the service it needs did not say.
COME_BACK = 2

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})

# The answers of a server or proxy that did not do the work and may do it next time.
TRANSIENT = frozenset({502, 503, 504})


class Unavailable(Problem):
    """Another service did not do what it was asked.

    Attributes:
        service: Its name.
    """

    def __init__(self, service: str, status: int, detail: str, *, come_back: int = COME_BACK) -> None:
        super().__init__(status, detail, headers={"Retry-After": str(come_back)})
        self.service = service


class RetryBudget:
    """Grants retries for a share of the calls: a service in trouble gets little more load than before, not three times as much.

    Args:
        share: Retries earned by each call.
        reserve: The most that can be saved, which is also what there is at first: enough for one server's lost connections.
    """

    def __init__(self, *, share: float = 0.2, reserve: float = 20.0) -> None:
        self._share, self._reserve, self._left = share, reserve, reserve

    def earn(self) -> None:
        """Take note of a call."""
        self._left = min(self._reserve, self._left + self._share)

    def spend(self) -> bool:
        """Whether one more retry is granted; it is spent then."""
        granted = self._left >= 1
        self._left -= granted
        return granted


class Upstream:
    """A service that this one calls. Make it in the lifespan with `async with`, one for each service.

    Args:
        name: What it is called in numbers, logs and problems.
        base_url: Such as http://catalog.
        metrics: Where calls are counted.
        environment: Its environment, which is this one's: an answer from another is none.
        retries: Attempts after the first one.
        seconds: Until a call is given up, with all its attempts; the limit of the request that is served counts too.
        read: Seconds to wait for an answer, per attempt.
        transport: What really sends; for tests.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        metrics: Metrics,
        *,
        environment: str,
        retries: int = 2,
        seconds: float = TOTAL,
        read: float = READ,
        transport: Transport | None = None,
    ) -> None:
        self.name, self._metrics, self._retries, self._seconds = name, metrics.calls, retries, seconds
        self._budget = RetryBudget()
        self._meant_for = addressed(name, environment)
        self._base, self._read = base_url.rstrip("/"), read
        self._transport, self._given = transport, transport

    async def __aenter__(self) -> Self:
        self._transport = self._given or Wire(read=self._read, secure=self._base.startswith("https:"))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._transport:
            await self._transport.aclose()
        self._transport = self._given

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The answer, read whole; its status is below 500.

        A request that is not idempotent is sent again only when it never left, or when it carries an Idempotency-Key.

        Args:
            method: The HTTP method.
            path: From the slash on, with what is not plain in it quoted.
            params: The query.
            json: What is sent, to be encoded.
            headers: More headers.

        Raises:
            Unavailable: There was no answer in time (503), the service is away (503), or it broke (502).
        """
        request = self._request(method, path, params, json, headers)
        seconds = min(self._seconds, remaining())
        began, result = time.perf_counter(), "error"
        try:
            async with asyncio.timeout(seconds):
                answer = await self._attempts(request, until=time.monotonic() + seconds)
            result = f"{answer.status_code // 100}xx"
            return self._checked(request, answer)
        except (TimeoutError, Late) as error:
            result = "timeout"
            raise self._away(request, 503, f"{self.name} does not answer in time", error) from error
        except Nonsense as error:
            raise self._away(request, 502, f"{self.name} gave an answer that makes no sense", error) from error
        except Failure as error:
            result = "unreachable"
            raise self._away(request, 503, f"{self.name} cannot be reached", error) from error
        finally:
            self._metrics.observe(upstream=self.name, method=method, result=result, seconds=time.perf_counter() - began)

    def _request(
        self, method: str, path: str, params: Mapping[str, str | int] | None, json: object, headers: Mapping[str, str] | None
    ) -> Request:
        told, content = CIMultiDict(headers or {}), None
        told[MEANT_FOR] = self._meant_for
        if identifier := request_id():
            told[HEADER] = identifier
        if json is not None:
            told["Content-Type"], content = "application/json", encoding.dumps(json).encode()
        query = f"?{urlencode(params)}" if params else ""
        return Request(method, URL(f"{self._base}{path}{query}", encoded=True), told, content)

    async def _attempts(self, request: Request, *, until: float) -> Response:
        if self._transport is None:
            raise RuntimeError(f"calls to {self.name} are made inside `async with`, where its connections live")
        self._budget.earn()
        repeatable = request.method in IDEMPOTENT or KEY_HEADER in request.headers
        for attempt in range(self._retries + 1):
            wait = random.uniform(BACKOFF / 2, BACKOFF) * 2**attempt  # noqa: S311 - spreads load, hides nothing
            may_retry = attempt < self._retries
            try:
                answer = await self._transport.send(request)
                if answer.status_code == HTTPStatus.MISDIRECTED_REQUEST:
                    raise Unsent("its address is somebody else's now")
            except Failure as error:
                may_retry = may_retry and (repeatable or isinstance(error, Unsent)) and not isinstance(error, (Crowded, Nonsense))
                if not (may_retry and self._may_wait(wait, until)):
                    raise
            else:
                wait = max(wait, _come_back(answer, otherwise=0))
                may_retry = may_retry and repeatable and answer.status_code in TRANSIENT
                if not (may_retry and self._may_wait(wait, until)):
                    return answer
            self._metrics.retried(upstream=self.name)
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _may_wait(self, wait: float, until: float) -> bool:
        return time.monotonic() + wait < until and self._budget.spend()

    def _checked(self, request: Request, answer: Response) -> Response:
        if answer.status_code < 500:
            return answer
        status, said = (503, "is away") if answer.status_code in TRANSIENT else (502, "is broken")
        come_back = _come_back(answer, otherwise=COME_BACK)
        raise self._away(request, status, f"{self.name} {said}", f"status {answer.status_code}", come_back=come_back)

    def _away(
        self, request: Request, status: int, detail: str, cause: BaseException | str, *, come_back: int = COME_BACK
    ) -> Unavailable:
        why = cause if isinstance(cause, str) else f"{type(cause).__name__}: {cause}"
        fields = {"upstream": self.name, "method": request.method, "path": request.url.path, "cause": why}
        log.warning("a call failed: %s", detail, extra={"fields": fields})
        return Unavailable(self.name, status, f"{detail}; try again in a moment", come_back=come_back)


def _come_back(answer: Response, *, otherwise: int) -> int:
    """The seconds of Retry-After; a date, or what makes no sense, counts as not given."""
    text = answer.headers.get("Retry-After", "")
    return min(int(text), 3600) if text.isascii() and text.isdigit() and len(text) < 10 else otherwise
