"""Puts the centre together and takes it apart again in order: page, feed, data, desk."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
import structlog

from command_center import audit, filed, places, plans, policies
from command_center.api import make_api
from command_center.audit import Signer
from command_center.cap.issuing import Issuer
from command_center.center import Center, alarm_json
from command_center.data import Data
from command_center.desk import Desk, Follower
from command_center.feed import Feed
from command_center.flood import SINGLE_MOST, Floods
from command_center.heartbeat import Heartbeat
from command_center.hub import Hub
from command_center.incident_view import Reader
from command_center.incidents import Incidents
from command_center.kept import Kept
from command_center.linkage import Linkage
from command_center.notices import Telling
from command_center.people import links, sealing, users
from command_center.people.doors import Doors
from command_center.people.gate import Gate
from command_center.planner import Planner
from command_center.steady import SteadyClock, watch
from command_center.store import Store
from command_center.teller import Teller
from command_center.upkeep import keep
from command_center.warner import Warner
from command_center.wellbeing import Wellbeing
from telemetry.clock import Clock, SystemClock
from telemetry.errors import Unavailable
from telemetry.faults import Faults
from telemetry.http import served
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from command_center.config import CenterConfig
    from command_center.lifecycle import Alarm
    from command_center.policies import Told

_HEALTH_S = 2.0
_TICK_S = 1.0
log = structlog.get_logger()


async def run(config: CenterConfig, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the centre until ``stop`` is set."""
    clock = SteadyClock(clock or SystemClock())
    hub, faults = Hub(), Faults(clock)

    async with (
        AsyncExitStack() as resources,
        Store(config.desk.url) as store,
        Data(
            config.data.url, partial(hub.publish, "latest"), clock, config.data.key, Kept(store, faults)
        ) as data,
    ):
        seal = await sealing.ready(store, config.codes_key)
        told = policies.load(config.notify.file) if config.notify.file else None
        telling = Telling(told, lambda device: data.device(device).get("site"), faults) if told else None
        planner = (
            Planner(plans.load(config.linkage.file), lambda: data.known["devices"], lambda: data.sites, told)
            if config.linkage.file
            else None
        )
        known = places.load(config.places.file) if config.places.file else places.Places()
        ground = places.Ground(known, lambda: data.devices, config.incidents)
        incidents = Incidents(
            config.incidents, ground, lambda: data.sites, planner.plans if planner else None,
            lambda changed: hub.publish("incidents", sorted(changed)),
        )  # fmt: skip
        warner = _warner(config, planner, incidents, data) if planner else None
        floods = Floods(config.desk.positions)
        await floods.recover(store, clock.now_ms())
        followers: list[Follower] = [
            one for one in (telling, planner, incidents, warner, floods) if one is not None
        ]
        desk = Desk(
            store, clock, latching=frozenset(config.desk.latching), followers=followers, faults=faults
        )
        http = await resources.enter_async_context(aiohttp.ClientSession(trust_env=False))
        teller = (
            Teller(
                store,
                told,
                telling,
                http,
                clock,
                _places(data),
                lambda alarms: hub.publish("notices", sorted(alarms)),
                config.page.url.rstrip("/"),
                faults,
            )
            if told and telling
            else None
        )

        def on_change(alarms: Sequence[Alarm]) -> None:
            for alarm in alarms:
                log.info(
                    "alarm", device=alarm.device, rule=alarm.rule, severity=alarm.severity.label.en, state=alarm.state
                )  # fmt: skip
                hub.publish("alarm", partial(alarm_json, alarm, desk, data, clock.now_ms()))

        feed = Feed(config, desk, on_change, clock)
        gate = Gate(config.people, store, clock, secure=config.page.address.startswith("https://"))
        center = Center(
            config, store, desk, data, feed, hub, clock, Signer(config.audit.key), incidents,
            Reader(planner.plans if planner else None, told, _places(data)), gate,
            Doors(config.people, store, clock, config.title.zh, seal), known, told, teller, planner, warner, _heartbeat(config, told, http, store, feed, clock), floods, faults,
        )  # fmt: skip
        async with store.change() as db:
            await filed.note(db, config, clock.now_ms())
        await _welcome(config, store, clock)
        async with served(make_api(center), config.page.host, config.page.port), asyncio.TaskGroup() as tasks:
            log.info("center_up", page=f"http://{config.page.host}:{config.page.port}")

            def moved(by_ms: int) -> None:
                desk.shift(by_ms)
                floods.shift(by_ms)
                if teller:
                    teller.shift(by_ms)

            work: dict[str, Callable[[], Awaitable[None]]] = {
                "feed": partial(feed_when_known, feed, data),
                "data": data.run,
                "health": partial(_health, center),
                **ticking(center),
                "checkpoints": partial(checkpoints, center),
                "wellbeing": Wellbeing(center).run,
                "prove": partial(_prove, center),
                "clock": partial(watch, clock, store, moved),
            }
            if teller:
                work["telling"] = teller.run
            if center.heartbeat:
                work["heartbeat"] = center.heartbeat.run
            if planner:
                linkage = Linkage(
                    config, store, clock, data.agent_of,
                    lambda runs: hub.publish("notices", sorted(runs)),
                )  # fmt: skip
                work["linkage"] = linkage.run
            running = [tasks.create_task(keep(name, run, faults, clock)) for name, run in work.items()]
            await stop.wait()
            hub.close()
            for task in running:
                task.cancel()
    log.info("center_down")


