"""The shop, as its customers use it: a cart, an order, and what is left of it in the database."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slipway import shell, toolbox
from tests.e2e.conftest import Instance, Reply, fetch

NAME = "Ada Palmer"


@dataclass(frozen=True)
class Shop:
    """One environment's shop, at its front door."""

    instance: Instance
    environment: str
    url: str

    def product(self) -> dict[str, Any]:
        """Something it sells."""
        found = self.ask("/api/products?limit=1")
        assert found.status == 200, found.body
        return next(iter(next(value for value in found.json.values() if isinstance(value, list))))

    def cart(self, quantity: int = 2) -> str:
        """The id of a new cart with some of a product in it."""
        cart = secrets.token_urlsafe(16)
        put = self.ask(f"/api/carts/{cart}/lines/{self.product()['id']}", method="PUT", body={"quantity": quantity})
        assert put.status == 200, put.body
        return cart

    def place(self, cart: str, *, key: str, request_id: str = "") -> Reply:
        """The answer to an order."""
        headers = {"Idempotency-Key": key, **({"X-Request-ID": request_id} if request_id else {})}
        return self.ask("/api/orders", method="POST", headers=headers, body={"cart_id": cart, "customer": {"name": NAME}})

    def order(self) -> dict[str, Any]:
        """An order that was placed and accepted."""
        placed = self.place(self.cart(), key=secrets.token_hex(16))
        assert placed.status == 201, placed.body
        return placed.json

    def ask(self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: Any = None) -> Reply:
        """What the storefront answers."""
        return fetch(f"{self.url}{path}", method=method, headers=headers, body=body, timeout=20)

    def rows(self, query: str) -> Sequence[str]:
        """The lines that a query in this environment's PostgreSQL gives."""
        return sql(self.instance, self.environment, query)

    def holds(self, order: str) -> bool:
        """Whether this environment's PostgreSQL has an order."""
        assert order.replace("-", "").isalnum()
        return self.rows(f"SELECT count(*) FROM orders WHERE id = '{order}'") == ["1"]


def shop(instance: Instance, environment: str) -> Shop:
    """The shop of an environment."""
    return Shop(instance, environment, instance.url("storefront", environment))


def sql(instance: Instance, environment: str, query: str) -> Sequence[str]:
    """The lines that a query in an environment's PostgreSQL gives, asked as its superuser from inside its pod."""
    words = ["psql", "--username=postgres", "--dbname=orders", "--no-psqlrc", "--tuples-only", "--no-align", f"--command={query}"]
    return inside(instance, environment, "postgresql-0", words).splitlines()


def inside(instance: Instance, namespace: str, pod: str, words: Sequence[str]) -> str:
    """What a program in a pod prints."""
    return tried(instance, namespace, pod, words, check=True).stdout


def tried(instance: Instance, namespace: str, pod: str, words: Sequence[str], *, check: bool = False) -> shell.Result:
    """What a program in a pod did, which may fail."""
    settings = instance.settings
    kubectl = [toolbox.get(settings, "kubectl"), "--kubeconfig", settings.kubeconfig, "--context", settings.context]
    return shell.run([*kubectl, "--namespace", namespace, "exec", pod, "--", *words], timeout=60, check=check)
