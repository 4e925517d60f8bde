"""Puts ingest together and takes it apart again in order: API, source, pipeline, ledger, store."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

from cloud_ingest.alarms import AlarmFeed
from cloud_ingest.api.app import make_api
from cloud_ingest.api.live import Live
from cloud_ingest.api.parts import Parts
from cloud_ingest.duties import Duties
from cloud_ingest.fleet import Fleet
from cloud_ingest.flow import Flow
from cloud_ingest.judging import Packs
from cloud_ingest.ledger import Ledger
from cloud_ingest.metrics import Metrics
from cloud_ingest.patience import Patience
from cloud_ingest.pipeline import Pipeline
from cloud_ingest.reader import LedgerReader
from cloud_ingest.registry.keeper import Keeper, Renewal
from cloud_ingest.wellbeing import EVERY_S, Wellbeing
from cloud_ingest.writer import StoreWriter
from device_profiles.vocabulary import load_classes
from telemetry.clock import Clock, SystemClock
from telemetry.errors import Refused, Unavailable
from telemetry.http import served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cloud_ingest.config import IngestConfig
    from cloud_ingest.registry import Registry
    from cloud_ingest.store import Store

_AGAIN_S = 2.0
_TICK_S = 1.0
_PACKS_S = 5.0
_PRUNE_S = 60.0
_COLLECT = (50_000, 20, 20)
"""A batch makes 10,000 objects and no cycle; looking for one after each 700 costs a tenth of a core."""
_AT_ONCE = 1000  # newest values taken over between two batches
log = structlog.get_logger()


async def run(config: IngestConfig, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run ingest until ``stop`` is set."""
    clock = clock or SystemClock()
    gc.set_threshold(*_COLLECT)
    classes, metrics = load_classes(), Metrics()
    packs = Packs(config.rules.folder, classes)
    with contextlib.ExitStack() as resources:
        on_ledger, on_store, on_registry = (
            _thread(resources, name) for name in ("ledger", "store", "registry")
        )
        keeper = Keeper(config.registry, config.producer, clock)
        resources.callback(keeper.close)
        registry = await on_registry(keeper.open)
        ledger = Ledger(config.ledger)
        resources.callback(ledger.close)
        source = config.source.Source(config, clock)
        pipeline = await on_ledger(
            lambda: Pipeline(
                producer=config.producer, ledger=ledger, registry=registry, classes=classes,
                engine=packs.engine(), clock=clock, metrics=metrics, offset_of=source.offset_ms,
                area=config.area,
            )
        )  # fmt: skip
        metrics.registry.register(Fleet(source))
        store = config.store.module.Store(
            config.store.config, classes, lambda device: _tags(pipeline.registry, config.area, device)
        )
        resources.callback(store.close)
        writer = StoreWriter(ledger, store, lambda: pipeline.registry, clock, metrics)
        wellbeing = Wellbeing(config, source, ledger, lambda: writer.problem, clock)
        feed = AlarmFeed(ledger, pipeline, source, on_ledger, clock, config.producer)
        reader, live = LedgerReader(config.ledger), Live(classes, asyncio.get_running_loop())
        pipeline.latest.told = live.publish
        renewal = Renewal(
            keeper, on_registry, lambda registry: on_ledger(pipeline.use, registry), reader, source.agents
        )
        parts = Parts(
            keeper=keeper, refresh=renewal.refresh, classes=classes, store=store, store_problem=lambda: writer.problem,
            ledger=reader, ledger_path=config.ledger.path, latest=pipeline.latest, shadows=pipeline.shadows, live=live,
            source=source, clock=clock, metrics=metrics,
        )  # fmt: skip
        api = make_api(parts, config.api.keys)
        flow = Flow(pipeline, source, clock, metrics)

        def committed(news: bool) -> None:  # noqa: FBT001 - it is what the pipeline tells
            writer.changed()
            if news:
                feed.changed()

        duties = Duties(clock, on_ledger, committed, pipeline.faults)
        async with source, asyncio.TaskGroup() as tasks, served(api, config.api.host, config.api.port):
            log.info(
                "ingest_up", devices=len(registry.devices), sites=len(registry.sites), store=config.store.kind
            )
            running = [
                tasks.create_task(work)
                for work in (
                    _recall(store, pipeline, clock, on_store, on_ledger),
                    flow.run(on_ledger, committed),
                    writer.run(on_ledger, on_store),
                    feed.send(),
                    feed.receive(),
                    feed.assert_again(config.alarms.assert_s),
                    duties.every(_TICK_S, "tick", pipeline.tick),
                    # A device that was registered a moment ago is known before it is asked for.
                    duties.every(_AGAIN_S, "requeue", pipeline.process_again, renewal.refresh),
                    duties.every(EVERY_S, "wellbeing", lambda: _observe(pipeline, wellbeing), wellbeing.look),
                    duties.every(_PRUNE_S, "retention", lambda: _prune(ledger, clock)),
                    duties.every(_PACKS_S, "packs", lambda: _look_at_packs(packs, pipeline)),
                )
            ]
            await stop.wait()
            live.close()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            with contextlib.suppress(Unavailable):  # then the next start judges the last frames again
                await on_ledger(pipeline.rest)
    log.info("ingest_down")


def _thread(resources: contextlib.ExitStack, name: str) -> Callable[..., Awaitable[Any]]:
    """Return what awaits a blocking call on a thread of its own."""
    pool = resources.enter_context(ThreadPoolExecutor(1, thread_name_prefix=name))
    loop = asyncio.get_running_loop()

    async def call(work: Callable[..., Any], *arguments: object) -> Any:
        return await loop.run_in_executor(pool, work, *arguments)

    return call


def _prune(ledger: Ledger, clock: Clock) -> bool:
    ledger.prune(clock.now_ms())
    return False


def _look_at_packs(packs: Packs, pipeline: Pipeline) -> bool:
    """Judge by packs that have changed; that alone is no news for the feed."""
    packs.renew(pipeline.judge_by)
    return False


def _observe(pipeline: Pipeline, wellbeing: Wellbeing) -> bool:
    agents = frozenset(device.agent for device in pipeline.registry.devices.values())
    return pipeline.observe(wellbeing.frames(agents, broken=pipeline.faults.count()))


def _tags(registry: Registry, area: str, name: str) -> Mapping[str, str]:
    device = registry.devices.get(name)
    if device is None:  # decommissioned with readings still on their way
        return {"area": area}
    site = registry.sites.get(device.site)
    street = {"street": site.street} if site else {}
    return {"area": area, "site": device.site, "profile": device.profile, **street}


async def _recall(
    store: Store, pipeline: Pipeline, clock: Clock, on_store: Callable[..., Awaitable[Any]],
    on_ledger: Callable[..., Awaitable[Any]],
) -> None:  # fmt: skip
    """Take over the newest values that the store knows, as soon as it can be asked; nothing waits for it."""
    until_told = Patience(clock, "newest_values_unknown", "newest_values_known", "asked again for ever")
    with pipeline.faults.spared("newest values"):
        try:
            rows = await until_told(on_store, store.latest)
        except Refused as error:
            log.warning("newest_values_unknown", problem=str(error), way_out="known as they come in")
            return
        for start in range(0, len(rows), _AT_ONCE):
            class_of = {device.id: device.device_class for device in pipeline.registry.devices.values()}
            await on_ledger(pipeline.latest.recall, rows[start : start + _AT_ONCE], class_of)
