"""The command centre as a real process, and an ingest's end that a test plays."""

import asyncio
import contextlib
import sys

import aiomqtt
from persons import keys_line

from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.readings import Ack
from telemetry.transitions import AlarmMessage


def write_config(folder, broker_port, page_port, data_url="http://127.0.0.1:1"):
    path = folder / "center.toml"
    path.write_text(
        f'area = "test"\nbroker = {{ host = "127.0.0.1", port = {broker_port} }}\n'
        f'desk = {{ url = "sqlite+aiosqlite:///{folder}/desk.db" }}\naudit = {{ key = "audit.key" }}\ndata = {{ url = "{data_url}" }}\npage = {{ port = {page_port} }}\n{keys_line()}',
        "utf-8",
    )
    return path


def command(config):
    return [sys.executable, "-m", "command_center", "--config", str(config)]


async def start(config):
    return await asyncio.create_subprocess_exec(*command(config), stderr=asyncio.subprocess.DEVNULL)


async def stop(process):
    process.terminate()
    async with asyncio.timeout(20):
        return await process.wait()


class Feed:
    """Publishes transitions and hears what is acknowledged."""

    def __init__(self, port):
        self.port, self.acked, self.client, self.boot = port, set(), None, "feed-boot"

    async def run(self):
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client("127.0.0.1", self.port) as client:
                    await client.subscribe(topics.alarm_ack("test", "center"), 1)
                    self.client = client
                    async for message in client.messages:
                        for first, last in codecs.decode(bytes(message.payload), Ack, max_bytes=10**6).ranges:
                            self.acked.update(range(first, last + 1))
            await asyncio.sleep(0.1)

    async def tell(self, seq, transition):
        message = AlarmMessage("ingest-1", self.boot, seq, 0, transition)
        await self.client.publish(topics.alarm("test", transition.alarm), json.encode(message), 1)
