"""What ingest last told of devices and sites, kept on the desk: alarms go by it until ingest answers after a start."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from command_center.tables import kept as table
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from command_center.store import Store
    from telemetry.faults import Faults

NAMES = ("devices", "sites")
"""What plans, policies, areas and incidents go by; the rest changes by itself and is for the page."""


class Kept:
    """Of one desk."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults
        self._told: dict[str, bytes] = {}

    async def load(self) -> dict[str, Any]:
        """Return what was kept, by name; nothing on a new desk."""
        async with self._store.read() as db:
            self._told = {row.name: row.body for row in await db.execute(sa.select(table))}
        return {name: msgspec.json.decode(body) for name, body in self._told.items()}

    async def keep(self, known: Mapping[str, Any]) -> None:
        """Keep an answer that is another than the last; one that cannot be kept now is with the next."""
        told = {name: msgspec.json.encode(known[name]) for name in NAMES}
        if told == self._told:
            return
        with self._faults.spared("registry"), suppress(Unavailable):
            async with self._store.change() as db:
                await db.execute(table.delete())
                await db.execute(
                    table.insert(), [{"name": name, "body": body} for name, body in told.items()]
                )
            self._told = told
