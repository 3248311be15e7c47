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
from slipway.prometheus import NoAnswer, Prometheus
from slipway.waiting import Failed, Pending, Ready, stays, wait_for
from tests.e2e import delivering, ledger, shop
from tests.e2e.conftest import Instance

pytestmark = pytest.mark.long  # each roll-out takes its minutes

SCRIPT = Path(__file__).with_name("customers.py")

# How many ask at a time, per service; and the longest they go on, in seconds.
CUSTOMERS = 4
LONGEST = 170

# The most rolls until each service lost a request, when draining is off.
CONTROLS = 4

SHOP = "http://storefront.dev"

UNDRAINED = {"drain": {"seconds": 0, "timeout": 2}, "config": {"drain_seconds": 0, "finish_seconds": 1}}

# A scrape of the cluster's objects and an evaluation of the rules, with room for a busy machine.
ALERT_TIMEOUT = 120.0

JOB = "orders-migrate-"

POD_TIMEOUT = 60.0


@pytest.fixture
def dev(instance: Instance) -> Generator[Instance]:
    """The instance; its records of dev are put back as they were."""
    before, _ = delivering.read(instance, "gitops-nonprod")
    yield instance
    delivering.restore(instance, "dev", before)


def test_a_roll_out_of_all_four_services_loses_no_request_and_no_order(dev: Instance) -> None:
    routes, buyer = _routes(dev), _buyer()
    with _customers(dev, buyer, list(routes.values())) as asking:
        _roll(dev, list(routes), {})
        found = asking()
    for service, url in routes.items():
        assert found[url]["lost"] == {}, (service, found[url])
        assert set(found[url]["answered"]) == {"200"}, (service, found[url])
        assert found[url]["answered"]["200"] > 100, (service, found[url])
    assert found[SHOP]["lost"] == {}, found[SHOP]
    assert set(found[SHOP]["answered"]) == {"201"}, found[SHOP]
    accepted = found[SHOP]["answered"]["201"]
    assert accepted > 20
    assert shop.shop(dev, "dev").rows(f"SELECT count(*) FROM orders WHERE customer_name = '{buyer}'") == [str(accepted)]


def test_a_roll_out_without_draining_does_lose_requests_of_every_service(dev: Instance) -> None:
    routes = _routes(dev)
    _roll(dev, list(routes), UNDRAINED)  # it ends pods that still drain
    lost = dict.fromkeys(routes, 0)
    for _ in range(CONTROLS):
        with _customers(dev, _buyer(), list(routes.values())) as asking:
            _roll(dev, list(routes), UNDRAINED)
            found = asking()
        lost = {service: lost[service] + sum(found[url]["lost"].values()) for service, url in routes.items()}
        if all(lost.values()):
            break
    assert all(lost.values()), lost


def test_a_bad_migration_is_refused_before_the_old_version_stops(dev: Instance) -> None:
    sold = shop.shop(dev, "dev")
    order, schema, pods, before = sold.order(), _schema(sold), _pods(dev), set(_migrations(dev))
    digest = _with_migration(dev, "bad", BAD_MIGRATION)
    commit = delivering.change(dev, "dev", "orders", {"env": {"ROLL": "bad"}}, digest=digest)

    def refused() -> Ready[str] | Pending | Failed:
        found = {app.environment: app for app in applications.applications(dev.kube) if app.service == "orders"}
        judged = applications.delivered(found["dev"], commit)
        if isinstance(judged, Ready):
            return Failed("Argo CD calls it delivered")
        failed = [name for name, job in _migrations(dev).items() if name not in before and _became(job, "Failed")]
        return Ready(failed[0]) if failed else Pending(judged.why)

    job = wait_for("the migration to be given up", refused, timeout=240.0)

    def untouched() -> Ready[None] | Pending:
        if _pods(dev) != pods:
            return Pending("the pods of orders changed")
        return Ready(None) if sold.ask(f"/api/orders/{order['id']}").status == 200 else Pending("the order is not found")

    stays("the old version to serve", untouched, seconds=5.0)
    assert _schema(sold) == schema
    assert sold.holds(sold.order()["id"])
    prometheus = Prometheus(dev.json("urls")["prometheus"])

    def told() -> Ready[None] | Pending:
        firing = [(alert.name, alert.labels.get("job_name")) for alert in prometheus.alerts()]
        return Ready(None) if ("MigrationFailed", job) in firing else Pending(f"what fires: {firing}")

    wait_for("the alert MigrationFailed", told, timeout=ALERT_TIMEOUT, tolerate=(NoAnswer,))


