"""Modbus TCP: MBAP header, then the PDU (MODBUS Messaging on TCP/IP Implementation Guide V1.0b)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge_agent.modbus import ModbusMaster
from edge_agent.planner import Wire
from edge_agent.wire import Line, Mbap, open_tcp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.driver import Device

TRANSPORT = "modbus"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``link`` table."""

    host: str
    port: int = 502


class Driver(ModbusMaster):
    """Asks units behind one TCP connection."""

    def __init__(self, config: Config, devices: Sequence[Device]) -> None:
        del devices  # told with each request
        where = f"{config.host}:{config.port}"
        super().__init__(Line(lambda: open_tcp(config.host, config.port), Mbap(), 0.0, where), Wire.tcp())
