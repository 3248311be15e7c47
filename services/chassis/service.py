"""A service: a FastAPI app that already does what every service must."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Generic, TypeVar

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from chassis import metrics, problems
from chassis.caching import cacheable
from chassis.config import Config, ConfigError, Fault
from chassis.faults import Faults
from chassis.identity import Identity
from chassis.lifecycle import Lifecycle
from chassis.logs import RequestLog
from chassis.metrics import Metrics
from chassis.observe import Observe
from chassis.problems import Problem

C = TypeVar("C", bound=Config)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Version(BaseModel):
    """What runs, and where."""

    service: str
    environment: str
    version: str
    commit: str
    digest: str


class Status(BaseModel):
    """A plain yes; a no is a problem document."""

    status: str = "ok"


class FaultList(BaseModel):
    """The faults of this process."""

    model_config = ConfigDict(extra="forbid")

    faults: list[Fault] = Field(max_length=50)


class Service(Generic[C]):
    """One service: its configuration, its identity, and the app that its own routes are added to.

    Args:
        config: What it is told.
        identity: Who and where it is.
        description: What it does, for its OpenAPI document.
        lifespan: Opens what lives as long as the service, and closes it.
        headers: Added to every answer, errors included.
        patience: Seconds that a request may wait for other services, all together.

    Attributes:
        app: Add routes to it as to any FastAPI app.
        asgi: What a server runs: the app, observed.
        metrics: Its registry takes the service's own counters.
        lifecycle: Takes the checks that readiness depends on.

    Raises:
        ConfigError: The configuration asks for faults where none are allowed.
    """

    def __init__(
        self,
        config: C,
        identity: Identity,
        *,
        description: str,
        lifespan: Lifespan | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float = math.inf,
    ) -> None:
        self.config, self.identity = config, identity
        self.lifecycle, self.metrics, self.faults = Lifecycle(), Metrics(identity), Faults(identity)
        self.faults.arm(config.faults)

        @asynccontextmanager
        async def living(app: FastAPI) -> AsyncGenerator[None]:
            self._try_platform_routes_last()
            async with lifespan(app) if lifespan else nullcontext():
                yield

        self.app = FastAPI(
            title=identity.service,
            description=description,
            version=identity.version,
            lifespan=living,
            responses=problems.RESPONSES,
            # Numbers go out by /metrics, errors by the log; FastAPI's own spans would cost time and reach nobody.
            telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
            # FastAPI's pages load scripts from elsewhere, and its route for the document has no name in the numbers.
            openapi_url=None,
        )
        problems.install(self.app)
        self._add_own_routes()
        self._platform = frozenset(getattr(route, "path", "") for route in self.app.router.routes)
        self.app.router.route_class = self.faults.route_class()
        self.asgi = Observe(
            self.app,
            metrics=self.metrics,
            lifecycle=self.lifecycle,
            request_log=RequestLog(identity, level=config.log_level),
            max_body_bytes=config.max_body_bytes,
            headers=[(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            patience=patience,
            address=identity.address,
        )

    def _try_platform_routes_last(self) -> None:
        # Routes are tried one after the other, and those that are asked for most are the service's.
        self.app.router.routes.sort(key=lambda route: getattr(route, "path", "") in self._platform)

    def _add_own_routes(self) -> None:
        app, faults = self.app, self.faults
        version = Version(**dataclasses.asdict(self.identity))

        @app.get("/healthz", tags=["platform"])
        async def healthz() -> Status:
            """Says that the process answers; it asks nothing else."""
            return Status()

        @app.get("/readyz", tags=["platform"])
        async def readyz() -> Status:
            """Says whether requests should come here; 503 with the reasons when not."""
            if reasons := await self.lifecycle.unready():
                raise Problem(503, "; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
            return Status()

        @app.get("/version", tags=["platform"])
        async def get_version() -> Version:
            """Says what runs, and where."""
            return version

        @app.get("/metrics", tags=["platform"], include_in_schema=False)
        async def get_metrics() -> Response:
            return Response(self.metrics.text(), media_type=metrics.CONTENT_TYPE)

        @app.get("/openapi.json", tags=["platform"], include_in_schema=False)
        async def get_openapi(request: Request) -> Response:
            return cacheable(request, json.dumps(problems.describe(app.openapi())).encode(), max_age=0)

        @app.get("/admin/faults", tags=["platform"])
        async def get_faults() -> FaultList:
            """Lists the faults that are armed in this process."""
            return FaultList(faults=faults.current())

        @app.put("/admin/faults", tags=["platform"])
        async def put_faults(wanted: FaultList) -> FaultList:
            """Replaces the faults of this process; refused in prod. An empty list removes them."""
            try:
                faults.arm(wanted.faults)
            except ConfigError as error:
                raise Problem(403, str(error)) from None
            return FaultList(faults=faults.current())
