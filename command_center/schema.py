"""The schema version of the desk's database, on SQLite and PostgreSQL alike.

``tables.py`` is the newest schema.  A new table or index is made by itself, a column is not: whoever changes
``tables.py`` appends a step to ``PART`` and writes the snapshot that the test asks for.  The version stands in the
table ``schema_versions`` (see ``telemetry/schema.py``).

Before anything older is touched it is copied: a SQLite file beside itself, the tables of a PostgreSQL database into
the schema ``desk_version_<n>`` of the same database, in the transaction that migrates.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from command_center import listing
from command_center.lifecycle import Alarm
from command_center.tables import alarms, events, links, metadata
from telemetry.schema import VERSIONS, Found, Part, back_up, backup_of, cannot_copy, copy_tables, refuse_newer

_AT_ONCE = 1000
_SCHEMA_LOCK = 0x59656D616A  # those that start together take turns
_versions = sa.table("schema_versions", sa.column("part"), sa.column("version"))


def _with_longer_events(db: sa.Connection) -> None:
    """1 → 2: an event's id holds an alarm's id and a version.  SQLite keeps any length in any column."""
    if db.dialect.name == "postgresql":
        db.exec_driver_sql(f"ALTER TABLE {events.name} ALTER COLUMN id TYPE VARCHAR(128)")


def _with_incidents(_: sa.Connection) -> None:
    """2 → 3: incidents and warnings have tables, which make themselves."""


def _with_people(_: sa.Connection) -> None:
    """3 → 4: people, their sessions, links and failures have tables, which make themselves."""


def _with_contacts(_: sa.Connection) -> None:
    """4 → 5: proven contacts and links in messages have tables, which make themselves."""


def _with_sealed_secrets(db: sa.Connection) -> None:
    """5 → 6: secrets of one-time codes are sealed, which takes more room; the centre seals them when it starts."""
    if db.dialect.name == "postgresql" and links.name in sa.inspect(db).get_table_names():
        db.exec_driver_sql(f"ALTER TABLE {links.name} ALTER COLUMN totp TYPE VARCHAR(128)")


def _with_listed_alarms(db: sa.Connection) -> None:
    """6 → 7: what the list is filtered and sorted by stands in columns."""
    no = "false" if db.dialect.name == "postgresql" else "0"
    for column in (
        "severity INTEGER DEFAULT 0", "category VARCHAR(32) DEFAULT ''", "class VARCHAR(64) DEFAULT ''", f"asks BOOLEAN DEFAULT {no}",
    ):  # fmt: skip
        db.exec_driver_sql(f"ALTER TABLE {alarms.name} ADD COLUMN {column} NOT NULL")
    db.exec_driver_sql("DROP INDEX IF EXISTS alarms_open")
    update = alarms.update().where(alarms.c.id == sa.bindparam("key"))
    after = ""
    while rows := db.execute(
        sa.select(alarms.c.id, alarms.c.body).where(alarms.c.id > after).order_by(alarms.c.id).limit(_AT_ONCE)
    ).all():
        told = [{"key": id_, **listing.columns(msgspec.json.decode(body, type=Alarm))} for id_, body in rows]
        db.execute(update, told)
        after = rows[-1].id


def _with_kept_registry(_: sa.Connection) -> None:
    """7 → 8: what ingest last told has a table, which makes itself."""


PART = Part(
    "desk", events.name, "",
    (
        _with_longer_events, _with_incidents, _with_people, _with_contacts, _with_sealed_secrets,
        _with_listed_alarms, _with_kept_registry,
    ),
)  # fmt: skip


def prepare(db: sa.Connection) -> Found:
    """Make the tables, or bring them up to date, in the transaction of ``db``; return what was found.

    Raises :class:`~telemetry.errors.ConfigError` for a newer schema, and where a copy of an older one may not be made.
    """
    if db.dialect.name == "sqlite":
        db.exec_driver_sql("BEGIN IMMEDIATE")  # the driver's own begins no transaction for tables
    else:
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
    found = _look(db)
    where = db.engine.url.database if db.dialect.name == "sqlite" else db.engine.url.render_as_string()
    refuse_newer(where or ":memory:", (found,))
    if found.is_old:
        _keep(db, found)
        for step in PART.steps[found.version - 1 :]:
            step(db)
    metadata.create_all(db)
    for table in metadata.tables.values():
        for index in table.indexes:
            index.create(db, checkfirst=True)
    db.exec_driver_sql(VERSIONS)
    if found.version != found.newest:
        db.execute(sa.delete(_versions).where(_versions.c.part == PART.name))
        db.execute(sa.insert(_versions).values(part=PART.name, version=found.newest))
    return found


def _look(db: sa.Connection) -> Found:
    tables = sa.inspect(db).get_table_names()
    version = None
    if _versions.name in tables:
        version = db.execute(sa.select(_versions.c.version).where(_versions.c.part == PART.name)).scalar()
    if version is None:
        version = 1 if events.name in tables else 0
    return Found(PART.name, version, PART.version)


def _keep(db: sa.Connection, found: Found) -> None:
    if db.dialect.name == "sqlite":
        path = Path(db.engine.url.database or ":memory:")
        back_up(path, backup_of(path, found.version))
        return
    schema = f"{PART.name}_version_{found.version}"
    there = [name for name in sa.inspect(db).get_table_names() if name in {*metadata.tables, _versions.name}]
    try:
        for statement in copy_tables(schema, there):
            db.exec_driver_sql(statement)
    except ProgrammingError as error:
        raise cannot_copy(db.engine.url.render_as_string(), schema, str(error.orig)) from None
