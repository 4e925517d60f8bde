"""Sends notices: the urgent first and at once, the many as digests, the next channel where one fails.

Nothing is remembered outside the database: a notice found ``sending`` at a start is sent again under the same id.
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import sqlalchemy as sa
import structlog

from command_center import followups, wording
from command_center.channel import Channel, Message, Receipt, Report, broken, lanes_of
from command_center.due import fairly, recent_of
from command_center.letters import Letters
from command_center.lifecycle import Alarm
from command_center.limits import Limiter
from command_center.notices import SENT, Body, Telling, is_answered, notice_row
from command_center.people import answering
from command_center.retries import next_step, retry_ms
from command_center.tables import alarms as _alarms
from command_center.tables import notices as _notices
from command_center.tables import steps as _steps
from telemetry.errors import Refused, Unavailable
from telemetry.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from command_center.policies import Told
    from command_center.store import Store
    from telemetry.clock import Clock
    from telemetry.text import Text

POLL_S = 0.5
EXPIRES_MS = 24 * 3_600_000
_AT_ONCE = 8
_PATIENCE_S = 4.0
"""So long an urgent notice waits for a channel, its token and the queue for that, where there is another to go by."""
_REST_S = 10.0
log = structlog.get_logger()


class Teller:
    """``place_of`` names a device; ``on_told`` hears which alarms' notices changed; ``page`` is what messages link to."""

    def __init__(
        self, store: Store, told: Told, telling: Telling, http: aiohttp.ClientSession, clock: Clock,
        place_of: Callable[[str], Text | None], on_told: Callable[[set[str]], None] = lambda _: None, page: str = "",
        faults: Faults | None = None,
    ) -> None:  # fmt: skip
        self._store, self._told, self._telling, self._clock = store, told, telling, clock
        self._letters, self._on_told = Letters(store, told, place_of, page), on_told
        self._faults = faults or Faults(clock)
        self._channels: dict[str, Channel] = {
            n: told.kinds[n].Channel(c, http) for n, c in told.configs.items()
        }
        self._limiters = {
            name: Limiter(told.kinds[name].LIMITS, lanes_of(config)) for name, config in told.configs.items()
        }
        self._problem = ""
        self.single_most = told.setup.single_most
        self.followups = followups.of(store, self._channels, clock, self.report, self._faults)
        self._lasts_ms = {
            name: int(getattr(kind, "LASTS_S", EXPIRES_MS / 1000) * 1000) for name, kind in told.kinds.items()
        }
        self._unsure: set[str] = set()
        """Channels that may have notices in ``sending`` that nobody sends."""
        self._flying: dict[str, dict[str, bool]] = {name: {} for name in told.configs}
        """What is with each channel's vendor now, and whether it is urgent."""

    def shift(self, by_ms: int) -> None:
        """The clock was set by so much."""
        for limiter in self._limiters.values():
            limiter.shift(by_ms)

    async def run(self) -> None:
        """Send for ever."""
        await self._patiently("recover", self.recover, once=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._patiently("steps", self.step))
            for asked in self.followups:
                tasks.create_task(self._patiently(f"receipts of {asked.name}", asked.turn))
            for name in self._channels:
                tasks.create_task(self._patiently(name, partial(self.serve, name, tasks)))

    async def recover(self) -> None:
        """Take up what a stop interrupted, and remember what the vendors have had lately."""
        now = self._clock.now_ms()
        async with self._store.change() as db:
            await db.execute(_notices.update().where(_notices.c.state == "sending").values(state="pending"))
            day = sa.select(_notices.c.channel, _notices.c.person, _notices.c.sent_ms, _notices.c.body).where(
                _notices.c.sent_ms > now - EXPIRES_MS
            )
            for row in await db.execute(day):
                if limiter := self._limiters.get(row.channel):
                    lane = msgspec.json.decode(row.body, type=Body).lane if limiter.lanes > 1 else 0
                    limiter.remember([(row.person, row.sent_ms, lane)])
            nowhere = _notices.c.channel.not_in(list(self._channels))
            left = nowhere | _notices.c.person.not_in(list(self._told.setup.people))
            gone = (await db.execute(sa.select(_notices).where((_notices.c.state == "pending") & left))).all()
        for row in gone:
            what = "person" if row.channel in self._channels else "channel"
            receipt = Receipt("failed_perm", "gone", f"notify.yaml does not name this {what}")
            await self._record(row, receipt, now)

    async def _take_up(self, name: str) -> None:
        """The database went away while it noted what is sent: what it did note was not sent yet."""
        mine = (_notices.c.channel == name) & (_notices.c.state == "sending")
        mine &= _notices.c.id.not_in(list(self._flying[name]))
        async with self._store.change() as db:
            await db.execute(_notices.update().where(mine).values(state="pending"))
        self._unsure.discard(name)

    async def step(self) -> bool:
        """Turn due steps into notices; return whether there were any."""
        now = self._clock.now_ms()
        async with self._store.read() as db:
            due = (_steps.c.state == "pending") & (_steps.c.due_ms <= now)
            if (await db.execute(sa.select(_steps.c.id).where(due).limit(1))).first() is None:
                return False
        async with self._store.change() as db:
            return await self._telling.turn(db, now)

    async def serve(self, name: str, tasks: asyncio.TaskGroup | None = None) -> bool:
        """Send what one channel may send now; return whether anything was.

        With ``tasks`` it does not wait for the vendor's answers, so that a red notice waits for nobody else's.
        """
        if name in self._unsure:
            await self._take_up(name)
        now, limiter = self._clock.now_ms(), self._limiters[name]
        due = (_notices.c.channel == name) & (_notices.c.state == "pending") & (_notices.c.due_ms <= now)
        async with self._store.read() as db:
            rows = (await db.execute(fairly(due, _AT_ONCE + 1))).all()
            recent = await recent_of(db, name, {row.person for row in rows}, now)
        singles: list[tuple[Any, int]] = []
        crowded: dict[str, Any] = {}
        blocked: list[Any] = []
        for row in rows:
            if row.created_ms < now - self._lasts_ms[name]:
                continue  # swept below
            alone = row.urgent or row.id.startswith("digest/")
            if not alone and recent.get(row.person, (0, 0))[0] >= self.single_most:
                crowded.setdefault(row.person, row)
            elif (
                len(singles) < self._room(name, urgent=row.urgent)
                and (lane := limiter.take(row.person, now, urgent=row.urgent)) is not None
            ):
                singles.append((row, lane))
                count, last = recent.get(row.person, (0, 0))
                recent[row.person] = (count + (not row.urgent), last)
            elif (
                row.urgent
                and limiter.is_full_for(row.person, now)
                and msgspec.json.decode(row.body, type=Body).left
            ):
                blocked.append(row)
        await self._expire(name, now)
        for row in blocked:
            await self._record(row, Receipt("failed_perm", "limit", "this channel may send no more now"), now)
        ready = await self._sending(singles, now)
        bundles = [
            (await self._bundle(name, row, now), lane)
            for person, row in crowded.items()
            if now - recent[person][1] >= self._told.setup.digest_s * 1000
            and (lane := limiter.take(person, now, urgent=False)) is not None
        ]
        ready += await self._sending(bundles, now)
        self._unsure.discard(name)
        self._flying[name] |= {row.id: row.urgent for row in ready}
        flights = [self._fly(name, row) for row in ready]
        if tasks is None:
            await asyncio.gather(*flights)
        else:
            for flight in flights:
                tasks.create_task(flight)
        return bool(ready or blocked)

    def _room(self, name: str, *, urgent: bool) -> int:
        """Return how many more may be with a vendor at once: what is urgent has room of its own."""
        return _AT_ONCE - sum(one == urgent for one in self._flying[name].values())

    async def _fly(self, name: str, row: Any) -> None:
        with self._faults.spared(f"record of {name}", notice=row.id):
            try:
                await self._send(name, row)
            finally:  # where it breaks it stays in ``sending`` until the next start: it is not said without end
                del self._flying[name][row.id]

    async def _sending(self, rows: Sequence[tuple[Any, int]], now: int) -> list[Any]:
        """Write down what is about to be sent, by which lane and in its very words; return the rows with them."""
        links: list[dict[str, Any]] = []
        worded: list[tuple[Any, bytes]] = []
        for row, lane in rows:
            try:
                worded.append((row, await self._letters.write(row, lane, links, now)))
            except Unavailable:
                raise
            except Exception as error:
                log.exception("notice_without_words", notice=row.id)
                receipt = Receipt(
                    "failed_perm", "no_words", f"it could not be worded: {type(error).__name__}"
                )
                await self._record(row, receipt, now)
        if worded:
            self._unsure.add(worded[0][0].channel)
            sending = {"state": "sending", "sent_ms": now, "attempts": _notices.c.attempts + 1}
            update = _notices.update().where(_notices.c.id == sa.bindparam("key"))
            values = [{"key": row.id, "body": body} for row, body in worded]
            async with self._store.change() as db:
                await answering.keep(db, links, now)
                await db.execute(update.values(**sending, body=sa.bindparam("body")), values)
        return [SimpleNamespace(**{**row._mapping, "body": body}) for row, body in worded]  # noqa: SLF001 - SQLAlchemy's public name for it

    async def report(self, channel: str, reports: Sequence[Report]) -> list[tuple[str, str]]:
        """Take what a vendor tells later; return ``(alarm, person)`` for each who pressed a key."""
        pressed, now = [], self._clock.now_ms()
        for one in reports:
            async with self._store.read() as db:
                mine = (_notices.c.channel == channel) & (_notices.c.provider_id == one.provider_id)
                row = (await db.execute(sa.select(_notices).where(mine))).first()
            if row is None or row.state not in {"accepted", "delivered"}:
                continue
            if one.pressed:
                pressed.append((row.alarm, row.person))
            await self._record(row, Receipt(one.outcome, one.code, provider_id=one.provider_id), now)
        return pressed

    async def prove(self, person: str, channel: str, address: str, code: str) -> Receipt:
        """Send somebody a code by one channel, within its limits; raise :class:`Unavailable` where it cannot be now."""
        who = self._told.setup.people[person]
        facts = wording.code(code, who.lang)
        if (lane := self._limiters[channel].take(person, now := self._clock.now_ms(), urgent=False)) is None:
            raise Unavailable(f"'{channel}' may send no more now")
        title = f"[{facts['level']}] {facts['title']}"
        message = Message(
            f"code/{person}/{now}", title, facts["device"], urgent=False, facts=facts, lane=lane
        )
        return await self._channels[channel].send(message, address)

    async def _bundle(self, name: str, row: Any, now: int) -> Any:
        """Make one digest of everything that waits for a person by a channel."""
        key = f"digest/{name}/{row.person}/{now}"
        async with self._store.change() as db:
            c = _notices.c
            mine = (
                (c.channel == name)
                & (c.person == row.person)
                & (c.state == "pending")
                & ~c.urgent
                & ~c.id.like("digest/%")
                & (c.due_ms <= now)
            )
            found = await db.execute(
                _notices.update().where(mine).values(state="bundled", bundle=key, done_ms=now)
            )
            alarm = msgspec.json.decode(
                (await db.execute(sa.select(_alarms.c.body).where(_alarms.c.id == row.alarm))).scalar_one(),
                type=Alarm,
            )
            body = msgspec.json.decode(row.body, type=Body)
            digest = Body("digest", body.address, body.left, count=found.rowcount)
            await db.execute(
                _notices.insert().values(notice_row(key, alarm, row.person, name, digest, now, urgent=False))
            )
            return (await db.execute(sa.select(_notices).where(c.id == key))).one()

    async def _send(self, name: str, row: Any) -> None:
        body = msgspec.json.decode(row.body, type=Body)
        try:
            async with asyncio.timeout(_PATIENCE_S if row.urgent and body.left else None):
                message = body.message or await self._letters.message(row, body)
                receipt = await self._channels[name].send(message, body.address)
        except (Unavailable, TimeoutError) as error:
            receipt = Receipt("failed_temp", "unavailable", str(error) or f"no answer in {_PATIENCE_S:.0f} s")
        except Refused as error:
            receipt = Receipt("failed_perm", "refused", str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs this channel alone
            receipt = broken(name, error)
        while True:
            try:
                await self._record(row, receipt, self._clock.now_ms())
            except Unavailable as error:  # what a vendor has taken is not sent again for that
                self._note(str(error))
                await self._clock.sleep(POLL_S)
            else:
                return

    async def _record(self, row: Any, receipt: Receipt, now: int) -> None:
        """Write what became of a notice; where it failed, go on by the next channel, or later."""
        body = msgspec.json.decode(row.body, type=Body)
        body = msgspec.structs.replace(
            body, code=receipt.code[:64], said=receipt.reason, digest=receipt.digest
        )
        if receipt.code not in {"limit", "gone", "no_words"}:  # a vendor said so
            receipt = self._by_lane(row, body.lane, receipt, now)
        values: dict[str, Any] = {"state": receipt.outcome, "done_ms": now, "body": msgspec.json.encode(body)}
        if receipt.provider_id:
            values["provider_id"] = receipt.provider_id
        onward: dict[str, Any] | None = None
        if receipt.outcome in SENT or receipt.outcome == "failed_perm":
            values["body"] = msgspec.json.encode(msgspec.structs.replace(body, message=None))
        if receipt.outcome not in SENT:
            schedule = getattr(self._told.kinds.get(row.channel), "RETRIES_S", ())
            again_ms = retry_ms(row, receipt, bool(body.left), schedule)
            if again_ms is not None:
                values |= {"state": "pending", "due_ms": now + again_ms, "done_ms": None}
            else:
                body = msgspec.structs.replace(body, message=None)
                values |= {"state": "failed", "body": msgspec.json.encode(body)}
                onward = self._onward(row, body, now)
        async with self._store.change() as db:
            if (onward or values["state"] == "pending") and await is_answered(db, row.alarm, body.reason):
                values, onward = values | {"state": "failed" if onward else "cancelled", "done_ms": now}, None
            await db.execute(_notices.update().where(_notices.c.id == row.id).values(**values))
            if onward:
                await db.execute(_notices.insert().values(onward))
            elif values["state"] == "failed" and (
                key := next_step(row.id)
            ):  # nobody there: do not wait for it
                mine = (_steps.c.id == key) & (_steps.c.state == "pending") & (_steps.c.due_ms > now)
                await db.execute(_steps.update().where(mine).values(due_ms=now))
        if values["state"] == "failed":
            then = (onward or {}).get("channel")
            log.warning("not_told", person=row.person, channel=row.channel, code=receipt.code, next=then)
        self._on_told({row.alarm})

    def _by_lane(self, row: Any, lane: int, receipt: Receipt, now: int) -> Receipt:
        """Rest the robot that spoke, as far as its vendor wants; return what it means for the channel with all its robots."""
        limiter = self._limiters[row.channel]
        if receipt.outcome == "failed_perm" and row.attempts + 1 < limiter.lanes:
            receipt = msgspec.structs.replace(
                receipt, outcome="failed_temp", wait_s=_REST_S
            )  # it may be this robot alone
        if receipt.wait_s:
            limiter.block(now + int(receipt.wait_s * 1000), lane)
            if not limiter.is_blocked(now):  # another robot may speak
                receipt = msgspec.structs.replace(receipt, wait_s=0.0)
        return receipt

    def _onward(self, row: Any, body: Body, now: int) -> dict[str, Any] | None:
        person = self._told.setup.people.get(row.person)  # what stood in notify.yaml then may be gone
        reach = person.reach if person else {}
        left = tuple(channel for channel in body.left if channel in reach)
        if not left:
            return None
        base, tried = row.id.rsplit("/", 1)
        key = (
            f"{base}/{int(tried) + 1}"
            if tried.isdigit() and not row.id.startswith("digest/")
            else f"{row.id}+"
        )
        fresh = Body(body.reason, reach[left[0]], left[1:], count=body.count)
        return {
            **{name: getattr(row, name) for name in ("alarm", "person", "urgent", "rank", "created_ms")},
            "id": key, "channel": left[0], "state": "pending", "due_ms": now, "attempts": 0,
            "body": msgspec.json.encode(fresh),
        }  # fmt: skip

    async def _expire(self, name: str, now: int) -> None:
        c = _notices.c
        mine = (c.channel == name) & (c.state == "pending")
        old = mine & (c.created_ms < now - self._lasts_ms[name])
        async with self._store.read() as db:
            if (await db.execute(sa.select(_notices.c.id).where(old).limit(1))).first() is None:
                return
        async with self._store.change() as db:
            await db.execute(_notices.update().where(old).values(state="expired", done_ms=now))

    async def _patiently(self, part: str, work: Callable[[], Any], *, once: bool = False) -> None:
        """Do it again and again; while the database is away, wait, and say so once."""
        while True:
            busy = False
            try:
                busy = bool(await work())
            except Unavailable as error:
                self._note(str(error))
            except Exception as error:  # noqa: BLE001 - of one part: the others go on, and so does it
                self._faults.note(part, error)
            else:
                self._problem = ""
                if once:
                    return
            await self._clock.sleep(0 if busy else POLL_S)

    def _note(self, problem: str) -> None:
        if not self._problem:
            log.warning("teller_waits", problem=problem)
        self._problem = problem
