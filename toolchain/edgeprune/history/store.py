"""Where the history is kept: one SQLite file in WAL mode, or any database that SQLAlchemy reaches.

Each addition is one transaction: killed in its middle, it has not been. SQLite's write-ahead log makes that
hold for a process that is killed at any moment, and lets others read meanwhile (sqlite.org/wal.html).
"""

from __future__ import annotations

import reprlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from edgeprune.core.database import BUSY_S, READING, connectable, hide_password, lock_whole
from edgeprune.core.documents import validate
from edgeprune.core.errors import ConfigError, RuntimeMissingError
from edgeprune.history.entry import Entry, Point
from edgeprune.history.schema import is_current, migrate

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, TableClause

Kind = TypeVar("Kind", bound=Point)
_REPR = reprlib.Repr()


class UnreadableError(Exception):
    """A database cannot be read in the way that was tried."""


class History:
    """The entries of one database; made by `open_history`."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine

    def add(self, entries: Iterable[Entry]) -> int:
        """Add entries in one transaction, all or none; return how many of them were new.

        Raises:
            ConfigError: the database does not answer, or refuses.
        """
        from sqlalchemy import insert
        from sqlalchemy.exc import IntegrityError

        new = 0
        with self._answering(), self._engine.begin() as connection:
            for entry in entries:
                try:
                    with connection.begin_nested():
                        connection.execute(insert(_table(Entry)), entry.model_dump())
                except IntegrityError:  # it is there, whoever added it
                    continue
                new += 1
        return new

    def points(self) -> list[Point]:
        """Return what all entries tell without their documents, by commit, then by run.

        Raises:
            ConfigError: the database does not answer.
        """
        with self._reading() as connection:
            return self._points(connection)

    def entries(self) -> Iterator[Entry]:
        """Yield all entries in the order of `points`, each read when it is asked for.

        Raises:
            ConfigError: the database does not answer.
        """
        from sqlalchemy import select

        table = _table(Entry)
        with self._reading() as connection:
            for point in self._points(connection):
                query = select(table.c.document).where(table.c.id == point.id)
                document = connection.execute(query).scalar_one()
                yield self._valid(Entry, point.model_dump() | {"document": document})

    def _points(self, connection: Connection) -> list[Point]:
        from sqlalchemy import select

        rows = connection.execute(select(_table(Point))).mappings()
        found = [self._valid(Point, dict(row)) for row in rows]
        return sorted(found, key=lambda point: (point.when, point.started_utc, point.id))

    def _valid(self, kind: type[Kind], row: dict[str, Any]) -> Kind:
        """Return a row as what it has to be: SQLite keeps any text in a column of numbers."""
        return validate(kind, row, f"{self.name}: the entry {_REPR.repr(row['id'])}", ConfigError)

    def migrate(self) -> None:
        """Make the tables, or bring them to the newest version.

        Raises:
            ConfigError: a newer edgeprune made them, or the database does not answer.
        """
        with self._reading() as connection:
            if is_current(connection):
                return
        with self._answering(), self._engine.begin() as connection:
            migrate(connection, self.name)

    def is_current(self) -> bool:
        """Tell whether the tables are of the newest version.

        Raises:
            UnreadableError: the file cannot be read in this way.
            ConfigError: it is no database.
        """
        from sqlalchemy.exc import OperationalError

        with self._answering():
            try:
                with self._engine.connect() as connection:
                    return is_current(connection)
            except OperationalError as exc:
                raise UnreadableError(str(exc)) from exc

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._answering(), self._engine.connect() as connection:
            yield connection.execution_options(**READING)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, ArithmeticError, ValueError) as exc:  # a driver's own are not wrapped
            said = str(getattr(exc, "orig", None) or exc).splitlines() or [type(exc).__name__]
            raise ConfigError(
                f"{self.name}: the history does not answer: {said[0].rstrip(' :')}; what it holds is kept"
            ) from exc


@contextmanager
def open_history(place: str) -> Iterator[History]:
    """Open a history by the path of its SQLite file or an SQLAlchemy URL, and bring its tables up to date.

    An SQLite file that is not there is made.

    Raises:
        ConfigError: it is neither, does not answer, or a newer edgeprune made it.
        RuntimeMissingError: the database's driver is not installed.
    """
    url, name = _place(place)
    parsed, waits = connectable(url)
    engine = _engine(parsed, waits, name)
    if parsed.get_backend_name() == "sqlite":
        from sqlalchemy import event

        lock_whole(engine)
        event.listen(engine, "connect", _write_ahead)
    history = History(engine, name)
    try:
        history.migrate()
        yield history
    finally:
        history.close()


@contextmanager
def reading_history(place: str) -> Iterator[History]:
    """Open a history to read it, as `open_history` does; nothing is written, so a read-only file will do.

    Only tables of an older edgeprune are brought up to date.

    Raises:
        ConfigError: see `open_history`; or an SQLite file is not there.
        RuntimeMissingError: see `open_history`.
    """
    url, name = _place(place)
    parsed, waits = connectable(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        if not Path(str(parsed.database)).is_file() and not parsed.query:
            raise ConfigError(f"{parsed.database}: no history is here; `edgeprune history add` makes one")
        ways = [parsed] if parsed.query else list(_read_only(str(parsed.database)))
    else:
        ways = [parsed]
    for way in ways:
        history = History(_engine(way, waits, name), name)
        try:
            if history.is_current():
                yield history
                return
        except UnreadableError:
            continue
        finally:
            history.close()
    with open_history(place) as history:
        yield history


def _place(place: str) -> tuple[str | URL, str]:
    """Return a history's URL and what it is called."""
    from sqlalchemy import URL

    # Written as a URL, a path with a question mark would end there.
    url = place if "://" in place else URL.create("sqlite", database=place)
    return url, hide_password(url, "history")


def _read_only(database: str) -> Iterator[URL]:
    """Yield the ways to read an SQLite file: beside others; where its folder takes no lock file, alone.

    See "Read-Only Databases" of sqlite.org/wal.html.
    """
    from sqlalchemy import URL

    file = f"file:{quote(str(Path(database).absolute()))}"
    for more in ({}, {"immutable": "1"}):
        yield URL.create("sqlite", database=file, query={"mode": "ro", "uri": "true", **more})


def _engine(url: URL, waits: dict[str, Any], name: str) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import NoSuchModuleError

    try:
        return create_engine(url, connect_args=waits, pool_pre_ping=True)
    except NoSuchModuleError as exc:
        raise ConfigError(f"{name}: no such kind of database") from exc
    except ImportError as exc:
        raise RuntimeMissingError(f"{name}: its driver is not installed ({exc})") from exc


def _write_ahead(driver: Any, _: object) -> None:
    patience = time.monotonic() + BUSY_S
    while True:
        try:
            driver.execute("PRAGMA journal_mode=WAL")
            driver.execute("PRAGMA synchronous=FULL")  # some builds of SQLite have another default with WAL
            return
        except sqlite3.OperationalError as exc:
            # The busy timeout is not for this one: two processes may turn it on in a new file at once.
            if "locked" not in str(exc) or time.monotonic() > patience:
                raise
            time.sleep(0.05)


def _table(kind: type[Point]) -> TableClause:
    from sqlalchemy import column, table

    return table("edgeprune_entries", *(column(name) for name in kind.model_fields))
