"""The floor of `./invoke bench.services`: a constant by the same framework and server, set up alike, and nothing around it."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI, Request, Response

QUIET = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
app = FastAPI(openapi_url=None, telemetry=QUIET)
SMALL, PAGE = b'{"status":"ok"}', b'{"items":"' + b"x" * 4000 + b'"}'


@app.get("/small")
async def small() -> Response:
    """Answers with a few bytes."""
    return Response(SMALL, media_type="application/json")


@app.get("/page")
async def page() -> Response:
    """Answers with as much as a page of products."""
    return Response(PAGE, media_type="application/json")


@app.put("/write")
async def write(request: Request) -> Response:
    """Reads a body and answers with as much."""
    return Response(await request.body(), media_type="application/json")


if __name__ == "__main__":
    everywhere = "0.0.0.0"  # noqa: S104 - a container of a network of its own
    uvicorn.run(app, host=everywhere, port=80, loop="uvloop", http="httptools", ws="none", access_log=False, server_header=False)
