"""What a technician types: plan, check, read and write, with and without a running agent."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from agents import start
from lines import Slave, serial_bus
from waiting import wait_until

CONFIG = """
agent = "edge-01"
area = "test"
broker = {{ host = "127.0.0.1", port = {broker} }}
outbox = {{ path = "edge-01.db" }}
[[buses]]
id = "pole"
driver = "modbus_rtu"
period_s = 1
link = {{ port = "{port}", baud = 115200 }}
[[buses.devices]]
id = "lamp-01"
profile = "openvmi_lamp_unit5"
unit = 5
[[buses.devices]]
id = "wp-01"
profile = "keller_series_30"
unit = 6
identity = "{identity}"
"""


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
    lamp = Slave("lamp-01", 5, "openvmi_lamp_unit5", {"dimming": 20.0, "supply_voltage": 229.0})
    pressure = Slave("wp-01", 6, "keller_series_30", {"pressure": 0.4})
    async with serial_bus(tmp_path, [lamp, pressure]) as link:
        config = tmp_path / "edge-01.toml"
        config.write_text(CONFIG.format(broker=free_port, port=link.port, identity="104729"))
        at = ("--config", str(config))
        agent = await start(config) if running else None
        if agent:
            await wait_until((tmp_path / "edge-01.db.sock").exists, 20)
            await wait_until(lambda: "agent_up" in (tmp_path / "edge-01.log").read_text(), 20)
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
    config.write_text(CONFIG.format(broker=1883, port="/dev/ttyUSB0", identity="104729"))
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
        ('period_s = 1\nlink = { port = "/dev/ttyUSB0", baud = 115200 }', 'period_s = 0.05\nlink = { port = "/dev/ttyUSB0", baud = 19200 }', "it fits with period_s = 0.06, or baud = 38400, or at most 1 of these 2 devices"),
        ('port = "/dev/ttyUSB0", ', "", "give either 'port' (a serial port) or 'host' and 'tcp_port' (a serial server)"),
        ('port = "/dev/ttyUSB0"', 'host = "10.0.0.9"', "'host' and 'tcp_port' go together"),
        ("baud = 115200", 'baud = 115200, format = "7E1"', "$.buses[0].link.format: no '7E1'"),
        ('profile = "openvmi_lamp_unit5"', 'profile = "openvmi_lamp_unit5"\nidentity = "X"', "'openvmi_lamp_unit5' has no serial number to check it by; leave it out"),
        ("unit = 6", "unit = 6\nperiods_s = { presure = 60 }", "'keller_series_30' says no such thing; did you mean 'pressure'?"),
        ("unit = 6", "unit = 6\nperiod_s = 0.001", "period_s: 0.001 s is not within 0.05 and 86400"),
        ("unit = 6", "unit = 5", "(5, ()) is taken by 'lamp-01'; each device has an address of its own"),
        ('area = "test"', 'area = "test"\n[commands]\nallow = [{ metric = ["dimming"] }]\n', "$.commands.allow[0].metric: unknown key; did you mean 'metrics'?"),
    ],
)  # fmt: skip
async def test_ten_mistakes_are_told_in_a_sentence_each(tmp_path, before, after, message):
    config = tmp_path / "edge.toml"
    text = CONFIG.format(broker=1883, port="/dev/ttyUSB0", identity="104729")
    config.write_text(text.replace(before, after, 1))
    code, out, err = await yemai("check", str(config))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 0
