"""Chooses a plan for each alarm that newly asks, and writes its orders, messages and duties with the alarm itself.

What could run in circles is held: a plan that acts too often, an actuator that is moved too soon again, and plans
that follow from each other's actions too deep.  What an exercise or a dry run writes can never become a command.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import sqlalchemy as sa

from command_center import audit, led
from command_center.correlation import Place, metres
from command_center.notices import Body, addressed, notice_row
from command_center.people import contacts
from command_center.plans import Action, Choice, Mode, Plan, Plans, choose
from command_center.runs import NEEDED, OPEN, Order, Run, row_of
from command_center.tables import actions as _actions
from command_center.tables import notices as _notices
from command_center.tables import runs as _runs
from telemetry.errors import Refused
from telemetry.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.audit import Act
    from command_center.lifecycle import Alarm
    from command_center.policies import Told

_ECHO_MS = 300_000
"""An alarm of a device that a plan has moved so lately may follow from that."""


class Beginning(msgspec.Struct, frozen=True):
    """A run that is being written: its id, plan, mode, the device it is about and, but in a drill, its alarm."""

    key: str
    plan: Plan
    mode: Mode
    device: str
    now: int
    alarm: Alarm | None = None
    deep: str = ""


class Planner:
    """A follower of the desk.  ``devices`` are the registry's rows: id, class, site, agent, lon, lat; ``sites`` by id."""

    def __init__(
        self,
        plans: Plans,
        devices: Callable[[], Sequence[dict[str, Any]]],
        sites: Callable[[], Mapping[str, Mapping[str, Any]]] = dict,
        told: Told | None = None,
    ) -> None:
        self.plans, self._devices, self._sites, self._told = plans, devices, sites, told

    async def __call__(
        self, db: AsyncConnection, changes: Sequence[tuple[Alarm | None, Alarm]], now_ms: int
    ) -> None:
        """Begin a plan for each alarm that newly asks; an alarm that became worse may get another one."""
        for before, after in changes:
            news = (
                after.active
                and after.asks
                and (before is None or not before.asks or after.worst > before.worst)
            )
            if news and not (before is None and after.chattering):
                await self._begin(db, after, now_ms)

    def named(self, plan_id: str) -> Plan:
        """Return a plan; KeyError where there is none."""
        for plan in self.plans.plans:
            if plan.id == plan_id:
                return plan
        raise KeyError(plan_id)

    async def drill(self, db: AsyncConnection, plan_id: str, device: str, act: Act, now: int) -> str:
        """Run a plan as an exercise on a device; return the run's id.  Nothing of it is ever sent."""
        plan = self.named(plan_id)
        key = f"drill/{uuid.uuid4().hex[:12]}"
        await self._write(db, Beginning(key, plan, "drill", device, now), Run(plan.version, {}))
        await audit.write(db, now, act, "plan.drill", plan_id, after={"run": key, "device": device})
        return key

    async def _begin(self, db: AsyncConnection, alarm: Alarm, now: int) -> None:
        device = self._device(alarm.device)
        site = device.get("site")
        street = self._sites().get(site or "", {}).get("street")
        choice: Choice = choose(self.plans, alarm, site, now, street)
        old = (await db.execute(sa.select(_runs.c.plan).where(_runs.c.id == alarm.id))).first()
        if choice.plan is None:
            if old is None:  # that nothing is planned has to be seen
                body = msgspec.json.encode(Run(0, {}))
                await db.execute(
                    _runs.insert().values(id=alarm.id, plan="", mode="live", began_ms=now, body=body)
                )
            return
        if old is not None and old.plan == choice.plan.id:
            return
        if old is not None:
            await db.execute(_runs.delete().where(_runs.c.id == alarm.id))
        depth = await self._depth(db, alarm.device, now)
        deepest, chain = (
            self.plans.deepest,
            "loop breaker: more than {} plans followed from each other's actions",
        )
        beginning = Beginning(
            alarm.id, choice.plan, "dry_run" if choice.plan.dry_run else "live", alarm.device, now, alarm,
            chain.format(deepest) if depth > deepest else "",
        )  # fmt: skip
        await self._write(
            db, beginning, Run(choice.plan.version, choice.clauses[choice.plan.id], depth=depth)
        )

    async def _write(self, db: AsyncConnection, run: Beginning, body: Run) -> None:
        values = {"id": run.key, "plan": run.plan.id, "mode": run.mode, "began_ms": run.now}
        await db.execute(_runs.insert().values(**values, body=msgspec.json.encode(body)))
        for action in run.plan.actions:
            targets = self._targets(action, run.device)
            for target in targets:
                await self._order(db, run, action, target)
            if not targets:
                around = action.around
                problem = f"no '{around.class_}' within {around.within_m:g} m" if around else "no device"
                await self._insert(db, run, action, "-", "failed", problem)
        if run.mode == "live" and run.alarm is not None and self._told:
            rows = self._messages(run, run.alarm, self._told, await contacts.proven(db))
            if rows:
                await db.execute(_notices.insert(), rows)

    def _messages(
        self, run: Beginning, alarm: Alarm, told: Told, proven: frozenset[str]
    ) -> list[dict[str, Any]]:
        """Return the notices to those whom the plan names, besides those whom the policy names."""
        rows = []
        for n, step in enumerate(run.plan.tell):
            for who, address, by in addressed(
                told, step, run.now, proven, is_red=alarm.worst is Severity.RED
            ):
                # By version, since an alarm that asks anew may come back to a plan it had before.
                key = f"{alarm.id}/plan.{alarm.version}.{n}/{who}"
                row = notice_row(key, alarm, who, by[0], Body("plan", address, by[1:]), run.now)
                rows.append({**row, "due_ms": run.now + int(step.after_s * 1000)})
        return rows

    async def _order(self, db: AsyncConnection, run: Beginning, action: Action, device: str) -> None:
        try:
            text = self._text(action, run)
        except Refused as error:
            await self._insert(db, run, action, device, "failed", str(error))
            return
        problem = ""
        if run.mode == "live":
            problem = run.deep or await self._breaker(db, run, device, metric_of(action))
        state = "waiting" if NEEDED[action.interlock] else "requested"
        state = run.mode if run.mode != "live" else "held" if problem else state
        await self._insert(db, run, action, device, state, problem, text)

    async def _insert(
        self, db: AsyncConnection, run: Beginning, action: Action, device: str, state: str, problem: str, text: str | None = None,
    ) -> None:  # fmt: skip
        title = {"zh": action.title.zh, "en": action.title.en}
        order = Order(
            action.id, title, action.value, action.within_s, action.tolerance, action.interlock, action.undo,
            steps=((state, run.now),), problem=problem, text=text,
        )  # fmt: skip
        row = row_of(run.key, run.plan.id, device, metric_of(action), run.mode, state, order, run.now)
        await db.execute(_actions.insert().values(**row))

    def _text(self, action: Action, run: Beginning) -> str | None:
        """Return what a screen is to show, from its approved template; raise :class:`Refused` for what it cannot."""
        show = action.text
        template = self.plans.template(show.template) if show else None
        if show is None or template is None:
            return None
        return led.fill(template, {name: self._source(words, run) for name, words in show.fill.items()})

    def _source(self, words: str, run: Beginning) -> str:
        if words not in led.SOURCES:
            return words
        row = self._device(run.device)
        site = self._sites().get(row.get("site") or "", {})
        match words:
            case "@site":
                return str(site.get("name", {}).get("zh", ""))
            case "@street":
                return str(site.get("street", ""))
            case "@device":
                return str(row.get("name", {}).get("zh", run.device))
            case "@value":
                return f"{run.alarm.value:.0f}" if run.alarm and run.alarm.value is not None else "0"
            case _:
                at = datetime.fromtimestamp(run.now / 1000, UTC).astimezone(ZoneInfo(self.plans.zone))
                return f"{at:%H:%M}"

    async def _breaker(self, db: AsyncConnection, run: Beginning, device: str, metric: str) -> str:
        """Return why an action is held: a plan that acts too often, or an actuator that is moved too soon again."""
        c, plans = _actions.c, self.plans
        moved = c.state.in_([*OPEN, "verified"]) & (c.mode == "live")
        lately = (
            sa.select(sa.func.count())
            .select_from(_actions)
            .where(moved & (c.plan == run.plan.id) & (c.created_ms > run.now - 60_000))
        )
        if (await db.execute(lately)).scalar_one() >= plans.most_per_minute:
            return f"loop breaker: more than {plans.most_per_minute} actions of '{run.plan.id}' in a minute"
        soon = (
            moved
            & (c.device == device)
            & (c.metric == metric)
            & (c.created_ms > run.now - plans.dwell_s * 1000)
        )
        if (await db.execute(sa.select(c.id).where(soon).limit(1))).first():
            return f"loop breaker: '{metric}' of '{device}' was set less than {plans.dwell_s:g} s ago"
        return ""

    async def _depth(self, db: AsyncConnection, device: str, now: int) -> int:
        """Return the place of a run in a chain: one more than the run that moved this device lately."""
        c = _actions.c
        moved = c.state.in_([*OPEN, "verified"]) & (c.mode == "live") & (c.device == device)
        rows = await db.execute(
            sa.select(_runs.c.body)
            .join(_actions, c.run == _runs.c.id)
            .where(moved & (c.created_ms > now - _ECHO_MS))
        )
        return 1 + max((msgspec.json.decode(row.body, type=Run).depth for row in rows), default=0)

    def _device(self, key: str) -> dict[str, Any]:
        return next((device for device in self._devices() if device["id"] == key), {})

    def _targets(self, action: Action, device: str) -> list[str]:
        if action.around is None:
            return [device]
        here, near = _place(self._device(device)), []
        for row in self._devices():
            if row["class"] == action.around.class_ and row["id"] != device:
                away = metres(here, _place(row))
                if away is not None and away <= action.around.within_m:
                    near.append((away, row["id"]))
        return [key for _, key in sorted(near)]


def metric_of(action: Action) -> str:
    """Return what an action sets: a metric, or the text of a screen."""
    return "text" if action.text else action.metric


def _place(row: Mapping[str, Any]) -> Place:
    return Place(row.get("id", ""), "", row.get("lon"), row.get("lat"))
