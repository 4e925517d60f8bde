"""Who guesses waits: each account and each address, longer with every further failure; a restart forgets nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from command_center.tables import failures as table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

FREE = {"login": 5, "address": 20}
"""How many may fail in a row before the first wait; an address may be a whole office."""
FIRST_MS, LONGEST_MS = 30_000, 15 * 60_000
FORGOTTEN_MS = 3_600_000


def wait_of(count: int, free: int) -> int:
    """Return the wait in ms after ``count`` failures.

    >>> [wait_of(n, 5) // 1000 for n in (4, 5, 6, 7, 40)]
    [0, 30, 60, 120, 900]
    """
    return 0 if count < free else min(FIRST_MS << min(count - free, 10), LONGEST_MS)


async def begin(db: AsyncConnection, login: str, address: str, now: int) -> int:
    """Count an attempt as failed before it is judged, so that many at once gain nothing.

    Returns how long to wait in ms; 0 when this attempt may be judged.
    """
    keys = _keys(login, address)
    await db.execute(table.delete().where(table.c.last_ms < now - FORGOTTEN_MS))
    rows = {row.key: row for row in await db.execute(sa.select(table).where(table.c.key.in_(keys.values())))}
    wait = max((row.until_ms - now for row in rows.values()), default=0)
    if wait > 0:
        return wait
    for kind, key in keys.items():
        times = rows[key].times + 1 if key in rows else 1
        values = {"times": times, "last_ms": now, "until_ms": now + wait_of(times, FREE[kind])}
        if key in rows:
            await db.execute(table.update().where(table.c.key == key).values(**values))
        else:
            await db.execute(table.insert().values(key=key, **values))
    return 0


async def clear(db: AsyncConnection, login: str, address: str) -> None:
    """Forget the failures of an account, and the one just counted for its address."""
    keys = _keys(login, address)
    await db.execute(table.delete().where(table.c.key == keys["login"]))
    mine = table.c.key == keys["address"]
    await db.execute(table.update().where(mine).values(times=table.c.times - 1, until_ms=0))


def _keys(login: str, address: str) -> dict[str, str]:
    return {"login": f"login:{login}"[:96], "address": f"address:{address}"[:96]}
