"""Whatever is sent to a site as its configuration, the site comes back and says what became of it."""

import asyncio
import contextlib
import json
import os
import subprocess
from collections import Counter

import aiomqtt
import pytest
from agents import AREA, Cloud, start, stop, write_config
from lines import Slave, running, serial_bus
from ports import free_port
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from waiting import wait_until

from edge_agent import app
from edge_agent.remote import MOST_STARTS, Remote, Wanted
from telemetry import topics
from telemetry.codecs import json as wire
from telemetry.errors import ConfigError, Refused
from telemetry.readings import ConfigState, DesiredConfig
from yemai.commands._edge_hand import read as read_by_hand
from yemai.commands._edge_push import Push
from yemai.commands._edge_push import push as push_files

BUS = """
[[buses]]
id = "b1"
driver = "modbus_tcp"
period_s = 0.2
link = {{ host = "127.0.0.1", port = {port} }}
[[buses.devices]]
id = "{device}"
profile = "sonbest_sm7901b"
unit = 1
"""


@pytest.fixture
async def slave():
    port = free_port()
    server = ModbusTcpServer(
        SimDevice(1, [SimData(0, values=536, datatype=DataType.REGISTERS)]), address=("127.0.0.1", port)
    )
    await server.serve_forever(background=True)
    yield port
    await server.shutdown()


class Office:
    """The cloud's side: pushes configurations, reads the retained states."""

    def __init__(self, port):
        self.port, self.status = port, {}

    async def run(self):
        async with aiomqtt.Client("127.0.0.1", self.port, identifier="office", timeout=5) as self.client:
            await self.client.subscribe(f"yemai/v1/{AREA}/+/status", 1)
            async for message in self.client.messages:
                told = json.loads(message.payload)
                self.status[told["agent"]] = told

    async def push(self, agent, version, text, **more):
        desired = wire.encode(DesiredConfig(version, text, **more))
        await self.client.publish(topics.config(AREA, agent), desired, 1, retain=True)

    def state(self, agent):
        return self.status.get(agent, {}).get("config") or {}


@contextlib.asynccontextmanager
async def agents(paths):
    """Run whole agents in this process."""
    end = asyncio.Event()
    tasks = [asyncio.ensure_future(app.run(path, stop=end)) for path in paths]
    try:
        yield tasks
    finally:
        end.set()
        await asyncio.gather(*tasks)


async def test_twenty_agents_that_are_sent_a_bad_configuration_all_come_back(tmp_path, mosquitto, slave):
    names = [f"edge-{n:02}" for n in range(20)]
    paths = [
        write_config(tmp_path, mosquitto.port, BUS.format(port=slave, device=f"n-{name}"), agent=name)
        for name in names
    ]
    bad = [
        lambda text: text.replace("period_s = 0.2", "period_s = = 2"),
        lambda text: text.replace("sonbest_sm7901b", "sonbest_sm7901c"),
        lambda text: text.replace(f"port = {mosquitto.port}", f"port = {free_port()}"),  # cuts itself off
        lambda text: text.replace(f"port = {slave} }}", f"port = {free_port()} }}"),  # talks to nobody
        lambda text: text.replace('agent = "edge-', 'agent = "gone-'),
    ]
    cloud, office = Cloud(mosquitto.port), Office(mosquitto.port)
    async with running(cloud.run()), running(office.run()), agents(paths) as tasks:

        def heard():
            return Counter(r["device"] for r in cloud.readings)

        await wait_until(lambda: len(heard()) == 20 and len(office.status) == 20, 30, "all to report")
        for n, (name, path) in enumerate(zip(names, paths, strict=True)):
            await office.push(name, "v2", bad[n % 5](path.read_text()), confirm_s=3.0)
        wanted = {"refused", "rolled_back"}
        await wait_until(
            lambda: all(office.state(n).get("state") in wanted for n in names), 40, "20 verdicts"
        )
        before = heard()
        await wait_until(
            lambda: all(heard()[f"n-{name}"] >= before[f"n-{name}"] + 3 for name in names), 30, "20 to go on"
        )
        assert not any(task.done() for task in tasks)
        assert all(office.status[name]["online"] for name in names)
    for n, name in enumerate(names):
        state = office.state(name)
        assert state["wanted"] == "v2"
        assert state.get("running", "") == "", "the site's own file"
        assert state["state"] == ("rolled_back" if n % 5 == 2 else "refused"), state
    errors = [office.state(name)["error"] for name in names[:5]]
    assert "not TOML" in errors[0]
    assert "did you mean 'sonbest_sm7901b'?" in errors[1]
    assert "the uplink did not come back within 3 s" in errors[2]
    assert "n-edge-03 on b1 answers today and would not" in errors[3]
    assert "$.agent: 'gone-04' is not this agent's 'edge-04'" in errors[4]
    assert cloud.conflicts == []


