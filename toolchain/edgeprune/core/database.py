"""What the databases of edgeprune share: how a URL is shown, its driver chosen, SQLite made safe to share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.core.errors import ConfigError
from edgeprune.core.redaction import without_password

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

CONNECT_S = 10
BUSY_S = 60
_READS = "edgeprune_reads"
READING: dict[str, Any] = {_READS: True}
"""Execution options of a connection that only reads: under `lock_whole` it waits for nobody."""


def hide_password(url: str | URL, option: str) -> str:
    """Return a database's URL without its password.

    Raises:
        ConfigError: it is none; the message begins with `option`.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    where = url if isinstance(url, str) else str(url.database)
    if "\0" in where or where.encode(errors="replace").decode() != where:
        raise ConfigError(f"{option} {where!a}: the name of a database is UTF-8 text without NUL: rename it")
    try:
        return without_password(make_url(url).render_as_string(hide_password=True))
    except (ArgumentError, ValueError) as exc:
        raise ConfigError(
            f"{option} {without_password(str(url))}: not a database URL; write it as sqlite:///FILE or "
            "postgresql://USER@HOST/DATABASE"
        ) from exc


def connectable(url: str | URL) -> tuple[URL, dict[str, Any]]:
    """Return a URL with its driver, and arguments to connect: patience with other writers, none with silence.

    A PostgreSQL URL without a driver gets psycopg: the default depends on SQLAlchemy's version.

    Raises:
        ConfigError: SQLite's file is there and is no regular file.
    """
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    file = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
    if file is not None and file.exists() and not file.is_file() and file.name:
        raise ConfigError(f"{file}: a database is a regular file")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    kind = parsed.get_backend_name()
    waits = {"sqlite": {"timeout": BUSY_S}, "postgresql": {"connect_timeout": CONNECT_S}}
    return parsed, waits.get(kind, {})


def lock_whole(engine: Engine) -> None:
    """Make every transaction on SQLite take the write lock at its start, but those that are `READING`.

    SQLite has no row locks: two processes could read the same state and both act on it. This is
    SQLAlchemy's own recipe ("Serializable isolation / Savepoints / Transactional DDL" of its SQLite dialect).
    """
    from sqlalchemy import event

    event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
    event.listen(engine, "begin", _begin)
    engine.dispose()  # the connections that are open have begun without it


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
