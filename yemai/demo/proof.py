"""Proves a running district: every sample is somewhere, and the alarms are those expected."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from rules.pack import load_packs
from telemetry.errors import Unavailable
from yemai.demo.count import Count, count, read_box

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from yemai.demo.plan import Plan
    from yemai.demo.supervisor import Supervisor

SCENARIOS = ("charger_overheats", "smoke_then_fire")
_DRAIN_S = 20.0


class ExpectedAlarm(msgspec.Struct, frozen=True):
    """An alarm that a scenario announced, and what became of it (times in UTC ms)."""

    scenario: str
    device: str
    rule: str
    severity: str
    changed_ms: int | None  # when the register crossed the limit
    raised_ms: int | None  # when the desk had it
    latency_ms: int | None
    beyond_ms: int | None  # latency less the rule's own `for` time and one poll period


class Verdict(msgspec.Struct, frozen=True):
    """What ``yemai demo --check`` prints."""

    ok: bool
    samples: Count
    missing: int
    alarms: list[ExpectedAlarm]
    alarms_missing: int
    alarms_unexpected: list[dict[str, Any]]
    latency_ms_median: float | None
    beyond_ms_median: float | None
    restarts: dict[str, int]
    seconds: float


async def prove(plan: Plan, supervisor: Supervisor, *, duration_s: float) -> Verdict:
    """Play two scenarios within ``duration_s`` seconds, stop the agents, and close the books.

    Raises :class:`Unavailable` when a part does not answer.
    """
    clock = asyncio.get_running_loop().time
    started = clock()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        known = {alarm["id"] for alarm in await alarms(http, plan)}
        await until(lambda: _everyone_spoke(http, plan), 30.0, "every device to report")
        for position, name in enumerate(SCENARIOS):
            start_at = started + duration_s * (position + 0.5) / (len(SCENARIOS) + 1)
            await asyncio.sleep(max(0.0, start_at - clock()))
            await start_scenario(http, plan, name)
        await asyncio.sleep(max(0.0, started + duration_s - clock()))
        await until(lambda: scenarios_done(http, plan), 60.0, "the scenarios to end")
        samples = await close_books(http, plan, supervisor)
        raised = [alarm for alarm in await alarms(http, plan) if alarm["id"] not in known]
        expected, unexpected = match(await runs(http, plan), raised, plan)
    missing_alarms = sum(alarm.raised_ms is None for alarm in expected)
    latencies = [alarm.latency_ms for alarm in expected if alarm.latency_ms is not None]
    beyond = [alarm.beyond_ms for alarm in expected if alarm.beyond_ms is not None]
    return Verdict(
        ok=samples.missing == 0
        and samples.made > 0
        and bool(expected)
        and not missing_alarms
        and not unexpected,
        samples=samples,
        missing=samples.missing,
        alarms=expected,
        alarms_missing=missing_alarms,
        alarms_unexpected=unexpected,
        latency_ms_median=median(latencies) if latencies else None,
        beyond_ms_median=median(beyond) if beyond else None,
        restarts={
            name: supervisor.starts(name) - 1 for name in supervisor.names() if supervisor.starts(name) > 1
        },
        seconds=round(clock() - started, 1),
    )


async def close_books(http: aiohttp.ClientSession, plan: Plan, supervisor: Supervisor) -> Count:
    """Stop the agents, wait until what they made has settled, and count."""
    await asyncio.gather(*(supervisor.terminate(agent) for agent in plan.agents))
    deadline = asyncio.get_running_loop().time() + _DRAIN_S
    while True:
        boxes = {agent: read_box(path) for agent, path in plan.outboxes.items()}
        closed = count(boxes, await get(http, f"{plan.data_url}/api/data/accounting"))
        if (closed.missing == 0 and closed.queued == 0) or asyncio.get_running_loop().time() > deadline:
            return closed
        await asyncio.sleep(0.25)


def match(
    scenario_runs: Sequence[dict[str, Any]], raised: Sequence[dict[str, Any]], plan: Plan
) -> tuple[list[ExpectedAlarm], list[dict[str, Any]]]:
    """Pair what was announced with what the desk has; return the pairs and what nobody announced.

    One announced alarm takes one raised alarm, so that an alarm raised twice is left over.
    """
    for_s = {r.id: r.stuck.after_s if r.stuck else r.for_s for pack in load_packs() for r in pack.rules}
    left = sorted(raised, key=lambda alarm: alarm["began_ms"])
    pairs = []
    for run in scenario_runs:
        for wanted in run["expect"]:
            found = next(
                (a for a in left if (a["device"], a["rule"]) == (wanted["device"], wanted["rule"])), None
            )
            latency = beyond = None
            if found is not None:
                left.remove(found)
                if wanted["changed_ms"] is not None:
                    latency = found["received_ms"] - wanted["changed_ms"]
                    beyond = latency - round(
                        1000 * (for_s.get(wanted["rule"], 0) + plan.period_s(wanted["device"]))
                    )
            pairs.append(
                ExpectedAlarm(
                    run["name"],
                    wanted["device"],
                    wanted["rule"],
                    wanted["severity"],
                    wanted["changed_ms"],
                    found["received_ms"] if found else None,
                    latency,
                    beyond,
                )
            )
    return pairs, [{key: a[key] for key in ("device", "rule", "severity", "began_ms", "value")} for a in left]


async def get(http: aiohttp.ClientSession, url: str, key: str = "") -> Any:
    """Return the JSON at ``url``; raise :class:`Unavailable` when there is none."""
    try:
        async with http.get(url, headers={"Authorization": f"Bearer {key}"} if key else {}) as answer:
            answer.raise_for_status()
            return await answer.json()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"{url}: {error or 'no answer in time'}") from None


async def alarms(http: aiohttp.ClientSession, plan: Plan) -> list[dict[str, Any]]:
    """Return all alarms that the desk knows."""
    return list(await get(http, f"{plan.page_url}/api/alarms?state=all&limit=1000", plan.key))


async def runs(http: aiohttp.ClientSession, plan: Plan) -> list[dict[str, Any]]:
    """Return all scenario runs, with when each expected crossing happened."""
    return list(await get(http, f"{plan.simulators_url}/scenarios/runs"))


async def scenarios_done(http: aiohttp.ClientSession, plan: Plan) -> bool:
    """Return whether no scenario is running."""
    return all(run["done"] for run in await runs(http, plan))


async def start_scenario(http: aiohttp.ClientSession, plan: Plan, name: str) -> None:
    """Start a scenario; raise :class:`Unavailable` when the simulators will not."""
    async with http.post(f"{plan.simulators_url}/scenarios/{name}") as answer:
        if answer.status >= 400:
            raise Unavailable(f"scenario {name}: {await answer.text()}")


async def until(holds: Callable[[], Awaitable[bool]], within_s: float, what: str) -> None:
    """Wait for ``holds``; raise :class:`Unavailable` after ``within_s`` seconds."""
    try:
        async with asyncio.timeout(within_s):
            while not await holds():
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise Unavailable(f"waited {within_s:.0f} s in vain for {what}") from None


async def _everyone_spoke(http: aiohttp.ClientSession, plan: Plan) -> bool:
    latest = await get(http, f"{plan.data_url}/api/data/latest")
    return len({row["device"] for row in latest}) >= plan.device_count
