from __future__ import annotations

import itertools
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import ledger
import migrate
from chassis import Identity
from database import VARIABLE, conninfo
from migrate import MIGRATIONS, Failed, Waiting
from orders.test.relay import Relay

SCRIPTS = ScriptDirectory(str(MIGRATIONS))
REVISIONS = [script.revision for script in SCRIPTS.walk_revisions()][::-1]

# How the version of this service that came with each migration writes an order. A new migration: copy here, under the
# revision before it, what ledger.ACCEPT is now.
WRITES: Mapping[str, str] = {
    "0001": """
        WITH accepted AS (
            INSERT INTO orders (id, idempotency_key, content_sha256, customer_name, total_cents)
            VALUES (%(id)s, %(key)s, %(sha256)s, %(customer)s, %(total)s)
            ON CONFLICT (idempotency_key) DO NOTHING
            RETURNING id, created_at
        ), lines AS (
            INSERT INTO order_lines (order_id, position, product_id, name, unit_price_cents, quantity)
            SELECT accepted.id, line.position, line.product_id, line.name, line.unit_price_cents, line.quantity
            FROM accepted, unnest(%(products)s::text[], %(names)s::text[], %(prices)s::bigint[], %(quantities)s::bigint[])
                WITH ORDINALITY AS line (product_id, name, unit_price_cents, quantity, position)
        )
        SELECT id, created_at FROM accepted
    """,
    "0002": ledger.ACCEPT,
}

# And how it reads one: all versions so far alike.
READS: Mapping[str, str] = {"0001": ledger.FIND_BY_KEY, "0002": ledger.FIND_BY_KEY}

BAD = """
from alembic import op
revision, down_revision = "{revision}", "{before}"
def upgrade():
    op.execute("CREATE TABLE half (id bigint)")
    op.execute("{statement}")
"""

CONCURRENT = """
from alembic import op
revision, down_revision = "9999", "{before}"
def upgrade():
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS by_time")
        op.execute("CREATE INDEX CONCURRENTLY by_time ON orders (created_at)")
"""

END_SLEEPERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'orders migrate' AND wait_event = 'PgSleep'
"""

Version = Callable[..., Path]


@pytest.fixture
def version(tmp_path: Path) -> Version:
    """Makes the migrations of a version that knows those up to a revision, and one more that says something else."""

    def version(revision: str, statement: str = "") -> Path:
        folder = tmp_path / f"{revision}-{len(list(tmp_path.iterdir()))}"
        known = REVISIONS[: REVISIONS.index(revision) + 1]
        (folder / "versions").mkdir(parents=True)
        shutil.copy(MIGRATIONS / "env.py", folder)
        for name in known:
            shutil.copy(SCRIPTS.get_revision(name).path, folder / "versions")
        if statement:
            (folder / "versions" / "9999_more.py").write_text(BAD.format(revision="9999", before=revision, statement=statement))
        return folder

    return version


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Generator[list[logging.LogRecord]]:
    """What was logged so far."""
    heard: list[logging.LogRecord] = []

    def hear(record: logging.LogRecord) -> bool:
        heard.append(record)
        return True

    def leave(identity: Identity) -> None:
        """Instead of `configure`, which would take pytest's own handlers away."""

    monkeypatch.setattr(migrate, "configure", leave)
    before = migrate.log.level
    migrate.log.setLevel(logging.INFO)
    migrate.log.addFilter(hear)
    yield heard
    migrate.log.removeFilter(hear)
    migrate.log.setLevel(before)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


def waits(said: Sequence[logging.LogRecord]) -> list[str]:
    """The reasons that were given for waiting."""
    return [fields(record)["reason"] for record in said if record.getMessage() == "waiting"]


def target(url: str, lock: str = "3s", statement: str = "60s") -> str:
    options = {"lock_timeout": lock, "statement_timeout": statement}
    return conninfo({VARIABLE: url}, application="orders migrate", options=options)


