"""What the tests stand on: a server of a test is its own, and what it leaves behind is seen."""

import subprocess
import sys

import psutil
import pytest
from brokers import Mosquitto
from conftest import _lives
from ports import free_port


async def test_a_broker_is_not_taken_for_another_that_is_there_already(mosquitto, tmp_path):
    with pytest.raises(RuntimeError, match=f"another server answers at port {mosquitto.port}"):
        await Mosquitto(tmp_path / "second", mosquitto.port).start()


def test_no_port_comes_again_before_all_others():
    assert len({free_port() for _ in range(200)}) == 200


def test_a_child_that_ends_while_it_is_looked_at_was_not_left_behind():
    process = subprocess.Popen([sys.executable, "-c", ""])
    child = psutil.Process(process.pid)
    assert _lives(child)
    process.wait()
    assert not _lives(child)
