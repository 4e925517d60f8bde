"""Schema versions: what is on disk is brought up to date on start, with a backup first, and refused when it is newer.

A database holds one or more parts (a ledger's file its own tables and an outbox).  The table ``schema_versions``
says which version each part has.  A part whose tables stand without a row there is of version 1: from before versions
were written.  Everything happens in one transaction of the database: a program killed in between leaves the old
schema or the new one, never a half.

To change a table: change the SQL of its part, append a step to ``steps``, and keep the old SQL as a fixture of a test.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from telemetry.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

VERSIONS = (
    "CREATE TABLE IF NOT EXISTS schema_versions (part VARCHAR(32) PRIMARY KEY, version INTEGER NOT NULL)"
)


class Executes(Protocol):
    """A connection of sqlite3 or DuckDB."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any:
        """Run one statement."""


class Part(NamedTuple):
    """The tables of one owner.

    ``create`` makes the newest schema and harms nobody that has it.  ``steps[n - 1]`` brings version ``n`` to ``n + 1``;
    ``table`` is one that every version has.
    """

    name: str
    table: str
    create: str
    steps: tuple[Callable[[Any], None], ...] = ()

    @property
    def version(self) -> int:
        """The newest, which this program reads and writes."""
        return 1 + len(self.steps)


class Found(NamedTuple):
    """What a database holds of a part; version 0 is nothing."""

    part: str
    version: int
    newest: int

    @property
    def is_old(self) -> bool:
        """Whether there is something to migrate."""
        return 0 < self.version < self.newest


def prepare(db: sqlite3.Connection, parts: Sequence[Part]) -> list[Found]:
    """Make the parts' tables, or bring them up to date; return those that were older.

    The file is copied beside itself before anything older is touched (:func:`backup_of`).  Raises :class:`ConfigError`
    when a part is newer than this program, :class:`Unavailable` when there is no room for the copy, and ``sqlite3.Error``.
    The connection is in autocommit mode; inside a transaction of the caller's it is that one that commits.
    """
    path = Path(db.execute("PRAGMA database_list").fetchone()[2] or ":memory:")
    if ours := not db.in_transaction:
        db.execute("BEGIN IMMEDIATE")
    try:
        found = look(db, parts)
        refuse_newer(path, found)
        older = [one for one in found if one.is_old]
        if older:
            back_up(path, backup_of(path, "-".join(str(one.version) for one in older)))
        bring(db, parts, found)
        if ours:
            db.execute("COMMIT")
    except BaseException:
        if ours and db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return older


def look(db: Executes, parts: Iterable[Part]) -> list[Found]:
    """Return the version of each part in an open database; nothing is written."""
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()}
    numbered: dict[str, int] = {}
    if "schema_versions" in tables:
        numbered = dict(db.execute("SELECT part, version FROM schema_versions").fetchall())
    return [
        Found(part.name, numbered.get(part.name, 1 if part.table in tables else 0), part.version)
        for part in parts
    ]


def refuse_newer(where: Path | str, found: Iterable[Found]) -> None:
    """Raise :class:`ConfigError` for a part that this program is too old for."""
    for one in found:
        if one.version > one.newest:
            raise ConfigError(
                where, "$", f"its schema '{one.part}' is version {one.version}, this program knows none after {one.newest}",
                hint="run the version of Yemai that last opened it, or a newer one, or bring back the backup from before the upgrade",
            )  # fmt: skip


def bring(db: Executes, parts: Iterable[Part], found: Iterable[Found]) -> None:
    """Run the steps that each part lacks, then write its version; inside a transaction of the caller's."""
    db.execute(VERSIONS)
    for part, one in zip(parts, found, strict=True):
        for step in part.steps[one.version - 1 :] if one.version else ():
            step(db)
        for statement in part.create.split(";"):  # executescript would commit
            if statement.strip():
                db.execute(statement)
        db.execute(
            "INSERT INTO schema_versions VALUES (?, ?) ON CONFLICT (part) DO UPDATE SET version = excluded.version"
            " WHERE schema_versions.version <> excluded.version",
            (part.name, part.version),
        )


def backup_of(path: Path, version: int | str) -> Path:
    """Return where the copy of a file goes before its schema changes.

    >>> backup_of(Path("ledger.db"), 1).name
    'ledger.db.schema-1.backup'
    """
    return path.with_name(f"{path.name}.schema-{version}.backup")


def back_up(path: Path, copy: Path) -> None:
    """Copy a SQLite file as it is committed, whole or not at all; raise :class:`Unavailable`."""
    if not path.is_file():
        return  # in memory
    room_for(path, copy)
    making = copy.with_name(f".{copy.name}.partial")
    try:
        making.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as live,
            closing(sqlite3.connect(making)) as made,
        ):
            live.backup(made)
            made.execute("PRAGMA journal_mode=DELETE")  # one file, no log beside it
        settle(path, making, copy)
    except (OSError, sqlite3.Error) as error:
        making.unlink(missing_ok=True)
        raise Unavailable(f"{path}: cannot be backed up before its schema changes: {error}") from None


def copy_tables(schema: str, tables: Iterable[str]) -> list[str]:
    """Return the SQL that copies tables of a PostgreSQL database, keys and indexes too, into a schema of their own.

    >>> copy_tables("desk_version_1", ["alarms"])[1:]
    ['CREATE TABLE desk_version_1.alarms (LIKE alarms INCLUDING ALL)', 'INSERT INTO desk_version_1.alarms SELECT * FROM alarms']
    """
    told = [f"CREATE SCHEMA {schema}"]
    for name in tables:
        told.append(f"CREATE TABLE {schema}.{name} (LIKE {name} INCLUDING ALL)")
        told.append(f"INSERT INTO {schema}.{name} SELECT * FROM {name}")  # noqa: S608 - our own names
    return told


def cannot_copy(where: str, schema: str, reason: str) -> ConfigError:
    """Return what to say when the database does not let its tables be copied."""
    return ConfigError(
        where, "$", f"cannot be copied to the schema '{schema}' before it is migrated: {reason.strip().splitlines()[0]}",
        hint=f"GRANT CREATE ON DATABASE to its user, or let an older copy go with DROP SCHEMA {schema} CASCADE",
    )  # fmt: skip


def room_for(path: Path, copy: Path) -> None:
    """Raise :class:`Unavailable` when the disk has no room for a copy of a file."""
    needed, free = path.stat().st_size, shutil.disk_usage(copy.parent).free
    if needed > free:
        raise Unavailable(
            f"{path}: is backed up before its schema changes, and {copy.parent} has {free} bytes free of {needed}: make room"
        )


def settle(path: Path, making: Path, copy: Path) -> None:
    """Give a finished copy its name, for good, with the rights of the original; raise ``OSError``."""
    making.chmod(path.stat().st_mode & 0o777)
    _sync(making)
    making.rename(copy)
    _sync(copy.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
