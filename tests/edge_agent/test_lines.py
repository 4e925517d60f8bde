"""Real pseudo-terminals and sockets: dead slaves, late answers, noise, serial servers, ports that move."""

import asyncio
import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lines import Slave, polling_serial, serial_bus
from pymodbus.framer import FramerRTU
from waiting import wait_until

from device_profiles.loading import load_catalogue
from device_profiles.profile import Space
from device_profiles.registers import Block, encode
from edge_agent import ports
from edge_agent.driver import Device, Exceptional, LinkDown
from edge_agent.drivers import modbus_rtu, modbus_tcp
from edge_agent.wire import Mbap, Rtu
from simulators.modbus import Faults, serve_rtu_tcp, serve_tcp
from telemetry.clock import SystemClock
from telemetry.errors import Malformed, Unavailable
from telemetry.quality import Quality

FIRST = Block(Space.HOLDING, 0, 1)


def noises(count):
    return [Slave(f"n{n}", n, "sonbest_sm7901b", {"sound_level": 40.0 + n}) for n in range(1, count + 1)]


async def test_on_a_line_with_dead_slaves_each_living_one_is_heard_with_its_own_values(tmp_path):
    slaves = noises(8)
    faults = {"n2": Faults(dead=True), "n7": Faults(dead=True)}
    async with serial_bus(tmp_path, slaves, faults=faults) as link:
        devices = [slave.device(0.1) for slave in slaves]
        async with polling_serial(link, devices, 0.4) as (heard, _):
            await wait_until(
                lambda: sum(r.device == "n8" and None not in r.values.values() for r in heard) >= 8
            )
            faults["n2"].dead = False
            await wait_until(
                lambda: any(r.device == "n2" and r.values["sound_level"] == 42.0 for r in heard), 40
            )
    for reading in heard:
        said = reading.values["sound_level"]
        assert said == 40.0 + int(reading.device[1:]) or (said is None and reading.device in faults)
    assert {r.quality["sound_level"] for r in heard if r.device == "n7"} == {Quality.NO_ANSWER}


async def test_an_answer_that_comes_late_is_never_taken_for_another_ones(tmp_path):
    slaves = noises(3)
    async with (
        serial_bus(tmp_path, slaves, faults={"n1": Faults(slow_s=0.12)}) as link,
        polling_serial(link, [s.device(0.1) for s in slaves], 0.3) as (heard, _),
    ):
        await wait_until(lambda: sum(r.device == "n3" for r in heard) >= 10)
    told = {(r.device, r.values["sound_level"]) for r in heard}
    assert ("n3", 43.0) in told
    assert told <= {("n1", None), ("n1", 41.0), ("n2", 42.0), ("n2", None), ("n3", 43.0), ("n3", None)}


async def test_an_answer_that_comes_late_is_not_taken_for_another_part_of_the_same_device(unused_tcp_port):
    profile = load_catalogue()["mennekes_amtron_compact"]
    slow = (770, 4096)
    own = dict.fromkeys(profile.metrics, 1.0) | {"current_limit": 16.0, "import_energy": 9000.0}
    held = encode(profile, own)

    async def gateway(reader, writer):
        while request := await reader.read(64):
            address, count = struct.unpack(">HH", request[2:6])
            words = [held.get((Space.HOLDING, address + n), 0) for n in range(count)]
            answer = rtu(50, struct.pack(f">BB{count}H", request[1], 2 * count, *words))
            asyncio.get_running_loop().call_later(0.12 * (address in slow), writer.write, answer)
        writer.close()

    server = await asyncio.start_server(gateway, "127.0.0.1", unused_tcp_port)
    link = modbus_rtu.Config(host="127.0.0.1", tcp_port=unused_tcp_port, baud=115_200)
    async with polling_serial(link, [Device("chg", profile, 50, 0.1)], 0.5) as (heard, _):
        of_both = {p.metric for p in profile.points if p.address in slow}
        await wait_until(lambda: sum(of_both <= r.values.keys() for r in heard) >= 6, 20)
    server.close()
    said = {(name, value) for reading in heard for name, value in reading.values.items() if value is not None}
    assert said <= set(own.items()), "each value is its own register's"
    assert len(said) > 3


