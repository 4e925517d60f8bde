"""What a site does by itself, with a real agent, a real line and no broker; and that the cloud doubles nothing."""

import asyncio
import contextlib

import pytest
from agents import Cloud, cabinet, cabinet_toml, sleeping_valve, stop, up
from benches import writes
from lines import Slave, disk_hangs, running
from waiting import wait_until

from device_profiles.profile import Space
from device_profiles.vocabulary import load_classes
from edge_agent.config import JudgementConfig, load_config
from edge_agent.gather import Shape
from edge_agent.judgement import Judge, edge_rules
from edge_agent.linkage import Linkage, Linkages
from edge_agent.record import Recorder
from rules.engine import Engine
from rules.frame import Frame
from rules.pack import FOLDER as PACKS
from rules.pack import load_packs
from rules.state import State
from rules.topology import Spot, Topology
from telemetry.clock import SystemClock
from telemetry.codecs import json as wire
from telemetry.commands import ActionUpload, CommandResult, CommandState
from telemetry.errors import ConfigError
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox
from telemetry.readings import Reading
from telemetry.severity import Severity
from telemetry.testing import ManualClock
from telemetry.text import Text
from telemetry.transitions import Category, Change, Transition

LINKAGES = """
[[linkage]]
rule = "electrical_fire_monitor.residual_current"
severity = "red"
target = "chg-01"
metric = "charging_enabled"
value = 0
[[linkage]]
rule = "smoke_detector.fire"
target = "lamp-01"
metric = "dimming"
value = 100
[[linkage]]
rule = "smoke_detector.fire"
target = "relay-01"
metric = "relay_1"
value = 1
[[linkage]]
rule = "smoke_detector.fire"
when = "ends"
target = "relay-01"
metric = "relay_1"
value = 0
"""


def slaves(**of_the_monitor):
    return {
        slave.id: slave
        for slave in (
            Slave("efm-01", 1, "acrel_asj10l", {"residual_current": 50.0, "tripped": 0.0}, **of_the_monitor),
            Slave("smoke-01", 2, "calectro_uniguard", {"smoke_alarm": 0.0, "fault": 0.0}),
            Slave("chg-01", 3, "heidelberg_energy_control", {"charging_enabled": 1.0, "current_limit": 16.0, "temperature": 30.0}),
            Slave("lamp-01", 5, "openvmi_lamp_unit5", {"dimming": 20.0}),
            Slave("relay-01", 6, "waveshare_relay_8ch", {}),
        )
    }  # fmt: skip


async def test_with_the_broker_dead_the_charger_goes_off_the_lamps_go_up_and_the_siren_sounds(
    tmp_path, mosquitto
):
    street = slaves()
    await mosquitto.kill()
    async with (
        cabinet(tmp_path, street.values(), mosquitto.port, LINKAGES, 0.2) as config,
        up(config) as agent,
    ):
        street["efm-01"].set("residual_current", 350.0)  # yellow: told of, but no reason to switch off
        await wait_until(lambda: '"rule": "electrical_fire' in _log(tmp_path), 20)
        assert street["chg-01"].values["charging_enabled"] == 1.0
        street["efm-01"].set("residual_current", 620.0)
        await wait_until(lambda: street["chg-01"].values["charging_enabled"] == 0.0, 10)
        street["smoke-01"].set("smoke_alarm", 1.0)
        await wait_until(lambda: street["lamp-01"].values["dimming"] == 100.0, 10)
        await wait_until(lambda: street["relay-01"].values.get("relay_1") == 1.0, 10)
        await wait_until(lambda: _said(tmp_path, "relay-01", "verified"), 10, "the siren to be read back")
        street["smoke-01"].set("smoke_alarm", 0.0)
        await wait_until(lambda: street["relay-01"].values.get("relay_1") == 0.0, 10)
        assert (Space.HOLDING, 259, (0,)) in street["chg-01"].writes
        await mosquitto.start()
        cloud = Cloud(mosquitto.port)
        async with running(cloud.run()):
            await wait_until(lambda: len(_final(cloud)) >= 4, 20, "the record of every action")
            assert await stop(agent) == 0
    assert {(r.device, r.metric, r.value, str(r.state)) for r in _final(cloud)} == {
        ("chg-01", "charging_enabled", 0.0, "verified"),
        ("lamp-01", "dimming", 100.0, "verified"),
        ("relay-01", "relay_1", 1.0, "verified"),
        ("relay-01", "relay_1", 0.0, "verified"),
    }
    told = _told(cloud)
    assert {r.cause for r in _final(cloud)} == {t.alarm for t in told.values()}
    assert told.keys() == {t.id for t in _in_the_cloud(cloud)}, "the cloud gives the same alarms the same ids"


