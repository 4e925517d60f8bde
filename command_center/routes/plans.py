"""Plans: which there are, what they cover, their runs, and what people say to their actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center import plans as plans_
from command_center import runs
from command_center.answers import Missing, as_json
from command_center.openapi import answers
from command_center.people.rights import Right, act_of, needs, touch
from command_center.shapes.plans import Acted, Coverage, RunNow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI

    from command_center.center import Center


class Drill(BaseModel):
    """An exercise of a plan as if it began at a device."""

    device: Annotated[str, Field(min_length=1, max_length=64)]


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""
    planner = center.planner
    if planner is None:
        return

    @api.get("/api/plans", summary="The plans", dependencies=[needs("read")])
    @answers(list[plans_.Plan])
    async def get_plans() -> Response:
        return as_json(planner.plans.plans)

    @api.get(
        "/api/plans/coverage",
        summary="Which class and colour has which plan, and which has none",
        dependencies=[needs("read")],
    )
    @answers(Coverage)
    async def get_coverage() -> Response:
        rows = plans_.coverage(planner.plans, center.data.known["classes"])
        return as_json({"without": [row for row in rows if not row["plans"]], "rows": rows})

    @api.post(
        "/api/plans/{plan}/drill",
        summary="Run a plan as an exercise; nothing of it reaches a device",
        dependencies=[needs("plan.drill")],
    )
    @answers(RunNow)
    async def post_drill(plan: str, wanted: Drill, request: Request) -> Response:
        touch(request, center.places_of(wanted.device))
        now = center.clock.now_ms()
        async with center.store.change() as db:
            try:
                key = await planner.drill(db, plan, wanted.device, act_of(request), now)
            except KeyError:
                raise Missing(f"没有预案 {plan}", f"there is no plan {plan}") from None
            if center.warner:
                await center.warner.drill(db, key, planner.named(plan), wanted.device, now)
        return await _told(key)

    @api.get(
        "/api/runs/{run:path}",
        summary="A plan at work: the alarm's id, or a drill's",
        dependencies=[needs("read")],
    )
    @answers(RunNow)
    async def get_run(run: str) -> Response:
        return await _told(run)

    @api.post(
        "/api/tasks/{task}/done/{run:path}",
        summary="Tick a task off a run's checklist",
        dependencies=[needs("plan.task")],
    )
    @answers(RunNow)
    async def post_task(task: int, run: str, request: Request) -> Response:
        for device in (await center.desk.devices_of([run])).values():
            touch(request, center.places_of(device))
        async with center.store.change() as db:
            try:
                await runs.tick_off(db, run, task, planner.plans, act_of(request), center.clock.now_ms())
            except KeyError:
                raise Missing("没有这个任务", "there is no such task") from None
        center.hub.publish("notices", [run])
        return await _told(run)

    def add_deed(word: str, summary: str, right: Right, deed: Callable[..., Awaitable[str]]) -> None:
        @api.post(f"/api/actions/{{action}}/{word}", summary=summary, dependencies=[needs(right)], name=word)
        @answers(Acted)
        async def post_deed(action: str, request: Request) -> Response:
            async with center.store.change() as db:
                try:
                    touch(request, center.places_of(await runs.device_of(db, action)))
                    told = await deed(db, action, act_of(request), center.clock.now_ms())
                except KeyError:
                    raise Missing(f"没有动作 {action}", f"there is no action {action}") from None
            return as_json({"result": told})

    add_deed("approve", "Say yes to an action that waits", "action.approve", runs.approve)
    add_deed("decline", "Say no to an action that waits", "action.approve", runs.decline)
    add_deed("undo", "Order the reverse of an action", "action.undo", runs.undo)

    async def _told(run: str) -> Response:
        async with center.store.read() as db:
            found = await runs.of_run(db, run, planner.plans)
        if found is None:
            raise Missing(f"没有预案执行 {run}", f"no plan runs for {run}")
        return as_json(found)
