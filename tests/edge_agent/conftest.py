"""A cloud's end, and a disk that a test can fill."""

from __future__ import annotations

import subprocess

import pytest
from agents import Cloud
from benches import LAMP, Bench
from lines import PaperLine, running

from device_profiles.registers import encode
from edge_agent.driver import Device
from telemetry.testing import ManualClock


@pytest.fixture
async def cloud(mosquitto):
    """A cloud that acknowledges what it receives."""
    end = Cloud(mosquitto.port)
    async with running(end.run()):
        yield end


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB of its own; skips where it cannot be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small disk: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def lamp(tmp_path):
    clock = ManualClock()
    line = PaperLine(clock, {"lamp": encode(LAMP, {"dimming": 10.0})})
    return Bench(tmp_path, clock, line, [Device("lamp", LAMP, 5, 0.5)])