def own_pack(folder):
    """The district's own pack: the shipped one, but at pole-17 a residual current of 120 mA is red."""
    shipped = (PACKS / "electrical_fire_monitor.yaml").read_text()
    changed = shipped.replace(
        "    at_least: {yellow: 300, red: 500}\n    clear: 250\n",
        "    at_least: {yellow: 300, red: 500}\n    clear: 250\n"
        "    overrides: [{site: pole-17, by: Wang Jun, why: children play at this pole, at_least: {red: 120}, clear: 80}]\n",
    )
    assert changed != shipped
    folder.mkdir()
    (folder / "electrical_fire_monitor.yaml").write_text(changed)
    return changed


@pytest.mark.parametrize("where", ["folder", "inline"])
async def test_a_districts_own_limits_hold_at_the_site_under_the_ids_of_the_cloud(tmp_path, mosquitto, where):
    street, pack = slaves(site="pole-17"), own_pack(tmp_path / "packs")
    judgement = '[judgement]\npacks = "packs"\n'
    if where == "inline":
        judgement = f"[judgement.inline]\nelectrical_fire_monitor = '''\n{pack}'''\n"
    cloud = Cloud(mosquitto.port)
    async with (
        running(cloud.run()),
        cabinet(tmp_path, street.values(), mosquitto.port, LINKAGES + judgement, 0.2) as config,
        up(config),
    ):
        await wait_until(lambda: any(r["device"] == "efm-01" for r in cloud.readings), 20)
        street["efm-01"].set("residual_current", 150.0)
        await wait_until(lambda: street["chg-01"].values["charging_enabled"] == 0.0, 10)
        street["efm-01"].set("residual_current", 60.0)
        await wait_until(lambda: len(_told(cloud)) == 2, 20)
    own = tmp_path / "packs" / "electrical_fire_monitor.yaml"
    packs = load_packs([*(path for path in sorted(PACKS.glob("*.yaml")) if path.name != own.name), own])
    topology = Topology({"efm-01": Spot(site="pole-17")})
    assert _told(cloud).keys() == {t.id for t in _in_the_cloud(cloud, packs, topology)}
    assert {str(t.severity.name).lower() for t in _told(cloud).values()} == {"red"}


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ('[judgement]\npacks = "nowhere"\n', "$.judgement.packs: '"),
        ("[judgement.inline]\nlamp = 'x'\n", "$.judgement.inline.lamp: no device here is of this class"),
        ("[judgement.inline]\nsmoke_detector = 'rules: [{id: x}]'\n", "$.judgement.inline.smoke_detector: $.rules[0].title: missing"),
    ],
)  # fmt: skip
def test_a_pack_that_cannot_be_used_is_told_of_before_anything_runs(tmp_path, tail, message):
    path = tmp_path / "edge.toml"
    path.write_text(cabinet_toml(slaves().values(), "/dev/ttyS0", 1883, LINKAGES + tail))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {message}")