def run(url: str, migrations: Path = MIGRATIONS, wait: float = 30, **settings: str) -> migrate.Done:
    return migrate.migrate(target(url, **settings), wait_seconds=wait, migrations=migrations)


def order(number: int) -> dict[str, Any]:
    return {
        "id": f"id-{number}",
        "key": f"key-{number}",
        "sha256": b"\x00\xff",
        "customer": "Ada",
        "total": 7,
        "request": "a-request",
        "products": ["mug", "rope"],
        "names": ["Mug", "Rope"],
        "prices": [3, 1],
        "quantities": [2, 1],
    }


def tables(sql: psycopg.Connection) -> set[str]:
    return {name for (name,) in sql.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")}


def revision(sql: psycopg.Connection) -> list[tuple[str]]:
    return sql.execute("SELECT version_num FROM alembic_version").fetchall()


def columns(sql: psycopg.Connection) -> Sequence[Any]:
    return sql.execute(
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
    ).fetchall()


def in_background(work: Callable[[], Any]) -> Future[Any]:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def eventually(what: str, holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def test_an_empty_database_gets_everything_once(empty: str, sql: psycopg.Connection) -> None:
    first = run(empty)
    assert (first.revision, first.applied, first.newer) == (REVISIONS[-1], tuple(REVISIONS), False)
    assert tables(sql) == {"orders", "order_lines", "alembic_version"}
    made = columns(sql)
    again = run(empty)
    assert (again.revision, again.applied, columns(sql)) == (REVISIONS[-1], (), made)


def test_the_migrations_are_one_line_in_the_order_of_their_files() -> None:
    files = sorted(path.name for path in (MIGRATIONS / "versions").glob("*.py"))
    assert SCRIPTS.get_heads() == [REVISIONS[-1]]
    assert [name[:4] for name in files] == REVISIONS


def test_each_migration_can_be_tested_beside_the_version_before() -> None:
    assert (list(WRITES), list(READS)) == (REVISIONS, REVISIONS)


@pytest.mark.parametrize(("before", "after"), list(itertools.pairwise(REVISIONS)))
def test_a_migration_hurts_no_pod_of_the_version_before(
    empty: str, sql: psycopg.Connection, version: Version, before: str, after: str
) -> None:
    def accept(number: int) -> list[Any]:
        made = sql.execute(WRITES[before].encode(), order(number)).fetchall()
        assert len(made) == 1
        assert sql.execute(WRITES[before].encode(), order(number)).fetchall() == []  # the key still belongs to one order
        return read(number)

    def read(number: int) -> list[Any]:
        return sql.execute(READS[before].encode(), {"value": f"key-{number}"}).fetchall()

    run(empty, version(before))
    old = accept(1)
    assert run(empty, version(after)).applied == (after,)
    assert read(1) == old
    assert len(accept(2)) == len(old) == 2


@pytest.mark.parametrize("known", REVISIONS[:-1])
def test_a_former_version_leaves_a_newer_schema_alone(
    empty: str, sql: psycopg.Connection, version: Version, known: str, said: list[logging.LogRecord]
) -> None:
    run(empty)
    made = columns(sql)
    said.clear()
    assert migrate.main([], environ={VARIABLE: empty}, migrations=version(known)) == 0
    (line,) = said
    assert line.getMessage() == "the schema is newer than this version"
    assert fields(line) == {"revision": REVISIONS[-1], "applied": ()}
    assert (columns(sql), revision(sql)) == (made, [(REVISIONS[-1],)])


def test_migrators_at_once_do_the_work_once(empty: str, sql: psycopg.Connection) -> None:
    line_up = threading.Barrier(4)

    def push(_: int) -> migrate.Done:
        line_up.wait()
        return run(empty)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(push, range(4)))
    assert sorted(list(one.applied) for one in done) == [[], [], [], REVISIONS]
    assert {one.revision for one in done} == {REVISIONS[-1]}


def test_a_migrator_takes_its_turn(empty: str, sql: psycopg.Connection) -> None:
    sql.execute("SELECT pg_advisory_lock(%s)", (migrate.ADVISORY_LOCK,))
    with pytest.raises(Waiting, match="another migrator"):
        run(empty, wait=0)
    assert tables(sql) == set()
    sql.execute("SELECT pg_advisory_unlock(%s)", (migrate.ADVISORY_LOCK,))
    assert run(empty, wait=0).applied == tuple(REVISIONS)


def test_a_failing_migration_leaves_nothing_and_says_which_it_was(
    empty: str, sql: psycopg.Connection, version: Version, said: list[logging.LogRecord]
) -> None:
    run(empty)
    before = columns(sql)
    said.clear()
    broken = version(REVISIONS[-1], "SELECT 1 / 0")
    assert migrate.main([], environ={VARIABLE: empty}, migrations=broken) == migrate.EXIT_FAILED
    (line,) = said
    assert line.levelname == "CRITICAL"
    assert re.search(r"migration 9999 .* left nothing: division by zero", line.getMessage())
    assert (columns(sql), revision(sql)) == (before, [(REVISIONS[-1],)])


def test_the_migrations_before_a_failing_one_stay(empty: str, sql: psycopg.Connection, version: Version) -> None:
    with pytest.raises(Failed, match="9999"):
        run(empty, version("0001", "SELECT nothing"))
    assert (revision(sql), "half" in tables(sql)) == ([("0001",)], False)
    assert run(empty).applied == tuple(REVISIONS[1:])


def test_a_migration_that_takes_too_long_fails(empty: str, sql: psycopg.Connection, version: Version) -> None:
    with pytest.raises(Failed, match="statement timeout"):
        run(empty, version("0001", "SELECT pg_sleep(60)"), statement="100ms")
    assert "half" not in tables(sql)


def test_a_busy_table_is_tried_again_and_blocks_nobody_meanwhile(
    empty: str, sql: psycopg.Connection, version: Version, said: list[logging.LogRecord]
) -> None:
    run(empty, version("0001"))
    with sql.transaction():
        sql.execute(WRITES["0001"].encode(), order(1))
        done = in_background(lambda: run(empty, lock="100ms"))
        eventually("the migrator says that it waits", lambda: waits(said))
        with psycopg.connect(empty, autocommit=True) as other:  # what a pod does meanwhile
            other.execute("SET lock_timeout = '10s'")
            other.execute(WRITES["0001"].encode(), order(2))
    assert done.result(timeout=60).applied == ("0002",)
    assert "lock timeout" in waits(said)[0]


def test_a_table_that_stays_busy_is_given_up(empty: str, sql: psycopg.Connection, version: Version) -> None:
    run(empty, version("0001"))
    with sql.transaction(), pytest.raises(Waiting, match="lock timeout"):
        sql.execute("LOCK TABLE orders IN ROW EXCLUSIVE MODE")
        run(empty, wait=0, lock="100ms")
    assert revision(sql) == [("0001",)]


def test_a_migrator_that_loses_its_connection_begins_again(empty: str, sql: psycopg.Connection, version: Version) -> None:
    slow = version(REVISIONS[-1], "SELECT pg_sleep(1)")
    done = in_background(lambda: run(empty, slow))
    eventually("the migration is under way", lambda: sql.execute(END_SLEEPERS).fetchall())
    assert done.result(timeout=60).revision == "9999"
    assert "half" in tables(sql)


def test_an_index_is_built_without_blocking_and_migrators_that_wait_do_not_stop_it(
    empty: str, sql: psycopg.Connection, version: Version
) -> None:
    folder = version(REVISIONS[-1])
    (folder / "versions" / "9999_more.py").write_text(CONCURRENT.format(before=REVISIONS[-1]))
    with ThreadPoolExecutor(3) as pool:
        done = [asked.result() for asked in [pool.submit(run, empty, folder) for _ in range(3)]]
    assert sorted(list(one.applied) for one in done) == [[], [], [*REVISIONS, "9999"]]
    assert sql.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_time'::regclass").fetchall() == [(True,)]


def test_the_database_is_waited_for(empty: str, sql: psycopg.Connection, said: list[logging.LogRecord]) -> None:
    told = conninfo_to_dict(empty)
    relay = Relay(str(told["host"]), int(told["port"] or 5432))
    try:
        relay.cut()
        done = in_background(lambda: run(make_conninfo(empty, host="127.0.0.1", port=relay.port)))
        eventually("the migrator says that it waits", lambda: waits(said))
        relay.mend()
        assert done.result(timeout=60).applied == tuple(REVISIONS)
    finally:
        relay.close()


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("", 78, "DATABASE_URL is not set"),
        ("postgresql://orders:hunter2@127.0.0.1:1/orders", migrate.EXIT_UNAVAILABLE, "gave up after 0 s: "),
    ],
)
def test_without_a_database_it_ends_with_one_clear_line(address: str, code: int, words: str) -> None:
    argv = [sys.executable, migrate.__file__, "--wait", "0"]
    result = subprocess.run(
        argv, env={VARIABLE: address, "PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=False
    )
    *_, line = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.returncode, line["level"], words in line["message"], result.stderr) == (code, "critical", True, "")
    assert "hunter2" not in result.stdout


