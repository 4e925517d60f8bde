"""Plans at work: what follows from an alarm for devices and duties, written in the transaction of the alarm itself.

::

    waiting ──people approve──▶ requested ──sent──▶ accepted ──▶ executed ──read back──▶ verified
    held (breaker)              refused · failed · expired            dry_run, drill: recorded, never sent
"""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from command_center import audit
from command_center.plans import Action, Choice, Mode, Plan, Plans, choose
from command_center.tables import actions as _actions
from command_center.tables import runs as _runs
from telemetry.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.audit import Act
    from command_center.lifecycle import Alarm

OPEN = ("requested", "sent", "accepted", "executed")
_NEEDED = {"automatic": 0, "one": 1, "two": 2}
_METRES = 111_320.0  # a degree of latitude


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """An action's body.  ``approved`` are those who said yes, ``steps`` are ``(state, UTC ms)`` as they came."""

    action: str
    title: dict[str, str]
    value: float
    within_s: float
    tolerance: float
    interlock: str
    undo: float | None = None
    approved: tuple[str, ...] = ()
    steps: tuple[tuple[str, int], ...] = ()
    problem: str = ""
    read_back: float | None = None


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run's body: which version of the plan, why, and who has done what on its checklist (UTC ms)."""

    version: int
    clauses: dict[str, bool]
    done: dict[str, tuple[str, int]] = {}


class Planner:
    """A follower of the desk.  ``devices`` are the registry's rows: id, class, site, agent, lon, lat."""

    def __init__(self, plans: Plans, devices: Callable[[], Sequence[dict[str, Any]]]) -> None:
        self.plans, self._devices = plans, devices

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

    async def drill(self, db: AsyncConnection, plan_id: str, device: str, act: Act, now: int) -> str:
        """Run a plan as an exercise on a device; return the run's id.  Nothing of it is ever sent."""
        plan = next((plan for plan in self.plans.plans if plan.id == plan_id), None)
        if plan is None:
            raise KeyError(plan_id)
        key = f"drill/{uuid.uuid4().hex[:12]}"
        await self._write(db, key, plan, {}, "drill", device, now)
        await audit.write(db, now, act, "plan.drill", plan_id, after={"run": key, "device": device})
        return key

    async def _begin(self, db: AsyncConnection, alarm: Alarm, now: int) -> None:
        device: dict[str, Any] = next((d for d in self._devices() if d["id"] == alarm.device), {})
        choice: Choice = choose(self.plans, alarm, device.get("site"), now)
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
        mode: Mode = "dry_run" if choice.plan.dry_run else "live"
        await self._write(db, alarm.id, choice.plan, choice.clauses[choice.plan.id], mode, alarm.device, now)

    async def _write(
        self,
        db: AsyncConnection,
        key: str,
        plan: Plan,
        clauses: dict[str, bool],
        mode: Mode,
        device: str,
        now: int,
    ) -> None:
        body = msgspec.json.encode(Run(plan.version, clauses))
        await db.execute(_runs.insert().values(id=key, plan=plan.id, mode=mode, began_ms=now, body=body))
        for action in plan.actions:
            targets = self._targets(action, device)
            if not targets:
                await self._nothing(db, key, plan.id, mode, action, now)
            for target in targets:
                await self._order(db, key, plan.id, mode, action, target, now)

    async def _nothing(
        self, db: AsyncConnection, run: str, plan: str, mode: Mode, action: Action, now: int
    ) -> None:
        """Record that an action found no device, so that nobody believes it was done."""
        around = action.around
        problem = f"no '{around.class_}' within {around.within_m:g} m" if around else "no device"
        order = _order_of(action, "failed", now, problem)
        await db.execute(
            _actions.insert().values(**row_of(run, plan, "-", action.metric, mode, "failed", order, now))
        )

    async def _order(
        self, db: AsyncConnection, run: str, plan: str, mode: Mode, action: Action, device: str, now: int
    ) -> None:
        problem = await self._breaker(db, plan, device, action.metric, now) if mode == "live" else ""
        state = "waiting" if _NEEDED[action.interlock] else "requested"
        state = mode if mode != "live" else "held" if problem else state
        order = _order_of(action, state, now, problem)
        await db.execute(
            _actions.insert().values(**row_of(run, plan, device, action.metric, mode, state, order, now))
        )

    async def _breaker(self, db: AsyncConnection, plan: str, device: str, metric: str, now: int) -> str:
        """Return why an action is held: a plan that acts too often, or an actuator that is moved too soon again."""
        c = _actions.c
        moved = c.state.in_([*OPEN, "verified"]) & (c.mode == "live")
        lately = (
            sa.select(sa.func.count())
            .select_from(_actions)
            .where(moved & (c.plan == plan) & (c.created_ms > now - 60_000))
        )
        if (await db.execute(lately)).scalar_one() >= self.plans.most_per_minute:
            return f"loop breaker: more than {self.plans.most_per_minute} actions of '{plan}' in a minute"
        soon = (
            moved
            & (c.device == device)
            & (c.metric == metric)
            & (c.created_ms > now - self.plans.dwell_s * 1000)
        )
        if (await db.execute(sa.select(c.id).where(soon).limit(1))).first():
            return f"loop breaker: '{metric}' of '{device}' was set less than {self.plans.dwell_s:g} s ago"
        return ""

    def _targets(self, action: Action, device: str) -> list[str]:
        if action.around is None:
            return [device]
        devices = self._devices()
        here = next((d for d in devices if d["id"] == device), None)
        if here is None or here.get("lon") is None:
            return []
        near = [
            (_metres(here, d), d["id"])
            for d in devices
            if d["class"] == action.around.class_ and d.get("lon") is not None
        ]
        return [key for metres, key in sorted(near) if metres <= action.around.within_m and key != device]


