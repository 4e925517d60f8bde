"""Orders and what agents say of them, over a real broker, while the registry is not known and the database is locked."""

import asyncio
import contextlib
import sqlite3

import aiomqtt
import pytest
from desks import take
from test_plans import began, book, desk, run_of  # noqa: F401 - fixtures
from waiting import wait_until

from command_center.config import load_config
from command_center.linkage import Linkage
from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.commands import Command, CommandResult, CommandState
from telemetry.errors import Unavailable


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_neither_an_order_nor_an_agents_word_is_lost_while_registry_and_database_are_away(
    desk,  # noqa: F811
    clock,
    mosquitto,
    tmp_path,
):
    (tmp_path / "center.toml").write_text(
        f'area = "test"\nbroker = {{ host = "127.0.0.1", port = {mosquitto.port} }}\ndata = {{ url = "http://x" }}\n',
        "utf-8",
    )
    known, heard, locked = asyncio.Event(), [], asyncio.Event()

    class Wall:
        def now_ms(self):
            return clock.now

        sleep = staticmethod(asyncio.sleep)

    def agent_of(_device):
        if not known.is_set():
            raise Unavailable("the registry is not known yet")
        return "edge-1"

    linkage = Linkage(load_config(tmp_path / "center.toml"), desk.store, Wall(), agent_of, lambda _: None)

    async def agent():
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            await client.subscribe(topics.cmd("test", "+"), 1)
            async for message in client.messages:
                command = codecs.decode(bytes(message.payload), Command, max_bytes=10_000)
                heard.append(command)
                await locked.wait()
                told = CommandResult(command.id, command.device, CommandState("verified"), clock.now)
                await client.publish(topics.cmd_result("test", "edge-1"), json.encode(told), 1)

    async def state():
        return {a["action"]: a["state"] for a in (await run_of(desk, began().alarm))["actions"]}["cut"]

    async def is_sent():
        return await state() == "sent"

    async def is_verified():
        return await state() == "verified"

    tasks = [asyncio.ensure_future(agent()), asyncio.ensure_future(linkage.run())]
    try:
        await take(desk, began())
        await wait_until(lambda: "registry" in linkage._problem, 15)
        assert await state() == "requested"
        known.set()
        await wait_until(is_sent, 15)
        with contextlib.closing(sqlite3.connect(tmp_path / "desk.db", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            locked.set()
            await wait_until(lambda: "locked" in linkage._problem, 15)
            db.execute("ROLLBACK")
        await wait_until(is_verified, 15)
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    assert len(heard) == 1
