"""Brings the database's schema to what this version of orders needs; nothing is done twice, and nothing by halves.

Exit codes: 0 done, 1 a migration failed, 75 the database was not to be had in time, 78 the configuration is wrong.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from chassis import ConfigError
from chassis.identity import identify
from chassis.logs import configure
from chassis.server import EXIT_CONFIG
from database import conninfo

log = logging.getLogger("migrate")

MIGRATIONS = Path(__file__).with_name("migrations")

EXIT_FAILED, EXIT_UNAVAILABLE = 1, 75

# Seconds that the database may take to come, another migrator to end, and a busy table to become free, all together.
WAIT_SECONDS = 120.0

# Seconds between two attempts; less by up to a half, so that migrators do not meet again.
PAUSE_SECONDS = 1.0

# Seconds that a migration waits for a lock, while everybody else queues up behind it; and that one statement may take.
LOCK_SECONDS, STATEMENT_SECONDS = 3, 60

# The key of the advisory lock that migrators of one database take turns with; the number says nothing.
ADVISORY_LOCK = 7_203_114_908

# What passes: no connection, or a lock that somebody else holds. A statement that took too long will do so again.
TRANSIENT = psycopg.OperationalError
LASTING = psycopg.errors.QueryCanceled


class Waiting(Exception):
    """Not possible now; the message says why."""


class Failed(Exception):
    """Not possible; the message says which migration failed, and why."""


@dataclass(frozen=True)
class Done:
    """What a run has done.

    Attributes:
        revision: The revision of the schema now; empty for a database without one.
        applied: The migrations of this run, in order.
        newer: Whether the schema comes from a later version, which this one can live with.
    """

    revision: str
    applied: Sequence[str]
    newer: bool


def migrate(target: str, *, wait_seconds: float = WAIT_SECONDS, migrations: Path = MIGRATIONS) -> Done:
    """Bring the schema to the newest of the migrations.

    Args:
        target: How to connect.
        wait_seconds: How long the database, another migrator and busy tables are waited for.
        migrations: The folder of Alembic's environment.

    Raises:
        Waiting: The time is up.
        Failed: A migration failed; it left nothing behind, the ones before it are done.
    """
    deadline, said = time.monotonic() + wait_seconds, ""
    applied: list[str] = []
    while True:
        try:
            with _connected(target) as connection, _alone(connection):
                revision, newer = _upgrade(connection, migrations, applied)
                return Done(revision, tuple(applied), newer)
        except Waiting as error:
            if time.monotonic() > deadline:
                raise
            if str(error) != said:
                said = str(error)
                log.info("waiting", extra={"fields": {"reason": said}})
        time.sleep(random.uniform(PAUSE_SECONDS / 2, PAUSE_SECONDS))  # noqa: S311 - spreads load, hides nothing


@contextmanager
def _connected(target: str) -> Generator[Connection]:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(target), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        if isinstance(error.orig, TRANSIENT) and not isinstance(error.orig, LASTING):
            raise Waiting(_line(error.orig)) from error
        raise Failed(f"the database refuses to tell what it holds: {_line(error.orig or error)}") from error
    except psycopg.OperationalError as error:
        raise Waiting(_line(error)) from error


@contextmanager
def _alone(connection: Connection) -> Generator[None]:
    # Asked for again and again rather than waited for: a statement that waits holds a snapshot, and CREATE INDEX CONCURRENTLY
    # of the one who has the lock would wait for that.
    if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}):
        raise Waiting("another migrator is at work")
    connection.commit()
    # Closing the connection gives it back, however this ends.
    yield


def _upgrade(connection: Connection, migrations: Path, applied: list[str]) -> tuple[str, bool]:
    config = AlembicConfig()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision: script for script in scripts.walk_revisions()}
    heads = MigrationContext.configure(connection).get_current_heads()
    connection.commit()
    if unknown := [revision for revision in heads if revision not in known]:
        return ", ".join(unknown), True
    current = heads[0] if heads else "base"
    wanted = [script.revision for script in scripts.iterate_revisions("head", current)][::-1]
    for revision in wanted:
        started = time.monotonic()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except Exception as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            if isinstance(cause, TRANSIENT) and not isinstance(cause, LASTING):
                raise
            raise Failed(f"migration {revision} ({known[revision].doc}) failed and left nothing: {_line(cause)}") from error
        applied.append(revision)
        told = {"revision": revision, "does": known[revision].doc, "duration_ms": round((time.monotonic() - started) * 1000)}
        log.info("migrated", extra={"fields": told})
    return wanted[-1] if wanted else current, False


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__


def target_of(environ: Mapping[str, str]) -> str:
    """How to connect as a migrator.

    Raises:
        ConfigError: DATABASE_URL is missing or malformed.
    """
    options = {"lock_timeout": f"{LOCK_SECONDS}s", "statement_timeout": f"{STATEMENT_SECONDS}s", "synchronous_commit": "on"}
    return conninfo(environ, application="orders migrate", options=options)


def main(argv: Sequence[str], *, environ: Mapping[str, str] = os.environ, migrations: Path = MIGRATIONS) -> int:
    """The exit code of one run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument(
        "--wait", type=float, default=WAIT_SECONDS, help="seconds to wait for the database (default: %(default)g)"
    )
    arguments = parser.parse_args(argv)
    configure(identify("orders", environ=environ))
    # Its lines would say again, in other words, what is said here.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        done = migrate(target_of(environ), wait_seconds=arguments.wait, migrations=migrations)
    except ConfigError as error:
        log.critical("cannot start: %s", error)
        return EXIT_CONFIG
    except Waiting as error:
        log.critical("gave up after %g s: %s", arguments.wait, error)
        return EXIT_UNAVAILABLE
    except Failed as error:
        log.critical("%s", error)
        return EXIT_FAILED
    told = {"revision": done.revision, "applied": done.applied}
    log.info("the schema is newer than this version" if done.newer else "the schema is up to date", extra={"fields": told})
    return 0


if __name__ == "__main__":
    # The first process of a container gets no signal that it does not ask for. An exit rolls back what is under way.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
