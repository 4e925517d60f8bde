"""Import: what a file would change, and the change itself, whole or not at all."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import sqlalchemy as sa

from cloud_ingest.registry import tables
from cloud_ingest.registry.checks import Ground, check
from cloud_ingest.registry.database import device_row, put, site_row
from cloud_ingest.registry.mistakes import Mistake, Words
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloud_ingest.registry.database import Database, Decision
    from cloud_ingest.registry.model import Datum, Device, Site
    from cloud_ingest.registry.sheets import Sheet
    from device_profiles.profile import Profile

Missing = Literal["keep", "retire"]
Kind = Literal["new", "changed", "retired", "removed"]
_DERIVED = ("period_s", "class")  # of the profile


class Change(msgspec.Struct, frozen=True):
    """What becomes of one site or device; ``fields`` holds before and after."""

    kind: Literal["site", "device"]
    id: str
    change: Kind
    fields: dict[str, tuple[Any, Any]] = {}


class Report(msgspec.Struct, frozen=True):
    """What an import would do; with a mistake in it, it does nothing.

    ``missing`` are known and not in the files, and stay as they are unless they are to be retired.
    """

    mistakes: tuple[Mistake, ...]
    notes: tuple[Text, ...] = ()
    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    missing: tuple[str, ...] = ()
    applied: bool = False


class Order(msgspec.Struct, frozen=True):
    """How to import: who wants it, and what the files leave open.

    ``origin`` is kept with what comes in; when ``only_origin``, ``missing`` looks at nothing else.
    """

    by: str
    now_ms: int
    bounds: tuple[float, float, float, float] | None = None
    datum: Datum = "wgs84"
    missing: Missing = "keep"
    origin: str = "import"
    only_origin: bool = False
    dry_run: bool = False


def run_import(
    database: Database, sheets: Sequence[Sheet], order: Order, profiles: Mapping[str, Profile]
) -> Report:
    """Check, compare, and apply unless it is a dry run or anything is wrong."""
    with database.reading() as connection:
        plan = _Plan(database, connection, sheets, order, profiles)
    if order.dry_run or not plan.moves:
        return plan.report()
    files = ", ".join(sheet.file for sheet in sheets)
    with database.writing(order.by, f"import of {files}: {plan.told()}", order.now_ms) as connection:
        if database.revision_in(connection) != plan.revision + 1:  # somebody else was faster
            plan = _Plan(database, connection, sheets, order, profiles)
        plan.apply(connection)
    return plan.report(applied=not plan.checked.mistakes)


class _Plan:
    def __init__(
        self, database: Database, connection: sa.Connection, sheets: Sequence[Sheet], order: Order,
        profiles: Mapping[str, Profile],
    ) -> None:  # fmt: skip
        self.revision = database.revision_in(connection)  # first: what changes meanwhile is looked at again
        known, self._order = database.read(connection), order
        self.checked = check(sheets, Ground(profiles, known, order.bounds, order.datum))
        self.checked.mistakes += _of_denied(
            database.decisions_in(connection, "agent"), self.checked.devices, sheets
        )
        self.changes: list[Change] = []
        self.unchanged = 0
        self._sites = self._compare(
            "site", known.sites, self.checked.sites, _origins(connection, tables.sites)
        )
        origins = _origins(connection, tables.devices)
        self._devices = self._compare("device", known.devices, self.checked.devices, origins)
        given = {sheet.kind for sheet in sheets}
        stand_at = {device.site for device in known.devices.values()}
        self._gone = [
            id_ for id_, device in known.devices.items()
            if "devices" in given and id_ not in self.checked.devices and not device.retired_on
            and not (order.only_origin and origins[id_] != order.origin)
        ]  # fmt: skip
        self._empty = [
            id_ for id_ in known.sites
            if "sites" in given and id_ not in self.checked.sites and id_ not in stand_at
        ]  # fmt: skip
        if order.missing == "retire":
            self.changes += [Change("device", id_, "retired") for id_ in self._gone]
            self.changes += [Change("site", id_, "removed") for id_ in self._empty]

    @property
    def moves(self) -> bool:
        """Whether there is anything to write."""
        return not self.checked.mistakes and bool(self.changes or self._sites or self._devices)

    def told(self) -> str:
        counts = {kind: sum(1 for entry in self.changes if entry.change == kind) for kind in get_args(Kind)}
        return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "nothing new"

    def apply(self, connection: sa.Connection) -> None:
        if self.checked.mistakes:
            return
        order = self._order
        put(connection, tables.sites, [site_row(site, order.origin) for site in self._sites])
        put(connection, tables.devices, [device_row(device, order.origin) for device in self._devices])
        if order.missing == "retire":
            retire(connection, self._gone, order.now_ms)
            _each(
                connection,
                sa.delete(tables.sites).where(tables.sites.c.id == sa.bindparam("b_id")),
                self._empty,
            )

    def report(self, *, applied: bool = False) -> Report:
        return Report(
            tuple(self.checked.mistakes), tuple(self.checked.notes),
            () if self.checked.mistakes else tuple(self.changes), self.unchanged,
            tuple(self._gone) if self._order.missing == "keep" else (), applied,
        )  # fmt: skip

    def _compare(
        self, kind: Literal["site", "device"], known: Mapping[str, Any], given: Mapping[str, Any], origins: Mapping[str, str]
    ) -> list[Any]:  # fmt: skip
        """Return what is to be written."""
        write = []
        for id_, item in given.items():
            before = known.get(id_)
            if before == item:
                self.unchanged += 1
            elif before is None:
                self.changes.append(Change(kind, id_, "new"))
            else:
                self.changes.append(Change(kind, id_, "changed", _differences(before, item)))
            if before != item or origins.get(id_) != self._order.origin:
                write.append(item)
        return write


def retire(connection: sa.Connection, devices: Sequence[str], now_ms: int) -> None:
    """Take devices out of service as of today (UTC)."""
    day = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC).date().isoformat()
    table = tables.devices
    _each(
        connection, sa.update(table).where(table.c.id == sa.bindparam("b_id")).values(retired_on=day), devices
    )


def _each(connection: sa.Connection, statement: sa.UpdateBase, ids: Sequence[str]) -> None:
    if ids:
        connection.execute(statement, [{"b_id": id_} for id_ in ids])


def _origins(connection: sa.Connection, table: sa.Table) -> dict[str, str]:
    return {row.id: row.origin for row in connection.execute(sa.select(table.c.id, table.c.origin))}


def _differences(before: Site | Device, after: Site | Device) -> dict[str, tuple[Any, Any]]:
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    return {key: (old[key], new[key]) for key in new if old[key] != new[key] and key not in _DERIVED}


def _of_denied(
    decisions: Mapping[str, Decision], devices: Mapping[str, Device], sheets: Sequence[Sheet]
) -> list[Mistake]:
    denied = {agent for agent, decision in decisions.items() if not decision.allowed}
    if not denied:
        return []
    return [
        Mistake(sheet.file, line, "agent", row["agent"], Words.DENIED, Words.ALLOW_FIRST)
        for sheet in sheets
        if sheet.kind == "devices"
        for line, row in sheet.rows
        if row["agent"] in denied and row["device"] in devices
    ]
