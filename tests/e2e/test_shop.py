"""The shop keeps its promises: no order is lost, doubled or seen in another environment, whatever happens to its pods."""

from __future__ import annotations

import base64
import ipaddress
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from slipway import engine
from slipway.kube import NOT_YET, Kube, Object, ready, rollout
from slipway.settings import ROOT
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e import train
from tests.e2e.conftest import Instance, Reply, fetch
from tests.e2e.developing import Workspace
from tests.e2e.shop import Shop, inside, shop, tried

ENVIRONMENTS = ("dev", "qa", "stage", "prod")

# Seconds until the pods of an environment, or a whole node, are back on a busy machine.
RECOVERY_TIMEOUT = 240.0

NO_ANSWER = (OSError, HTTPException)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_order_is_in_the_database_of_its_own_environment_and_in_no_other(instance: Instance, environment: str) -> None:
    order = shop(instance, environment).order()
    assert {name for name in ENVIRONMENTS if shop(instance, name).holds(order["id"])} == {environment}
    for other in ENVIRONMENTS:
        found = shop(instance, other).ask(f"/api/orders/{order['id']}")
        assert found.status == (200 if other == environment else 404), found.body


def test_a_cart_is_in_the_valkey_of_its_own_environment_and_in_no_other(instance: Instance) -> None:
    cart = shop(instance, "dev").cart()
    own = ["sh", "-c", f'REDISCLI_AUTH=$(cat /etc/valkey-password/password) valkey-cli exists "cart:{cart}"']
    found = {environment: inside(instance, environment, "valkey-0", own).strip() for environment in ENVIRONMENTS}
    assert found == {environment: "1" if environment == "dev" else "0" for environment in ENVIRONMENTS}
    assert shop(instance, "qa").ask(f"/api/carts/{cart}").json["lines"] == []


def test_an_address_that_is_somebody_elses_now_gets_no_request_done(instance: Instance) -> None:
    # As after a restart of a node, when pods come back under each other's addresses: the name leads to others than it says.
    meta = {"name": f"impostor-{secrets.token_hex(3)}", "namespace": "dev"}
    catalog = instance.kube.get("Service", "catalog", namespace="dev")
    assert catalog
    spec = {
        "selector": catalog["spec"]["selector"],
        "ports": [{"port": 80, "targetPort": catalog["spec"]["ports"][0]["targetPort"]}],
    }
    url = instance.url("catalog", "dev").replace("catalog", meta["name"], 1)
    instance.kube.apply([{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}])
    try:

        def answered() -> Ready[Reply] | Pending:
            found = fetch(f"{url}/products")
            return Pending(f"{found.status}: {found.body[:200]}") if found.status == 502 else Ready(found)

        refused = wait_for("an answer of the pods behind the name", answered, timeout=RECOVERY_TIMEOUT, tolerate=NO_ANSWER)
    finally:
        instance.kube.delete("Service", meta["name"], namespace="dev")
    assert refused.status == 421, refused.body
    assert "nothing was done" in refused.json["detail"]
    assert fetch(f"{instance.url('catalog', 'dev')}/products").status == 200


def test_a_password_of_dev_opens_no_store_of_another_environment(instance: Instance) -> None:
    database, carts = (
        urlsplit(base64.b64decode(_secret(instance, name, "dev")["data"][variable]).decode())
        for name, variable in (("orders-postgresql", "DATABASE_URL"), ("cart-valkey", "VALKEY_URL"))
    )
    # By the network, as services ask: whom the server takes for its own pod's user needs no password.
    address = database._replace(netloc=f"{database.username}:{database.password}@127.0.0.1").geturl()
    query = ["psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command=SELECT 'in'", address]
    ping = ["sh", "-c", f"REDISCLI_AUTH='{carts.password}' valkey-cli ping 2>&1"]
    for environment in ENVIRONMENTS:
        asked = tried(instance, environment, "postgresql-0", query)
        said = tried(instance, environment, "valkey-0", ping).stdout
        if environment == "dev":
            assert (asked.stdout.strip(), said.strip()) == ("in", "PONG"), asked.stderr
        else:
            assert "password authentication failed" in asked.stderr, asked.stdout
            assert "WRONGPASS" in said
            assert "PONG" not in said


def test_no_two_environments_share_a_credential(instance: Instance) -> None:
    for name in ("postgresql", "valkey", "orders-postgresql", "cart-valkey"):
        held = [instance.kube.get("Secret", name, namespace=environment) for environment in ENVIRONMENTS]
        values = [value for secret in held if secret for value in secret["data"].values()]
        assert len(values) >= len(ENVIRONMENTS)
        assert len(set(values)) == len(values), name


def test_the_service_orders_is_no_superuser_of_its_database(instance: Instance) -> None:
    assert shop(instance, "dev").rows("SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'orders'") == ["f|f"]


def test_an_order_carries_its_request_id_through_every_service_it_touches(instance: Instance) -> None:
    sold, mark = shop(instance, "qa"), f"e2e-{secrets.token_hex(8)}"
    placed = sold.place(sold.cart(), key=secrets.token_hex(16), request_id=mark)
    assert placed.status == 201, placed.body
    assert placed.headers["x-request-id"] == mark
    for service in ("storefront", "cart", "catalog", "orders"):
        logged = instance.invoke("logs", service, "--env", "qa", "--tail", "500").stdout
        lines = [json.loads(line[line.index("{") :]) for line in logged.splitlines() if mark in line]
        assert lines, f"{service} logged nothing about {mark}"
        assert all(mark in line.values() for line in lines)


