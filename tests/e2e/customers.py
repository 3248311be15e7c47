"""Customers who never stop: it runs in a pod, asks over kept-alive connections, and counts what came back.

    python customers.py CUSTOMERS SECONDS BUYER PRODUCT SHOP URL...

Each customer of each URL has one connection, asks again as soon as it is answered, and opens a new connection when the
server said that it closes this one. Anything else than an answer below 500 is a lost request. One more customer, named BUYER,
fills a cart with PRODUCT and orders it at SHOP, again and again, each time with a key of its own. It ends when /tmp/stop is
there, or after SECONDS, and prints one line of JSON: by URL, and for the orders by SHOP, how many were answered, and how the
lost ones were lost.
"""

from __future__ import annotations

import http.client
import json
import secrets
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

STOP = Path("/tmp/stop")

# Seconds. Longer than any answer takes, shorter than anybody's patience.
PATIENCE = 10.0
# Seconds between two requests of one customer; there are many, and two cores.
PAUSE = 0.01
# Seconds between two orders of one customer: all of them stay in the database.
CONSIDERING = 0.1


@dataclass
class Seen:
    """What the customers of one address saw.

    Attributes:
        answered: How many requests, by status.
        lost: How many, by what came instead of an answer.
    """

    answered: Counter[str] = field(default_factory=Counter[str])
    lost: Counter[str] = field(default_factory=Counter[str])


class Customer:
    """One customer with one connection."""

    def __init__(self, url: str, seen: Seen) -> None:
        self._connection, self._seen = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE), seen

    def ask(self, method: str, path: str, body: object = None, *, key: str = "") -> str:
        """The status of the answer; empty when the request was lost, which is counted."""
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        try:
            self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            self._seen.lost[type(error).__name__] += 1
            self._connection.close()
            return ""
        if response.status >= 500:
            self._seen.lost[f"status {response.status}"] += 1
            return ""
        return str(response.status)


def look(url: str, until: float, seen: Seen) -> None:
    parts, one = urlsplit(url), Customer(url, seen)
    while time.monotonic() < until and not STOP.exists():
        if status := one.ask("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path):
            seen.answered[status] += 1
        time.sleep(PAUSE)


def buy(shop: str, product: str, name: str, until: float, seen: Seen) -> None:
    one = Customer(shop, seen)
    while time.monotonic() < until and not STOP.exists():
        cart, order = secrets.token_urlsafe(16), {"customer": {"name": name}}
        status = one.ask("PUT", f"/api/carts/{cart}/lines/{product}", {"quantity": 1})
        if status == "200":
            status = one.ask("POST", "/api/orders", {"cart_id": cart, **order}, key=secrets.token_hex(16))
        if status:
            seen.answered[status] += 1
        time.sleep(CONSIDERING)


def main() -> None:
    count, seconds, (buyer, product, shop, *urls) = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    until = time.monotonic() + seconds
    found = {url: Seen() for url in (shop, *urls)}
    threads = [threading.Thread(target=look, args=[url, until, found[url]]) for url in urls for _ in range(count)]
    threads.append(threading.Thread(target=buy, args=[shop, product, buyer, until, found[shop]]))
    for thread in threads:
        thread.start()
    print("asking", flush=True)
    for thread in threads:
        thread.join()
    print(json.dumps({url: {"answered": seen.answered, "lost": seen.lost} for url, seen in found.items()}), flush=True)


if __name__ == "__main__":
    main()
