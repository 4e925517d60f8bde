"""What speaks unannounced, and who decides on it.

A reading of a device that is not registered, or that another agent is registered for, waits in quarantine; here its
device and agent are seen, first and last and how often, until somebody allows them or says no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import sqlalchemy as sa

from cloud_ingest.registry import tables
from cloud_ingest.registry.database import put
from cloud_ingest.registry.importing import retire
from telemetry.errors import Refused, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloud_ingest.registry.database import Database
    from cloud_ingest.registry.model import Contents

Kind = Literal["agent", "device"]
State = Literal["pending", "denied"]
MOST_SIGHTINGS = 10_000
"""What was seen last is kept: a line that makes up names fills no disk."""


class Sighting(msgspec.Struct, frozen=True):
    """Something unannounced; ``agent`` is who spoke for it, times are UTC ms of arrival."""

    kind: Kind
    id: str
    agent: str
    first_ms: int
    last_ms: int
    times: int
    state: State = "pending"
    note: str = ""


def note_sightings(database: Database, found: Iterable[Sighting], producer: str, upto: int) -> None:
    """Keep what ``producer`` saw in its quarantine up to entry ``upto``."""
    table = tables.sightings
    rows = {(item.kind, item.id, item.agent): item for item in found}
    with database.noting() as connection:
        put(connection, tables.cursors, [{"producer": producer, "upto": upto}])
        if not rows:
            return
        ids = {item.id for item in rows.values()}
        for row in connection.execute(sa.select(table).where(table.c.id.in_(ids))):
            key = (row.kind, row.id, row.agent)
            if (item := rows.get(key)) is not None:
                rows[key] = msgspec.structs.replace(
                    item,
                    first_ms=min(item.first_ms, row.first_ms),
                    last_ms=max(item.last_ms, row.last_ms),
                    times=item.times + row.times,
                )
        names = table.columns.keys()
        put(connection, table, [{name: getattr(item, name) for name in names} for item in rows.values()])
        newest = sa.select(table.c.last_ms).order_by(table.c.last_ms.desc()).offset(MOST_SIGHTINGS).limit(1)
        oldest = connection.execute(newest).scalar()
        if oldest is not None:
            connection.execute(sa.delete(table).where(table.c.last_ms <= oldest))


def cursor(database: Database, producer: str) -> int:
    """Return up to which entry of its quarantine ``producer`` has looked."""
    query = sa.select(tables.cursors.c.upto).where(tables.cursors.c.producer == producer)
    with database.reading() as connection:
        return connection.execute(query).scalar() or 0


def unannounced(database: Database) -> list[Sighting]:
    """Return what still waits for a decision, and what was denied; newest first."""
    with database.reading() as connection:
        contents = database.read(connection)
        agents = {device.agent for device in contents.devices.values()}
        decided = {kind: database.decisions_in(connection, kind) for kind in ("agent", "device")}
        rows = connection.execute(sa.select(tables.sightings).order_by(tables.sightings.c.last_ms.desc()))
        found = []
        for item in (Sighting(**row) for row in rows.mappings()):
            decision = decided[item.kind].get(item.id)
            if decision is not None and not decision.allowed:
                found.append(msgspec.structs.replace(item, state="denied", note=decision.note))
            elif item.kind == "agent":
                if decision is None and item.id not in agents:
                    found.append(item)
            elif not _speaks_for(contents, item):
                found.append(item)
        return found


def decide(
    database: Database, kind: Kind, name: str, *, allowed: bool, by: str, now_ms: int, note: str = ""
) -> None:
    """Allow or deny an agent or a device.

    Nobody may speak through a denied agent.  A denied device is listed as such; to take a registered one out of service,
    :func:`decommission` it.
    """
    contents = database.contents()
    if (
        kind == "device"
        and not allowed
        and name in contents.devices
        and not contents.devices[name].retired_on
    ):
        raise Refused(f"'{name}' is registered; retire it instead")
    if kind == "device" and allowed and name not in contents.devices:
        raise Refused(f"'{name}' is not registered yet; give it a profile and a site to approve it")
    row = {"kind": kind, "id": name, "allowed": allowed, "by": by, "at_ms": now_ms, "note": note}
    with database.writing(by, f"{kind} {name} {'allowed' if allowed else 'denied'}", now_ms) as connection:
        put(connection, tables.decisions, [row])


def decommission(database: Database, device: str, *, by: str, now_ms: int) -> None:
    """Take a device out of service; what it said stays in the store."""
    contents = database.contents()
    if device not in contents.devices:
        raise Refused(f"no device '{device}'; {did_you_mean(device, contents.devices)}")
    if contents.devices[device].retired_on:
        raise Refused(f"'{device}' was retired on {contents.devices[device].retired_on}")
    with database.writing(by, f"device {device} decommissioned", now_ms) as connection:
        retire(connection, [device], now_ms)


def _speaks_for(contents: Contents, item: Sighting) -> bool:
    device = contents.devices.get(item.id)
    return device is not None and not device.retired_on and device.agent == item.agent
