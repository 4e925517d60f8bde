"""Puts ingest together and takes it apart again in order: API, source, pipeline, ledger, store."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn

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
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import FastAPI

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
            )  # fmt: skip
        )
        source = plugin("sources", config.source).Source(config, clock)
        feed = AlarmFeed(ledger, pipeline, source, on_thread, clock)
        api = make_api(
            registry=registry, classes=classes, store=store, ledger=LedgerReader(config.ledger), pipeline=pipeline,
            source=source, clock=clock,
        )  # fmt: skip
        async with source, asyncio.TaskGroup() as tasks, _served(api, config.api.host, config.api.port):
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


@contextlib.asynccontextmanager
async def _served(api: FastAPI, host: str, port: int) -> AsyncIterator[None]:
    """Serve ``api`` while the block lasts; raise :class:`Unavailable` when the port is taken."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror}; is another ingest running?"
        ) from None
    server = uvicorn.Server(
        uvicorn.Config(api, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    serving = asyncio.ensure_future(_Quiet(server).serve([listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        listening.close()


class _Quiet:
    """A uvicorn server that leaves the process's signals to the process."""

    def __init__(self, server: uvicorn.Server) -> None:
        self._server = server

    async def serve(self, sockets: list[socket.socket]) -> None:
        config = self._server.config
        if not config.loaded:
            config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets)
        await self._server.main_loop()
        await self._server.shutdown(sockets)
