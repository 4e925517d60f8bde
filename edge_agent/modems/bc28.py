"""Quectel BC28 and BC95: sockets by ``NSO…``, payloads in hex, datagrams fetched from the modem.

The length counts bytes, the data is hex.  ``+NSONMI`` tells that something waits; ``NSORF`` fetches it and says how
many bytes are left.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_agent.modems import _qmt as mqtt
from edge_agent.modems._radio import Asleep, Datagram, Fetch, Heard, Lost, csq, registration, unhex
from telemetry.wire.at import Command

if TYPE_CHECKING:
    from collections.abc import Iterable

PREPARE = (
    Command("AT+NCONFIG=AUTOCONNECT,FALSE"),
    Command("AT+CFUN=1", timeout_s=30),
    Command("AT+CEREG=1"),
    Command("AT+NSONMI=1"),
    Command("AT+NPSMR=1"),
    Command("AT+CGATT=1", timeout_s=30),
)
SIGNAL = (
    Command("AT+CSQ", info=r"\+CSQ: ?\d+,\d+"),
    Command("AT+NUESTATS", info=r"(?:NUESTATS: ?RADIO,)?[A-Za-z ]+: ?-?\d+"),
)
_TENTHS = {"Signal power": "rsrp_dbm", "SNR": "snr_db", "RSRQ": "rsrq_db"}
_FETCHED = r"\d+,[\d.]+,\d+,\d+,[0-9A-Fa-f]*,\d+"
_MOST = 1358


def signal(lines: Iterable[str]) -> dict[str, float]:
    """Read ``CSQ`` and ``NUESTATS``, whose levels are in tenths.

    >>> signal(["+CSQ: 20,99", "Signal power:-842", "NUESTATS:RADIO,ECL:1", "SNR:57"])
    {'signal_dbm': -73.0, 'rsrp_dbm': -84.2, 'ecl': 1.0, 'snr_db': 5.7}
    """
    told = csq(lines)
    for line in lines:
        name, _, value = line.rpartition(":")
        name = name.rpartition(",")[2].strip()
        if name in _TENTHS:
            told[_TENTHS[name]] = int(value) / 10
        elif name == "ECL":
            told["ecl"] = float(value)
    return told


def open_socket(host: str, port: int) -> tuple[Command, ...]:
    """Return the commands that open a socket for datagrams."""
    del host, port
    return (Command("AT+NSOCR=DGRAM,17,0,1", info=r"\d+"),)


def socket_of(lines: Iterable[str]) -> int:
    """Return the socket's number."""
    return int(next(iter(lines)))


def send(socket: int, host: str, port: int, data: bytes) -> Command:
    """Return the command that sends a datagram."""
    return Command(
        f"AT+NSOST={socket},{host},{port},{len(data)},{data.hex().upper()}",
        info=rf"{socket},\d+",
        timeout_s=15,
    )


def close(socket: int) -> Command:
    """Return the command that closes the socket."""
    return Command(f"AT+NSOCL={socket}")


def heard(line: str) -> Heard:
    """Return what an unsolicited line means."""
    if found := re.fullmatch(r"\+NSONMI: ?(\d+),\d+", line):
        return fetch(int(found[1]))
    if re.fullmatch(r"\+NSOCLI: ?\d+", line):
        return Lost("the modem has closed the socket")
    if re.fullmatch(r"\+NPSMR: ?1", line):
        return Asleep()
    return mqtt.heard(line) or registration(line)


def fetch(socket: int) -> Fetch:
    """Return how to fetch what waits."""
    return Fetch(Command(f"AT+NSORF={socket},{_MOST}", info=_FETCHED))


def arrived(lines: Iterable[str]) -> tuple[list[Datagram], Fetch | None]:
    """Read ``<socket>,<ip>,<port>,<length>,<hex>,<left>``; something left is to be fetched too."""
    for line in lines:
        socket, _, _, _, text, left = line.split(",")
        return [Datagram(unhex(text))], fetch(int(socket)) if int(left) else None
    return [], None
