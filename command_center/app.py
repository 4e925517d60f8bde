"""Puts the centre together and takes it apart again in order: page, feed, data, desk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from command_center.api import alarm_json, make_api
from command_center.data import Data
from command_center.desk import Desk
from command_center.feed import Feed
from command_center.hub import Hub
from telemetry.clock import Clock, SystemClock
from telemetry.http import served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from command_center.config import CenterConfig
    from command_center.lifecycle import Alarm

_HEALTH_S = 2.0
log = structlog.get_logger()


async def run(config: CenterConfig, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the centre until ``stop`` is set."""
    clock = clock or SystemClock()
    hub = Hub()

    def on_latest(rows: list[dict[str, Any]]) -> None:
        hub.publish("latest", rows)

    async with Desk(config.desk.url, clock) as desk, Data(config.data.url, on_latest, clock) as data:

        def on_change(alarms: Sequence[Alarm]) -> None:
            for alarm in alarms:
                log.info(
                    "alarm",
                    device=alarm.device,
                    rule=alarm.rule,
                    severity=alarm.severity.label.en,
                    state=alarm.state,
                )
                hub.publish("alarm", alarm_json(alarm, desk, data, clock.now_ms()))

        feed = Feed(config, desk, on_change, clock)
        api = make_api(config, desk, data, feed, hub, clock)
        async with served(api, config.page.host, config.page.port), asyncio.TaskGroup() as tasks:
            log.info("center_up", page=f"http://{config.page.host}:{config.page.port}")
            running = [
                tasks.create_task(work) for work in (feed.run(), data.run(), _health(hub, feed, data, clock))
            ]
            await stop.wait()
            hub.close()
            for task in running:
                task.cancel()
    log.info("center_down")


async def _health(hub: Hub, feed: Feed, data: Data, clock: Clock) -> None:
    while True:
        hub.publish("health", {"feed": feed.heard_ms, "data": data.ok_ms, "broker": feed.connected})
        await clock.sleep(_HEALTH_S)
