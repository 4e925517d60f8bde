"""SIMCom SIM7020: sockets by ``CSO…``, payloads in hex both ways; lengths count hex characters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_agent.modems import _cmq as mqtt
from edge_agent.modems._radio import Asleep, Datagram, Fetch, Heard, Lost, csq, registration, unhex
from telemetry.wire.at import Command

if TYPE_CHECKING:
    from collections.abc import Iterable

PREPARE = (
    Command("AT+CFUN=1", timeout_s=30),
    Command("AT+CEREG=1"),
    Command("AT+CPSMSTATUS=1"),
)
SIGNAL = (Command("AT+CSQ", info=r"\+CSQ: ?\d+,\d+"),)


def signal(lines: Iterable[str]) -> dict[str, float]:
    """Read ``CSQ``."""
    return csq(lines)


def open_socket(host: str, port: int) -> tuple[Command, ...]:
    """Return the commands that make a socket and connect it; only one is ever open, so its number is 0."""
    return (
        Command("AT+CSOC=1,2,1", info=r"\+CSOC: ?\d+"),
        Command(f'AT+CSOCON=0,{port},"{host}"', timeout_s=60),
    )


def socket_of(lines: Iterable[str]) -> int:
    """Return the socket's number; -1 where it is not the one that was connected."""
    return 0 if next(iter(lines)).rpartition(":")[2].strip() == "0" else -1


def send(socket: int, host: str, port: int, data: bytes) -> Command:
    """Return the command that sends a datagram."""
    del host, port
    return Command(f"AT+CSOSEND={socket},{2 * len(data)},{data.hex()}", timeout_s=15)


def close(socket: int) -> Command:
    """Return the command that closes the socket."""
    return Command(f"AT+CSOCL={socket}")


def heard(line: str) -> Heard:
    """Return what an unsolicited line means."""
    if found := re.fullmatch(r"\+CSONMI: ?\d+,\d+,([0-9A-Fa-f]*)", line):
        return Datagram(unhex(found[1]))
    if re.fullmatch(r"\+CSOERR: ?.*", line):
        return Lost("the modem has closed the socket")
    if re.fullmatch(r'\+CPSMSTATUS: ?"ENTER PSM"', line):
        return Asleep()
    return mqtt.heard(line) or registration(line)


def arrived(lines: Iterable[str]) -> tuple[list[Datagram], Fetch | None]:
    """Nothing is fetched: it has arrived with the news."""
    del lines
    return [], None