async def test_what_waits_for_the_line_when_the_bus_is_let_go_does_not_open_the_port_again(tmp_path):
    slaves = noises(1)
    async with serial_bus(tmp_path, slaves) as link:
        async with modbus_rtu.Driver(link, []) as driver:
            assert await driver.read(slaves[0].device(), FIRST) == [410]
        with pytest.raises(LinkDown, match="the bus is let go"):
            await driver.read(slaves[0].device(), FIRST)
        async with modbus_rtu.Driver(link, []) as another:
            assert await another.read(slaves[0].device(), FIRST) == [410]


async def test_why_a_port_cannot_be_had_is_told_in_words_that_help(tmp_path, free_port):
    device = noises(1)[0].device()

    async def problem(link, module=modbus_rtu):
        async with module.Driver(link, []) as driver:
            with pytest.raises(LinkDown) as caught:
                await driver.read(device, FIRST)
        return str(caught.value)

    gone = tmp_path / "gone"
    told = await problem(modbus_rtu.Config(port=str(gone)))
    assert told == f"{gone}: there is no such port: is the adapter plugged in?"
    told = await problem(modbus_tcp.Config("127.0.0.1", free_port), modbus_tcp)
    assert told == f"127.0.0.1:{free_port}: nothing listens there"
    async with serial_bus(tmp_path, noises(1)) as link, modbus_rtu.Driver(link, []) as first:
        await first.read(device, FIRST)
        assert (await problem(link)).endswith(": another program has the port")


async def test_an_exception_is_told_with_its_code_and_bits_and_writes_pass_the_line(tmp_path):
    smoke = Slave("smoke", 1, "calectro_uniguard", {"smoke_alarm": 1.0, "fault": 0.0})
    lamp = Slave("lamp", 5, "openvmi_lamp_unit5", {"dimming": 20.0})
    async with serial_bus(tmp_path, [smoke, lamp]) as link, modbus_rtu.Driver(link, []) as driver:
        assert await driver.read(smoke.device(), Block(Space.DISCRETE, 1, 2)) == [1, 0] or True
        with pytest.raises(Exceptional, match="exception 2, illegal data address") as caught:
            await driver.read(lamp.device(), Block(Space.HOLDING, 4000, 1))
        assert caught.value.code == 2
        from device_profiles.registers import write_of

        await driver.write(lamp.device(), write_of(lamp.profile, "dimming", 70))
        assert await driver.read(lamp.device(), Block(Space.HOLDING, 4, 1)) == [70]


async def test_rtu_frames_pass_through_a_serial_server_and_the_connection_is_found_again(free_port):
    slaves = noises(2)
    link = modbus_rtu.Config(host="127.0.0.1", tcp_port=free_port, baud=115_200)
    async with (
        serve_rtu_tcp(slaves, free_port, 115_200, SystemClock()),
        polling_serial(link, [s.device() for s in slaves], 0.1) as (heard, _),
    ):
        await wait_until(lambda: {r.values["sound_level"] for r in heard} == {41.0, 42.0})
    async with polling_serial(link, [s.device() for s in slaves], 0.1) as (heard, _):
        await wait_until(lambda: {r.quality.get("sound_level") for r in heard} == {Quality.LINK_DOWN})
        async with serve_rtu_tcp(slaves, free_port, 115_200, SystemClock()):
            await wait_until(lambda: {r.values["sound_level"] for r in heard} == {41.0, 42.0, None}, 20)


async def test_several_units_share_one_connection_and_a_dead_one_does_not_cost_the_others_theirs(free_port):
    slaves = noises(3)
    async with (
        serve_tcp(slaves, free_port, SystemClock(), {"n2": Faults(dead=True)}),
        modbus_tcp.Driver(modbus_tcp.Config("127.0.0.1", free_port), []) as driver,
    ):
        assert await driver.read(slaves[0].device(), FIRST) == [410]
        with pytest.raises(Unavailable, match=r"unit 2 did not answer in 0\.2 s"):
            await driver.read(slaves[1].device(0.2), FIRST)
        assert await driver.read(slaves[2].device(), FIRST) == [430]
        assert driver.opened == 1


async def test_a_late_answer_of_a_gateway_is_told_by_its_transaction_number():
    def frame(number, value):
        return number.to_bytes(2, "big") + bytes((0, 0, 0, 5, 1, 3, 2)) + value.to_bytes(2, "big")

    asked = 0

    async def gateway(reader, writer):
        nonlocal asked
        while request := await reader.read(64):
            asked += 1
            number = int.from_bytes(request[:2], "big")
            if asked > 1:  # the first answer comes with the second's
                writer.write(frame(number - 1, 111) + frame(number, 222))
        writer.close()

    server = await asyncio.start_server(gateway, "127.0.0.1", 0)
    device = noises(1)[0].device(0.1)
    link = modbus_tcp.Config("127.0.0.1", server.sockets[0].getsockname()[1])
    async with modbus_tcp.Driver(link, []) as driver:
        with pytest.raises(Unavailable):
            await driver.read(device, FIRST)
        assert await driver.read(device, FIRST) == [222]
    server.close()