def test_two_orders_at_once_with_one_key_are_one_order(instance: Instance) -> None:
    sold, key = shop(instance, "prod"), secrets.token_hex(16)
    cart, before = sold.cart(), int(sold.rows("SELECT count(*) FROM orders")[0])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: sold.place(cart, key=key), range(8)))
    assert {answer.status for answer in answers} <= {200, 201}, [answer.body for answer in answers]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert [answer.status for answer in answers].count(201) == 1
    assert int(sold.rows("SELECT count(*) FROM orders")[0]) == before + 1


def test_orders_and_carts_outlive_every_pod_of_their_environment(instance: Instance) -> None:
    sold = shop(instance, "dev")
    order, cart = sold.order(), sold.cart(quantity=3)
    gone = {pod["metadata"]["uid"] for pod in _pods(instance.kube, "dev")}
    for pod in _pods(instance.kube, "dev"):
        instance.kube.delete("Pod", pod["metadata"]["name"], namespace="dev")
    _wait_all_ready(instance, "dev", without=gone)
    _wait_found(sold, order)
    _wait_kept(sold, cart, [3])


def test_after_a_restart_of_the_node_every_order_is_there_and_a_push_is_taken(instance: Instance, tmp_path: Path) -> None:
    shops = [shop(instance, name) for name in ENVIRONMENTS]
    placed = [(sold, sold.order()) for sold in shops]
    node = engine.connect(instance.settings).container(instance.settings.node)
    assert node
    node.restart(timeout=30)
    for sold, order in placed:
        _wait_found(sold, order)
    for name in ENVIRONMENTS:
        _wait_all_ready(instance, name)
    # Pods were there before kube-proxy: what they sent to services then must not have been answered by whoever is outside.
    for name in ENVIRONMENTS:
        assert "refused" in _called_where_nobody_is(instance, name)
    instance.invoke("up", timeout=600)
    # Pods come back under other addresses: whoever kept a connection may be led to somebody else.
    work = Workspace.clone(instance, tmp_path / "work")
    work.touch("catalog")
    commit, branch = work.commit(), f"feature/{secrets.token_hex(3)}"
    work.push(branch)
    train.passed(instance, commit, branch)


def _called_where_nobody_is(instance: Instance, environment: str) -> str:
    """What a pod is told that calls an address of Services at which there is none, as all are until kube-proxy is there."""
    used = {service["spec"].get("clusterIP") for service in instance.kube.list("Service")}
    subnet = ipaddress.ip_network(yaml.safe_load((ROOT / "cluster" / "kind.yaml").read_text())["networking"]["serviceSubnet"])
    free = next(str(address) for address in list(subnet.hosts())[::-1] if str(address) not in used)
    pod = next(pod for pod in _pods(instance.kube, environment) if pod["metadata"]["name"].startswith("storefront-"))
    code = f"import socket; socket.create_connection(({free!r}, 80), timeout=5)"
    return tried(instance, environment, pod["metadata"]["name"], ["python3", "-c", code]).stderr.lower()


def _secret(instance: Instance, name: str, environment: str) -> Object:
    found = instance.kube.get("Secret", name, namespace=environment)
    assert found
    return found


def _pods(kube: Kube, environment: str) -> list[dict[str, Any]]:
    found = kube.list("Pod", namespace=environment)
    return [dict(pod) for pod in found if pod["status"].get("phase") not in ("Succeeded", "Failed")]


def _wait_all_ready(instance: Instance, environment: str, *, without: set[str] | None = None) -> None:
    def probe() -> Ready[None] | Pending:
        kube = instance.kube
        left = [pod["metadata"]["name"] for pod in _pods(kube, environment) if pod["metadata"]["uid"] in (without or set())]
        if left:
            return Pending(f"still there: {', '.join(left)}")
        for kind in ("Deployment", "StatefulSet"):
            for workload in kube.list(kind, namespace=environment, api_version="apps/v1"):
                judged = rollout(workload)
                if not isinstance(judged, Ready):
                    return Pending(f"{workload['metadata']['name']}: {judged.why}")
        # What workloads say of themselves may be as of a moment ago, when those that are gone were still counted.
        for pod in _pods(kube, environment):
            judged = ready(pod)
            if not isinstance(judged, Ready):
                return Pending(f"{pod['metadata']['name']}: {judged.why}")
        return Ready(None)

    wait_for(f"every pod of {environment} to be ready", probe, timeout=RECOVERY_TIMEOUT, tolerate=(*NOT_YET, *NO_ANSWER))


def _wait_kept(sold: Shop, cart: str, quantities: list[int]) -> None:
    def probe() -> Ready[None] | Pending:
        found = sold.ask(f"/api/carts/{cart}")
        if found.status != 200:
            return Pending(f"{found.status}: {found.body[:200]}")
        assert [line["quantity"] for line in found.json["lines"]] == quantities
        return Ready(None)

    wait_for(f"the carts of {sold.environment} to answer", probe, timeout=RECOVERY_TIMEOUT, tolerate=NO_ANSWER)


def _wait_found(sold: Shop, order: dict[str, Any]) -> None:
    def probe() -> Ready[None] | Pending:
        found = sold.ask(f"/api/orders/{order['id']}")
        if found.status != 200:
            return Pending(f"{found.status}: {found.body[:200]}")
        assert found.json["lines"] == order["lines"]
        return Ready(None)

    wait_for(f"order {order['id']} to be found in {sold.environment}", probe, timeout=RECOVERY_TIMEOUT, tolerate=NO_ANSWER)