async def test_a_good_configuration_is_in_force_after_its_trial_and_after_a_restart(
    tmp_path, mosquitto, slave
):
    path = write_config(tmp_path, mosquitto.port, BUS.format(port=slave, device="old"))
    better = path.read_text().replace('id = "old"', 'id = "new"')
    cloud, office = Cloud(mosquitto.port), Office(mosquitto.port)
    async with running(cloud.run()), running(office.run()):
        async with agents([path]):
            await wait_until(lambda: cloud.readings and office.status, 20)
            await office.push("edge-01", "v7", better, confirm_s=20.0)
            await wait_until(lambda: office.state("edge-01").get("running") == "v7", 20, "v7 to be in force")
            await wait_until(lambda: cloud.readings[-1]["device"] == "new", 20)
        count = len(cloud.readings)
        async with agents([path]):
            await wait_until(lambda: len(cloud.readings) > count, 20)
            assert {r["device"] for r in cloud.readings[count:]} == {"new"}
            assert office.state("edge-01") == {"running": "v7", "wanted": "v7"}
            assert (await read_by_hand(path, "new", "sound_level")).value == 53.6
            with pytest.raises(Refused, match="no device 'old'"):
                await read_by_hand(path, "old", "sound_level")
            await office.push("edge-01", "v8", "", confirm_s=20.0)  # the site's own file again
            await wait_until(lambda: cloud.readings[-1]["device"] == "old", 20)
    assert path.read_text() == better.replace('id = "new"', 'id = "old"'), (
        "the site's own file is not touched"
    )


async def test_a_crash_loop_after_a_new_configuration_ends_with_the_old_one(tmp_path, mosquitto, slave):
    path = write_config(tmp_path, mosquitto.port, BUS.format(port=slave, device="d"))
    remote = Remote(path)
    cut_off = path.read_text().replace(f"port = {mosquitto.port}", f"port = {free_port()}")
    wanted = remote.judge(wire.encode(DesiredConfig("v3", cut_off, confirm_s=600.0)))
    assert isinstance(wanted, Wanted)
    remote.begin_trial(wanted)
    cloud, office = Cloud(mosquitto.port), Office(mosquitto.port)
    async with running(cloud.run()), running(office.run()):
        starts = tmp_path / "edge-01.db.config" / "trial.json"
        for n in range(MOST_STARTS):
            agent = await start(path)
            await wait_until(lambda n=n: json.loads(starts.read_text())["starts"] == n + 1, 20)
            agent.kill()
            await agent.wait()
        agent = await start(path)
        await wait_until(lambda: cloud.readings, 20, "the old configuration")
        await wait_until(lambda: office.state("edge-01"), 20)
        assert office.state("edge-01")["state"] == "rolled_back"
        assert f"started {MOST_STARTS} times" in office.state("edge-01")["error"]
        await stop(agent)


def test_what_was_condemned_is_not_tried_again_and_what_is_new_is(tmp_path):
    path = write_config(tmp_path, 1, BUS.format(port=1, device="d"))
    bad = wire.encode(DesiredConfig("v2", "nonsense ="))
    assert Remote(path).judge(bad).state == "refused"
    assert Remote(path).judge(bad) is None, "the broker hands it out again at every connect"
    assert Remote(path).choose().state.state == "refused", "still visible after a restart"
    assert Remote(path).judge(b"") is None
    assert Remote(path).judge(b"\xff\x00").state == "refused"
    good = wire.encode(DesiredConfig("v3", path.read_text()))
    assert isinstance(Remote(path).judge(good), Wanted)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = " + "[" * 5000, "not TOML that can be read: maximum recursion depth exceeded"),
        ("a = 1" + "0" * 5000, "not TOML that can be read: Exceeds the limit"),
        ("[judgement.inline]\nnoise_monitor = '" + "[" * 9000 + "'\n", "$.judgement.inline.noise_monitor: "),
    ],
    ids=["brackets", "digits", "rules"],
)
def test_a_configuration_that_breaks_its_reader_is_refused_like_any_other(tmp_path, text, told):
    path = write_config(tmp_path, 1, BUS.format(port=1, device="d"))
    judged = Remote(path).judge(wire.encode(DesiredConfig("v2", path.read_text() + text)))
    assert judged.state == "refused"
    assert told in judged.error


