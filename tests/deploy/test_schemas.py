"""Databases of older versions are backed up and brought up to date, newer ones are refused, and none is ever a half."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from cloud_ingest.config import LedgerConfig
from cloud_ingest.ledger import PART as LEDGER
from cloud_ingest.ledger import Ledger
from cloud_ingest.stores.duckdb import Config, Store
from command_center.lifecycle import Alarm
from command_center.schema import PART as DESK
from command_center.store import Store as Desk
from command_center.tables import alarms, events, metadata
from device_profiles.vocabulary import load_classes
from rules.frame import Frame
from telemetry import schema
from telemetry.errors import ConfigError, Unavailable
from telemetry.outbox import Outbox
from telemetry.outbox_file import PART as OUTBOX
from telemetry.readings import Reading

OLD = Path(__file__).parent / "schemas"
"""``<part>-<version>.sql``: what programs of old versions wrote, and the tables of the newest."""
T0 = 1_764_000_000_000


def _made_by(name, path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript((OLD / name).read_text("utf-8"))
    return path


def _versions(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT part, version FROM schema_versions"))


def _number(path, part, version):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT OR REPLACE INTO schema_versions VALUES (?, ?)", (part, version))


def _tables(path, without=("schema_versions",)):
    with contextlib.closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type DESC, name")  # fmt: skip
        return [sql for (sql,) in rows if not any(name in sql for name in without)]


def _shape(path):
    """Return what matters of the tables: columns with their order, keys and nulls; indexes with their columns."""
    shape = {}
    with contextlib.closing(sqlite3.connect(path)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = {row[1]: row[3:] for row in db.execute(f"PRAGMA table_info({table})")}
            indexes = {
                row[1]: (row[2], row[4], [c[2] for c in db.execute(f"PRAGMA index_info({row[1]})")])
                for row in db.execute(f"PRAGMA index_list({table})")
            }
            shape[table] = columns, indexes
    return shape


def _ledger(path):
    Ledger(LedgerConfig(path)).close()


def _outbox(path):
    Outbox.open(path, max_bytes=1 << 20).close()


async def _desk(path):
    async with Desk(f"sqlite+aiosqlite:///{path}"):
        pass


@pytest.mark.parametrize(
    ("part", "version"),
    [("ledger", LEDGER.version), ("outbox", OUTBOX.version), ("desk", DESK.version)],
)
async def test_tables_do_not_change_without_a_step_and_a_number(tmp_path, part, version):
    path = tmp_path / "fresh.db"
    if part == "desk":
        await _desk(path)
    else:
        {"ledger": _ledger, "outbox": _outbox}[part](path)
    others = ("schema_versions", "outbox") if part == "ledger" else ("schema_versions",)
    found = ";\n".join(_tables(path, others)) + ";\n"
    kept = OLD / f"{part}-{version}.sql"
    assert kept.exists(), f"keep the new tables in {kept}:\n{found}"
    assert found == kept.read_text("utf-8"), (
        f"the tables of '{part}' are no more those of version {version}: append a step to its PART, and keep the"
        f" new tables in {OLD / f'{part}-{version + 1}.sql'}:\n{found}"
    )


def test_a_ledger_of_version_1_keeps_everything_and_a_copy_lies_beside_it(tmp_path):
    path = _made_by("ledger-1.sql", tmp_path / "ledger.db")
    ledger = Ledger(LedgerConfig(path))
    assert all(ledger.knows("edge-01", "b", seq) for seq in (1, 2, 3, 5))
    assert not ledger.knows("edge-01", "b", 4)
    assert ledger.outbox.counters().messages == 1
    assert ledger.clocks == {"edge-02": 3_600_000}
    with ledger.transaction():
        ledger.mark([("edge-01", "b", 4)])
    ledger.close()
    assert _versions(path) == {"ledger": LEDGER.version, "outbox": OUTBOX.version}
    _ledger(tmp_path / "fresh.db")
    assert _shape(path) == _shape(tmp_path / "fresh.db")
    copy = tmp_path / "ledger.db.schema-1.backup"
    with contextlib.closing(sqlite3.connect(copy)) as db:
        assert db.execute("SELECT agent, boot, ranges FROM committed").fetchall() == [("edge-01", "b", "[[1,3],[5,5]]")]  # fmt: skip
        assert "used" not in [row[1] for row in db.execute("PRAGMA table_info(committed)")]
    before = copy.stat().st_mtime_ns
    _ledger(path)
    assert copy.stat().st_mtime_ns == before, "once is enough"


async def test_a_desk_of_version_1_keeps_its_alarms_and_a_copy_lies_beside_it(tmp_path):
    path = _made_by("desk-1.sql", tmp_path / "desk.db")
    async with Desk(f"sqlite+aiosqlite:///{path}") as desk, desk.read() as db:
        told = {
            row.id: msgspec.json.decode(row.body, type=Alarm) for row in await db.execute(sa.select(alarms))
        }
    assert {name: alarm.state for name, alarm in told.items()} == {"a1": "closed", "a2": "unacknowledged"}
    assert told["a1"].acknowledged_by == "王建国"
    assert _versions(path) == {"desk": DESK.version}
    await _desk(tmp_path / "fresh.db")
    assert _shape(path) == _shape(tmp_path / "fresh.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "desk.db.schema-1.backup")) as db:
        assert db.execute("SELECT count(*) FROM alarm_events").fetchone() == (4,)
        assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'holds'").fetchone() is None


async def _on_postgres(postgres, sql):
    url = f"postgresql+psycopg://{postgres.create()}"
    engine = create_async_engine(url)
    for old, new in (("BLOB", "BYTEA"), ("X'", "'\\x"), (",0,0,1764", ",false,false,1764"), (",1,1,1764", ",true,true,1764"), ("BEGIN TRANSACTION", "BEGIN")):  # fmt: skip
        sql = sql.replace(old, new)
    async with engine.begin() as db:
        for statement in sql.split(";\n"):
            if statement.strip() not in ("", "BEGIN", "COMMIT"):
                await db.exec_driver_sql(statement)
    return url, engine


async def test_a_desk_in_postgresql_is_copied_within_it_and_the_way_back_is_there(postgres):
    url, engine = await _on_postgres(postgres, (OLD / "desk-1.sql").read_text("utf-8"))
    async with Desk(url) as desk, desk.change() as db:
        await db.execute(events.insert().values(id="x" * 128, alarm="a2", at_ms=1, kind="began", body=b"{}"))

    def look(connection):
        there = sa.inspect(connection)
        columns = {c["name"]: str(c["type"]) for c in there.get_columns("alarm_events")}
        return set(there.get_table_names()), columns["id"], set(there.get_table_names("desk_version_1"))

    async with engine.connect() as db:
        tables, width, kept = await db.run_sync(look)
        (old,) = (await db.exec_driver_sql("SELECT count(*) FROM desk_version_1.alarm_events")).one()
    assert tables == {*metadata.tables, "schema_versions"}
    assert width == "VARCHAR(128)"
    assert (kept, old) == ({"alarms", "alarm_events", "feed_quarantine"}, 4)
    async with engine.begin() as db:  # what docs/operate.md says of going back
        for name in (*metadata.tables, "schema_versions"):
            await db.exec_driver_sql(f"DROP TABLE public.{name}")
        for name in kept:
            await db.exec_driver_sql(f"ALTER TABLE desk_version_1.{name} SET SCHEMA public")
        await db.exec_driver_sql("DROP SCHEMA desk_version_1")
    async with Desk(url) as desk, desk.read() as db:
        assert (await db.execute(sa.select(sa.func.count()).select_from(events))).scalar() == 4
    await engine.dispose()


async def test_a_step_that_fails_in_postgresql_leaves_everything_as_it_was(postgres, monkeypatch):
    url, engine = await _on_postgres(postgres, (OLD / "desk-1.sql").read_text("utf-8"))

    def fails(db):
        db.exec_driver_sql("ALTER TABLE alarms ADD COLUMN half INTEGER")
        raise ZeroDivisionError

    monkeypatch.setattr("command_center.schema.PART", DESK._replace(steps=(fails,)))
    with pytest.raises(ZeroDivisionError):
        async with Desk(url):
            pass
    async with engine.connect() as db:
        there = await db.run_sync(lambda c: (sa.inspect(c).get_table_names(), sa.inspect(c).get_schema_names(), sa.inspect(c).get_columns("alarms")))  # fmt: skip
    assert set(there[0]) == {"alarms", "alarm_events", "feed_quarantine"}
    assert "desk_version_1" not in there[1]
    assert "half" not in [column["name"] for column in there[2]]
    await engine.dispose()


def test_a_duckdb_store_of_version_1_keeps_its_samples_and_a_copy_lies_beside_it(tmp_path):
    path, classes = tmp_path / "samples.duckdb", load_classes()
    with duckdb.connect(str(path)) as db:
        db.execute((OLD / "samples-1.sql").read_text("utf-8"))
    store = Store(Config(path), classes, lambda _: {})
    reading = Reading("n1", T0 + 60_000, {"sound_level": 51.0})
    store.write([Frame.of([reading], classes["noise_monitor"])], [[7]], T0)
    assert store.history("noise_monitor", "n1", "sound_level", (0, 2**60), 0, "mean") == [
        (T0, 50.0, 0),
        (T0 + 60_000, 51.0, 0),
    ]
    store.close()
    Store(Config(path), classes, lambda _: {}).close()
    with duckdb.connect(str(path)) as db:
        assert db.execute("SELECT part, version FROM schema_versions").fetchall() == [("samples", 2)]
        db.execute("UPDATE schema_versions SET version = 3")
    with duckdb.connect(str(tmp_path / "samples.duckdb.schema-1.backup"), read_only=True) as db:
        assert db.execute("SELECT device, time, sound_level FROM noise_monitor").fetchall() == [
            ("n1", T0, 50.0)
        ]
        assert "raw_time" not in [row[0] for row in db.execute("DESCRIBE noise_monitor").fetchall()]
    with pytest.raises(ConfigError, match=r"samples.duckdb: its schema 'samples' is version 3, this program knows none after 2; run"):  # fmt: skip
        Store(Config(path), classes, lambda _: {})


def test_a_metric_that_a_class_gains_in_its_midst_takes_nobodys_values(tmp_path):
    path, classes = tmp_path / "samples.duckdb", load_classes()
    whole = classes["weather_station"]
    without = {name: metric for name, metric in whole.metrics.items() if name != "humidity"}
    before = {"weather_station": msgspec.structs.replace(whole, metrics=without)}
    values = {name: metric.low + n for n, (name, metric) in enumerate(without.items(), 1)}
    store = Store(Config(path), before, lambda _: {})
    frame = Frame.of([Reading("w1", T0, dict(values))], before["weather_station"])
    store.write([frame], [[1]], T0)
    store.close()
    store = Store(Config(path), classes, lambda _: {})
    (row,) = store.latest()
    store.close()
    assert row["values"] == values


@pytest.mark.parametrize("part", ["ledger", "outbox", "desk"])
async def test_what_a_newer_program_wrote_is_refused_and_left_alone(tmp_path, part):
    path = tmp_path / f"{part}.db"
    _ledger(path) if part == "ledger" else _outbox(path) if part == "outbox" else await _desk(path)
    _number(path, part, 9)
    held = path.read_bytes()
    told = rf"{path}: its schema '{part}' is version 9, this program knows none after \d; run the version of Yemai that last opened it, or a newer one, or bring back the backup"
    with pytest.raises(ConfigError, match=told):
        _ledger(path) if part == "ledger" else _outbox(path) if part == "outbox" else await _desk(path)
    assert path.read_bytes() == held
    assert list(tmp_path.glob("*.backup")) == []


def _with_weight(db):
    db.execute("ALTER TABLE outbox ADD COLUMN weight INTEGER NOT NULL DEFAULT 1")


def test_an_outbox_on_its_own_file_is_migrated_as_any(tmp_path, monkeypatch):
    path = tmp_path / "edge.db"
    box = Outbox.open(path, max_bytes=1 << 20)
    with box.transaction():
        box.put(lambda _: b"kept", samples=1)
    box.close()
    monkeypatch.setattr("telemetry.outbox.PART", OUTBOX._replace(steps=(_with_weight,)))
    box = Outbox.open(path, max_bytes=1 << 20)
    assert [message.payload for message in box.waiting(9)] == [b"kept"]
    assert [(one.part, one.version, one.newest) for one in box.migrated] == [("outbox", 1, 2)]
    box.close()
    assert (tmp_path / "edge.db.schema-1.backup").exists()


def test_without_room_for_the_copy_nothing_is_touched(tmp_path, monkeypatch):
    path = _made_by("ledger-1.sql", tmp_path / "ledger.db")
    free = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(schema.shutil, "disk_usage", lambda _: free)
    with pytest.raises(Unavailable, match=r"ledger.db: is backed up before its schema changes, and .* has 100 bytes free of \d+: make room"):  # fmt: skip
        _ledger(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_versions'").fetchone() is None


KILLED = """
import asyncio, os, shutil, signal, sqlite3, sys
from pathlib import Path
from cloud_ingest.config import LedgerConfig
from cloud_ingest.ledger import Ledger
from command_center.store import Store

