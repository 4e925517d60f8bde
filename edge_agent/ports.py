"""Serial ports by names that stay when a reboot deals ``ttyUSB0`` and ``ttyUSB1`` out anew."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from serial.tools import list_ports

from edge_agent.driver import LinkDown

_USB = "usb:"
_WORDS = {
    errno.ENOENT: "there is no such port: is the adapter plugged in?",
    errno.EACCES: "not allowed: the user must be in the group 'dialout'",
    errno.EAGAIN: "another program has the port",
    errno.EBUSY: "another program has the port",
    errno.ECONNREFUSED: "nothing listens there",
}
_RENUMBERED = ("/dev/ttyUSB", "/dev/ttyACM")
_STABLE = (Path("/dev/serial/by-id"), Path("/dev/serial/by-path"))


def resolve(port: str) -> str:
    """Return the device behind ``port``: a path, or ``usb:SERIAL`` for the adapter of that serial number.

    Raises :class:`LinkDown` when no such adapter, or more than one, is plugged in.
    """
    if not port.startswith(_USB):
        return port
    wanted = port.removeprefix(_USB)
    found = [p.device for p in list_ports.comports() if p.serial_number == wanted]
    if len(found) == 1:
        return str(found[0])
    there = sorted(f"{_USB}{p.serial_number}" for p in list_ports.comports() if p.serial_number)
    problem = "none is plugged in" if not found else f"{len(found)} have it: {', '.join(sorted(found))}"
    raise LinkDown(f"{port}: {problem}; there are {', '.join(there) or 'no USB adapters'}")


def reason(error: Exception) -> str:
    """Return in a few words why a port or a connection cannot be had, and what helps."""
    number = getattr(error, "errno", None) or 0
    if number > 0:
        return _WORDS.get(number) or os.strerror(number)
    return getattr(error, "strerror", None) or str(error)


def advice(port: str, folders: tuple[Path, ...] = _STABLE) -> str:
    """Return the stable name to write instead of ``port``; empty where the name is stable already."""
    if not port.startswith(_RENUMBERED):
        return ""
    for folder in folders:
        for link in sorted(folder.glob("*")) if folder.is_dir() else ():
            if link.resolve() == Path(port).resolve():
                return str(link)
    return "/dev/serial/by-id/…"
