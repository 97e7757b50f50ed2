"""The tables of the history and how they came to be: numbered migrations, each run once, in order.

A migration is never edited once it is released: a later one changes what it made. The statements are plain
SQL that SQLite and PostgreSQL both take, since a migration has to go on meaning what it meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprune.core.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE edgeprune_entries (
            id VARCHAR(255) NOT NULL PRIMARY KEY,
            kind VARCHAR(16) NOT NULL,
            name TEXT NOT NULL,
            machine TEXT NOT NULL,
            backend TEXT NOT NULL,
            backend_version TEXT,
            "precision" VARCHAR(16) NOT NULL,
            threads INTEGER NOT NULL,
            scenario VARCHAR(64) NOT NULL,
            started_utc VARCHAR(40) NOT NULL,
            commit_sha VARCHAR(64),
            branch TEXT,
            committed_utc VARCHAR(40),
            valid BOOLEAN NOT NULL,
            p50_ms DOUBLE PRECISION,
            fps DOUBLE PRECISION,
            peak_mb DOUBLE PRECISION,
            accuracy DOUBLE PRECISION,
            accuracy_metric VARCHAR(32),
            document TEXT NOT NULL
        )
        """,
        "CREATE INDEX edgeprune_entries_started ON edgeprune_entries (started_utc)",
    ),
    ("ALTER TABLE edgeprune_entries ADD COLUMN batch INTEGER NOT NULL DEFAULT 1",),
)
_LOCK = 0x656470  # "edp": names the advisory lock of PostgreSQL, where CREATE TABLE races


def is_current(connection: Connection) -> bool:
    """Whether the tables are of the newest version; looking takes no lock."""
    from sqlalchemy import inspect

    return inspect(connection).has_table("edgeprune_schema") and _version(connection) == len(MIGRATIONS)


def migrate(connection: Connection, where: str) -> None:
    """Bring the tables to the newest version, within the transaction of `connection`.

    Raises:
        ConfigError: a newer edgeprune made them.
    """
    from sqlalchemy import text

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    connection.execute(text("CREATE TABLE IF NOT EXISTS edgeprune_schema (version INTEGER NOT NULL)"))
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"{where}: its schema is of version {version}, this edgeprune knows {len(MIGRATIONS)}: update it"
        )
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        for statement in statements:
            connection.execute(text(statement))
        connection.execute(
            text("INSERT INTO edgeprune_schema (version) VALUES (:version)"), {"version": number}
        )


def _version(connection: Connection) -> int:
    from sqlalchemy import text

    version: int | None = connection.execute(text("SELECT MAX(version) FROM edgeprune_schema")).scalar()
    return version or 0
