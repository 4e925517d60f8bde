"""The demo's MQTT broker: mosquitto when it is installed, else amqtt inside a process of ours."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from typing import TYPE_CHECKING

import aiomqtt

if TYPE_CHECKING:
    from pathlib import Path

MAX_PACKET_BYTES = 16 * 1024 * 1024
"""Larger than any upload may be, so that what is too large reaches the quarantine and can be seen."""


def find_mosquitto() -> str | None:
    """Return the path of mosquitto; Debian keeps it in /usr/sbin, which is not on every PATH.

    ``YEMAI_BROKER=embedded`` in the environment is as if there were none.
    """
    if os.environ.get("YEMAI_BROKER") == "embedded":
        return None
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def broker_command(folder: Path, port: int) -> list[str]:
    """Return the command that serves MQTT on 127.0.0.1:``port`` and keeps its state in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    mosquitto = find_mosquitto()
    if mosquitto is None:
        return [sys.executable, "-m", "yemai.demo.embedded_broker", str(port)]
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\n"
        "allow_anonymous true\n"
        f"user {getpass.getuser()}\n"
        "persistence true\n"
        f"persistence_location {folder.resolve()}/\n"
        "autosave_interval 10\n"
        "max_queued_messages 10000\n"
        f"max_packet_size {MAX_PACKET_BYTES}\n"
        "log_type error\nlog_type warning\nlog_type notice\n",
        encoding="utf-8",
    )
    return [mosquitto, "-c", str(config)]


async def answers(port: int) -> bool:
    """Return whether an MQTT broker accepts a client on 127.0.0.1:``port``."""
    try:
        async with aiomqtt.Client("127.0.0.1", port, timeout=2):
            return True
    except aiomqtt.MqttError:
        return False
