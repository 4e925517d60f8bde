"""Puts ingest together and takes it apart again in order: API, source, pipeline, ledger, store."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

from cloud_ingest.alarms import AlarmFeed
from cloud_ingest.api import make_api
from cloud_ingest.config import IngestConfig, plugin
from cloud_ingest.ledger import Ledger, LedgerReader
from cloud_ingest.pipeline import Pipeline
from cloud_ingest.registry import load_registry
from device_profiles.vocabulary import load_classes
from rules.engine import Engine
from rules.pack import load_packs
from telemetry.clock import Clock, SystemClock
from telemetry.http import served

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()


async def run(config: IngestConfig, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run ingest until ``stop`` is set."""
    clock = clock or SystemClock()
    registry, classes = load_registry(config.registry.devices, config.registry.sites), load_classes()
    with contextlib.ExitStack() as resources:
        thread = resources.enter_context(ThreadPoolExecutor(1, thread_name_prefix="ledger"))
        loop = asyncio.get_running_loop()

        async def on_thread(call: Callable[..., Any], *arguments: object) -> Any:
            return await loop.run_in_executor(thread, call, *arguments)

        ledger = Ledger(config.ledger)
        resources.callback(ledger.close)
        store = plugin("stores", config.store.kind).Store(config.store, classes)
        resources.callback(store.close)
        pipeline = await on_thread(
            lambda: Pipeline(
                producer=config.producer,
                ledger=ledger,
                store=store,
                registry=registry,
                classes=classes,
                engine=Engine(load_packs(), classes),
                clock=clock,
            )
        )
        source = plugin("sources", config.source).Source(config, clock)
        feed = AlarmFeed(ledger, pipeline, source, on_thread, clock)
        api = make_api(
            registry=registry, classes=classes, store=store, ledger=LedgerReader(config.ledger), pipeline=pipeline,
            source=source, clock=clock,
        )  # fmt: skip
        async with source, asyncio.TaskGroup() as tasks, served(api, config.api.host, config.api.port):
            log.info(
                "ingest_up", devices=len(registry.devices), sites=len(registry.sites), store=config.store.kind
            )
            running = [
                tasks.create_task(work)
                for work in (
                    pipeline.run(source, on_thread, feed.changed),
                    feed.send(),
                    feed.receive(),
                    feed.tick(),
                    feed.assert_again(config.alarms.assert_s),
                )
            ]
            await stop.wait()
            for task in running:
                task.cancel()
    log.info("ingest_down")
