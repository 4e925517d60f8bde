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