def _order_of(action: Action, state: str, now: int, problem: str) -> Order:
    return Order(
        action.id, {"zh": action.title.zh, "en": action.title.en}, action.value, action.within_s, action.tolerance,
        action.interlock, action.undo, steps=((state, now),), problem=problem,
    )  # fmt: skip


def row_of(
    run: str, plan: str, device: str, metric: str, mode: str, state: str, order: Order, now: int
) -> dict[str, Any]:
    """Return the row of an action."""
    return {
        "id": uuid.uuid4().hex, "run": run, "plan": plan, "device": device, "metric": metric, "mode": mode, "state": state,
        "created_ms": now, "not_after": now + int(order.within_s * 1000), "body": msgspec.json.encode(order),
    }  # fmt: skip


async def approve(db: AsyncConnection, key: str, act: Act, now: int) -> str:
    """Say yes to an action that waits; return its state.  KeyError for none, :class:`Refused` for the same person twice."""
    row = await _load(db, key)
    order = msgspec.json.decode(row.body, type=Order)
    if row.state != "waiting":
        raise Refused(f"it does not wait: it is {row.state}")
    if act.who in order.approved:
        raise Refused(f"{act.who} has approved it already; another person is needed")
    order = msgspec.structs.replace(order, approved=(*order.approved, act.who))
    ready = len(order.approved) >= _NEEDED[order.interlock]
    state = "requested" if ready else "waiting"
    if ready:
        order = msgspec.structs.replace(order, steps=(*order.steps, ("requested", now)))
    values = {
        "state": state,
        "not_after": now + int(order.within_s * 1000),
        "body": msgspec.json.encode(order),
    }
    await db.execute(_actions.update().where(_actions.c.id == key).values(**values))
    await audit.write(
        db,
        now,
        act,
        "action.approve",
        key,
        after={"device": row.device, "metric": row.metric, "value": order.value, "state": state},
    )
    return state


async def decline(db: AsyncConnection, key: str, act: Act, now: int) -> str:
    """Say no to an action that waits; it will not be carried out."""
    row = await _load(db, key)
    if row.state != "waiting":
        raise Refused(f"it does not wait: it is {row.state}")
    order = msgspec.json.decode(row.body, type=Order)
    order = msgspec.structs.replace(
        order, steps=(*order.steps, ("declined", now)), problem=f"declined by {act.who}"
    )
    values = {"state": "declined", "body": msgspec.json.encode(order)}
    await db.execute(_actions.update().where(_actions.c.id == key).values(**values))
    after = {"device": row.device, "metric": row.metric, "value": order.value, "state": "declined"}
    await audit.write(db, now, act, "action.decline", key, after=after)
    return "declined"


