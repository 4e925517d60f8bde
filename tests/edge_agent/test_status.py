"""What a technician sees of a running agent."""

import asyncio
import json
import os
import socket
import sys

import pytest
from agents import NOWHERE, start, stop, write_config
from waiting import wait_until

from edge_agent.config import load_config
from edge_agent.local import Busy, answering, ask, default_socket
from edge_agent.watchdog import interval_s, notify
from telemetry.errors import Refused, Unavailable


async def yemai(*words):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from yemai.cli import main; main()", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "YEMAI_LANG": "en", "COLUMNS": "160"},
    )  # fmt: skip
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_running_agent_tells_of_its_devices_its_outbox_and_its_way(tmp_path, mosquitto, cloud):
    config = write_config(tmp_path, mosquitto.port, NOWHERE)
    code, _, err = await yemai("edge", "status", "--config", str(config))
    assert (code, err) == (
        2,
        f"yemai: no agent answers on {tmp_path}/edge-01.db.sock: No such file or directory; is it running, and may you read the socket?\n",
    )
    agent = await start(config)
    await wait_until(lambda: len(cloud.readings) >= 3, 20)
    code, out, _ = await yemai("edge", "status", "--config", str(config), "--json")
    told = json.loads(out)
    assert code == 0
    (device,) = told["buses"][0]["devices"]
    assert device["id"] == "noise-01"
    assert device["quality"] == "link_down"
    assert device["bad"] >= 3
    assert device["age_s"] < 5
    assert told["uplink"]["up"] is True
    assert told["outbox"]["counters"]["made"] >= 3
    code, out, err = await yemai("edge", "status", "--config", str(config), "--once")
    assert (code, err) == (0, "")
    assert "noise-01" in out
    assert "link_down" in out
    assert f"mqtt → 127.0.0.1:{mosquitto.port}" in out
    again = await start(config)
    assert await again.wait() == 1, "one outbox, one agent"
    assert "another agent with the same outbox is running" in config.with_suffix(".log").read_text()
    assert await stop(agent) == 0
    assert not load_config(config).socket.exists()


async def test_the_retained_status_says_how_long_the_buffer_lasts(tmp_path, mosquitto):
    import aiomqtt

    config = write_config(tmp_path, mosquitto.port, NOWHERE)
    agent = await start(config)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
        await client.subscribe("yemai/v1/test/edge-01/status", 1)
        async with asyncio.timeout(10):
            told = json.loads((await anext(aiter(client.messages))).payload)
    assert told["online"] is True
    assert told["metrics"]["outbox_bytes"] >= 0
    await stop(agent)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
        await client.subscribe("yemai/v1/test/edge-01/status", 1)
        async with asyncio.timeout(10):
            told = json.loads((await anext(aiter(client.messages))).payload)
    assert told["online"] is False, "who is stopped in order is not shown as running"


def test_a_socket_name_that_is_too_long_is_made_short(tmp_path):
    assert default_socket(tmp_path / "x.db") == tmp_path / "x.db.sock"
    deep = tmp_path / ("a" * 120) / "x.db"
    assert len(str(default_socket(deep))) < 60
    assert default_socket(deep) == default_socket(deep)
    assert default_socket(deep) != default_socket(deep.with_name("y.db"))


async def test_a_socket_left_by_a_killed_agent_is_taken_over_and_one_in_use_is_not(tmp_path):
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def word():
        return b'"hello"'

    async with answering(path, {"ping": word}):
        assert await ask(path, "ping") == b'"hello"\n'
        assert await ask(path, "nonsense") == b"{}\n"
        with pytest.raises(Refused, match="another agent"):
            async with answering(path, {}):
                pass
    assert not path.exists()


async def test_an_agent_that_gives_no_answer_is_not_taken_for_none(tmp_path):
    path = tmp_path / "s.sock"

    async def stuck():
        raise Unavailable("the disk")

    async with answering(path, {"ping": stuck, "status": stuck}):
        with pytest.raises(Busy, match="an agent runs here and gives no answer; its log tells why"):
            await ask(path, "status")
        with pytest.raises(Refused, match="another agent"):
            async with answering(path, {}):
                pass


def test_systemd_hears_that_the_agent_lives(tmp_path, monkeypatch):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify("READY=1")
        assert systemd.recv(100) == b"READY=1"
    notify("READY=1")  # nobody listens any more: no reason to stop
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert interval_s() == 15
    monkeypatch.delenv("WATCHDOG_USEC")
    assert interval_s() is None
