"""An agent behind an NB-IoT modem: real datagrams, a real broker, and a modem with every bad habit."""

import json
import os

import aiomqtt
import pytest
from agents import AREA, counters
from air import CONFIG, agent, running, site
from waiting import wait_until

from edge_agent.config import load_config
from edge_agent.local import ask
from edge_agent.uplinks.nbiot_modem import MOST_BYTES
from simulators.modem import DIALECTS
from telemetry.codecs import json as wire
from telemetry.errors import ConfigError
from telemetry.readings import DesiredConfig
from telemetry.wire.datagram import MOST_BYTES as DATAGRAM

SOAK = pytest.mark.skipif(
    not os.environ.get("SOAK"), reason="the other dialect is tried always: behind make soak"
)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_is_read_arrives_by_modem_and_is_freed_when_the_cloud_has_it(
    tmp_path, mosquitto, unused_tcp_port_factory, dialect
):
    async with site(tmp_path, mosquitto, unused_tcp_port_factory, dialect) as (modem, cloud, gateway, path):
        modem.chatters = True
        async with agent(path):
            await wait_until(lambda: cloud.readings, 40)
            await wait_until(lambda: counters(tmp_path)["freed"] >= 30, 40, "acknowledgements to come back")
        assert cloud.conflicts == []
    told = counters(tmp_path)
    assert told["made"] == told["freed"] + told["queued"]
    assert cloud.samples >= told["freed"]
    assert max(modem.sent) <= DATAGRAM
    assert gateway.counts.keys() == {"taken"}


async def test_a_modem_that_loses_its_network_loses_no_reading(tmp_path, mosquitto, unused_tcp_port_factory):
    async with (
        site(tmp_path, mosquitto, unused_tcp_port_factory, "bc28") as (modem, cloud, _, path),
        agent(path),
    ):
        await wait_until(lambda: cloud.readings, 40)
        modem.lose_network()
        made = counters(tmp_path)["made"]
        await wait_until(lambda: counters(tmp_path)["made"] > made + 30, 20, "readings to go on")
        modem.attached = True
        await wait_until(lambda: cloud.samples > made + 30, 60, "what was kept to arrive")
        seqs = sorted(seq for _, seq in cloud.uploads)
        assert seqs == list(range(1, len(seqs) + 1))


async def test_full_buffers_and_sleep_only_delay(tmp_path, mosquitto, unused_tcp_port_factory):
    within_s = 90  # a datagram that was lost is sent again after 20 s, one more may be lost meanwhile
    async with (
        site(tmp_path, mosquitto, unused_tcp_port_factory, "bc26") as (modem, cloud, _, path),
        agent(path),
    ):
        await wait_until(lambda: cloud.readings, within_s)
        modem.full = 2
        count = len(cloud.readings)
        await wait_until(lambda: modem.full == 0 and len(cloud.readings) > count + 3, within_s)
        modem.sleep()
        count = len(cloud.readings)
        await wait_until(lambda: not modem.asleep and len(cloud.readings) > count + 3, within_s)


async def test_the_radio_is_told_of_and_a_configuration_comes_down(
    tmp_path, mosquitto, unused_tcp_port_factory
):
    from telemetry.codecs import msgpack
    from telemetry.readings import AgentStatus

    seen = []

    async def watch():
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
            await client.subscribe(f"yemai/v1/{AREA}/edge-01/status", 1)
            async for message in client.messages:
                told = msgpack.decode(bytes(message.payload), AgentStatus)
                seen.append(told)

    async with site(tmp_path, mosquitto, unused_tcp_port_factory, "bc28") as (_, cloud, _, path):
        async with running(watch()), agent(path):
            await wait_until(lambda: cloud.readings, 40)
            async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
                desired = DesiredConfig(
                    "v9", path.read_text().replace('id = "meter"', 'id = "other"'), confirm_s=60
                )
                await client.publish(f"yemai/v1/{AREA}/edge-01/config", wire.encode(desired), 1, retain=True)
            await wait_until(lambda: seen and seen[-1].config.running == "v9", 60, "v9 to be in force")
            await wait_until(lambda: any("rsrp_dbm" in told.metrics for told in seen), 60)
    metrics = next(told.metrics for told in reversed(seen) if "rsrp_dbm" in told.metrics)
    assert metrics["signal_dbm"] == -73
    assert metrics["rsrp_dbm"] == -84.2
    assert metrics["snr_db"] == 5.7
    assert metrics["ecl"] == 1
    assert json.dumps(metrics)


