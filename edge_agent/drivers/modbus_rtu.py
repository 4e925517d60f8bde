"""Modbus RTU: address, PDU, CRC-16 (MODBUS over Serial Line V1.02), on a serial port or behind a serial server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from edge_agent.modbus import ModbusMaster
from edge_agent.planner import Wire
from edge_agent.ports import resolve
from edge_agent.wire import Line, Rtu, open_serial, open_tcp

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Sequence

    from edge_agent.driver import Device
    from edge_agent.wire import Port

TRANSPORT = "modbus"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``link`` table: a ``port`` of this machine, or ``host`` and ``tcp_port`` of a serial server.

    ``port`` is best a name that survives a reboot: a path under ``/dev/serial/by-id/`` or ``by-path/``, or
    ``usb:SERIAL``.  ``baud`` and ``format`` are the line's, also behind a serial server.
    """

    port: str = ""
    host: str = ""
    tcp_port: int = 0
    baud: int = 9600
    format: Literal["8N1", "8N2", "8E1", "8O1"] = "8N1"

    def __post_init__(self) -> None:
        if bool(self.port) == bool(self.host):
            raise ValueError("give either 'port' (a serial port) or 'host' and 'tcp_port' (a serial server)")
        if bool(self.host) != bool(self.tcp_port):
            raise ValueError("'host' and 'tcp_port' go together: the serial server and its TCP port")

    @property
    def wire(self) -> Wire:
        """What the line costs."""
        return Wire.serial(self.baud, self.format)


class Driver(ModbusMaster):
    """Asks units on one serial line."""

    def __init__(self, config: Config, devices: Sequence[Device]) -> None:
        del devices  # told with each request
        wire = config.wire

        async def connect() -> tuple[Transport, Port]:
            if config.host:
                return await open_tcp(config.host, config.tcp_port)
            return await open_serial(resolve(config.port), config.baud, config.format)

        where = f"{config.host}:{config.tcp_port}" if config.host else config.port
        super().__init__(Line(connect, Rtu(), wire.gap_s, where), wire)
