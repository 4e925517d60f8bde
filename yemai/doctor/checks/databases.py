"""SQLite databases of ledger, registry, desk and outboxes: whole, in WAL, and of this program's schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Literal, NamedTuple

from telemetry.outbox_file import PART as OUTBOX
from telemetry.schema import look
from telemetry.text import Text
from yemai.doctor.finding import bad, warning, well

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from telemetry.schema import Found
    from yemai.doctor.finding import Finding
    from yemai.doctor.plan import Plan

Age = Literal["old", "same", "newer"]
_RESTORE = Text("用 `yemai restore` 恢复最近的备份", "bring the last backup back with `yemai restore`")


class Schema(NamedTuple):
    """The version that a file has of a part, and this program's."""

    part: str
    version: str
    newest: str
    age: Age


def check(plan: Plan, now: datetime) -> Iterator[Finding]:  # noqa: ARG001 - as every check
    """Look at each database, read only."""
    for path in plan.databases:
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
                yield from _look(path, db)
        except sqlite3.Error as error:
            yield bad("database_broken", Text(f"{path}：{error}", f"{path}: {error}"), _RESTORE)


def _look(path: Path, db: sqlite3.Connection) -> Iterator[Finding]:
    (told,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if told != "ok":
        yield bad("database_broken", Text(f"{path}：{told}", f"{path}: {told}"), _RESTORE)
        return
    (mode,) = db.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        yield warning("database_not_wal", Text(f"{path} 的日志方式为 {mode}", f"{path} is in journal mode {mode}"),
                      Text("由所属进程打开一次即改为 WAL", "its process sets WAL when it opens it"))  # fmt: skip
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    found = list(_registry(db) if "alembic_version" in tables else _parts(db, tables))
    if found:
        yield from (_schema(path, *one) for one in found)
    else:
        yield well("database", f"{path} 完好", f"{path} is whole")


def _parts(db: sqlite3.Connection, tables: set[str]) -> Iterator[Schema]:
    """Yield the schema of ledger, outbox and desk, whichever the file has; what owns a part is installed beside it."""
    if "committed" in tables:
        from cloud_ingest.ledger import PART as LEDGER  # noqa: PLC0415 - only where there is one

        yield _told(look(db, (LEDGER,))[0])
    if "alarm_events" in tables:
        from command_center.schema import PART as DESK  # noqa: PLC0415 - see above

        yield _told(look(db, (DESK,))[0])
    if "outbox" in tables:
        yield _told(look(db, (OUTBOX,))[0])


def _registry(db: sqlite3.Connection) -> Iterator[Schema]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - where a registry is looked at

    from cloud_ingest.registry.database import MIGRATIONS  # noqa: PLC0415 - see above

    scripts = ScriptDirectory(str(MIGRATIONS))
    newest = scripts.get_current_head() or ""
    found = [row[0] for row in db.execute("SELECT version_num FROM alembic_version")]
    known = {script.revision for script in scripts.walk_revisions()}
    is_newer = not set(found) <= known
    yield Schema(
        "registry",
        ", ".join(found) or "—",
        newest,
        "newer" if is_newer else "same" if found == [newest] else "old",
    )


def _told(found: Found) -> Schema:
    age: Age = "newer" if found.version > found.newest else "old" if found.is_old else "same"
    return Schema(found.part, str(found.version), str(found.newest), age)


def _schema(path: Path, part: str, version: str, newest: str, age: Age) -> Finding:
    if age == "same":
        return well(
            "database",
            f"{path} 完好，{part} 结构为 {version}",
            f"{path} is whole, schema '{part}' is version {version}",
        )
    if age == "old":
        return warning("schema_old", Text(f"{path} 的 {part} 结构为 {version}，本版本为 {newest}", f"{path}: schema '{part}' is version {version}, this program's is {newest}"),
                       Text("启动所属进程：先备份在旁，再升级；`yemai backup` 更稳妥", "start its process, which copies it beside itself and migrates it; `yemai backup` first is safer"))  # fmt: skip
    return bad("schema_newer", Text(f"{path} 的 {part} 结构 {version} 比本版本的 {newest} 新", f"{path}: schema '{part}' is version {version}, this program knows none after {newest}"),
               Text("运行打开过它的那个版本或更新的版本", "run the version that last opened it, or a newer one"))  # fmt: skip
