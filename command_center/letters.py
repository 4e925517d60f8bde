"""What a notice says: the words of its alarm or of its digest, and the line that leads to where one answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from command_center import wording
from command_center.channel import Message
from command_center.lifecycle import Alarm
from command_center.notices import Body
from command_center.people import answering
from command_center.tables import alarms as _alarms
from command_center.tables import notices as _notices

if TYPE_CHECKING:
    from collections.abc import Callable

    from command_center.policies import Told
    from command_center.store import Store
    from telemetry.text import Text

_LATER_MS = 1000


class Letters:
    """``place_of`` names a device; ``page`` is what messages link to, nothing when it is ''."""

    def __init__(self, store: Store, told: Told, place_of: Callable[[str], Text | None], page: str) -> None:
        self._store, self._told, self._place_of, self._page = store, told, place_of, page

    async def write(self, row: Any, lane: int, links: list[dict[str, Any]], now: int) -> bytes:
        """Return a notice's body with what is sent, which stays the same at every attempt; add its new link to ``links``."""
        body = msgspec.json.decode(row.body, type=Body)
        message = body.message
        if message is None:
            message = await self.message(row, body)
            line = await self._link(row, body, links, now)
            message = msgspec.structs.replace(message, link=line)
        message = msgspec.structs.replace(message, lane=lane)
        return msgspec.json.encode(msgspec.structs.replace(body, message=message, lane=lane))

    async def _link(self, row: Any, body: Body, links: list[dict[str, Any]], now: int) -> str:
        """Return a message's last line: where its person acknowledges, or where a room, a digest and others look."""
        kind, person = getattr(self._told.kinds[row.channel], "LINK", ""), self._told.setup.people[row.person]
        if not (self._page and kind):
            return ""
        if self._told.setup.answer_links and kind == "person" and body.reason in {"alarm", "repeat", "plan"}:
            async with self._store.read() as db:
                may = await answering.who(db, person.name.zh)
            if may is not None:
                link = answering.Link(row.id, row.alarm, row.person, row.channel)
                token, kept = answering.made(link, now)
                links.append(kept)
                return wording.answer(answering.address(self._page, token), person.lang)
        return wording.look(f"{self._page}/", person.lang)

    async def message(self, row: Any, body: Body) -> Message:
        """Return what a notice says, without its link."""
        person = self._told.setup.people[row.person]
        key = _notices.c.bundle == row.id if body.reason == "digest" else _notices.c.id == row.id
        worst = sa.select(_alarms.c.body).join(_notices, _notices.c.alarm == _alarms.c.id).where(key)
        async with self._store.read() as db:
            found = (
                await db.execute(worst.order_by(_notices.c.rank.desc(), _notices.c.due_ms).limit(5))
            ).all()
        alarms = [msgspec.json.decode(one.body, type=Alarm) for one in found]
        if body.reason == "digest":
            title, text, facts = wording.digest(alarms, body.count, person.lang)
        else:
            facts = wording.facts(
                alarms[0], body.reason, self._place_of(alarms[0].device), self._told.zone, person.lang
            )
            if body.reason != "recovery" and row.created_ms - alarms[0].received_ms >= _LATER_MS:
                facts = wording.said_later(facts, row.created_ms, self._told.zone)
            title, text = wording.title_of(facts), wording.text_of(facts)
        return Message(row.id, title, text, row.urgent, facts)
