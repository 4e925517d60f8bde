"""The schema version of a DuckDB file; what changes with a device class (a metric more) needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import structlog

from telemetry.errors import Unavailable
from telemetry.schema import Part, backup_of, bring, look, refuse_newer, room_for, settle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = structlog.get_logger()


def _with_raw_time(db: duckdb.DuckDBPyConnection) -> None:
    """1 → 2: a reading keeps the time that the agent's clock had, where that was wrong."""
    for (table,) in db.execute(
        "SELECT table_name FROM duckdb_columns() WHERE database_name = current_database()"
        " GROUP BY table_name HAVING bool_or(column_name = 'upload') AND NOT bool_or(column_name = 'raw_time')"
    ).fetchall():
        db.execute(f'ALTER TABLE "{table}" ADD COLUMN raw_time BIGINT')


def prepare(db: duckdb.DuckDBPyConnection, path: Path, classes: Iterable[str]) -> None:
    """Bring an open file up to date, backed up first; raise as :func:`telemetry.schema.prepare`."""
    there = {row[0] for row in db.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    probe = next((name for name in classes if name in there), "")
    part = Part("samples", probe, "", (_with_raw_time,))
    (found,) = look(db, (part,))
    refuse_newer(path, (found,))
    if found.is_old:
        _back_up(db, path, backup_of(path, found.version))
    db.begin()
    try:
        bring(db, (part,), (found,))
        db.commit()
    except BaseException:
        db.rollback()
        raise
    if found.is_old:
        log.info("schema_migrated", path=str(path), part=found.part, version=found.newest, was=found.version)


def _back_up(db: duckdb.DuckDBPyConnection, path: Path, copy: Path) -> None:
    """Copy by the engine: to open the file beside it would let its lock go."""
    room_for(path, copy)
    making = copy.with_name(f".{copy.name}.partial")
    name = str(making).replace("'", "''")
    (own,) = db.execute("SELECT current_database()").fetchone() or ("",)
    try:
        making.unlink(missing_ok=True)
        db.execute(f"ATTACH '{name}' AS copied")
        try:
            db.execute(f'COPY FROM DATABASE "{own}" TO copied')
        finally:
            db.execute("DETACH copied")
        settle(path, making, copy)
    except (OSError, duckdb.Error) as error:
        making.unlink(missing_ok=True)
        raise Unavailable(f"{path}: cannot be backed up before its schema changes: {error}") from None
