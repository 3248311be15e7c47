"""Stand-ins for catalog, cart and orders, for what the real ones cannot be made to do at the right moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from chassis.wire import Failure, Request, Response, Silent

Misfortune = int | bytes | type[Failure] | None

SILENCE: Misfortune = None


def saying(status: int, content: object) -> Response:
    """An answer that holds this, as JSON."""
    return Response(status, json.dumps(content).encode())


class Backstage:
    """Answers for all three, in few words.

    Attributes:
        failing: What a service does instead of answering, by its name; SILENCE is no answer at all.
        losing: Services that do their work, and whose answer then gets lost.
        before: Called with each request before it is answered.
        requests: Everything that was asked.
        done: Changes of carts that were made, by path and key.
    """

    def __init__(self) -> None:
        self.products: dict[str, dict[str, Any]] = {
            name: {
                "id": name,
                "name": title,
                "description": f"About {title}.",
                "price_cents": cents,
                "currency": "EUR",
                "tags": tags,
                "stock": "plenty",
            }
            for name, title, cents, tags in (
                ("mug-enamel", "Enamel mug", 1290, ["galley"]),
                ("rope-hemp", "Hemp & <rope>", 250, ["rope"]),
                ("stove", "Stove", 32900, ["galley"]),
            )
        }
        self.carts: dict[str, dict[str, int]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.failing: dict[str, Misfortune] = {}
        self.losing: set[str] = set()
        self.before: Callable[[Request], None] = lambda request: None
        self.requests: list[Request] = []
        self.done = set[tuple[str, str | None]]()

    async def send(self, request: Request) -> Response:
        """The answer of the service that the host names."""
        self.requests.append(request)
        self.before(request)
        host = request.url.host or ""
        if host in self.failing:
            return await self._fail(self.failing[host])
        answer = getattr(self, f"_{host}")(request.method, request.url.path.strip("/").split("/"), request)
        if host in self.losing:
            raise Silent("the answer got lost")
        return answer

    async def aclose(self) -> None:
        """Nothing was opened."""

    async def _fail(self, failure: Misfortune) -> Response:
        match failure:
            case None:
                await asyncio.Event().wait()
                raise AssertionError
            case bytes():
                return Response(200, failure)
            case int():
                return saying(failure, {"detail": "told to fail"})
            case _:
                raise failure("told to fail")

    def _catalog(self, method: str, path: list[str], request: Request) -> Response:
        match path:
            case [""]:
                return saying(200, {"title": "The shop", "greeting": "Mind the <boom>."})
            case ["tags"]:
                return saying(200, [{"name": "galley", "products": 2}, {"name": "rope", "products": 1}])
            case ["products", name]:
                return saying(200, self.products[name]) if name in self.products else Response(404)
            case _:
                asked = request.url.query
                offset, limit = int(asked["offset"]), int(asked["limit"])
                tag, words = asked.get("tag", ""), asked.get("q", "").lower()
                found = [
                    product
                    for product in self.products.values()
                    if (not tag or tag in product["tags"]) and words in str(product["name"]).lower()
                ]
                after = offset + limit
                body = {"items": found[offset:after], "total": len(found), "limit": limit, "offset": offset}
                return saying(200, {**body, "next_offset": after if after < len(found) else None})

    def _cart(self, method: str, path: list[str], request: Request) -> Response:
        lines = self.carts.setdefault(path[1], {})
        match method, path[2:]:
            case "DELETE", [_, name]:
                lines.pop(name, None)
                return Response(204)
            case "PUT" | "POST", [_, name]:
                if len(lines) == 2 and name not in lines:
                    return saying(409, {"detail": "the cart is full: it takes two products"})
                there = lines.get(name, 0) if method == "POST" else 0
                if self._first(request):
                    lines[name] = min(there + json.loads(request.content or b"")["quantity"], 99)
            case "POST", ["ordered"]:
                for line in json.loads(request.content or b"")["lines"] if self._first(request) else ():
                    left = lines.pop(line["product_id"], 0) - line["quantity"]
                    lines |= {line["product_id"]: left} if left > 0 else {}
                return Response(204)
            case _:
                pass
        told = [{"product_id": name, "quantity": quantity} for name, quantity in lines.items()]
        return saying(200, {"id": path[1], "lines": told, "expires_in_seconds": 60, "new_key": True})

    def _first(self, request: Request) -> bool:
        """Whether no request with this key came before, to the same path."""
        key = (request.url.path, request.headers.get("Idempotency-Key"))
        if key[1] is not None and key in self.done:
            return False
        self.done.add(key)
        return True

    def _orders(self, method: str, path: list[str], request: Request) -> Response:
        if method == "GET":
            key = request.url.query.get("idempotency_key")
            found = self.orders.get(key) if key else None
            by_id = {order["id"]: order for order in self.orders.values()}
            found = found or by_id.get(path[-1])
            return saying(200, found) if found else Response(404)
        key, content = request.headers["Idempotency-Key"], json.loads(request.content or b"")
        if old := self.orders.get(key):
            same = all(old[name] == content[name] for name in content)
            return saying(200, old) if same else saying(422, {"detail": "other content"})
        total = sum(line["unit_price_cents"] * line["quantity"] for line in content["lines"])
        made = {"id": f"ORDER-{len(self.orders)}", "status": "accepted", "created_at": "2026-11-22T18:58:00Z"}
        self.orders[key] = {**content, **made, "total_cents": total}
        return saying(201, self.orders[key])


class Stage:
    """Hands each request to the stand-ins of the current test."""

    backstage: Backstage

    async def send(self, request: Request) -> Response:
        """The answer of the current stand-ins."""
        return await self.backstage.send(request)

    async def aclose(self) -> None:
        """Nothing was opened."""
