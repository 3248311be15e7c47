"""A new version loses nobody's request, and a bad one never gets so far: with the controls that show the tests can fail."""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from slipway import applications, engine, genesis, images, registry, shell, toolbox
from slipway.kube import Object
from slipway.progress import Phase
from slipway.waiting import Failed, Pending, Ready, stays, wait_for
from tests.e2e import delivering, shop
from tests.e2e.conftest import Instance

SCRIPT = Path(__file__).with_name("customers.py")

# How many ask at a time, per service; and the longest they go on, in seconds.
CUSTOMERS = 4
LONGEST = 170

# Rolls until one of them loses a request, when draining is off. The first one loses nothing: it ends pods that still drain.
CONTROLS = 4

POD_TIMEOUT = 60.0


@pytest.fixture
def dev(instance: Instance) -> Generator[Instance]:
    """The instance; its records of dev are put back as they were."""
    before, _ = delivering.read(instance, "gitops-nonprod")
    yield instance
    delivering.restore(instance, "dev", before)


def test_a_roll_out_of_all_four_services_loses_no_request(dev: Instance) -> None:
    routes = _routes(dev)
    with _customers(dev, list(routes.values())) as asking:
        _roll(dev, list(routes), {})
        found = asking()
    for service, url in routes.items():
        assert found[url]["lost"] == {}, (service, found[url])
        assert set(found[url]["answered"]) == {"200"}, (service, found[url])
        assert found[url]["answered"]["200"] > 100, (service, found[url])


def test_a_roll_out_without_draining_does_lose_requests(dev: Instance) -> None:
    url = _routes(dev)["catalog"]
    had = delivering.entry(dev, "dev", "catalog").values
    undrained = {
        "drain": {"seconds": 0, "timeout": 1},
        "config": {**had["config"], "drain_seconds": 0, "finish_seconds": 1},
    }
    with _customers(dev, [url]) as asking:
        for _ in range(CONTROLS):
            _roll(dev, ["catalog"], undrained)
        found = asking()
    assert sum(found[url]["lost"].values()) > 0, found


def test_a_bad_migration_is_refused_before_the_old_version_stops(dev: Instance, tmp_path: Path) -> None:
    sold = shop.shop(dev, "dev")
    order, schema, pods = sold.order(), _schema(sold), _pods(dev)
    commit = delivering.change(dev, "dev", "orders", {"env": {"ROLL": "bad"}}, digest=_with_bad_migration(dev, tmp_path))

    def refused() -> Ready[str] | Pending | Failed:
        found = {app.environment: app for app in applications.applications(dev.kube) if app.service == "orders"}
        judged = applications.delivered(found["dev"], commit)
        if isinstance(judged, Ready):
            return Failed("Argo CD calls it delivered")
        jobs = [job for job in dev.kube.list("Job", namespace="dev", api_version="batch/v1") if _failed(job)]
        return Ready(judged.why) if jobs else Pending(judged.why)

    wait_for("the migration to be given up", refused, timeout=240.0)

    def untouched() -> Ready[None] | Pending:
        if _pods(dev) != pods:
            return Pending("the pods of orders changed")
        return Ready(None) if sold.ask(f"/api/orders/{order['id']}").status == 200 else Pending("the order is not found")

    stays("the old version to serve", untouched, seconds=5.0)
    assert _schema(sold) == schema
    assert sold.holds(sold.order()["id"])


def _routes(instance: Instance) -> Mapping[str, str]:
    """An address inside the cluster for each service: one that a customer needs, and that asks its stores."""
    sold = shop.shop(instance, "dev")
    cart, order = sold.cart(), sold.order()
    return {
        "catalog": "http://catalog.dev/products?limit=5",
        "cart": f"http://cart.dev/carts/{cart}",
        "orders": f"http://orders.dev/orders/{order['id']}",
        "storefront": f"http://storefront.dev/api/orders/{order['id']}",
    }


