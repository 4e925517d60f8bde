"""An agent behind an NB-IoT modem for tests: modem, gateway and cloud."""

import asyncio
import contextlib

from agents import AREA, Cloud
from lines import running
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from waiting import wait_until

from cloud_ingest.gateway import AgentEntry, Gateway, GatewayConfig, Memory
from edge_agent import app
from simulators.modem import ModemSim
from telemetry.broker import BrokerConfig
from telemetry.clock import SystemClock
from telemetry.config import Secret

CONFIG = """
agent = "edge-01"
area = "test"
outbox = {{ path = "edge-01.db" }}
[uplink]
kind = "nbiot_modem"
budget_bytes_per_day = 10000000
link = {{ port = "{port}", modem = "{modem}", host = "127.0.0.1", udp_port = {udp}, key = "file:key", attach_s = 20 }}
[[buses]]
id = "b1"
driver = "modbus_tcp"
period_s = 0.3
link = {{ host = "127.0.0.1", port = {slave} }}
[[buses.devices]]
id = "meter"
profile = "eastron_sdm630"
unit = 1
"""


SECRET = "a secret of 32 letters or so"


def gateway_config(folder, broker, udp):
    entry = AgentEntry(AREA, "edge-01", Secret(SECRET))
    return GatewayConfig(BrokerConfig("127.0.0.1", broker), folder / "gateway.db", (entry,), "127.0.0.1", udp)


@contextlib.asynccontextmanager
async def site(tmp_path, mosquitto, ports, dialect):
    """A modem, a gateway and a cloud; yields the modem, the cloud, the gateway and the agent's file."""
    slave, udp = ports(), ports()
    server = ModbusTcpServer(
        SimDevice(1, [SimData(0, values=[0x4366, 0] * 200, datatype=DataType.REGISTERS)]),
        address=("127.0.0.1", slave),
    )
    await server.serve_forever(background=True)
    path = tmp_path / "edge-01.toml"
    (tmp_path / "key").write_text(SECRET)
    path.write_text(CONFIG.format(port=tmp_path / "modem", modem=dialect, udp=udp, slave=slave))
    modem, cloud = ModemSim(tmp_path / "modem", dialect), Cloud(mosquitto.port)
    try:
        with Memory(tmp_path / "gateway.db") as memory:
            gateway = Gateway(gateway_config(tmp_path, mosquitto.port, udp), memory, SystemClock())
            async with running(modem.serve(), gateway.run(), cloud.run()):
                await wait_until((tmp_path / "modem").exists)
                yield modem, cloud, gateway, path
    finally:
        await server.shutdown()


@contextlib.asynccontextmanager
async def agent(path):
    end = asyncio.Event()
    task = asyncio.ensure_future(app.run(path, stop=end))
    try:
        yield task
    finally:
        end.set()
        await task
