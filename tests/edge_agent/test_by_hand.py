"""What a technician types: plan, check, read and write, with and without a running agent."""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from agents import cabinet, cabinet_toml, sleeping_valve, stop, up
from lines import Slave
from waiting import wait_until

from edge_agent.config import load_config
from edge_agent.local import answering
from telemetry.errors import Refused, Unavailable
from yemai.commands import _edge_hand


def pole():
    return (
        Slave("lamp-01", 5, "openvmi_lamp_unit5", {"dimming": 20.0, "supply_voltage": 229.0}),
        Slave("wp-01", 6, "keller_series_30", {"pressure": 0.4}, identity="104729"),
    )


async def yemai(*words, lang="en"):
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("yemai")),
        "edge",
        *words,
        stdout=-1,
        stderr=-1,
        env={**os.environ, "YEMAI_LANG": lang},
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode().strip(), err.decode().strip()


@pytest.mark.parametrize("running", [False, True])
async def test_a_value_is_read_and_written_by_hand_with_and_without_an_agent(tmp_path, free_port, running):
    lamp, pressure = pole()
    async with (
        cabinet(tmp_path, [lamp, pressure], free_port) as config,
        up(config) if running else contextlib.nullcontext() as agent,
    ):
        at = ("--config", str(config))
        if agent:
            await wait_until((tmp_path / "edge-01.db.sock").exists, 20)
        assert await yemai("read", "lamp-01", "supply_voltage", *at) == (
            0,
            "lamp-01 supply_voltage: 229 V (GOOD)",
            "",
        )
        assert await yemai("read", "wp-01", "pressure", *at) == (0, "wp-01 pressure: 0.4 MPa (GOOD)", "")
        told = await yemai("write", "lamp-01", "dimming", "60", *at)
        assert told == (0, "lamp-01 dimming was written and reads back 60", "")
        assert lamp.values["dimming"] == 60.0
        code, _, err = await yemai("write", "lamp-01", "dimming", "160", *at)
        assert (code, err) == (2, "yemai: dimming = 160 % is outside 0 to 100")
        code, _, err = await yemai("read", "lamp-1", "dimming", *at)
        assert (code, err) == (2, "yemai: no device 'lamp-1' in this file; did you mean 'lamp-01'?")
        pressure.attributes["serial_number"] = "7"
        pressure.set("pressure", 9.0)
        if agent:
            agent.terminate()
            await agent.wait()
        code, _, err = await yemai("read", "wp-01", "pressure", *at)
        assert code == 2
        assert "wrong device: its serial number is '7', the configuration says '104729'" in err


async def test_the_plan_is_printed_for_people_and_for_programs(tmp_path):
    config = tmp_path / "edge.toml"
    config.write_text(cabinet_toml(pole(), "/dev/ttyUSB0", 1883))
    code, out, _ = await yemai("plan", "--config", str(config), lang="zh")
    assert code == 0
    assert "总线占用" in out
    _, out, _ = await yemai("plan", "--config", str(config))
    assert "bus utilisation" in out
    _, out, _ = await yemai("plan", "--config", str(config), "--json")
    (bus,) = json.loads(out)
    assert bus["utilisation"] == pytest.approx(
        sum(p["milliseconds"] / 1000 / p["period_s"] for p in bus["polls"]), rel=0.01
    )
    code, out, _ = await yemai("check", str(config))
    assert code == 0
    assert "/dev/ttyUSB0 may be another adapter after a reboot; write /dev/serial/by-id/…" in out


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("baud = 115200", "baud = 300", "$.buses[0]: 2 devices at 300 baud need 2668 ms of the line in every second, 267 %; at most 92 % can be planned"),
        ('period_s = 1\ntimeout_s = 0.3\nlink = { port = "/dev/ttyUSB0", baud = 115200 }', 'period_s = 0.05\nlink = { port = "/dev/ttyUSB0", baud = 19200 }', "it fits with period_s = 0.06, or baud = 38400, or at most 1 of these 2 devices"),
        ('port = "/dev/ttyUSB0", ', "", "give either 'port' (a serial port) or 'host' and 'tcp_port' (a serial server)"),
        ('port = "/dev/ttyUSB0"', 'host = "10.0.0.9"', "'host' and 'tcp_port' go together"),
        ("baud = 115200", 'baud = 115200, format = "7E1"', "$.buses[0].link.format: no '7E1'"),
        ('profile = "openvmi_lamp_unit5"', 'profile = "openvmi_lamp_unit5"\nidentity = "X"', "'openvmi_lamp_unit5' has no serial number to check it by; leave it out"),
        ("unit = 6", "unit = 6\nperiods_s = { presure = 60 }", "'keller_series_30' says no such thing; did you mean 'pressure'?"),
        ("unit = 6", "unit = 6\nperiod_s = 0.001", "period_s: 0.001 s is not within 0.05 and 86400"),
        ("unit = 6", "unit = 5", "line 15: $.buses[0].devices[1]: unit 5 is taken by 'lamp-01'; each device has an address of its own"),
        ('area = "test"', 'area = "test"\ncommands = { allow = [{ metric = ["dimming"] }] }', "$.commands.allow[0].metric: unknown key; did you mean 'metrics'?"),
    ],
)  # fmt: skip
async def test_ten_mistakes_are_told_in_a_sentence_each(tmp_path, before, after, message):
    config = tmp_path / "edge.toml"
    text = cabinet_toml(pole(), "/dev/ttyUSB0", 1883, period_s=1)
    config.write_text(text.replace(before, after, 1))
    code, out, err = await yemai("check", str(config))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 0


