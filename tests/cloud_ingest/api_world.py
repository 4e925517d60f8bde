"""The data API over a real pipeline, ledger, store and registry, asked in-process."""

import asyncio
import contextlib

import httpx
from world import CLASSES, Bench, write_registry

from cloud_ingest.api.app import make_api
from cloud_ingest.api.live import Live
from cloud_ingest.api.parts import Parts
from cloud_ingest.config import RegistryConfig
from cloud_ingest.registry.keeper import Keeper, Renewal
from telemetry.readings import AgentStatus


class QuietSource:
    """A source that a test tells what to say."""

    def __init__(self):
        self.told, self.trouble = [], ""

    def agents(self):
        return self.told

    def problem(self):
        return self.trouble

    def waiting(self):
        return 0

    def offset_ms(self, _agent):
        return None

    def born(self, agent, since):
        self.told.append(AgentStatus(agent, True, "b", since, since))


class World:
    """Everything behind the API; ``client`` asks it."""

    def __init__(self, folder, keys=(), loop=None, **registry):
        self.bench = Bench(folder)
        devices, sites = write_registry(folder)
        registry = registry or {"devices": devices, "sites": sites}
        config = RegistryConfig(**{"database": f"sqlite:///{folder / 'registry.db'}", **registry})
        self.keeper = Keeper(config, "ingest-1", self.bench.clock)
        self.keeper.open()
        self.source = QuietSource()
        self.live = Live(CLASSES, loop or asyncio.get_running_loop())
        self.bench.pipeline.latest.told = self.live.publish
        self.renewal = Renewal(self.keeper, self._now, self._use, self.bench.reader, self.source.agents)
        self.parts = Parts(
            keeper=self.keeper, refresh=self.renewal.refresh, classes=CLASSES, store=self.bench.store,
            store_problem=lambda: self.bench.writer.problem, ledger=self.bench.reader,
            ledger_path=folder / "ledger.db", latest=self.bench.pipeline.latest, shadows=self.bench.pipeline.shadows, live=self.live, source=self.source,
            clock=self.bench.clock, metrics=self.bench.metrics,
        )  # fmt: skip
        self.api = make_api(self.parts, keys)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.api), base_url="http://ingest")

    def close(self):
        self.live.close()
        self.keeper.close()
        self.bench.close()

    async def _now(self, work, *arguments):
        return work(*arguments)

    async def _use(self, registry):
        self.bench.pipeline.use(registry)

    async def get(self, path, status=200, **query):
        answer = await self.client.get(path, params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def post(self, path, status=200, method="POST", **what):
        answer = await self.client.request(method, path, **what)
        assert answer.status_code == status, answer.text
        return answer.json()


@contextlib.asynccontextmanager
async def world(folder, keys=(), **registry):
    here = World(folder, keys, **registry)
    try:
        yield here
    finally:
        await here.client.aclose()
        here.close()
