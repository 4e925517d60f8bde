"""What is decided in files — plans, who is told, places, machines' keys — leaves a trace in the audit trail when it changes.

Nobody signs in to edit a file, so *who* is ``file``: the trail says from when on which content held.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from command_center import audit
from command_center.audit import Act
from command_center.tables import audit as table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.config import CenterConfig

WHAT = "file.change"


async def note(db: AsyncConnection, config: CenterConfig, now: int) -> None:
    """Write an entry for each file that is not what it was when the centre last started."""
    for target, content in _contents(config):
        mine = (table.c.what == WHAT) & (table.c.target == target)
        last = (
            await db.execute(sa.select(table.c.body).where(mine).order_by(table.c.seq.desc()).limit(1))
        ).scalar()
        before = msgspec.json.decode(last)["after"] if last else None
        if content != before:
            await audit.write(db, now, Act("file"), WHAT, target, before=before, after=content)


def _contents(config: CenterConfig) -> Iterator[tuple[str, Any]]:
    """Yield what each is now; None for one that is not there."""
    for target, file in (
        ("linkage.file", config.linkage.file),
        ("notify.file", config.notify.file),
        ("places.file", config.places.file),
    ):
        yield target, None if file is None else {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    keys = [{"name": key.name, "rights": list(key.rights)} for key in config.people.keys]
    yield "people.keys", keys or None
