"""A broker as a district runs it."""

import pytest
from brokers import Mosquitto
from conftest import missing
from district_broker import Broker


@pytest.fixture
async def broker(tmp_path, free_port):
    if not Mosquitto.find():
        missing("mosquitto", "apt install mosquitto")
    made = Broker(tmp_path, free_port)
    yield await made.start()
    await made.stop()


@pytest.fixture
async def mosquitto_with(tmp_path, free_port):
    """Return what starts a plain broker with more lines in its configuration."""
    if not Mosquitto.find():
        missing("mosquitto", "apt install mosquitto")
    started = []

    async def start(lines):
        broker = Mosquitto(tmp_path / "plain", free_port)
        text = broker._config.read_text().replace("max_queued_messages 10000\n", "")
        broker._config.write_text(text + lines)
        await broker.start()
        started.append(broker)
        return broker

    yield start
    for broker in started:
        await broker.stop()
