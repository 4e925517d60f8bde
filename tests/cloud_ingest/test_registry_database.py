"""The registry's database, once in SQLite and once in PostgreSQL: schema, sightings, decisions, turns."""

import contextlib
import shutil
import sqlite3
import threading

import pytest
import sqlalchemy as sa
from registry_world import NOW, database, filled, imported, url_of
from world import DEVICES

from cloud_ingest.registry import approval, tables
from cloud_ingest.registry.approval import Sighting
from cloud_ingest.registry.database import MIGRATIONS, Database
from telemetry.errors import ConfigError, Refused, Unavailable


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    return url_of(request.param, request, tmp_path)


@pytest.fixture
def registry(url, tmp_path):
    with database(url) as here:
        filled(here, tmp_path)
        yield here


def test_the_migrations_lead_to_the_tables_that_the_program_uses(registry):
    inspector = sa.inspect(registry._engine)
    assert set(inspector.get_table_names()) == {*tables.metadata.tables, "alembic_version"}
    for name, table in tables.metadata.tables.items():
        found = {
            column["name"]: (column["nullable"], str(column["type"]).split()[0])
            for column in inspector.get_columns(name)
        }
        dialect = registry._engine.dialect
        wanted = {c.name: (c.nullable, str(c.type.compile(dialect)).split()[0]) for c in table.columns}
        assert found == wanted, name
        assert inspector.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key]
        assert {tuple(index["column_names"]) for index in inspector.get_indexes(name)} == {
            tuple(c.name for c in index.columns) for index in table.indexes
        }


def test_opening_again_keeps_everything_and_a_newer_schema_is_refused(registry, url):
    before = registry.contents()
    with database(url) as again:
        assert again.contents() == before
    with registry.noting() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    newer = Database(url, {})
    with pytest.raises(ConfigError) as caught:
        newer.open()
    newer.close()
    assert "its schema is not known here, where the newest is 0002" in str(caught.value)
    assert "run the version of Yemai that last opened it" in str(caught.value)


NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"


def upgrade():
    op.add_column("sites", sa.Column("next", sa.Integer))
"""


def test_what_is_older_is_copied_before_it_is_migrated(registry, url, tmp_path, monkeypatch):
    before = registry.contents()
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "v0003_next.py").write_text(NEXT)
    monkeypatch.setattr("cloud_ingest.registry.database.MIGRATIONS", tmp_path / "migrations")
    registry.close()
    with database(url) as newer:
        assert newer.contents() == before
        columns = [column["name"] for column in sa.inspect(newer._engine).get_columns("sites")]
        assert "next" in columns
        if url.startswith("sqlite"):
            (copy,) = tmp_path.glob("*.schema-0002.backup")
            kept = sa.create_engine(f"sqlite:///{copy}")
            schema = None
        else:
            kept, schema = newer._engine, "registry_version_0002"
        assert [column["name"] for column in sa.inspect(kept).get_columns("sites", schema=schema)] == columns[
            :-1
        ]
        with kept.connect() as connection:
            table = "sites" if schema is None else f"{schema}.sites"
            assert (
                connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar() == len(before.sites) > 0
            )
        kept.dispose()


def test_a_database_that_is_away_is_unavailable_and_tells_no_password():
    here = Database("postgresql://yemai:hunter2@127.0.0.1:1/none", {})
    with pytest.raises(Unavailable) as caught:
        here.open()
    here.close()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://x@y/z", "registry.db", "postgres"])
def test_what_is_no_url_is_told(url):
    with pytest.raises(ConfigError, match="is no database that the registry can live in"):
        Database(url, {})


def test_writers_take_turns_and_no_change_is_lost(url):
    with database(url) as one, database(url) as two:
        start = one.revision()

        def change(here, name):
            for n in range(15):
                approval.decide(here, "agent", f"{name}-{n}", allowed=True, by=name, now_ms=n)

        threads = [threading.Thread(target=change, args=pair) for pair in ((one, "a"), (two, "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.revision() == start + 30
        assert len(two.decisions("agent")) == 30
        assert len(one.history(100)) == 30


def test_two_programs_that_start_together_both_find_the_schema(url):
    problems = []

    def start():
        here = Database(url, {})
        try:
            here.open()
            here.revision()
        except Exception as error:  # noqa: BLE001 - whatever it is
            problems.append(error)
        finally:
            here.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_sightings_add_up_and_vanish_when_the_device_is_registered(registry, tmp_path):
    approval.note_sightings(
        registry,
        [Sighting("device", "n-9", "edge-9", 10, 20, 3), Sighting("agent", "edge-9", "edge-9", 10, 20, 3)],
        "i",
        3,
    )
    approval.note_sightings(registry, [Sighting("device", "n-9", "edge-9", 25, 30, 2)], "i", 5)
    assert approval.cursor(registry, "i") == 5
    found = {item.id: item for item in approval.unannounced(registry)}
    assert (found["n-9"].first_ms, found["n-9"].last_ms, found["n-9"].times) == (10, 30, 5)
    (tmp_path / "n.csv").write_text(
        DEVICES.splitlines()[0] + "\nn-9,噪声,Noise,sonbest_sm7901b,edge-9,s01,115.92,31.85,市政\n", "utf-8"
    )
    imported(registry, tmp_path / "n.csv")
    assert approval.unannounced(registry) == []


def test_a_line_that_makes_up_names_fills_no_disk(registry, monkeypatch):
    monkeypatch.setattr(approval, "MOST_SIGHTINGS", 50)
    for start in range(0, 200, 40):
        approval.note_sightings(
            registry,
            [Sighting("device", f"x-{n}", "e", n, n, 1) for n in range(start, start + 40)],
            "i",
            start,
        )
    found = [item.id for item in approval.unannounced(registry)]
    assert found == [f"x-{n}" for n in range(199, 149, -1)]


def test_a_denial_is_remembered_and_can_be_taken_back(registry):
    approval.note_sightings(registry, [Sighting("agent", "rogue", "rogue", 1, 2, 3)], "i", 1)
    approval.decide(registry, "agent", "rogue", allowed=False, by="li", now_ms=NOW, note="nobody knows it")
    (item,) = approval.unannounced(registry)
    assert (item.state, item.note) == ("denied", "nobody knows it")
    approval.decide(registry, "agent", "rogue", allowed=True, by="li", now_ms=NOW)
    assert approval.unannounced(registry) == []
    assert [entry["what"] for entry in registry.history(2)] == ["agent rogue allowed", "agent rogue denied"]


def test_a_registered_device_is_retired_and_not_denied(registry):
    with pytest.raises(Refused, match="'noise-01' is registered; retire it instead"):
        approval.decide(registry, "device", "noise-01", allowed=False, by="li", now_ms=NOW)
    approval.decommission(registry, "noise-01", by="li", now_ms=NOW)
    with pytest.raises(Refused, match="'noise-01' was retired on 2025-11-24"):
        approval.decommission(registry, "noise-01", by="li", now_ms=NOW)
    with pytest.raises(Refused, match=r"no device 'noise-1'; did you mean 'noise-01'\?"):
        approval.decommission(registry, "noise-1", by="li", now_ms=NOW)


def test_a_new_file_that_another_program_holds_is_waited_for(tmp_path):
    """SQLite itself does not wait when the journal of a file is to be another."""
    path = tmp_path / "registry.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN IMMEDIATE")
        letting_go = threading.Timer(0.3, other.execute, ("COMMIT",))
        letting_go.start()
        here = Database(f"sqlite:///{path}", {})
        try:
            here.open()
        finally:
            letting_go.join()
            here.close()