async def test_what_stands_at_a_restart_neither_begins_nor_is_acted_on_again(tmp_path, free_port):
    street = slaves()
    async with cabinet(tmp_path, street.values(), free_port, LINKAGES, 0.2) as config:
        street["smoke-01"].set("smoke_alarm", 1.0)
        async with up(config) as agent:
            await wait_until(lambda: street["lamp-01"].values["dimming"] == 100.0, 20)
            await wait_until(lambda: _log(tmp_path).count('"state": "verified"') >= 2, 10)
            await asyncio.sleep(0.2)
            agent.kill()
            await agent.wait()
        street["lamp-01"].set("dimming", 20.0)  # somebody has switched it by hand since
        street["lamp-01"].writes.clear()
        before = _log(tmp_path).count('"event": "alarm"')
        async with up(config) as agent:
            street["efm-01"].set("residual_current", 620.0)
            await wait_until(lambda: street["chg-01"].values["charging_enabled"] == 0.0, 20)
            agent.kill()  # nobody takes what it has to send
            await agent.wait()
    assert street["lamp-01"].writes == []
    assert _log(tmp_path).count('"rule": "smoke_detector.fire"') == before


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("residual_current", "residual_curent", "$.linkage[0].rule: no edge rule 'electrical_fire_monitor.residual_curent' for the devices here; did you mean 'electrical_fire_monitor.residual_current'?"),
        ('target = "chg-01"', 'target = "chg-02"', "$.linkage[0].target: no device 'chg-02' here; did you mean 'chg-01'?"),
        ('metric = "charging_enabled"', 'metric = "temperature"', "$.linkage[0]: 'heidelberg_energy_control' cannot set 'temperature'; it can set ['charging_enabled', 'current_limit']"),
        ("value = 100\n", "value = 101\n", "$.linkage[1]: dimming = 101 % is outside 0 to 100"),
        ("value = 100\n", "", "$.linkage[1]: 'dimming' is to be set, but to what value?"),
        ('severity = "red"', 'severity = "red"\ndevice = "efm-9*"', "$.linkage[0].device: 'efm-9*' fits no electrical_fire_monitor here"),
        ('target = "lamp-01"\nmetric = "dimming"\nvalue = 100', 'target = "led-01"\nmetric = "text"\ntext = "火警"', "$.linkage[1]: '火警' is none of the texts that 'led-01' may show: there are none; see [[commands.texts]]"),
        ('target = "lamp-01"\nmetric = "dimming"\nvalue = 100', 'target = "valve-01"\nmetric = "valve_open"\nvalue = 0', "$.linkage[1].target: 'valve-01' sleeps: it could not be told within 30 s; choose a device on a bus"),
        ("[[linkage]]", "[judgement]\nlocal = false\n[[linkage]]", "$.judgement.local: is false, so no [[linkage]] could ever act; remove one"),
    ],
)  # fmt: skip
def test_a_linkage_that_could_never_act_is_refused(tmp_path, before, after, message):
    path = tmp_path / "edge.toml"
    led = Slave("led-01", 9, "text_block_gbk", {})
    more = sleeping_valve(5683) + LINKAGES
    text = cabinet_toml([*slaves().values(), led], "/dev/ttyS0", 1883, more)
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: {message}"


def _said(folder, device, state):
    return f'"device": "{device}", "state": "{state}"' in _log(folder)


def _log(folder):
    with contextlib.suppress(FileNotFoundError):
        return (folder / "edge-01.log").read_text()
    return ""


def _actions(cloud):
    import msgspec

    return [msgspec.json.decode(payload, type=ActionUpload) for payload in cloud.uploads.values()]


def _final(cloud):
    return [result for upload in _actions(cloud) for result in upload.results if result.state.is_final]


def _told(cloud):
    return {t.id: t for upload in _actions(cloud) for t in upload.transitions}


def _in_the_cloud(cloud, packs=None, topology=None):
    """Judge what arrived as ingest does: in the order of the uploads, by all rules; keep those of the edge."""
    packs, classes = packs or load_packs(), load_classes()
    edge = {rule.id for pack in packs for rule in pack.rules if rule.edge}
    of = {"efm-01": "electrical_fire_monitor", "smoke-01": "smoke_detector"}
    engine, state, found = Engine(packs, classes, topology), State.empty(), []
    for _, upload in sorted(((u.seq, u) for u in _actions(cloud)), key=lambda pair: pair[0]):
        for device, name in of.items():
            mine = [reading for reading in upload.readings if reading.device == device]
            if mine:
                state, transitions = engine.evaluate(state, Frame.of(mine, classes[name]), upload.sent)
                found += transitions
    return [t for t in found if t.rule in edge]


async def test_an_alarm_is_judged_while_the_disk_hangs_over_the_record_of_another(tmp_path):
    clock = SystemClock()
    answered, acted = [], asyncio.Event()

    class Site:
        async def answer(self, transition):
            answered.append(transition.device)
            await acted.wait()

    async with Keeper(Outbox.open(tmp_path / "o.db", max_bytes=10**6)) as keeper:
        classes = dict.fromkeys(("s1", "s2"), "smoke_detector")
        packs = edge_rules({"smoke_detector"}, JudgementConfig(), tmp_path)
        judge = Judge(
            classes,
            packs,
            {},
            keeper,
            Recorder(Shape("edge-01", "json", 10**5), clock),
            clock,
            lambda _: None,
        )
        judge.linkages = Site()
        async with running(judge.run()):
            async with disk_hangs(keeper):
                for device in classes:
                    judge.take(Reading(device, clock.now_ms(), {"smoke_alarm": 1.0}))
                    await wait_until(lambda device=device: device in answered, 5)
            rest = asyncio.ensure_future(judge.at_rest())
            await judge.settle()
            assert not rest.done(), "the buses are not let go before what it asked for is done"
            acted.set()
            await rest
        kept = await keeper.look(lambda box: box.waiting(9))
    uploads = [wire.decode(message.payload, ActionUpload) for message in kept]
    assert [t.device for upload in uploads for t in upload.transitions] == ["s1", "s2"]


