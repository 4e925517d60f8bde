"""The simulators, asked by clients that nobody here wrote."""

import asyncio
import re

import pytest
from ports import free_port as another_port
from pymodbus.client import AsyncModbusTcpClient
from waiting import wait_until

from simulators.app import End, RunPlan, serve
from simulators.district import load_district


@pytest.fixture
async def district(tmp_path, free_port):
    """The whole district, with its buses on free ports and pseudo-terminals."""
    whole = load_district()
    ends = {bus.id: End(port=another_port(), link=tmp_path / bus.id) for bus in whole.buses}
    stop = asyncio.Event()
    running = asyncio.ensure_future(serve(whole, RunPlan(7, free_port, ends), stop=stop))

    async def is_up():
        links = (tmp_path / b.id for b in whole.buses if b.kind in ("modbus_rtu", "serial_frame"))
        return running.done() or (all(link.exists() for link in links) and await answers(free_port))

    assert await wait_until(is_up)
    yield ends, f"http://127.0.0.1:{free_port}"
    stop.set()
    await running


async def answers(port):
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def truth(http, url, device, since=0):
    async with http.get(f"{url}/truth/{device}?since_ms={since}") as answer:
        return await answer.json()


async def shell(*command):
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    return [
        float(found) for found in re.findall(r"^\[\d+\]:\s+(-?[\d.]+)", out.decode(), re.MULTILINE)
    ], out.decode()


async def test_mbpoll_reads_over_tcp_what_the_truth_says(district, mbpoll, http):
    ends, url = district
    (raw,), _ = await shell(
        mbpoll,
        "-m",
        "tcp",
        "-p",
        str(ends["e4-tcp"].port),
        "-a",
        "1",
        "-0",
        "-r",
        "0",
        "-c",
        "1",
        "-1",
        "-q",
        "127.0.0.1",
    )
    seen = {served["values"]["residual_current"] for served in await truth(http, url, "efm-03")}
    assert raw in seen


async def test_mbpoll_reads_over_a_serial_line_what_the_truth_says(district, mbpoll, http):
    ends, url = district
    words, out = await shell(
        mbpoll,
        "-m",
        "rtu",
        "-b",
        "19200",
        "-P",
        "none",
        "-a",
        "2",
        "-0",
        "-t",
        "3",
        "-r",
        "9",
        "-c",
        "2",
        "-1",
        "-q",
        str(ends["e1-rtu"].link),
    )
    assert len(words) == 2, out
    seen = {(s["values"]["temperature"], s["values"]["voltage_l1"]) for s in await truth(http, url, "chg-06")}
    assert (words[0] / 10, words[1]) in seen


async def test_a_hole_is_refused_and_a_missing_unit_is_silent(district):
    ends, _ = district
    async with AsyncModbusTcpClient("127.0.0.1", port=ends["e4-tcp"].port, retries=0, timeout=0.5) as client:
        assert (await client.read_holding_registers(5000, device_id=1)).isError()
        with pytest.raises(Exception, match="No response"):
            await client.read_holding_registers(0, device_id=77)


async def test_a_written_set_point_reads_back(district):
    ends, _ = district
    async with AsyncModbusTcpClient("127.0.0.1", port=ends["e1-tcp"].port, retries=0, timeout=2) as client:
        await client.write_registers(2301, [10], device_id=255)
        answer = await client.read_holding_registers(2300, count=2, device_id=255)
        assert answer.registers == [1, 10]


async def test_scenarios_are_started_and_told_over_http(district, http):
    _, url = district
    async with http.post(f"{url}/scenarios/charger_overheat") as answer:
        assert (answer.status, (await answer.json())["error"]) == (
            404,
            "no scenario 'charger_overheat'; did you mean 'charger_overheats'?",
        )
    async with http.post(f"{url}/scenarios/charger_overheats") as answer:
        assert answer.status == 202

    async def crossed():
        async with http.get(f"{url}/scenarios/runs") as told:
            return (await told.json())[0]["expect"][0]["changed_ms"]

    assert await wait_until(crossed, 15)
    async with http.post(f"{url}/scenarios/charger_overheats") as answer:
        assert answer.status == 409
