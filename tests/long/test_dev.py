"""The inner loop in full: what takes minutes, or leaves an instance that nobody could use any more."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from slipway import names, shell
from tests.e2e import shop, tilting
from tests.e2e.conftest import UP_TIMEOUT, Instance, existing
from tests.e2e.tilting import REBUILD_TIMEOUT

NAME = "long-dev"

# Seconds: longer than Tilt's own patience with what is not ready, which is five minutes.
LATE = 330

NOT_READY = """
    began = __import__("time").monotonic()

    async def late() -> None:
        if __import__("time").monotonic() < began + {seconds}:
            raise ValueError("later")

    service.lifecycle.check("late", late)
    return service
"""

MIGRATION = '''"""a column that nobody reads."""

from __future__ import annotations

from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    """Add it."""
    op.execute("ALTER TABLE orders ADD COLUMN {column} text")
'''


@pytest.fixture(scope="module")
def instance() -> Generator[Instance]:
    """A minimal instance of these tests' own."""
    made = existing(NAME)
    made.invoke("down")
    try:
        made.invoke("up", "--profile", "minimal", timeout=UP_TIMEOUT)
        yield made
    finally:
        made.invoke("down")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return tilting.clone(tmp_path)


def test_what_is_only_slow_has_until_the_deadline(instance: Instance, clone: Path) -> None:
    main = clone / "services" / "catalog" / "main.py"
    text = main.read_text()
    assert "\n    return service\n" in text
    main.write_text(text.replace("\n    return service\n", NOT_READY.format(seconds=LATE)))
    words = [clone / "invoke", "dev", "catalog", "--ci", "--timeout=900"]
    done = shell.run(words, env=instance.environ, cwd=clone, timeout=1200, check=False)
    assert done.code == 0, f"{done.stdout}\n{done.stderr}"


def test_services_that_are_not_worked_on_run_as_in_dev(instance: Instance, clone: Path) -> None:
    with tilting.running(instance, clone, "catalog") as loop:
        images = {
            namespace: {
                item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"][0]["image"]
                for item in instance.kube.list("Deployment", namespace=namespace, api_version="apps/v1")
            }
            for namespace in ("dev", names.LOCAL)
        }
        as_in_dev = {name for name, image in images[names.LOCAL].items() if image == images["dev"][name]}
        assert as_in_dev == {"cart", "orders", "storefront"}
        before, token = loop.description("cart"), f"Saved {secrets.token_hex(4)}."
        loop.describe("cart", token)
        loop.describe("catalog", token)
        loop.served("catalog", token)
        assert loop.description("cart") == before


def test_a_new_migration_runs_when_it_is_triggered_and_not_before(instance: Instance, clone: Path) -> None:
    versions = clone / "services" / "orders" / "migrations" / "versions"
    newest = max(int(file.name[:4]) for file in versions.glob("[0-9]*.py"))
    column, revision = f"c{secrets.token_hex(4)}", f"{newest + 1:04d}"
    with tilting.running(instance, clone) as loop:
        loop.settle()
        new = MIGRATION.format(revision=revision, before=f"{newest:04d}", column=column)
        (versions / f"{revision}_nobody.py").write_text(new)
        token = f"Saved {secrets.token_hex(4)}."
        loop.describe("orders", token)
        loop.served("orders", token)
        loop.settle()
        assert column not in _columns(instance)
        loop.tilt("trigger", "orders-migrations")
        loop.until("the column", lambda: _columns(instance), lambda found: column in found, timeout=REBUILD_TIMEOUT)
    instance.invoke("dev", "--down")


def test_down_ends_a_tilt_that_runs_with_all_that_it_started(instance: Instance, clone: Path) -> None:
    with tilting.begun(instance, clone) as (process, page):
        assert tilting.left(instance)
        instance.invoke("down")
        process.wait(timeout=tilting.END_TIMEOUT)
        tilting.gone(instance, page)
    assert not instance.settings.folder.exists()


def _columns(instance: Instance) -> Sequence[str]:
    """The columns of the orders in `local`, as PostgreSQL tells them."""
    return shop.sql(instance, names.LOCAL, "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders'")
