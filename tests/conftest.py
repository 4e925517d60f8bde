"""What all tests share: free ports, a real broker, and the check that nothing was left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time

import aiohttp
import ports
import psutil
import pytest
from brokers import RIGHTS, Mosquitto
from databases import PostgreSQL
from disks import Disk

_LEAK_GRACE_S = 20.0
_SHARED: set[int] = set()
"""Processes that serve the whole run."""


def pytest_collection_modifyitems(items):
    """Whole systems first: nobody shall wait for them alone at the end."""
    items.sort(key=lambda item: item.path.parent.name != "yemai")


@pytest.fixture
def free_port():
    return ports.free_port()


@pytest.fixture(scope="session")
def unused_tcp_port_factory():
    return ports.free_port


@pytest.fixture
def unused_tcp_port():
    return ports.free_port()


@pytest.fixture
def unused_udp_port():
    return ports.free_port()


@pytest.fixture
async def mosquitto(tmp_path, free_port):
    """A real broker on 127.0.0.1 that a test may kill and start again on the same port."""
    if not Mosquitto.find():
        missing("mosquitto", "apt install mosquitto")
    broker = Mosquitto(tmp_path / "mosquitto", free_port)
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
async def refusing_mosquitto(mosquitto):
    """A broker at which nobody may subscribe, until its rights are mended."""
    if not RIGHTS.exists():
        missing("mosquitto's plug-in of dynamic security", "apt install mosquitto")
    await mosquitto.stop()
    mosquitto.refuse_subscriptions()
    await mosquitto.start()
    return mosquitto


@pytest.fixture
def mbpoll():
    path = shutil.which("mbpoll")
    if path is None:
        missing("mbpoll", "apt install mbpoll")
    return path


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server for the whole run; ``postgres.create()`` gives each test a database of its own."""
    if not PostgreSQL.find():
        missing("postgresql", "apt install postgresql")
    server = PostgreSQL().start()
    _SHARED.add(server.pid)
    yield server
    server.remove()


@pytest.fixture
def disk(tmp_path):
    """A disk of 64 MB that a test may fill or freeze."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a disk")
    try:
        made = Disk(tmp_path, 64)
    except (OSError, subprocess.CalledProcessError):
        missing("mkfs.ext4, or a loop device to mount", "apt install e2fsprogs")
    yield made
    made.remove()


def missing(what: str, how: str) -> None:
    """A missing server skips on a person's machine and fails where all must be there."""
    reason = f"{what} is not installed ({how})"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """No child process and no thread outlives its test."""
    me = psutil.Process()
    children = {child.pid for child in me.children()}
    threads = set(threading.enumerate())
    yield

    def left():
        own = [t for t in threading.enumerate() if t not in threads and t.is_alive() and not t.daemon]
        return [
            child for child in me.children() if child.pid not in children | _SHARED and _lives(child)
        ] + own

    deadline, pause = time.monotonic() + _LEAK_GRACE_S, threading.Event()
    while left() and time.monotonic() < deadline:
        pause.wait(0.02)
    if found := left():
        for child in me.children():
            if child.pid not in children | _SHARED:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
                    child.wait(10)
        pytest.fail(f"left behind: {found}")


def _lives(child):
    try:
        return child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # somebody has waited for it meanwhile
        return False


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session