def _roll(instance: Instance, services: list[str], values: Mapping[str, Any]) -> None:
    """Replace every pod of these services, all in one commit."""
    commit = delivering.change(instance, "dev", services, {**values, "env": {"ROLL": secrets.token_hex(4)}})
    delivering.wait_delivered(instance, "dev", services, commit)


@contextmanager
def _customers(instance: Instance, urls: list[str]) -> Generator[Any]:
    """Customers at these addresses for as long as the block lasts; calling what it gives ends them, and tells what they saw."""
    name, settings = f"customers-{secrets.token_hex(4)}", instance.settings
    had = delivering.entry(instance, "dev", "catalog").record
    pod = _pod(name, f"{had.image}@{had.digest}", [str(CUSTOMERS), str(LONGEST), *urls])
    kubectl = [toolbox.get(settings, "kubectl"), "--kubeconfig", settings.kubeconfig, "--context", settings.context]

    def log() -> list[str]:
        return shell.run([*kubectl, "--namespace", "dev", "logs", name], check=False, timeout=30).stdout.splitlines()

    def finish() -> Any:
        shop.inside(instance, "dev", name, ["python3", "-c", "open('/tmp/stop', 'w').close()"])

        def ended() -> Ready[Any] | Pending:
            lines = log()
            return Ready(json.loads(lines[-1])) if lines and lines[-1].startswith("{") else Pending("they still ask")

        return wait_for("the customers to count", ended, timeout=POD_TIMEOUT)

    instance.kube.apply([_script(name), pod])
    try:
        wait_for("the customers to ask", lambda: Ready(None) if "asking" in log() else Pending("not yet"), timeout=POD_TIMEOUT)
        yield finish
    finally:
        instance.kube.delete("Pod", name, namespace="dev")
        instance.kube.delete("ConfigMap", name, namespace="dev")


def _script(name: str) -> Object:
    meta = {"name": name, "namespace": "dev"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"customers.py": SCRIPT.read_text()}}


def _pod(name: str, image: str, words: list[str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "dev"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "customers",
                    "image": image,
                    "command": ["/venv/bin/python", "/script/customers.py", *words],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "script", "mountPath": "/script"}, {"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "script", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}],
        },
    }


def _with_bad_migration(instance: Instance, folder: Path) -> str:
    """The digest of an image of orders with one more migration, which the database refuses halfway."""
    settings, found = instance.settings, engine.connect(instance.settings)
    plan, had = instance.plan, delivering.entry(instance, "dev", "orders").record
    beside = registry.find(found)
    assert beside
    with genesis.source(settings, had.source_commit, ["services"]) as taken:
        versions = sorted((taken.folder / "services" / "orders" / "migrations" / "versions").glob("*.py"))
        newest = versions[-1].stem.partition("_")[0]
        (versions[-1].parent / "9999_bad.py").write_text(BAD_MIGRATION.format(newest=newest))
        built = images.build_service(
            settings,
            found,
            beside,
            service="orders",
            context=taken.folder / "services",
            base=plan.image("python"),
            build_base=plan.image("python-build"),
            version="0.1.1-bad",
            commit=had.source_commit,
            phase=Phase("a bad migration"),
        )
    return built.digest


BAD_MIGRATION = '''"""A change that cannot be made."""

from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade() -> None:
    """Half of it works, the other half does not."""
    op.execute("ALTER TABLE orders ADD COLUMN half text")
    op.execute("ALTER TABLE orders ALTER COLUMN half SET NOT NULL")
'''


def _schema(sold: shop.Shop) -> list[str]:
    columns = "SELECT table_name, column_name, is_nullable FROM information_schema.columns WHERE table_schema = 'public'"
    return sorted([*sold.rows(columns), *sold.rows("SELECT version_num FROM alembic_version")])


def _pods(instance: Instance) -> set[str]:
    return {pod["metadata"]["uid"] for pod in instance.kube.list("Pod", namespace="dev", labels="app.kubernetes.io/name=orders")}


def _failed(job: Object) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(found["type"] == "Failed" and found["status"] == "True" for found in conditions)
