"""A small shop on the loopback interface, for the load generator: every route its customers use, and ways to misbehave."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PRODUCTS = [{"id": f"rope-{number}", "name": f"Mooring rope {number}"} for number in range(20)]

_CART = re.compile(r"(?:/api)?/carts/([A-Za-z0-9_-]{16,64})(?:/lines/([a-z0-9-]+))?")


class Shop:
    """What the server has seen, and how it behaves.

    Attributes:
        frozen: Nothing is answered while it is set.
        hung: Methods of requests that are never answered while it is open.
        nameless: Whether its lists show things without saying which.
        broken: Every so many-th request fails; 0 for none.
        dropped: Every so many-th connection is closed instead of an answer; 0 for none.
        forgetful: Connections are closed after every answer, and nobody is told.
        unreached: Every so many-th request does not come to its service, and the gateway answers; 0 for none.
        unserved: The ids of those requests.
        careless: What goes wrong unseen: a cart keeps its newest line alone ("lines"), an order has one of each ("quantities").
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.ids: list[str] = []
        self.methods: Counter[str] = Counter()
        self.connections = 0
        self.carts: dict[str, dict[str, int]] = {}
        self.orders: dict[str, Mapping[str, Any]] = {}
        self.emptied: list[str] = []
        self.thawed = threading.Event()
        self.thawed.set()
        self.broken = self.dropped = self.unreached = 0
        self.unserved: set[str] = set()
        self.careless = ""
        self.forgetful = False
        self.hung: set[str] = set()
        self.nameless = False
        self.closing = threading.Event()
        self.lock = threading.Lock()

    def freeze(self, seconds: float) -> None:
        """Answer nothing for so long, from now on."""
        self.thawed.clear()
        threading.Timer(seconds, self.thawed.set).start()


def _answer(shop: Shop, method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    place = path.partition("?")[0]
    if place == "/":
        return 200, "<html>a shop</html>"
    if place in ("/products", "/api/products", "/search", "/api/search"):
        return 200, {"items": [{"name": item["name"]} for item in PRODUCTS] if shop.nameless else PRODUCTS}
    if found := re.fullmatch(r"(?:/api)?/products/([a-z0-9-]+)", place):
        return 200, {"id": found[1]}
    if found := _CART.fullmatch(place):
        cart = shop.carts.setdefault(found[1], {})
        if method == "DELETE":
            shop.emptied.append(found[1])
            return 204, None
        if found[2]:
            if shop.careless == "lines":
                cart.clear()
            cart[found[2]] = body["quantity"]
        return 200, {"id": found[1], "lines": [{"product_id": product, "quantity": number} for product, number in cart.items()]}
    if place in ("/orders", "/api/orders"):
        if place == "/api/orders":
            cart = shop.carts.pop(body["cart_id"])
            lines = [{"product_id": product, "quantity": number} for product, number in cart.items()]
        else:
            lines = body["lines"]
        if shop.careless == "quantities":
            lines = [{**line, "quantity": 1} for line in lines]
        key = headers["Idempotency-Key"]
        shop.orders[key] = {"id": f"ORDER-{key}", "lines": lines}
        return 201, shop.orders[key]
    if found := re.fullmatch(r"(?:/api)?/orders/ORDER-(.+)", place):
        return 200, shop.orders[found[1]]
    return 404, None


def _handler(shop: Shop) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with shop.lock:
                shop.connections += 1

        def _serve(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            with shop.lock:
                shop.ids.append(self.headers["X-Request-ID"])
                shop.methods[self.command] += 1
                number = len(shop.ids)
            shop.thawed.wait()
            if self.command in shop.hung:
                shop.closing.wait()
            if shop.dropped and number % shop.dropped == 0:
                self.close_connection = True
                return
            unreached = shop.unreached and number % shop.unreached == 0
            if unreached:
                shop.unserved.add(self.headers["X-Request-ID"])
                self.send_response(502)
                self.send_header("X-Gateway-Answer", "no answer")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            with shop.lock:
                failing = shop.broken and number % shop.broken == 0
                status, content = (500, None) if failing else _answer(shop, self.command, self.path, body, dict(self.headers))
            data = b"" if content is None else (content if isinstance(content, str) else json.dumps(content)).encode()
            if shop.forgetful:  # the answer and the end go in one piece: whoever has the one has the other
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            if shop.forgetful:
                self.connection.shutdown(socket.SHUT_WR)
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of customers that are gone."""


@contextmanager
def shop() -> Generator[Shop]:
    """A shop that is open while the block runs."""
    server = _Server(("127.0.0.1", 0), BaseHTTPRequestHandler)
    made = Shop(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = _handler(made)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.closing.set()
        made.thawed.set()
        server.shutdown()
        server.server_close()
        thread.join()
