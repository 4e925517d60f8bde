"""What all dialects have in common: the meanings of lines, and the numbers of 3GPP TS 27.007."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from telemetry.wire.at import Command

if TYPE_CHECKING:
    from collections.abc import Iterable


class Datagram(msgspec.Struct, frozen=True):
    """A datagram has arrived."""

    data: bytes


class Published(msgspec.Struct, frozen=True):
    """A message has arrived on the modem's own MQTT session."""

    topic: str
    payload: bytes


class Step(msgspec.Struct, frozen=True):
    """A command of the modem's own MQTT, and what its last line looks like when the broker has agreed."""

    command: Command
    good: str = ""


class Fetch(msgspec.Struct, frozen=True):
    """A datagram waits in the modem; this command fetches it."""

    command: Command


class Lost(msgspec.Struct, frozen=True):
    """The network or the socket is gone."""

    why: str


class Asleep(msgspec.Struct, frozen=True):
    """The modem has gone to sleep (power saving mode, PSM): the next command wakes it and may be lost itself."""


Heard = Datagram | Published | Fetch | Lost | Asleep | None

CEREG = r"\+CEREG: ?\d+,\d+.*"
REGISTERED = ("1", "5")  # at home, roaming
SEARCHING = Lost("the network is lost")
_UNSOLICITED_CEREG = re.compile(r'\+CEREG: ?(\d)(?:,"?[0-9A-Fa-f]{2,}.*)?')


def is_registered(lines: Iterable[str]) -> bool:
    """Whether an answer to ``AT+CEREG?`` says so: ``+CEREG: <n>,<stat>…``."""
    return any(line.split(":")[1].split(",")[1].strip() in REGISTERED for line in lines if "+CEREG" in line)


def registration(line: str) -> Heard:
    """Return what an unsolicited ``+CEREG: <stat>`` means."""
    found = _UNSOLICITED_CEREG.fullmatch(line)
    return SEARCHING if found and found[1] not in REGISTERED else None


def csq(lines: Iterable[str]) -> dict[str, float]:
    """Read ``+CSQ: <rssi>,<ber>``: −113 dBm and 2 dB a step; 99 is not known.

    >>> csq(["+CSQ: 20,99"]), csq(["+CSQ: 99,99"])
    ({'signal_dbm': -73.0}, {})
    """
    for line in lines:
        if (found := re.fullmatch(r"\+CSQ: ?(\d+),\d+", line)) and int(found[1]) <= 31:
            return {"signal_dbm": -113.0 + 2 * int(found[1])}
    return {}


def cesq(lines: Iterable[str]) -> dict[str, float]:
    """Read ``+CESQ: …,<rsrq>,<rsrp>``: −141 dBm and 1 dB a step, −20 dB and half a dB; 255 is not known.

    >>> cesq(["+CESQ: 99,99,255,255,20,55"])
    {'rsrq_db': -10.0, 'rsrp_dbm': -86.0}
    """
    for line in lines:
        if found := re.fullmatch(r"\+CESQ: ?\d+,\d+,\d+,\d+,(\d+),(\d+)", line):
            told = {}
            if int(found[1]) <= 34:
                told["rsrq_db"] = -20.0 + int(found[1]) / 2
            if int(found[2]) <= 97:
                told["rsrp_dbm"] = -141.0 + int(found[2])
            return told
    return {}


def unhex(text: str) -> bytes:
    """Return the bytes, none where it is no hex."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