def test_a_good_migration_runs_once_while_the_old_version_serves(dev: Instance) -> None:
    sold = shop.shop(dev, "dev")
    order, schema, pods, before = sold.order(), _schema(sold), _pods(dev), set(_migrations(dev))
    (revision,) = sold.rows("SELECT version_num FROM alembic_version")
    digest = _with_migration(dev, "good", GOOD_MIGRATION)
    served: list[int] = []

    def done() -> Ready[str] | Pending | Failed:
        # In this order: what is seen here was so before the Job was seen to go on.
        there, found = _pods(dev), sold.ask(f"/api/orders/{order['id']}").status
        jobs = {name: job for name, job in _migrations(dev).items() if name not in before}
        if any(_became(job, "Failed") for job in jobs.values()):
            return Failed(f"{', '.join(jobs)} failed")
        if ended := [name for name, job in jobs.items() if _became(job, "Complete")]:
            return Ready(ended[0])
        if there != pods or found != 200:
            return Failed(f"before it ended, the order was answered with {found}, by the pods {sorted(there)}")
        if not any((job.get("status") or {}).get("active") for job in jobs.values()):
            return Pending("it has not begun")
        served.append(found)
        return Pending("it goes on")

    try:
        commit = delivering.change(dev, "dev", "orders", {"env": {"ROLL": "good"}}, digest=digest)
        job = wait_for("the migration to end", done, timeout=240.0)
        assert served, "it ended before anybody could look"
        delivering.wait_delivered(dev, "dev", ["orders"], commit)
        assert {name for name in _migrations(dev) if name not in before} == {job}
        assert _migrations(dev)[job]["status"].get("succeeded") == 1
        assert not _migrations(dev)[job]["status"].get("failed")
        assert sold.rows("SELECT version_num FROM alembic_version") == ["9998"]
        assert set(_schema(sold)) - set(schema) == {"orders|extra|YES", "9998"}
        assert not _pods(dev) & pods
        assert sold.holds(sold.order()["id"])
        assert sold.holds(order["id"])
    finally:  # no version but that one knows its revision, and the next migration begins where this one did
        sold.rows(f"ALTER TABLE orders DROP COLUMN IF EXISTS extra; UPDATE alembic_version SET version_num = '{revision}'")


def _buyer() -> str:
    return f"customers-{secrets.token_hex(4)}"


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
def _customers(instance: Instance, name: str, urls: list[str]) -> Generator[Any]:
    """Customers at these addresses, and one of this name who buys, for as long as the block lasts.

    Calling what it gives ends them, and tells what they saw.
    """
    settings, product = instance.settings, shop.shop(instance, "dev").product()["id"]
    had = delivering.entry(instance, "dev", "catalog").record
    pod = _pod(name, f"{had.image}@{had.digest}", [str(CUSTOMERS), str(LONGEST), name, product, SHOP, *urls])
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


def _with_migration(instance: Instance, name: str, migration: str) -> str:
    """The digest of an image of orders with one more migration."""
    settings, found = instance.settings, engine.connect(instance.settings)
    plan, had = instance.plan, delivering.entry(instance, "dev", "orders").record
    beside = registry.find(found)
    assert beside
    with genesis.source(settings, had.source_commit, ["services"]) as taken:
        versions = sorted((taken.folder / "services" / "orders" / "migrations" / "versions").glob("*.py"))
        newest = versions[-1].stem.partition("_")[0]
        (versions[-1].parent / f"9999_{name}.py").write_text(migration.format(newest=newest))
        built = images.build_service(
            settings,
            found,
            beside,
            service="orders",
            context=taken.folder / "services",
            base=plan.image("python"),
            build_base=plan.image("python-build"),
            version=f"0.1.1-{name}",
            commit=had.source_commit,
            phase=Phase(f"a {name} migration"),
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

GOOD_MIGRATION = '''"""A change that the version before can live with; it takes so long that somebody can look."""

from alembic import op

revision = "9998"
down_revision = "{newest}"


def upgrade() -> None:
    """Wait, before anything is locked; then add a column."""
    op.execute("SELECT pg_sleep(8)")
    op.execute("ALTER TABLE orders ADD COLUMN extra text")
'''


def _schema(sold: shop.Shop) -> list[str]:
    columns = "SELECT table_name, column_name, is_nullable FROM information_schema.columns WHERE table_schema = 'public'"
    return sorted([*sold.rows(columns), *sold.rows("SELECT version_num FROM alembic_version")])


def _pods(instance: Instance) -> set[str]:
    return {pod["metadata"]["uid"] for pod in ledger.pods_of(instance, "dev", "orders")}


def _migrations(instance: Instance) -> Mapping[str, Object]:
    """The Jobs of orders' migrations in dev, by name."""
    found = instance.kube.list("Job", namespace="dev", api_version="batch/v1")
    return {job["metadata"]["name"]: job for job in found if job["metadata"]["name"].startswith(JOB)}


def _became(job: Object, condition: str) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(found["type"] == condition and found["status"] == "True" for found in conditions)
