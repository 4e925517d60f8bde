"""Plans at work: what follows from an alarm for devices and duties, written in the transaction of the alarm itself.

::

    waiting ──people approve──▶ requested ──sent──▶ accepted ──▶ executed ──read back──▶ verified
    held (breaker)              refused · failed · expired            dry_run, drill: recorded, never sent
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from command_center import audit
from command_center.tables import actions as _actions
from command_center.tables import runs as _runs
from telemetry.errors import Refused

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.audit import Act
    from command_center.plans import Plans

OPEN = ("requested", "sent", "accepted", "executed")
NEEDED = {"automatic": 0, "one": 1, "two": 2}


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """An action's body.  ``approved`` are those who said yes, ``steps`` are ``(state, UTC ms)`` as they came."""

    action: str
    title: dict[str, str]
    value: float | None
    within_s: float
    tolerance: float
    interlock: str
    undo: float | None = None
    approved: tuple[str, ...] = ()
    steps: tuple[tuple[str, int], ...] = ()
    problem: str = ""
    read_back: float | None = None
    text: str | None = None
    text_back: str | None = None


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run's body: which version of the plan, why, and who has done what on its checklist (UTC ms)."""

    version: int
    clauses: dict[str, bool]
    done: dict[str, tuple[str, int]] = {}
    depth: int = 1
    """How many plans follow from each other's actions, this one counted."""


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
    ready = len(order.approved) >= NEEDED[order.interlock]
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
        after={
            "device": row.device,
            "metric": row.metric,
            "value": order.text or order.value,
            "state": state,
        },
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
    if order.undo is None and order.text is None:
        raise Refused("this action has no reverse")
    back = msgspec.structs.replace(
        order,
        value=order.undo,
        text=None if order.text is None else "",  # a screen goes blank
        text_back=None,
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


async def device_of(db: AsyncConnection, key: str) -> str:
    """Return the device an action is for; KeyError for none."""
    return str((await _load(db, key)).device)


async def _load(db: AsyncConnection, key: str) -> Any:
    row = (await db.execute(sa.select(_actions).where(_actions.c.id == key))).first()
    if row is None:
        raise KeyError(key)
    return row
