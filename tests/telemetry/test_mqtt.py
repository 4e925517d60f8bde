"""A task that speaks MQTT ends when it is told to, whatever comes at the same moment."""

import asyncio

import pytest

from telemetry.mqtt import Client


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(mosquitto, turns):
    async with Client("127.0.0.1", mosquitto.port) as client:
        for _ in range(20):
            publishing = asyncio.ensure_future(client.publish("a", b"", 1))
            while not (waiting := list(client._pending_publishes.values())):
                await asyncio.sleep(0)
            await waiting[0].wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            took_it = publishing.cancel()
            await asyncio.wait({publishing})
            assert publishing.cancelled() == took_it


async def test_a_broker_that_does_not_answer_is_no_wait_without_end():
    async def silent(_reader, writer):
        await over.wait()
        writer.close()
        await writer.wait_closed()
        closed.set()

    over, closed = asyncio.Event(), asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(Exception, match="Operation timed out"):
            async with Client("127.0.0.1", port, timeout=0.2):
                pass
    finally:
        over.set()
        await closed.wait()
        server.close()
