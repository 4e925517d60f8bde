"""Quectel BC26: sockets by ``QI…``, the payload as raw bytes after a prompt, what arrives as hex in the news itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_agent.modems import _qmt as mqtt
from edge_agent.modems._radio import Asleep, Datagram, Fetch, Heard, Lost, cesq, csq, registration, unhex
from telemetry.wire.at import Command

if TYPE_CHECKING:
    from collections.abc import Iterable

PREPARE = (
    Command("AT+CFUN=1", timeout_s=30),
    Command("AT+CEREG=1"),
    Command('AT+QICFG="dataformat",0,1'),  # sent raw, told of in hex
    Command('AT+QICFG="viewmode",0'),
    Command("AT+QNBIOTEVENT=1,1"),
)
SIGNAL = (
    Command("AT+CSQ", info=r"\+CSQ: ?\d+,\d+"),
    Command("AT+CESQ", info=r"\+CESQ: ?[\d,]+"),
)
_SOCKET = 0


def signal(lines: Iterable[str]) -> dict[str, float]:
    """Read ``CSQ`` and ``CESQ``."""
    lines = list(lines)
    return {**csq(lines), **cesq(lines)}


def open_socket(host: str, port: int) -> tuple[Command, ...]:
    """Return the commands that open a socket; the result comes when the network has answered."""
    later = rf"\+QIOPEN: ?{_SOCKET},\d+"
    return (Command(f'AT+QIOPEN=1,{_SOCKET},"UDP","{host}",{port},0,1', later=later, timeout_s=60),)


def socket_of(lines: Iterable[str]) -> int:
    """Return the socket's number, -1 where it could not be opened: ``+QIOPEN: <socket>,<error>``."""
    line = next(iter(lines))
    return _SOCKET if line.rpartition(",")[2] == "0" else -1


def send(socket: int, host: str, port: int, data: bytes) -> Command:
    """Return the command that sends a datagram."""
    del host, port
    return Command(f"AT+QISEND={socket},{len(data)}", data=data, timeout_s=15)


def close(socket: int) -> Command:
    """Return the command that closes the socket."""
    return Command(f"AT+QICLOSE={socket}")


def heard(line: str) -> Heard:
    """Return what an unsolicited line means."""
    if found := re.fullmatch(r'\+QIURC: ?"recv",\d+,\d+,"?([0-9A-Fa-f]*)"?', line):
        return Datagram(unhex(found[1]))
    if re.fullmatch(r'\+QIURC: ?"closed",\d+', line):
        return Lost("the modem has closed the socket")
    if re.fullmatch(r'\+QNBIOTEVENT: ?"ENTER PSM"', line):
        return Asleep()
    return mqtt.heard(line) or registration(line)


def arrived(lines: Iterable[str]) -> tuple[list[Datagram], Fetch | None]:
    """Nothing is fetched: it has arrived with the news."""
    del lines
    return [], None
