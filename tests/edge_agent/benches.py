"""A commander on a paper line, with a real outbox, for tests of what becomes of commands."""

import asyncio
import contextlib

import msgspec
from lines import polling
from waiting import wait_until

from device_profiles.loading import load_catalogue
from edge_agent.commands import Commander
from edge_agent.gather import Shape
from edge_agent.orders import Allowed, CommandsConfig
from edge_agent.record import Recorder
from telemetry.commands import ActionUpload, Command
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox

LAMP = load_catalogue()["openvmi_lamp_unit5"]
METER = load_catalogue()["eastron_sdm630"]
OPEN = CommandsConfig((Allowed(),))


class Bench:
    """A commander on a paper line, with a real outbox."""

    def __init__(self, folder, clock, line, devices, config=OPEN):
        self.folder, self.clock, self.line, self.config = folder, clock, line, config
        self.devices = {device.id: device for device in devices}

    @contextlib.asynccontextmanager
    async def running(self, period_s=1.0):
        box = Outbox.open(self.folder / "outbox.db", max_bytes=10**7, now_ms=self.clock.now_ms)
        async with Keeper(box) as self.keeper:
            recorder = Recorder(Shape("edge-01", "json", 200_000), self.clock)
            self.commander = Commander(self.config, self.devices, self.keeper, recorder, self.clock)
            await self.commander.restore()
            task = asyncio.ensure_future(self.commander.run())
            async with polling(self.line, list(self.devices.values()), period_s, self.clock) as (
                self.heard,
                poller,
            ):
                self.commander.serves(poller)
                try:
                    yield self
                finally:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task

    async def give(self, command):
        """Give a command as the broker would, and let it be finished."""
        await self.commander.hear(msgspec.json.encode(command))
        await self.at_rest()
        return await self.states(command.id)

    async def at_rest(self):
        """Let the clock go on until no command is under way any more, however slow the disk is."""
        rest = asyncio.ensure_future(self.commander.at_rest())
        await wait_until(lambda: rest.done() or self.clock.advance(0.1), 30, "the commander to be at rest")

    @contextlib.asynccontextmanager
    async def line_taken(self, device):
        """Hold the line, as an exchange that takes long would."""
        line = self.commander._lanes[device].line
        taking = asyncio.ensure_future(line.acquire())
        while not taking.done():
            await self.clock.advance(0.05)
        try:
            yield
        finally:
            line.release()

    async def results(self):
        queued = await self.keeper.look(lambda box: box.waiting(1000))
        uploads = [msgspec.json.decode(message.payload, type=ActionUpload) for message in queued]
        return [result for upload in uploads for result in upload.results]

    async def states(self, name):
        return [str(result.state) for result in await self.results() if result.id == name]


def dim(name, value, clock, **more):
    more = {"not_after": clock.now_ms() + 60_000, "by": "centre", **more}
    return Command(name, "lamp", metric="dimming", value=value, **more)


def writes(bench):
    return [write.words[0] for _, write in bench.line.written]
