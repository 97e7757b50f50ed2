"""The history as a database: many writers, killed writers, its schema, SQLite and PostgreSQL alike."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgeprune.core import database
from edgeprune.core.errors import ConfigError, DataError, RuntimeMissingError
from edgeprune.history import schema
from edgeprune.history.lines import of_lines, write_lines
from edgeprune.history.store import open_history, reading_history

WRITER = Path(__file__).with_name("adding.py")


def start(url: str, *numbers: int) -> subprocess.Popen[str]:
    args = [sys.executable, str(WRITER), url, *map(str, numbers)]
    return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ids(url: str) -> list[str]:
    with open_history(url) as history:
        return sorted(point.id for point in history.points())


def test_a_writer_killed_in_mid_write_loses_only_what_it_had_not_committed(tmp_path: Path) -> None:
    url = str(tmp_path / "history.sqlite")
    killed = start(url, 0, 5, 3)
    out, _ = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL and out.split() == ["0", "1", "2"]
    with closing(sqlite3.connect(url)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert ids(url) == ["run0", "run1", "run2"]
    assert start(url, 3, 2).wait(60) == 0
    assert len(ids(url)) == 5


def check_many_writers(url: str) -> None:
    writers = [start(url, first, 8) for first in (0, 4, 8)]  # half of it is added by two of them
    said = [writer.communicate(timeout=120) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], [error for _, error in said]
    assert ids(url) == sorted(f"run{number}" for number in range(16))


def test_several_writers_share_one_file_from_its_first_moment(tmp_path: Path) -> None:
    check_many_writers(str(tmp_path / "history.sqlite"))
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_several_writers_share_postgresql(postgres: str, make_entry: Any) -> None:
    check_many_writers(postgres)
    with open_history(postgres) as history:
        assert history.add([make_entry(1), make_entry(2)]) == 2
        assert history.add([make_entry(2), make_entry(3)]) == 1
        assert make_entry(3) in history.entries()


def test_a_path_may_hold_what_a_url_ends_with(tmp_path: Path, make_entry: Any) -> None:
    place = tmp_path / "a?mode=ro#1 %20.sqlite"
    with open_history(str(place)) as history:
        history.add([make_entry(1)])
    assert place.is_file() and ids(str(place)) == [make_entry(1).id]


def test_entries_come_back_whole_and_by_commit(tmp_path: Path, make_entry: Any) -> None:
    entries = [make_entry(index, accuracy=index / 10, branch=None) for index in range(4)]
    alone = make_entry(9, id="no commit", commit_sha=None, committed_utc=None, p50_ms=None, valid=False)
    with open_history(f"sqlite:///{tmp_path}/history.sqlite") as history:
        assert history.add([alone, *entries[::-1]]) == 5
        assert list(history.entries()) == [*entries, alone]
        assert [point.id for point in history.points()] == [entry.id for entry in (*entries, alone)]


def test_a_reader_waits_for_no_writer(
    tmp_path: Path, make_entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0)
    url = str(tmp_path / "history.sqlite")
    with open_history(url) as history:
        history.add([make_entry(0)])
    with closing(sqlite3.connect(url, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM edgeprune_entries")
        with open_history(url) as history:
            assert list(history.entries()) == [make_entry(0)]
            with pytest.raises(ConfigError, match="database is locked"):
                history.add([make_entry(1)])


def test_the_lines_make_the_same_history_again_and_again(tmp_path: Path, make_entry: Any) -> None:
    entries = [make_entry(index, name='a\n"b"\u2028ü') for index in range(3)]
    assert write_lines(tmp_path / "all.jsonl", entries) == 3
    with open_history(str(tmp_path / "other.sqlite")) as history:
        assert history.add(of_lines(tmp_path / "all.jsonl")) == 3
        assert history.add(of_lines(tmp_path / "all.jsonl")) == 0
        assert list(history.entries()) == entries
        write_lines(tmp_path / "again.jsonl", history.entries())
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "all.jsonl").read_bytes()


def test_a_damaged_line_is_named_and_nothing_is_added(tmp_path: Path, make_entry: Any) -> None:
    write_lines(tmp_path / "all.jsonl", [make_entry(0)])
    with (tmp_path / "all.jsonl").open("a") as file:
        file.write('{"id": "x"}\n')
    with (
        open_history(str(tmp_path / "h.sqlite")) as history,
        pytest.raises(DataError, match=r"all\.jsonl:2: not an entry of a history: kind"),
    ):
        history.add(of_lines(tmp_path / "all.jsonl"))
    assert ids(str(tmp_path / "h.sqlite")) == []


def test_an_older_schema_is_brought_up_and_keeps_its_entries(
    tmp_path: Path, make_entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, now = str(tmp_path / "history.sqlite"), len(schema.MIGRATIONS)
    with open_history(url) as history:
        history.add([make_entry(0)])
    later = ("ALTER TABLE edgeprune_entries ADD COLUMN energy_j DOUBLE PRECISION",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
    assert ids(url) == ids(url) == ["run0/row"]
    with closing(sqlite3.connect(url)) as connection:
        assert connection.execute("SELECT version FROM edgeprune_schema").fetchall() == [
            (known,) for known in range(1, now + 2)
        ]
        assert connection.execute("SELECT energy_j FROM edgeprune_entries").fetchall() == [(None,)]
    monkeypatch.undo()
    newer = f"its schema is of version {now + 1}, this edgeprune knows {now}: update it"
    with pytest.raises(ConfigError, match=newer):
        ids(url)


def test_entries_of_before_batches_were_told_are_of_one_image(tmp_path: Path, make_entry: Any) -> None:
    url = str(tmp_path / "history.sqlite")
    with open_history(url) as history:
        history.add([make_entry(0)])
    with closing(sqlite3.connect(url)) as connection:
        connection.execute("ALTER TABLE edgeprune_entries DROP COLUMN batch")
        connection.execute("DELETE FROM edgeprune_schema WHERE version = 2")
        connection.commit()
    with open_history(url) as history:
        (before,) = history.points()
        assert before.batch == 1 and "in batches" not in str(before.series)
        in_batches = make_entry(1).model_copy(update={"batch": 4})
        history.add([in_batches])
        assert {point.series.batch for point in history.points()} == {1, 4}
    assert "single_stream in batches of 4" in str(in_batches.series)


def test_a_migration_that_fails_leaves_the_history_as_it_was(
    tmp_path: Path, make_entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "history.sqlite")
    with open_history(url) as history:
        history.add([make_entry(0)])
    broken = ("ALTER TABLE edgeprune_entries ADD COLUMN energy_j REAL", "CREATE nonsense")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    with pytest.raises(ConfigError, match="syntax error"):
        ids(url)
    monkeypatch.undo()
    assert ids(url) == ["run0/row"]
    with closing(sqlite3.connect(url)) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("SELECT energy_j FROM edgeprune_entries")


@pytest.mark.parametrize(
    ("place", "error", "says"),
    [
        ("{folder}/none/history.sqlite", ConfigError, "unable to open database file"),
        ("{folder}/text.sqlite", ConfigError, "file is not a database"),
        ("nosuch://host/db", ConfigError, "no such kind of database"),
        ("http:/\n/[", ConfigError, "unable to open database file"),
        ("postgresql://me:secret@127.0.0.1:1/db", ConfigError, "does not answer"),
        ("mysql+pymysql://me:secret@127.0.0.1/db", RuntimeMissingError, "driver is not installed"),
    ],
)
def test_a_history_that_cannot_be_opened_is_one_line(
    tmp_path: Path, place: str, error: type[Exception], says: str
) -> None:
    (tmp_path / "text.sqlite").write_text("not a database, " * 100)
    with pytest.raises(error) as caught, open_history(place.format(folder=tmp_path)):
        pass
    assert says in str(caught.value) and "secret" not in str(caught.value)


def test_reading_writes_nothing(tmp_path: Path, make_entry: Any) -> None:
    place = tmp_path / "history.sqlite"
    with open_history(str(place)) as history:
        history.add([make_entry(0)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with reading_history(str(place)) as history:
        assert [point.id for point in history.points()] == ["run0/row"]
        assert [entry.id for entry in history.entries()] == ["run0/row"]
    assert before["history.sqlite"] == place.read_bytes()


def test_a_read_only_history_in_a_read_only_folder_is_read(make_entry: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = folder / "history.sqlite"
        with open_history(str(place)) as history:
            history.add([make_entry(0)])
        place.chmod(0o444)
        folder.chmod(0o555)
        root = os.geteuid() == 0  # whom no permission stops
        if root:
            os.seteuid(65534)
        try:
            with reading_history(str(place)) as history:
                assert [point.id for point in history.points()] == ["run0/row"]
            with pytest.raises(ConfigError, match="does not answer"), open_history(str(place)):
                pass
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_what_is_no_history_is_read_as_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no history is here"), reading_history(str(tmp_path / "absent")):
        pass
    (tmp_path / "text").write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(ConfigError, match="does not answer"), reading_history(str(tmp_path / "text")):
        pass
