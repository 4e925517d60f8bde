"""The registry's database: SQLite, or PostgreSQL by URL.

Whoever writes raises ``state.revision`` first: that takes turns with other writers, and tells every reader that there is
something new.  Every change leaves a line in ``changes``.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from cloud_ingest.registry import tables
from cloud_ingest.registry.model import Contents, Device, Site
from telemetry.errors import ConfigError, Unavailable
from telemetry.schema import back_up, backup_of, cannot_copy, copy_tables
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from device_profiles.profile import Profile
    from telemetry.config import Secret

_WAIT_S = 10
_SCHEMA_LOCK = 0x59454D41  # any number that nothing else in the database uses
MIGRATIONS = Path(__file__).parent / "migrations"
_SITE = ("id", "street", "lon", "lat", "department", "district")
_DEVICE = (
    "id", "profile", "site", "agent", "lon", "lat", "owner", "serial_number", "installed_on", "installed_by",
    "bus", "unit", "retired_on",
)  # fmt: skip


class Decision(NamedTuple):
    """What somebody decided on an agent or a device."""

    allowed: bool
    by: str
    at_ms: int
    note: str


class Database:
    """Blocking; any thread may use it.  Raises :class:`Unavailable` while it cannot be reached."""

    def __init__(self, url: str, profiles: Mapping[str, Profile], password: Secret | None = None) -> None:
        self._url, self._profiles = _url(url), profiles
        if password is not None:
            self._url = self._url.set(password=password.reveal())
        self._engine = sa.create_engine(self._url, pool_pre_ping=True, connect_args=self._arguments())
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _on_connect)
            sa.event.listen(self._engine, "begin", _on_begin)

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._url.render_as_string(hide_password=True)

    def open(self) -> None:
        """Bring its schema up to date, copied first; raise :class:`ConfigError` when it is newer than this program.

        A SQLite file is copied beside itself, ``registry.db.schema-0001.backup``; the tables of a PostgreSQL database into
        its schema ``registry_version_0001``.
        """
        config = Config(attributes={"path_separator": "os"})
        config.set_main_option("script_location", str(MIGRATIONS))
        if self._url.get_backend_name() == "sqlite" and self._url.database:
            Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
        with self._begin(writing=True) as connection:
            config.attributes["connection"] = connection
            if (
                connection.dialect.name == "postgresql"
            ):  # those that start together take turns, as BEGIN IMMEDIATE lets them
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
            known = ScriptDirectory.from_config(config).get_current_head()
            try:
                self._keep(connection, known)
                command.upgrade(config, "head")
            except CommandError as error:
                raise ConfigError(
                    self.name, "$", f"its schema is not known here, where the newest is {known} ({error})",
                    hint="run the version of Yemai that last opened it, or a newer one",
                ) from None  # fmt: skip

    def close(self) -> None:
        """Let the connections go."""
        self._engine.dispose()

    def revision(self) -> int:
        """Return a number that grows with every change."""
        with self._begin() as connection:
            return self.revision_in(connection)

    def revision_in(self, connection: sa.Connection) -> int:
        """Do the same inside a transaction."""
        return int(connection.execute(sa.select(tables.state.c.revision)).scalar_one())

    def contents(self) -> Contents:
        """Return all sites and devices.  A device whose profile this program has not gets no class."""
        with self._begin() as connection:
            return self.read(connection)

    def read(self, connection: sa.Connection) -> Contents:
        """Do the same inside a transaction."""
        sites, devices = tables.sites.c, tables.devices.c
        return Contents(
            {
                name: Site(name, Text(zh, en), *rest)
                for name, zh, en, *rest in connection.execute(_ordered(sites, _SITE))
            },
            {row[0]: self._device(row) for row in connection.execute(_ordered(devices, _DEVICE))},
        )

    def taken_files(self, producer: str) -> str:
        """Return the digest of the files that ``producer`` took in last, ``""`` when it took none."""
        query = sa.select(tables.files.c.digest).where(tables.files.c.producer == producer)
        with self._begin() as connection:
            return connection.execute(query).scalar() or ""

    def note_files(self, producer: str, digest: str) -> None:
        """Remember that they are in."""
        with self.noting() as connection:
            put(connection, tables.files, [{"producer": producer, "digest": digest}])

    def decisions(self, kind: str) -> dict[str, Decision]:
        """Return what was decided on agents or on devices, by id."""
        with self._begin() as connection:
            return self.decisions_in(connection, kind)

    def decisions_in(self, connection: sa.Connection, kind: str) -> dict[str, Decision]:
        """Do the same inside a transaction."""
        table = tables.decisions
        rows = connection.execute(sa.select(table).where(table.c.kind == kind)).mappings()
        return {row["id"]: Decision(row["allowed"], row["by"], row["at_ms"], row["note"]) for row in rows}

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Read more than one thing as of one moment."""
        with self._begin() as connection:
            yield connection

    @contextmanager
    def writing(self, by: str, what: str, now_ms: int) -> Iterator[sa.Connection]:
        """Change something: one transaction, one revision, one line that says who did what."""
        with self._begin(writing=True) as connection:
            connection.execute(tables.state.update().values(revision=tables.state.c.revision + 1))
            yield connection
            connection.execute(tables.changes.insert().values(at_ms=now_ms, by=by, what=what))

    @contextmanager
    def noting(self) -> Iterator[sa.Connection]:
        """Write what is no change of the registry itself."""
        with self._begin(writing=True) as connection:
            yield connection

    def history(self, most: int) -> list[dict[str, Any]]:
        """Return the newest changes."""
        query = sa.select(tables.changes).order_by(tables.changes.c.id.desc()).limit(most)
        with self._begin() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    # -- inside ----------------------------------------------------------------------------------------

    def _keep(self, connection: sa.Connection, newest: str | None) -> None:
        found = MigrationContext.configure(connection).get_current_revision()
        if found in (None, newest):
            return
        if connection.dialect.name == "sqlite":
            path = Path(self._url.database or ":memory:")
            back_up(path, backup_of(path, found))
            return
        schema = f"registry_version_{found}"
        try:
            for statement in copy_tables(
                schema,
                sorted(
                    {*tables.metadata.tables, "alembic_version"} & {*sa.inspect(connection).get_table_names()}
                ),
            ):
                connection.exec_driver_sql(statement)
        except sa.exc.ProgrammingError as error:
            raise cannot_copy(self.name, schema, str(error.orig)) from None

    def _device(self, row: Sequence[Any]) -> Device:
        name, zh, en, of_profile, site, agent, lon, lat, owner, *rest = row
        profile = self._profiles.get(of_profile)
        of_class, period_s = (profile.device_class, profile.timing.period_s) if profile else ("", 0.0)
        return Device(name, Text(zh, en), of_class, of_profile, site, agent, lon, lat, owner, period_s, *rest)

    def _arguments(self) -> dict[str, Any]:
        if self._url.get_backend_name() == "sqlite":
            return {"timeout": _WAIT_S, "check_same_thread": False}
        return {"connect_timeout": _WAIT_S, "options": f"-c lock_timeout={_WAIT_S}s"}

    @contextmanager
    def _begin(self, *, writing: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect().execution_options(writing=writing) as connection, connection.begin():
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise Unavailable(f"registry {self.name}: {str(error.orig).strip()}") from error


def site_row(site: Site, origin: str) -> dict[str, Any]:
    """Return a site as a row."""
    return {**{name: getattr(site, name) for name in _SITE}, **_name(site.name), "origin": origin}


def device_row(device: Device, origin: str) -> dict[str, Any]:
    """Return a device as a row."""
    return {**{name: getattr(device, name) for name in _DEVICE}, **_name(device.name), "origin": origin}


def put(connection: sa.Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows, or replace those of the same primary key; both databases spell it alike."""
    rows = list(rows)
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert  # noqa: PLC0415 - one of two
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]  # noqa: PLC0415 - the other
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    rest = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest), rows)


def _ordered(columns: Any, rest: Sequence[str]) -> sa.Select[Any]:
    """Return the query for id, both names and the rest, as the structs have them."""
    names = (rest[0], "name_zh", "name_en", *rest[1:])
    return sa.select(*(columns[name] for name in names)).order_by(columns.id)


def _name(name: Text) -> dict[str, str]:
    return {"name_zh": name.zh, "name_en": name.en}


def _url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        url = None
    if url is None or url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(
            "registry.database", "$", f"'{text.rpartition('@')[2]}' is no database that the registry can live in",
            hint="use sqlite:///registry.db or postgresql://user@host/name",
        )  # fmt: skip
    return url if url.get_backend_name() == "sqlite" else url.set(drivername="postgresql+psycopg")


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, tables included
    connection.execute("PRAGMA foreign_keys=ON")
    # SQLite waits for no lock here, though it was told how long to: programs that start together meet in a new file.
    for attempt in Retrying(
        retry=retry_if_exception(_is_locked), stop=stop_after_delay(_WAIT_S), wait=wait_random(0.01, 0.1), reraise=True
    ):  # fmt: skip
        with attempt:
            connection.execute("PRAGMA journal_mode=WAL")


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY


def _on_begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
