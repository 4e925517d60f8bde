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
from command_center.tables import notices as _notices
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
"""A red message that may go and has not gone for so long: the desk does not tell people any more."""
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
            if await self._is_mute():
                return "telling: a red message waits"
        except Unavailable as error:
            return str(error)
        return ""

    async def _is_mute(self) -> bool:
        late = self._clock.now_ms() - _UNSAID_MS
        waits = _notices.c.urgent & (_notices.c.state == "pending") & (_notices.c.due_ms < late)
        async with self._store.read() as db:
            return (await db.execute(sa.select(_notices.c.id).where(waits).limit(1))).first() is not None

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
