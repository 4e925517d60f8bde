"""What ingest last told of devices and sites holds until it answers after a start."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
import sqlalchemy as sa
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy.exc import OperationalError
from waiting import wait_until

from command_center.data import Data
from command_center.kept import Kept
from command_center.store import Store
from command_center.tables import kept as table
from telemetry.clock import SystemClock
from telemetry.errors import Unavailable
from telemetry.faults import Faults

AWAY = "http://127.0.0.1:1"
TOLD = {
    "devices": [{"id": "d1", "site": "s1", "agent": "edge-1"}],
    "sites": [{"id": "s1", "street": "史河街道"}],
    "classes": {},
    "agents": [{"id": "edge-1", "seen": 1}],
}


@asynccontextmanager
async def ingest():
    async def answer(request):
        return web.json_response(TOLD.get(request.match_info["name"], []))

    app = web.Application()
    app.router.add_get("/api/data/{name}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


@asynccontextmanager
async def known(store, url):
    async with Data(url, lambda _: None, SystemClock(), None, Kept(store, Faults(SystemClock()))) as data:
        task = asyncio.create_task(data.run())
        try:
            yield data
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def rows(store):
    async with store.read() as db:
        return {row.name for row in await db.execute(sa.select(table))}


async def test_a_centre_that_starts_before_ingest_knows_where_devices_stood(url):
    async with Store(url) as store:
        async with known(store, AWAY) as data:
            await data.tried.wait()
            assert (data.devices, data.sites) == ({}, {})
        async with ingest() as there, known(store, there) as data:
            await wait_until(lambda: data.ok_ms)
            assert await rows(store) == {"devices", "sites"}
    async with Store(url) as store, known(store, AWAY) as data:
        await data.tried.wait()
        assert data.device("d1")["site"] == "s1"
        assert data.sites["s1"]["street"] == "史河街道"
        with pytest.raises(Unavailable, match="not known yet"):
            data.agent_of("d1")  # orders wait for ingest's own word


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_an_answer_is_written_when_it_is_another_and_again_when_the_database_is_back(url):
    async with Store(url) as store:
        kept, writes, away = Kept(store, Faults(SystemClock())), [], [True]
        change = store.change

        @asynccontextmanager
        async def counted():
            async with change() as db:
                writes.append(len(writes))
                yield db
                if away:
                    raise OperationalError("COMMIT", None, Exception("away"))

        store.change = counted
        await kept.keep(TOLD)
        assert await rows(store) == set()
        away.clear()
        for agents in ([], [1], [2]):
            await kept.keep(TOLD | {"agents": agents})
        assert len(writes) == 2
        await kept.keep(TOLD | {"sites": []})
        assert (len(writes), (await Kept(store, Faults(SystemClock())).load())["sites"]) == (3, [])