def by_mqtt(path, broker):
    """Let the agent of a site go to the broker itself, by its modem's own MQTT."""
    text = path.read_text()
    begin = text.index('host = "127.0.0.1", udp_port')
    end = text.index(", attach_s")
    path.write_text(text[:begin] + f'host = "127.0.0.1", over = "mqtt", mqtt_port = {broker}' + text[end:])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_modems_own_mqtt_carries_readings_up_and_acknowledgements_down(
    tmp_path, mosquitto, unused_tcp_port_factory, dialect
):
    async with site(tmp_path, mosquitto, unused_tcp_port_factory, dialect) as (modem, cloud, gateway, path):
        by_mqtt(path, mosquitto.port)
        modem.chatters = modem.mqtt.retransmits = True
        async with agent(path):
            await wait_until(lambda: cloud.readings, 40)
            await wait_until(lambda: counters(tmp_path)["freed"] >= 20, 40, "acknowledgements to come back")
        assert cloud.conflicts == []
    told = counters(tmp_path)
    assert told["made"] == told["freed"] + told["queued"]
    assert max(modem.mqtt.published) <= MOST_BYTES
    assert modem.sent == []
    assert not gateway.counts, "nothing went as a datagram"


@pytest.mark.parametrize("dialect", ["bc26", pytest.param("sim7020", marks=(pytest.mark.soak, SOAK))])
async def test_a_modems_own_mqtt_comes_back_after_lost_networks_full_buffers_and_sleep(
    tmp_path, mosquitto, unused_tcp_port_factory, dialect
):
    async with site(tmp_path, mosquitto, unused_tcp_port_factory, dialect) as (modem, cloud, _, path):
        by_mqtt(path, mosquitto.port)
        async with agent(path):
            await wait_until(lambda: cloud.readings, 40)
            for trouble in ("session", "network", "buffers", "sleep"):
                made = counters(tmp_path)["made"]
                if trouble == "session":
                    await modem.mqtt.lose()
                elif trouble == "network":
                    modem.lose_network()
                    await modem.mqtt.lose()
                    await wait_until(lambda made=made: counters(tmp_path)["made"] > made, 20)
                    modem.attached = True
                elif trouble == "buffers":
                    modem.full = 2
                else:
                    modem.sleep()
                await wait_until(
                    lambda made=made: cloud.samples > made + 10, 60, f"what was kept, after: {trouble}"
                )
        seqs = sorted(seq for _, seq in cloud.uploads)
        assert seqs == list(range(1, len(seqs) + 1)), "nothing is lost"
        assert modem.full == 0
        assert not modem.asleep


async def test_a_port_without_a_modem_is_said_so(tmp_path, mosquitto, unused_tcp_port_factory):
    async with site(tmp_path, mosquitto, unused_tcp_port_factory, "bc28") as (_, _, _, path):
        path.write_text(path.read_text().replace(f'port = "{tmp_path / "modem"}"', 'port = "/dev/nothing"'))
        async with agent(path):
            socket = load_config(path).socket
            await wait_until(socket.exists)
            await wait_until(lambda: _problem(ask, socket), 20)


async def _problem(ask, socket):
    return "/dev/nothing" in json.loads(await ask(socket, "status"))["uplink"]["problem"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("bc28", "bc29", "$.uplink.link: edge_agent.modems: no 'bc29'; did you mean 'bc28'?"),
        ("nbiot_modem", "nbiot", "$.uplink.kind: edge_agent.uplinks: no 'nbiot'; did you mean 'nbiot_modem'?"),
        (', key = "file:key"', "", "$.uplink.link: datagrams need 'udp_port' and 'key', as the gateway knows them; or over = 'mqtt'"),
        ("10000000", "500", "$.uplink.budget_bytes_per_day: 500 does not carry a day's alarms; at least 10000; leave it away for no limit"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_uplink_is_told(tmp_path, before, after, message):
    (tmp_path / "key").write_text("x")
    path = tmp_path / "edge.toml"
    path.write_text(CONFIG.format(port="/dev/ttyS1", modem="bc28", udp=1, slave=1).replace(before, after))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert MOST_BYTES < DATAGRAM
