"""Every kind of actuator, commanded through a real broker and a whole agent, on a real line and over the air."""

import contextlib
import json
import time

import aiomqtt
import msgspec
from agents import AREA, Cloud, cabinet, sleeping_valve, up
from lines import Slave, running
from waiting import wait_until

from edge_agent.gather import Shape
from edge_agent.record import Recorder
from simulators.city import Thing
from simulators.district import load_district
from simulators.frames import serve_datagrams
from simulators.scenarios import Stage
from telemetry.clock import SystemClock
from telemetry.commands import ActionUpload
from telemetry.outbox import Outbox
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import AlarmId, Category, Change, RuleId, Transition, alarm_id, transition_id

TERMS = """
[commands]
allow = [{ by = "centre" }]
texts = [{ templates = ["限速 {number} km/h", "火警 请疏散"] }]
[[linkage]]
rule = "smoke_detector.fire"
target = "led-01"
metric = "text"
text = "火警 请疏散"
"""
ORDERS = {
    "lamp-01": {"metric": "dimming", "value": 35.0},
    "chg-01": {"metric": "charging_enabled", "value": 0.0},
    "siren-01": {"metric": "relay_1", "value": 1.0},
    "led-01": {"metric": "text", "text": "限速 40 km/h"},
    "valve-01": {"metric": "valve_open", "value": 0.0},
}


def valve():
    place = msgspec.structs.replace(
        next(iter(load_district().devices)), id="valve-01", profile="kingda_nb_water_meter",
        identity="00000805000001", parameters={},
    )  # fmt: skip
    thing = Thing(place, 1, Stage({}))
    thing.refresh(int(time.time() * 1000))
    return thing


async def test_lamp_charger_siren_screen_and_valve_are_commanded_read_back_and_told_of(
    tmp_path, mosquitto, unused_udp_port
):
    slaves = {
        slave.id: slave
        for slave in (
            Slave("lamp-01", 5, "openvmi_lamp_unit5", {"dimming": 80.0}),
            Slave("chg-01", 3, "heidelberg_energy_control", {"charging_enabled": 1.0, "current_limit": 16.0}),
            Slave("siren-01", 6, "waveshare_relay_8ch", {}),
            Slave("led-01", 7, "text_block_gbk", {"screen_on": 1.0}, {"text": "欢迎"}),
            Slave("smoke-01", 2, "calectro_uniguard", {"smoke_alarm": 0.0, "fault": 0.0}),
        )
    }
    told = {}

    async def office():
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
            await client.subscribe(f"yemai/v1/{AREA}/edge-01/cmd/result", 1)
            for device, order in ORDERS.items():
                command = {
                    "id": device,
                    "device": device,
                    "not_after": int(time.time() * 1000) + 60_000,
                    "by": "centre",
                }
                await client.publish(f"yemai/v1/{AREA}/edge-01/cmd", json.dumps(command | order), 1)
            async for message in client.messages:
                result = json.loads(message.payload)
                told.setdefault(result["id"], []).append(result)

    def states(device):
        return list(dict.fromkeys(result["state"] for result in told.get(device, [])))

    cloud, meter = Cloud(mosquitto.port), valve()
    async with (
        cabinet(tmp_path, slaves.values(), mosquitto.port, sleeping_valve(unused_udp_port) + TERMS) as config,
        up(config),
        running(cloud.run()),
    ):
        await wait_until(lambda: {r["device"] for r in cloud.readings} >= slaves.keys(), 20, "all to be read")
        async with running(
            office(), serve_datagrams([meter], "127.0.0.1", unused_udp_port, 3.0, SystemClock())
        ):
            whole = ["accepted", "executed", "verified"]
            await wait_until(
                lambda: all(states(device) == whole for device in ORDERS), 30, "all to be verified"
            )
            assert slaves["lamp-01"].values["dimming"] == 35.0
            assert slaves["chg-01"].values["charging_enabled"] == 0.0
            assert slaves["siren-01"].values["relay_1"] == 1.0
            assert slaves["led-01"].attributes["text"] == "限速 40 km/h"
            assert told["led-01"][-1]["text_back"] == "限速 40 km/h"
            assert told["valve-01"][-1]["read_back"] == 0.0
            slaves["smoke-01"].set("smoke_alarm", 1.0)
            await wait_until(lambda: slaves["led-01"].attributes["text"] == "火警 请疏散", 10, "the linkage")
            kept = [msgspec.json.decode(payload, type=ActionUpload) for payload in cloud.uploads.values()]
            final = {r.id: str(r.state) for upload in kept for r in upload.results if r.state.is_final}
            assert final.items() >= dict.fromkeys(ORDERS, "verified").items(), (
                "and the cloud has it on record"
            )


def test_what_is_judged_together_is_told_in_messages_that_a_modem_carries(tmp_path):
    box = Outbox.open(tmp_path / "o.db", max_bytes=10**7)
    title = Text(zh="剩余电流超限", en="Residual current too high")

    def transition(n):
        alarm = alarm_id(f"efm-{n}", "electrical_fire_monitor.residual_current", n)
        return Transition(
            id=transition_id(AlarmId(alarm), 0), alarm=AlarmId(alarm), change=Change.BEGAN, device=f"efm-{n}",
            device_class="electrical_fire_monitor", rule=RuleId("electrical_fire_monitor.residual_current"),
            metric="residual_current", severity=Severity.RED, category=Category.FIRE, time=n, judged=n, title=title,
        )  # fmt: skip

    with contextlib.closing(box):
        record = Recorder(Shape("edge-01", "json", 1000), SystemClock())
        record(box, transitions=[transition(n) for n in range(20)])
        payloads = [message.payload for message in box.waiting(100)]
    assert max(map(len, payloads)) <= 1000
    uploads = [msgspec.json.decode(payload, type=ActionUpload) for payload in payloads]
    assert [t.device for upload in uploads for t in upload.transitions] == [f"efm-{n}" for n in range(20)]
