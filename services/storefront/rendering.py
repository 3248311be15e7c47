"""Pages: templates filled in, the files they need, and who wants a page rather than JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from artwork import FALLBACK, named, picture, tone
from chassis import Identity, Problem, cacheable, request_id
from upstreams import MOST

HERE = Path(__file__).parent

TYPES = {".css": "text/css", ".svg": "image/svg+xml"}

# A year, in seconds: the address changes with the contents.
FOR_EVER = 31_536_000

# Nothing from elsewhere, no script at all, and no page of ours inside another's.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

PAGES = "pages"

Handler = Callable[[Request, Exception], Awaitable[Response]]


class Static:
    """The files that pages need, in memory, each at an address that changes with its contents."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in TYPES}
        self._marks = {name: hashlib.blake2b(body, digest_size=6).hexdigest() for name, body in self._files.items()}

    def address(self, name: str) -> str:
        """Where the file is."""
        return f"/static/{name}?v={self._marks[name]}"

    def answer(self, request: Request, name: str, mark: str) -> Response:
        """The file; to be kept for ever when asked for by its mark, since another replica may have another version of it.

        Raises:
            Problem: There is no such file (404).
        """
        body = self._files.get(name)
        if body is None:
            raise Problem(404, "there is no such file")
        current = mark == self._marks[name]
        return cacheable(
            request, body, max_age=FOR_EVER if current else 0, media_type=TYPES[Path(name).suffix], unchanging=current
        )


class Renderer:
    """Fills in the templates."""

    def __init__(self, identity: Identity, static: Static, *, notice: str, theme: str) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        # A filter costs a template a third of what a call of a function does.
        filters: dict[str, Any] = {
            "money": money,
            "moment": moment,
            "count": counted,
            "picture": picture,
            "picture_of": picture_of,
            "tone": tone,
        }
        known: dict[str, Any] = {
            "identity": identity,
            "digest": short(identity.digest),
            "notice": notice,
            "theme": theme,
            "static": static.address,
            "request_id": request_id,
            "most": MOST,
        }
        cast("dict[str, Any]", self._environment.filters).update(filters)
        cast("dict[str, Any]", self._environment.globals).update(known)

    def page(
        self,
        template: str,
        *,
        status: int = 200,
        private: bool = False,
        headers: Mapping[str, str] | None = None,
        cart_items: int | None = None,
        **values: Any,
    ) -> HTMLResponse:
        """A page.

        Args:
            template: The name of the file, without its ending.
            status: The HTTP status.
            private: Whether it tells of one customer, so that nobody may keep it, not even the browser.
            headers: More headers.
            cart_items: How many things lie in the visitor's cart; None when that is not known.
            values: What the template needs.
        """
        text = self._environment.get_template(f"{template}.html").render(cart_items=cart_items, **values)
        kept = "no-store" if private else "private, no-cache"
        return HTMLResponse(text, status, headers={"Cache-Control": kept, **(headers or {})})


def prefers_html(request: Request) -> bool:
    """Whether the caller names HTML as what it wants most; `*/*` names nothing."""
    wanted = {"text/html": 0.0, "application/json": 0.0, "application/problem+json": 0.0}
    for part in request.headers.get("Accept", "").split(","):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        if media in wanted:
            wanted[media] = max(wanted[media], _quality(parameters))
    html = wanted.pop("text/html")
    return html > max(wanted.values())


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def tell_errors(app: FastAPI, renderer: Renderer) -> None:
    """Make errors of pages pages, for callers who want them; all others stay problem documents."""

    def told(handler: Handler) -> Handler:
        async def tell(request: Request, exception: Exception) -> Response:
            answer = await handler(request, exception)
            if not (_is_page(request) and prefers_html(request)):
                return answer
            kept = {name: answer.headers[name] for name in ("Retry-After", "Allow", "X-Fault") if name in answer.headers}
            problem = json.loads(bytes(answer.body))
            if request.scope.get("route") is None:  # what a program is told of paths helps nobody who browses
                problem["detail"] = "There is no such page in this shop."
            return renderer.page("error", status=answer.status_code, private=True, headers=kept, problem=problem)

        return tell

    handlers = cast("dict[type[Exception], Handler]", app.exception_handlers)
    for kind in (Exception, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, told(handlers[kind]))


def _is_page(request: Request) -> bool:
    route = request.scope.get("route")
    if route is None:  # no route took it: whoever browses gets a page with the way back
        return not request.url.path.startswith("/api/")
    return PAGES in getattr(route, "tags", ())


def see(address: str) -> Response:
    """Sends the browser on to a page, to be got: a reload there repeats nothing."""
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={"Location": address, "Cache-Control": "no-store"})


def picture_of(product_id: str) -> str:
    """The picture of what only its id is known of."""
    return named(product_id) or FALLBACK


def money(cents: int) -> str:
    """An amount, such as €1,234.50."""
    return f"€{cents // 100:,}.{cents % 100:02d}"


def moment(when: datetime) -> str:
    """A moment, such as 22 November 2026, 18:58 UTC."""
    there = when.astimezone(UTC)
    return f"{there.day} {there:%B %Y, %H:%M} UTC"


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things, such as "1 item" or "2 items"."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def short(digest: str) -> str:
    """The beginning of a digest, enough to tell two images apart."""
    return digest.removeprefix("sha256:")[:12]