TEXTS = '[commands]\ntexts = [{ templates = ["限速 {number} km/h"] }]\n'


def street():
    return Slave("relay-01", 5, "waveshare_relay_8ch", {}), Slave("led-01", 6, "text_block_gbk", {})


async def hand(config, *words, force=False):
    """Write by hand, in this process: what the command prints, or its complaint."""
    try:
        return await _edge_hand.write(config, *words, force=force)
    except Refused as error:
        return f"refused: {error}"


async def test_without_an_agent_a_write_holds_the_interlocks_that_the_agent_remembers(
    tmp_path, free_port, unused_udp_port
):
    relay, led = street()
    more = TEXTS + sleeping_valve(unused_udp_port)
    async with cabinet(tmp_path, [relay, led], free_port, more) as config:
        at = ("--config", str(config))
        told = await hand(config, "relay-01", "relay_1", "1")
        assert "'relay-01' must be spared, and there is no" in told
        assert "insist with --force-without-agent" in told
        assert relay.writes == []
        async with up(config):
            assert "reads back 1" in await hand(config, "relay-01", "relay_1", "1")
            assert "accepted" in await hand(config, "valve-01", "valve_open", "0")
        told = await yemai("write", "relay-01", "relay_1", "0", *at)
        assert told == (0, "relay-01 relay_1 was written and reads back 0", "")
        with contextlib.closing(sqlite3.connect(tmp_path / "edge-01.db")) as db:
            (note,) = db.execute("SELECT value FROM outbox_meta WHERE key = 'note:commands'").fetchone()
            memory = json.loads(note)
            memory["acted"]["relay-01/relay_1"] = [int(time.time() * 1000) - 60_000] * 120
            db.execute("UPDATE outbox_meta SET value = ? WHERE key = 'note:commands'", (json.dumps(memory),))
            db.commit()
        assert sum(known["state"] == "verified" for known in memory["ids"].values()) == 2, (
            "on the agent's record"
        )
        told = await hand(config, "relay-01", "relay_1", "1")
        assert "relay-01/relay_1 has acted 120 times within an hour, 120 are allowed" in told
        count = len(relay.writes)
        told = await hand(config, "relay-01", "relay_1", "1", force=True)
        assert told == "relay-01 relay_1 was written and reads back 1"
        assert len(relay.writes) == count + 1


async def test_beside_an_agent_that_gives_no_answer_nothing_is_written_a_second_time(
    tmp_path, free_port, monkeypatch
):
    async def stuck(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(_edge_hand, "_PATIENCE_MS", 100)
    lamp, pressure = pole()
    async with cabinet(tmp_path, [lamp, pressure], free_port) as config:
        async with answering(load_config(config).socket, {"write": stuck, "read": stuck}):
            told = await hand(config, "lamp-01", "dimming", "60")
            with pytest.raises(Unavailable, match="gives no answer"):
                await _edge_hand.read(config, "lamp-01", "dimming")
    assert "gives no answer; its log tells why. It may have written all the same: read dimming before" in told
    assert lamp.writes == []


@pytest.mark.parametrize("running", [False, True])
async def test_a_screen_is_written_by_hand_and_a_valve_that_sleeps_when_an_agent_runs(
    tmp_path, free_port, unused_udp_port, running
):
    relay, led = street()
    more = TEXTS + sleeping_valve(unused_udp_port)
    async with cabinet(tmp_path, [relay, led], free_port, more) as config:
        at = ("--config", str(config))
        async with up(config) as agent:
            if not running:
                await stop(agent)
            told = await hand(config, "led-01", "text", "限速 40 km/h")
            assert told == "led-01 text was written and reads back '限速 40 km/h'"
            assert await yemai("read", "led-01", "text", *at) == (0, "led-01 text: '限速 40 km/h'", "")
            assert await hand(config, "led-01", "text", "今晚打折") == (
                "refused: '今晚打折' is none of the texts that 'led-01' may show: '限速 {number} km/h'; see [[commands.texts]]"
            )
            told = await hand(config, "led-01", "brightness", "bright")
            assert told == "refused: led-01 brightness: 'bright' is no number"
            told = await hand(config, "valve-01", "valve_open", "0")
            if running:
                assert "accepted; it goes out when the device next wakes" in told
            else:
                assert (
                    told
                    == "refused: 'valve-01' sleeps: only a running agent can tell it something when it wakes"
                )
    assert led.attributes["text"] == "限速 40 km/h"