def statements(migrations: Path, revision: str) -> str:
    """What a migration executes, as SQL, without what Alembic adds."""
    text = StringIO()
    config = Config(output_buffer=text)
    config.set_main_option("script_location", str(migrations))
    script = ScriptDirectory(str(migrations)).get_revision(revision)
    command.upgrade(config, f"{script.down_revision or 'base'}:{revision}", sql=True)
    found = [statement.strip() for statement in text.getvalue().split(";\n\n")]
    own = [one for one in found if one and "alembic_version" not in one]
    assert len(own) > 2  # where its transaction begins and ends is told, too: not every statement may stand in one
    return ";\n".join([*own, ""])


def lint(sql: str, file: Path) -> list[str]:
    """The rules of squawk, which knows what locks a table or breaks a running program, that the statements break."""
    file.write_text(sql)
    squawk = Path(sys.executable).with_name("squawk")
    # Time-outs are the session's, and a transaction that fails leaves nothing to be met a second time.
    argv = [
        squawk,
        "--pg-version=17",
        "--exclude=require-timeout-settings,prefer-robust-stmts",
        "--reporter=json",
        file,
    ]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    return [problem["rule_name"] for problem in json.loads(result.stdout)]


@pytest.mark.parametrize("revision", REVISIONS)
def test_no_migration_blocks_or_breaks_who_runs_meanwhile(tmp_path: Path, revision: str) -> None:
    assert lint(statements(MIGRATIONS, revision), tmp_path / f"{revision}.sql") == []


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("ALTER TABLE orders DROP COLUMN request_id", "ban-drop-column"),
        ("ALTER TABLE orders RENAME COLUMN request_id TO request", "renaming-column"),
        ("ALTER TABLE orders ADD COLUMN channel text NOT NULL", "adding-required-field"),
        ("ALTER TABLE orders ALTER COLUMN request_id SET NOT NULL", "adding-not-nullable-field"),
        ("ALTER TABLE order_lines ALTER COLUMN quantity TYPE bigint", "changing-column-type"),
        ("CREATE INDEX by_time ON orders (created_at)", "require-concurrent-index-creation"),
        ("CREATE INDEX CONCURRENTLY by_time ON orders (created_at)", "ban-concurrent-index-creation-in-transaction"),
        ("DROP TABLE order_lines", "ban-drop-table"),
    ],
)
def test_a_migration_that_would_is_found(tmp_path: Path, version: Version, statement: str, rule: str) -> None:
    assert rule in lint(statements(version(REVISIONS[-1], statement), "9999"), tmp_path / "9999.sql")


def test_an_index_may_be_built_outside_of_a_transaction(tmp_path: Path, version: Version) -> None:
    folder = version(REVISIONS[-1])
    (folder / "versions" / "9999_more.py").write_text(CONCURRENT.format(before=REVISIONS[-1]))
    assert lint(statements(folder, "9999"), tmp_path / "9999.sql") == []
