"""``backup.toml`` and the manifest that lies in every backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from telemetry.config import load_toml
from telemetry.errors import ConfigError

MANIFEST_VERSION = 1
Kind = Literal["sqlite", "duckdb", "postgres", "files"]


class Postgres(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A database by libpq URL without password; that comes from ``PGPASSFILE`` or ``~/.pgpass``."""

    name: str
    url: str


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file: ``into`` is where backups lie, of which the newest ``keep`` stay.

    ``sqlite`` are ledger, registry, desk and outboxes, ``duckdb`` embedded stores, ``files`` rules, plans and
    configurations: files or whole folders.
    """

    into: Path
    keep: Annotated[int, msgspec.Meta(ge=1)] = 48
    sqlite: tuple[Path, ...] = ()
    duckdb: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    postgres: tuple[Postgres, ...] = ()


class Item(msgspec.Struct, frozen=True):
    """One thing in a backup: ``source`` is where it came from and goes back to, ``file`` its place in the backup."""

    kind: Kind
    source: str
    file: str
    bytes: int
    sha256: str
    seconds: float


class Manifest(msgspec.Struct, frozen=True):
    """``at`` is when copying began (UTC ms): whatever was committed before is in the backup."""

    at: int
    yemai: str
    items: tuple[Item, ...]
    v: int = MANIFEST_VERSION


def load_plan(path: Path) -> Plan:
    """Read and check the file; raise :class:`ConfigError`."""
    plan = load_toml(path, Plan)
    sources = [*plan.sqlite, *plan.duckdb, *plan.files]
    if not sources and not plan.postgres:
        raise ConfigError(
            path, "$", "names nothing to back up", hint="name sqlite, duckdb, files or postgres"
        )
    for source in sources:
        if sources.count(source) > 1:
            raise ConfigError(path, "$", f"'{source}' is named twice")
        if source in plan.into.parents or source == plan.into:
            raise ConfigError(
                path,
                "$.into",
                f"'{plan.into}' lies in '{source}', which is to be backed up",
                hint="put backups elsewhere, best on another disk",
            )
    return plan