def test_a_configuration_that_cannot_even_be_judged_ends_nothing(tmp_path, monkeypatch):
    path = write_config(tmp_path, 1, BUS.format(port=1, device="d"))
    remote, text = Remote(path), path.read_text()
    monkeypatch.setattr("edge_agent.remote.load_config", lambda *_: 1 / 0)
    assert remote.judge(wire.encode(DesiredConfig("v2", text))).error == (
        "cannot be judged: ZeroDivisionError('division by zero')"
    )


def test_the_sites_own_file_is_gone_back_to_though_notepad_has_saved_it(tmp_path):
    path = write_config(tmp_path, 1, BUS.format(port=1, device="d"))
    remote = Remote(path)
    path.write_text(path.read_text(), "utf-8-sig")
    assert isinstance(remote.judge(wire.encode(DesiredConfig("v2", ""))), Wanted)
    path.write_bytes(b"\xff")
    assert "utf-8" in remote.judge(wire.encode(DesiredConfig("v3", ""))).error


def test_a_trial_that_was_cut_short_by_a_power_cut_is_no_trial(tmp_path):
    path = write_config(tmp_path, 1, BUS.format(port=1, device="d"))
    remote = Remote(path)
    remote.begin_trial(remote.judge(wire.encode(DesiredConfig("v2", path.read_text()))))
    (tmp_path / "edge-01.db.config" / "trial.json").write_bytes(b'{"version": "v')
    assert remote.choose().state == ConfigState()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file system that is full: run as root")