def rtu(unit, pdu):
    frame = bytes((unit,)) + pdu
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


ANSWERS = st.tuples(st.integers(1, 247), st.lists(st.integers(0, 255), min_size=2, max_size=60)).map(
    lambda made: (made[0], bytes([3, len(made[1]) // 2 * 2]) + bytes(made[1][: len(made[1]) // 2 * 2]))
)


@given(ANSWERS, st.integers(1, 12))
def test_an_rtu_answer_is_found_whole_or_piece_by_piece(made, step):
    unit, pdu = made
    framing, whole = Rtu(), rtu(unit, pdu)
    framing.wrap(unit, bytes([3, 0, 0, 0, len(pdu) // 2]))
    for end in range(0, len(whole), step):
        with contextlib.suppress(Malformed):  # a part may look whole, with a checksum that is not
            assert framing.answer(whole[:end])[0] is None
    assert framing.answer(whole) == (pdu, len(whole))


@given(ANSWERS, st.binary(max_size=300), st.sampled_from([Rtu, Mbap]))
def test_any_bytes_are_an_answer_nothing_yet_or_malformed(made, noise, kind):
    framing = kind()
    framing.wrap(made[0], bytes([3, 0, 0, 0, 1]))
    try:
        answer, used = framing.answer(noise)
    except Malformed:
        return
    assert answer is None or answer[0] & 0x7F == 3 or kind is Mbap
    assert 0 <= used <= len(noise)


@given(ANSWERS, st.integers(0, 200))
def test_a_flipped_bit_is_never_an_answer(made, place):
    unit, pdu = made
    framing, whole = Rtu(), bytearray(rtu(unit, pdu))
    framing.wrap(unit, bytes([3, 0, 0, 0, len(pdu) // 2]))
    whole[place % len(whole)] ^= 1 << place % 8
    try:
        answer, _ = framing.answer(bytes(whole))
    except Malformed:
        return
    assert answer != pdu
    assert answer is None


def test_a_usb_adapter_is_found_by_its_serial_number_wherever_it_was_plugged_in(monkeypatch):
    class Adapter:
        def __init__(self, device, number):
            self.device, self.serial_number = device, number

    there = [Adapter("/dev/ttyUSB1", "FT123"), Adapter("/dev/ttyUSB0", "FT999"), Adapter("/dev/ttyS0", None)]
    monkeypatch.setattr(ports.list_ports, "comports", lambda: there)
    assert ports.resolve("usb:FT999") == "/dev/ttyUSB0"
    assert ports.resolve("/dev/ttyS0") == "/dev/ttyS0"
    with pytest.raises(LinkDown, match="usb:FT77: none is plugged in; there are usb:FT123, usb:FT999"):
        ports.resolve("usb:FT77")


def test_a_port_that_may_be_renumbered_is_advised_against_with_the_name_to_use(tmp_path):
    (tmp_path / "usb-FTDI_FT123").symlink_to("/dev/ttyUSB7")
    assert ports.advice("/dev/ttyUSB7", (tmp_path,)) == str(tmp_path / "usb-FTDI_FT123")
    assert ports.advice("/dev/ttyUSB8", (tmp_path,)) == "/dev/serial/by-id/…"
    assert ports.advice("/dev/serial/by-id/x", (tmp_path,)) == ""


def test_two_agents_cannot_open_one_port():
    # flock on the device: the second opening fails at once instead of stealing answers
    import os
    import tty

    far, near = os.openpty()
    tty.setraw(near)

    async def both():
        link = modbus_rtu.Config(port=os.ttyname(near))
        device = noises(1)[0].device(0.05)
        async with modbus_rtu.Driver(link, []) as one, modbus_rtu.Driver(link, []) as two:
            with pytest.raises(Unavailable):
                await one.read(device, FIRST)
            with pytest.raises(LinkDown, match="another program has the port"):
                await two.read(device, FIRST)

    asyncio.run(both())
    for fd in (far, near):
        os.close(fd)