def _heartbeat(
    config: CenterConfig,
    told: Told | None,
    http: aiohttp.ClientSession,
    store: Store,
    feed: Feed,
    clock: Clock,
) -> Heartbeat | None:
    by = config.heartbeat.by
    if told is None or not by:
        return None
    return Heartbeat(config, told.kinds[by].Channel(told.configs[by], http), store, feed, clock)


def _warner(config: CenterConfig, planner: Planner, incidents: Incidents, data: Data) -> Warner:
    cap = config.cap
    issuer = Issuer(cap.sender, cap.name, cap.zone, cap.national, cap.web)
    warner = Warner(issuer, planner.plans, incidents.ground.place, _places(data))
    incidents.closers.append(warner.closed)
    return warner


async def _welcome(config: CenterConfig, store: Store, clock: Clock) -> None:
    """Where nobody is enrolled yet, print the link by which the first security admin enrols; there is no default password."""
    async with store.change() as db:
        if not await users.nobody(db):
            return
        token = await links.issue(db, "first", "", clock.now_ms())
    link = links.address(config.page.address, "first", token)
    sys.stderr.write(  # to the terminal, not to the log
        f"尚无用户。一小时内用此链接登记第一位安全管理员（只能用一次）：\n"
        f"Nobody is enrolled. Within an hour, once, this link enrols the first security admin:\n{link}\n"
    )
    sys.stderr.flush()


def _places(data: Data) -> Callable[[str], Text | None]:
    def place_of(device: str) -> Text | None:
        name = data.device(device).get("name")
        return Text(name["zh"], name["en"]) if name else None

    return place_of


async def feed_when_known(feed: Feed, data: Data) -> None:
    """Consume the feed when ingest was asked where devices stand: plans, policies and incidents go by that.

    An ingest that does not answer keeps no alarm waiting for longer than one question.
    """
    await data.tried.wait()
    await feed.run()


async def _health(center: Center) -> None:
    while True:
        feed, data = center.feed, center.data
        told = {
            "feed": feed.heard_ms,
            "data": data.ok_ms,
            "broker": feed.connected,
            "desk": not center.store.problem,
            "flood": center.floods.now(),
        }
        center.hub.publish("health", told)
        await center.clock.sleep(_HEALTH_S)


async def _prove(center: Center) -> None:
    """Find out by writing when a database that was away is back."""
    while True:
        if center.store.problem:
            with suppress(Unavailable):
                await center.store.prove()
        await center.clock.sleep(_HEALTH_S)


def ticking(center: Center) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return what is looked at each second, by name: each by itself, so that one that breaks stops none of the others."""
    works = {"holds": _hold, "flood": _flood, "incidents": _settle}
    return {name: partial(_tick, center, name, work) for name, work in works.items()}


async def _tick(center: Center, name: str, work: Callable[[Center], Awaitable[None]]) -> None:
    problem = ""
    while True:
        try:
            await work(center)
        except Unavailable as error:
            if str(error) != problem:
                log.warning("look_waits", of=name, problem=str(error))
            problem = str(error)
        else:
            problem = ""
        await center.clock.sleep(_TICK_S)


async def _hold(center: Center) -> None:
    """Begin and end holds in time."""
    center.publish(await center.desk.tick())


async def _flood(center: Center) -> None:
    """Begin or end flood mode, and let the teller gather the lower colours while it lasts."""
    if await center.floods.turn(center.store, center.clock.now_ms()):
        log.warning("flood", now=center.floods.now())
    if center.teller and center.told:
        most = center.told.setup.single_most
        center.teller.single_most = min(SINGLE_MOST, most) if center.floods.now() else most


async def _settle(center: Center) -> None:
    """Close the incidents of which nothing is left."""
    async with center.store.read() as db:
        if not await center.incidents.finished(db):
            return
    async with center.store.change() as db:
        await center.incidents.settle(db, center.clock.now_ms())


async def checkpoints(center: Center) -> None:
    """Append a signed checkpoint of the audit trail to its file whenever there is something new to sign."""
    config, signed = center.config.audit, -1
    while config.checkpoints is not None:
        try:
            async with center.store.read() as db:
                head = await audit.head(db, center.clock.now_ms())
        except Unavailable as error:
            log.warning("checkpoint_waits", problem=str(error))
        else:
            if head.count != signed:
                try:
                    await asyncio.to_thread(audit.append, config.checkpoints, center.signer.sign(head))
                    signed = head.count
                except OSError as error:  # perhaps another machine's share
                    log.warning("checkpoint_waits", problem=str(error))
        await center.clock.sleep(config.every_s)
