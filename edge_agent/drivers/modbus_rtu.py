"""Modbus RTU on a serial line: address, PDU, CRC-16 (MODBUS over Serial Line V1.02)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from pymodbus.client import AsyncModbusSerialClient

from edge_agent.modbus import ModbusMaster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.driver import Device

TRANSPORT = "modbus"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``link`` table; ``port`` is best a stable name under ``/dev/serial/by-id/``."""

    port: str
    baud: int = 9600
    format: Literal["8N1", "8N2", "8E1", "8O1"] = "8N1"


class Driver(ModbusMaster):
    """Asks units on one serial line."""

    def __init__(self, config: Config, devices: Sequence[Device]) -> None:
        del devices  # told with each request
        super().__init__(
            lambda: AsyncModbusSerialClient(
                config.port,
                baudrate=config.baud,
                bytesize=int(config.format[0]),
                parity=config.format[1],
                stopbits=int(config.format[2]),
                retries=0,
                reconnect_delay=0,
                timeout=30,
            ),
            config.port,
        )