def smoke(change):
    return Transition(
        f"a1-{int(change is Change.ENDED)}", "a1", change, "siren", "smoke_detector", "smoke.fire", "smoke_alarm",
        Severity.RED, Category.FIRE, Text("火", "fire"), 0, 0,
    )  # fmt: skip


async def test_what_began_before_an_alarm_ended_is_not_done_again_after_it(lamp):
    linkages = Linkages(
        [
            Linkage(rule="smoke.fire", target="lamp", metric="dimming", value=100.0),
            Linkage(rule="smoke.fire", when="ends", target="lamp", metric="dimming", value=10.0),
        ],
        None,
        lamp.clock,
    )
    async with lamp.running():
        linkages._commander = lamp.commander
        async with disk_hangs(lamp.keeper):  # the lamp is read back only when the disk has what was done
            answers = [asyncio.ensure_future(linkages.answer(smoke(Change.BEGAN)))]
            await wait_until(lambda: writes(lamp) == [100] or lamp.clock.advance(0.1))
            answers.append(asyncio.ensure_future(linkages.answer(smoke(Change.ENDED))))
            await wait_until(lambda: writes(lamp) == [100, 10] or lamp.clock.advance(0.1))
        await wait_until(lambda: all(one.done() for one in answers) or lamp.clock.advance(0.1))
        assert await lamp.states("link-a1-0-0") == ["accepted", "executed", "failed"]
        (problem,) = [r.problem for r in await lamp.results() if r.state is CommandState.FAILED]
        assert problem == "overtaken by 'link-a1-1-1'; reads back 10 instead of 100"
        assert await lamp.states("link-a1-1-1") == ["accepted", "executed", "verified"]
    assert writes(lamp) == [100, 10]


async def test_what_stands_behind_a_target_that_was_slow_is_not_begun_after_the_alarm_ended():
    class Slow:
        def __init__(self):
            self.taken = []

        async def take(self, command, cause):
            del cause
            done = asyncio.get_running_loop().create_future()
            self.taken.append((command.metric, command.value, done))
            return done

    commander = Slow()
    linkages = Linkages(
        [
            Linkage(rule="smoke.fire", target="siren", metric="tone", value=3.0),
            Linkage(rule="smoke.fire", target="siren", metric="relay_1", value=1.0),
            Linkage(rule="smoke.fire", when="ends", target="siren", metric="relay_1", value=0.0),
        ],
        commander,
        ManualClock(),
    )
    began = asyncio.ensure_future(linkages.answer(smoke(Change.BEGAN)))
    await wait_until(lambda: len(commander.taken) == 1)
    ended = asyncio.ensure_future(linkages.answer(smoke(Change.ENDED)))
    await wait_until(lambda: len(commander.taken) == 2)
    verified = CommandResult("c", "siren", CommandState.VERIFIED, 0)
    for *_, done in commander.taken:
        done.set_result(verified)
    async with asyncio.timeout(10):
        await asyncio.gather(began, ended)
    assert [(metric, value) for metric, value, _ in commander.taken] == [("tone", 3.0), ("relay_1", 0.0)]


async def test_a_target_that_does_not_answer_keeps_no_other_one_waiting():
    class Deaf:
        def __init__(self):
            self.taken = []

        async def take(self, command, cause):
            self.taken.append((command.device, command.metric, cause))
            return asyncio.get_running_loop().create_future()

    linkages = [
        Linkage(rule="smoke.fire", target=target, metric=metric, value=1.0)
        for target, metric in (
            ("lamp", "dimming"),
            ("lamp", "is_on"),
            ("same", "siren"),
            ("siren", "relay_1"),
        )
    ]
    commander = Deaf()
    async with running(Linkages(linkages, commander, ManualClock()).answer(smoke(Change.BEGAN))):
        await wait_until(lambda: len(commander.taken) == 2)
    assert commander.taken == [("lamp", "dimming", "a1"), ("siren", "siren", "a1")], (
        "each target in its order"
    )
