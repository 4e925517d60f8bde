"""The dead man's switch: somebody outside hears each minute that the desk works, and raises the alarm when he does not.

::

    ingest ──heartbeat on the alarm feed──▶ desk: feed, database, telling ──all well──▶ a channel ──▶ the watcher outside

A beat is sent only when everything behind it works, so that silence means one thing: somebody has to look.  That nobody
hears the beats is an alarm on the desk itself (``watcher_deaf`` in ``wellbeing.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from command_center.channel import Message
from command_center.notices import SENT
from command_center.tables import alarms as _alarms
from command_center.tables import notices as _notices
from command_center.tables import steps as _steps
from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from command_center.channel import Channel
    from command_center.config import CenterConfig
    from command_center.feed import Feed
    from command_center.store import Store
    from telemetry.clock import Clock

SILENT_S = 180.0
"""Three beats of a minute: silence for longer is an alarm."""
_UNSAID_MS = 60_000
"""What should be said for so long and is not said: the desk does not tell people any more."""
log = structlog.get_logger()


class Heartbeat:
    """Beats by a channel to its address."""

    def __init__(
        self, config: CenterConfig, channel: Channel, store: Store, feed: Feed, clock: Clock
    ) -> None:
        self._config, self._channel = config, channel
        self._store, self._feed, self._clock = store, feed, clock
        self._heard = clock.monotonic()
        self._problem = ""

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            await self.beat()
            await self._clock.sleep(self._config.heartbeat.every_s)

    async def beat(self) -> bool:
        """Beat once, if all is well; return whether the watcher took it."""
        problem = await self._trouble()
        if not problem:
            problem = await self._send()
        if problem != self._problem:
            log.warning("heartbeat_stops", problem=problem) if problem else log.info("heartbeat_goes_on")
        self._problem = problem
        if not problem:
            self._heard = self._clock.monotonic()
        return not problem

    def unheard_s(self) -> float | None:
        """Return for how many seconds the watcher has taken no beat; None while beats are held back on purpose."""
        if self._problem and not self._problem.startswith("watcher:"):
            return None
        return self._clock.monotonic() - self._heard

    async def _trouble(self) -> str:
        """Return what keeps the desk from its work, nothing when all is well."""
        silent = self._feed.silent_s()
        if not self._feed.connected:
            return "broker: away"
        if silent is None or silent > SILENT_S:
            return "feed: no heartbeat of ingest"
        try:
            await self._store.prove()
            return await self._muteness()
        except Unavailable as error:
            return str(error)

    async def _muteness(self) -> str:
        """Return what shows that people are not told, nothing where they are.

        One channel that fails while somebody heard of the alarm by another is no muteness: the desk does tell.
        """
        late, c, a = self._clock.now_ms() - _UNSAID_MS, _notices.c, _alarms.c
        held_up = (c.state == "pending") & (c.due_ms < late) | (c.state == "sending") & (c.sent_ms < late)
        red = (c.alarm == a.id) & c.urgent
        missed = sa.exists().where(red & c.state.not_in([*SENT, "cancelled"]) & (c.created_ms < late))
        heard = sa.exists().where(red & c.state.in_(SENT))
        signs = {
            "a step is overdue": sa.select(_steps.c.id).where((_steps.c.state == "pending") & (_steps.c.due_ms < late)),
            "a red message waits": sa.select(c.id).where(c.urgent & held_up),
            "nobody could be told of a red alarm": sa.select(a.id).where(a.is_open & a.asks & missed & ~heard),
        }  # fmt: skip
        async with self._store.read() as db:
            for sign, query in signs.items():
                if (await db.execute(query.limit(1))).first() is not None:
                    return f"telling: {sign}"
        return ""

    async def _send(self) -> str:
        config, now = self._config, self._clock.now_ms()
        who = f"{config.area}/{config.consumer}"
        message = Message(
            f"heartbeat/{config.consumer}/{now}", f"{config.title.zh} {config.title.en}", f"heartbeat {who}", urgent=True,
            facts={"kind": "heartbeat", "center": who, "every_s": f"{config.heartbeat.every_s:g}", "at_ms": str(now)},
        )  # fmt: skip
        try:
            receipt = await self._channel.send(message, config.heartbeat.to)
        except (Unavailable, Refused) as error:
            return f"watcher: {error}"
        return "" if receipt.outcome in SENT else f"watcher: {receipt.code} {receipt.reason}".rstrip()
