"""Errors as problem documents (RFC 9457): what is wrong, in words a caller can act on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from chassis.context import request_id

MEDIA_TYPE = "application/problem+json"


class Problem(HTTPException):
    """Raise it to answer with a problem document.

    Args:
        status: The HTTP status, 400 to 599.
        detail: What is wrong with this request, for the one who made it.
    """

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, headers=dict(headers or {}))


class Reason(BaseModel):
    """One part of a request that cannot be accepted."""

    where: str = Field(description="The part, such as query.limit or body.faults.0.status.")
    reason: str


class ProblemDocument(BaseModel):
    """What an error's body holds."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[Reason] | None = None


# For the OpenAPI document; as "default" it also replaces FastAPI's own description of validation errors.
RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem document.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
}


def document(
    status: int, detail: str, *, errors: Sequence[Mapping[str, str]] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """A response that holds a problem document."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail or title,
        "request_id": request_id(),
    }
    if errors:
        body["errors"] = list(errors)
    # json.dumps writes ASCII alone: what a caller sent may hold half a surrogate pair, which UTF-8 cannot.
    return Response(json.dumps(body), status, headers={**(headers or {}), "Cache-Control": "no-store"}, media_type=MEDIA_TYPE)


def describe(openapi: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document, with the schema that `RESPONSES` points at."""
    schema = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs", {})
    openapi.setdefault("components", {}).setdefault("schemas", {}).update(parts, ProblemDocument=schema)
    return openapi


def install(app: FastAPI) -> None:
    """Make every error of the app answer with a problem document."""

    async def refused(request: Request, exception: Exception) -> Response:
        error = cast("HTTPException", exception)
        detail = error.detail
        if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
            detail = "nothing lives at this path; GET /openapi.json lists the paths"
        return document(error.status_code, detail, headers=error.headers)

    async def invalid(request: Request, exception: Exception) -> Response:
        error = cast("RequestValidationError", exception)
        errors = [
            {"where": ".".join(str(part)[:64] for part in item["loc"][:8]), "reason": str(item["msg"])[:256]}
            for item in error.errors()[:20]
        ]
        detail = "; ".join(f"{item['where']}: {item['reason']}" for item in errors[:3])
        return document(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)

    async def broken(request: Request, error: Exception) -> Response:
        return document(HTTPStatus.INTERNAL_SERVER_ERROR, "something broke here; the log says what, under this request id")

    app.add_exception_handler(Exception, broken)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