def test_a_full_disk_refuses_a_configuration_and_the_agent_goes_on(small_disk):
    path = write_config(small_disk, 1, BUS.format(port=1, device="d"))
    remote = Remote(path)
    wanted = remote.judge(wire.encode(DesiredConfig("v2", path.read_text())))
    (small_disk / "filler").write_bytes(bytes(8))
    with contextlib.suppress(OSError), (small_disk / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(Exception, match="No space left"):
        remote.begin_trial(wanted)
    assert remote.judge(wire.encode(DesiredConfig("v3", "nonsense ="))).state == "refused"
    assert remote.choose().config.agent == "edge-01"


async def push(tmp_path, port, path, text, **wanted):
    """Push as ``yemai edge push`` does; return whether it was taken, and what was said."""
    (tmp_path / "broker.toml").write_text(f'[broker]\nhost = "127.0.0.1"\nport = {port}\n')
    wanted_file, said = path.with_name(f"wanted-{path.name}"), []
    wanted_file.write_text(text)
    well = await push_files(tmp_path / "broker.toml", [wanted_file], Push(**wanted), said.append)
    return well, said


async def test_an_operator_pushes_a_configuration_sees_what_differs_and_what_became_of_it(
    tmp_path, mosquitto, slave
):
    path = write_config(tmp_path, mosquitto.port, BUS.format(port=slave, device="old"))
    text = path.read_text()
    cloud = Cloud(mosquitto.port)
    async with running(cloud.run()), agents([path]):
        await wait_until(lambda: cloud.readings, 20)
        good = text.replace('id = "old"', 'id = "new"')
        well, said = await push(tmp_path, mosquitto.port, path, good, version="v2", wait_s=20.0)
        assert (well, said) == (
            True,
            [
                "test/edge-01: online; runs the file on its own disk",
                "  nothing was pushed to it before",
                "test/edge-01: pushed v2",
                "test/edge-01: v2 is in force",
            ],
        )
        await wait_until(lambda: cloud.readings[-1]["device"] == "new", 20)
        silent = good.replace(f"port = {slave} }}", f"port = {free_port()} }}")
        well, said = await push(tmp_path, mosquitto.port, path, silent, version="v3", wait_s=20.0)
        assert not well
        assert "test/edge-01: online; runs v2" in said
        assert f'  -link = {{ host = "127.0.0.1", port = {slave} }}' in said
        assert said[-1].startswith("test/edge-01: v3 was refused: new on b1 answers today and would not")
        cut_off = good.replace(f"port = {mosquitto.port}", f"port = {free_port()}")
        well, said = await push(
            tmp_path, mosquitto.port, path, cut_off, version="v4", wait_s=30.0, confirm_s=2.0
        )
        assert not well
        assert "test/edge-01: v4 was rolled back: the uplink did not come back within 2 s" in said[-1]
        _, said = await push(tmp_path, mosquitto.port, path, good, only_show=True)
        assert "  v4: was rolled back the uplink did not come back within 2 s" in said[1]


async def test_a_districts_own_rules_are_pushed_with_the_configuration(tmp_path, mosquitto, slave):
    path = write_config(tmp_path, mosquitto.port, BUS.format(port=slave, device="noise-01"))
    packs = tmp_path / "packs"
    packs.mkdir()
    (packs / "noise_monitor.yaml").write_text("rules: []\n")
    office = Office(mosquitto.port)
    async with running(office.run()), agents([path]):
        await wait_until(lambda: office.status, 20)
        well, said = await push(
            tmp_path, mosquitto.port, path, path.read_text(), version="v2", wait_s=20.0, packs=packs
        )
        assert well, said
        (active,) = tmp_path.glob("*.config/active.toml")
        assert "noise_monitor = '''\nrules: []\n'''" in active.read_text()
    (packs / "noise_monitor.yaml").write_text("rules: [{id: noise_monitor.x}]\n")
    with pytest.raises(ConfigError, match=r"judgement\.inline\.noise_monitor"):
        await push(tmp_path, mosquitto.port, path, path.read_text(), packs=packs)


async def test_a_configuration_that_is_wrong_is_pushed_to_nobody(tmp_path, mosquitto, slave):
    path = write_config(tmp_path, mosquitto.port, BUS.format(port=slave, device="old"))
    office = Office(mosquitto.port)
    async with running(office.run()):
        wrong = path.read_text().replace("sonbest_sm7901b", "sonbest_sm7901c")
        with pytest.raises(ConfigError, match="did you mean 'sonbest_sm7901b'"):
            await push(tmp_path, mosquitto.port, path, wrong)
        with pytest.raises(ConfigError, match="cannot be read"):
            await push_files(tmp_path / "broker.toml", [tmp_path / "nothing.toml"], Push(), print)
        elsewhere = path.read_text().replace(
            "[broker]", '[broker]\nusername = "e"\npassword = "file:/at/the/site"'
        )
        well, said = await push(tmp_path, mosquitto.port, path, elsewhere, wait_s=0.5)
        assert not well
        assert said[0] == "test/edge-01: the broker knows nothing of it"
        assert said[-1] == "test/edge-01: waited in vain, no word yet"


async def test_a_configuration_that_means_another_device_than_the_one_on_the_port_is_refused(
    tmp_path, mosquitto
):
    one = Slave("wp-01", 6, "keller_series_30", {"pressure": 0.4})
    bus = """
[[buses]]
id = "pipe"
driver = "modbus_rtu"
period_s = 0.3
link = {{ port = "{port}", baud = 115200 }}
[[buses.devices]]
id = "{device}"
profile = "keller_series_30"
unit = 6
identity = "{identity}"
"""
    office = Office(mosquitto.port)
    async with serial_bus(tmp_path, [one]) as link, running(office.run()):
        path = write_config(
            tmp_path, mosquitto.port, bus.format(port=link.port, device="wp-01", identity="104729")
        )
        async with agents([path]):
            await wait_until(lambda: office.status, 20)
            swapped = path.read_text().replace("wp-01", "wp-02").replace("104729", "7")
            well, said = await push(tmp_path, mosquitto.port, path, swapped, version="v2", wait_s=20.0)
    assert not well
    assert said[-1] == (
        "test/edge-01: v2 was refused: wp-02 on pipe: wrong device: its serial number is '104729',"
        " the configuration says '7'; nothing it says is taken"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk read-only: run as root")
def test_a_trial_on_a_disk_that_has_become_read_only_keeps_no_agent_from_starting(small_disk):
    path = write_config(small_disk.parent, 1, BUS.format(port=502, device="own"))
    path.write_text(path.read_text().replace('"edge-01.db"', '"disk/edge-01.db"'))
    text = path.read_text().replace('"own"', '"tried"')
    wanted = Remote(path).judge(wire.encode(DesiredConfig("v2", text)))
    Remote(path).begin_trial(wanted)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for _ in range(2):
        chosen = Remote(path).choose()
        assert ([d.id for d in chosen.config.buses[0].devices], chosen.trial) == (["own"], None)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert Remote(path).choose().trial is not None, "it was not tried yet"