part, old, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
real = sqlite3.connect

async def desk(path):
    async with Store(f"sqlite+aiosqlite:///{path}"):
        pass

def opened(path, most):
    left = most
    def told(_):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def connect(*words, **more):
        made = real(*words, **more)
        made.set_trace_callback(told)
        return made
    sqlite3.connect = connect
    Ledger(LedgerConfig(path)).close() if part == "ledger" else asyncio.run(desk(path))

for most in range(1000):
    path = folder / f"{most}.db"
    shutil.copyfile(old, path)
    child = os.fork()
    if not child:
        opened(path, most)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(most)
"""


@pytest.mark.parametrize(
    ("part", "table", "added"), [("ledger", "committed", "used"), ("desk", "holds", "body")]
)
async def test_killed_at_any_statement_it_is_the_old_schema_or_the_new_and_the_next_start_succeeds(
    tmp_path, part, table, added
):
    old = _made_by(f"{part}-1.sql", tmp_path / "old")
    (tmp_path / "at").mkdir()
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        [sys.executable, "-c", KILLED, part, str(old), str(tmp_path / "at")],
        check=True, capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    statements = int(done.stdout.split()[-1])
    assert statements > 15
    seen = set()
    for path in (tmp_path / "at").glob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as db:
            numbered = (
                db.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_versions'").fetchone()
                is not None
            )
            has = added in [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert numbered == has, path
        seen.add(numbered)
        _ledger(path) if part == "ledger" else await _desk(path)
        assert _versions(path)[part] == {"ledger": LEDGER, "desk": DESK}[part].version
        assert path.with_name(f"{path.name}.schema-1.backup").exists()
    assert seen == {True, False}
