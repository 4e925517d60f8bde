"""SQLite databases of ledger, registry, desk and outboxes: whole, in WAL, and of this program's schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from telemetry.text import Text
from yemai.doctor.finding import bad, warning, well

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from yemai.doctor.finding import Finding
    from yemai.doctor.plan import Plan

_RESTORE = Text("用 `yemai restore` 恢复最近的备份", "bring the last backup back with `yemai restore`")


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
    if "alembic_version" in tables:
        yield from _schema(path, db)
    else:
        yield well("database", f"{path} 完好", f"{path} is whole")


def _schema(path: Path, db: sqlite3.Connection) -> Iterator[Finding]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - where a registry is looked at

    from cloud_ingest.registry.database import MIGRATIONS  # noqa: PLC0415 - see above

    scripts = ScriptDirectory(str(MIGRATIONS))
    newest = scripts.get_current_head()
    found = [row[0] for row in db.execute("SELECT version_num FROM alembic_version")]
    known = {script.revision for script in scripts.walk_revisions()}
    if found == [newest]:
        yield well("database", f"{path} 完好，结构为 {newest}", f"{path} is whole, with schema {newest}")
    elif set(found) <= known:
        yield warning("schema_old", Text(f"{path} 的结构为 {found or '空'}，本版本为 {newest}", f"{path} has schema {found or 'none'}, this version's is {newest}"),
                      Text("先 `yemai backup`，再启动接入，它会升级结构", "`yemai backup`, then start ingest, which migrates it"))  # fmt: skip
    else:
        yield bad("schema_newer", Text(f"{path} 的结构 {found} 比本版本新", f"{path} has schema {found}, newer than this version knows"),
                  Text("运行打开过它的那个版本或更新的版本", "run the version that last opened it, or a newer one"))  # fmt: skip