async def undo(db: AsyncConnection, key: str, act: Act, now: int) -> str:
    """Order the reverse of an action that was carried out; return the new action's id."""
    row = await _load(db, key)
    order = msgspec.json.decode(row.body, type=Order)
    if row.mode != "live" or row.state not in {"executed", "verified", "failed"}:
        raise Refused(f"there is nothing to undo: it is {row.state}")
    if order.undo is None:
        raise Refused("this action has no reverse")
    back = msgspec.structs.replace(
        order,
        value=order.undo,
        undo=None,
        steps=(("requested", now),),
        approved=(act.who,),
        problem="",
        read_back=None,
    )
    fresh = row_of(row.run, row.plan, row.device, row.metric, "live", "requested", back, now)
    await db.execute(_actions.insert().values(**fresh))
    await audit.write(
        db,
        now,
        act,
        "action.undo",
        key,
        after={"device": row.device, "metric": row.metric, "value": order.undo, "action": fresh["id"]},
    )
    return str(fresh["id"])


async def tick_off(db: AsyncConnection, run: str, task: int, plans: Plans, act: Act, now: int) -> None:
    """Note who has done a task of a run's checklist; the second is refused."""
    row = (await db.execute(sa.select(_runs).where(_runs.c.id == run))).first()
    plan = next((plan for plan in plans.plans if row is not None and plan.id == row.plan), None)
    if row is None or plan is None or not 0 <= task < len(plan.checklist):
        raise KeyError(run)
    body = msgspec.json.decode(row.body, type=Run)
    if str(task) in body.done:
        raise Refused(f"already done by {body.done[str(task)][0]}")
    body = msgspec.structs.replace(body, done={**body.done, str(task): (act.who, now)})
    await db.execute(_runs.update().where(_runs.c.id == run).values(body=msgspec.json.encode(body)))
    await audit.write(db, now, act, "plan.task", run, after={"task": plan.checklist[task].do.zh})


async def of_run(db: AsyncConnection, key: str, plans: Plans) -> dict[str, Any] | None:
    """Return a run as the page shows it: the plan, why, its checklist and its actions."""
    row = (await db.execute(sa.select(_runs).where(_runs.c.id == key))).first()
    if row is None:
        return None
    body, plan = (
        msgspec.json.decode(row.body, type=Run),
        next((p for p in plans.plans if p.id == row.plan), None),
    )
    rows = await db.execute(
        sa.select(_actions).where(_actions.c.run == key).order_by(_actions.c.created_ms, _actions.c.id)
    )
    return {
        "run": key, "plan": row.plan or None, "mode": row.mode, "began_ms": row.began_ms, "clauses": body.clauses,
        "version": body.version, "title": plan.title if plan else None, "response": plan.response if plan else None,
        "checklist": [
            {"do": task.do, "owner": task.owner, "due_ms": row.began_ms + int(task.within_s * 1000),
             "done": body.done.get(str(n))}
            for n, task in enumerate(plan.checklist if plan else ())
        ],
        "actions": [
            {"id": a.id, "device": a.device, "metric": a.metric, "state": a.state, "mode": a.mode, "not_after": a.not_after,
             **msgspec.json.decode(a.body)}
            for a in rows
        ],
    }  # fmt: skip


async def _load(db: AsyncConnection, key: str) -> Any:
    row = (await db.execute(sa.select(_actions).where(_actions.c.id == key))).first()
    if row is None:
        raise KeyError(key)
    return row


def _metres(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Return the distance on the ground, which is flat enough over a district."""
    north = (other["lat"] - one["lat"]) * _METRES
    east = (other["lon"] - one["lon"]) * _METRES * math.cos(math.radians(one["lat"]))
    return math.hypot(north, east)
