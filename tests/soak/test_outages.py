"""Kill the parts of a running district one after another: nothing is lost, no alarm lost or doubled.

In the suite each part is dead for a few seconds, once.  ``make soak`` holds each for 20 s, ten times, in
random order.
"""

import os
import random

import aiohttp
import pytest

from yemai.demo.app import district
from yemai.demo.broker import find_mosquitto
from yemai.demo.proof import alarms, close_books, get, match, runs, scenarios_done, start_scenario, until

SOAK = bool(os.environ.get("SOAK"))
ROUNDS = 10 if SOAK else 1
DEAD_S = 20.0 if SOAK else 4.0
# What is played while each part is dead; the agent that is killed polls none of these devices' buses.
PLAYED = {
    "ingest": "charger_overheats",
    "broker": "smoke_then_fire",
    "agent": "hydrant_pressure_drops",
    "center": "residual_current_rises",
}


@pytest.mark.soak
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed (apt install mosquitto)")
@pytest.mark.timeout(0 if SOAK else 240)
@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_the_count_closes_and_no_alarm_is_lost_or_doubled_over_outages(round_, tmp_path, free_port):
    dice = random.Random(round_)
    parts = list(PLAYED)
    dice.shuffle(parts)
    async with (
        district(tmp_path, port=free_port, seed=round_ + 1, quiet=True) as (plan, supervisor, _),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http,
    ):
        await until(lambda: everyone_spoke(http, plan), 60, "every device to report")
        for part in parts:
            await start_scenario(http, plan, PLAYED[part])
            name = dice.choice(sorted(plan.agents)) if part == "agent" else part
            await supervisor.kill(name, DEAD_S)
        await until(lambda: scenarios_done(http, plan), 120, "the scenarios to end")
        await until(lambda: all_raised(http, plan), 60, "every expected alarm")
        samples = await close_books(http, plan, supervisor)
        expected, unexpected = match(await runs(http, plan), await alarms(http, plan), plan)
    assert samples.missing == 0, samples
    assert samples.queued == 0, samples
    assert samples.dropped == {}
    assert samples.made > 0
    assert [alarm for alarm in expected if alarm.raised_ms is None] == []
    assert unexpected == []
    print(f"round {round_}: {parts}, {samples}, {len(expected)} alarms")


async def everyone_spoke(http, plan):
    return len(await get(http, f"{plan.data_url}/api/data/latest")) >= plan.device_count


async def all_raised(http, plan):
    expected, _ = match(await runs(http, plan), await alarms(http, plan), plan)
    return all(alarm.raised_ms is not None for alarm in expected)
