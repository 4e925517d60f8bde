"""What every driver promises, run over each that is found."""

import asyncio
import contextlib
import gc
import os
import socket
import tty

import pytest
from ports import free_port

from device_profiles.loading import load_catalogue
from device_profiles.profile import Space
from device_profiles.registers import Block
from edge_agent.driver import Device, LinkDown, Listening, Polled
from telemetry import plugins
from telemetry.errors import Malformed, Unavailable

NAMES = plugins.names("edge_agent.drivers")
PROFILES = {
    "modbus": "sonbest_sm7901b",
    "serial_frame": "plantower_pms5003",
    "nbiot_udp": "milesight_em400_udl_nb",
}
BLOCK = Block(Space.HOLDING, 0, 1)


def made(name, link):
    module = plugins.load("edge_agent.drivers", name)
    device = Device("d", load_catalogue()[PROFILES[module.TRANSPORT]], 1, 0.3, "868508064807350")
    return module.Driver(module.Config(**link), [device]), device


def nowhere(name):
    """A link that leads nowhere."""
    if name == "modbus_tcp":
        return {"host": "127.0.0.1", "port": free_port()}
    if name == "nbiot_udp":
        return {"host": "203.0.113.1", "port": 5683}  # an address that is not ours to listen on
    return {"port": "/dev/does-not-exist"}


async def ask(driver, device):
    if isinstance(driver, Polled):
        return await driver.read(device, BLOCK)
    assert isinstance(driver, Listening)
    async with contextlib.aclosing(driver.listen()) as heard:
        async for item in heard:
            return item
    return None


@pytest.mark.parametrize("name", NAMES)
async def test_a_link_that_cannot_be_opened_is_link_down(name):
    driver, device = made(name, nowhere(name))
    async with driver:
        with pytest.raises(LinkDown):
            await ask(driver, device)


@pytest.mark.parametrize("name", NAMES)
async def test_a_cancelled_request_leaves_no_task_and_no_file(name):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    far = [None, None]
    async with contextlib.AsyncExitStack() as stack:
        if name == "modbus_tcp":
            mute = await asyncio.start_server(lambda _r, w: far.__setitem__(0, w), "127.0.0.1", 0)
            stack.push_async_callback(mute.wait_closed)
            stack.callback(mute.close)
            stack.callback(lambda: far[0] and far[0].close())
            link = {"host": "127.0.0.1", "port": mute.sockets[0].getsockname()[1]}
        elif name == "nbiot_udp":
            link = {"host": "127.0.0.1", "port": nowhere("modbus_tcp")["port"]}
        else:
            far = os.openpty()
            tty.setraw(far[1])
            stack.callback(lambda: [os.close(fd) for fd in far])
            link = {"port": os.ttyname(far[1])}
        tasks = set(asyncio.all_tasks())
        driver, device = made(name, link)
        async with driver:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await ask(driver, device)
        await asyncio.sleep(0)
        own = {task for task in asyncio.all_tasks() - tasks if "_handle" not in repr(task)}
        assert own == set()
    for _ in range(50):
        await asyncio.sleep(0.01)
        if len(os.listdir("/proc/self/fd")) <= before:
            break
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("modbus")])
async def test_silence_is_unavailable_within_the_time_out(name):
    far = os.openpty()
    tty.setraw(far[1])
    writers = []
    server = await asyncio.start_server(lambda _r, writer: writers.append(writer), "127.0.0.1", 0)
    link = (
        {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1]}
        if name == "modbus_tcp"
        else {"port": os.ttyname(far[1])}
    )
    driver, device = made(name, link)
    async with driver, asyncio.timeout(3):
        with pytest.raises(Unavailable, match=r"did not answer in 0\.3 s"):
            await driver.read(device, BLOCK)
    for writer in writers:
        writer.close()
    server.close()
    for fd in far:
        os.close(fd)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("modbus")])
async def test_garbage_is_malformed_and_what_follows_is_heard(name):
    module = plugins.load("edge_agent.drivers", name)
    profile = load_catalogue()[PROFILES[module.TRANSPORT]]
    good = bytes.fromhex(profile.examples[0].hex)
    heard = []
    if name == "nbiot_udp":
        port = nowhere("modbus_tcp")["port"]
        driver, _ = made(name, {"host": "127.0.0.1", "port": port})
        sender = socket.socket(type=socket.SOCK_DGRAM)

        def send(data):
            sender.sendto(data, ("127.0.0.1", port))
    else:
        far = os.openpty()
        tty.setraw(far[1])
        driver, _ = made(name, {"port": os.ttyname(far[1])})

        def send(data):
            os.write(far[0], data)

    async def listen():
        async with driver, contextlib.aclosing(driver.listen()) as items:
            async for item in items:
                heard.append(item)
                if not isinstance(item.said, Malformed):
                    return

    task = asyncio.ensure_future(listen())
    async with asyncio.timeout(5):
        while not task.done():
            send(b"\x00garbage")
            send(good)
            await asyncio.sleep(0.05)
    await task
    assert any(isinstance(item.said, Malformed) for item in heard)
    assert heard[-1].said.values == profile.examples[0].values
    if name == "nbiot_udp":
        sender.close()
    else:
        for fd in far:
            os.close(fd)
