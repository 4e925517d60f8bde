"""Modbus requests and answers over any line: what the drivers ``modbus_tcp`` and ``modbus_rtu`` share.

PDUs of MODBUS Application Protocol V1.1b3 §6: 1–4 read, 5, 6, 15 and 16 write.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Self

from device_profiles.profile import Space
from edge_agent.driver import Exceptional
from telemetry.errors import Malformed

if TYPE_CHECKING:
    from types import TracebackType

    from device_profiles.registers import Block, Write
    from edge_agent.driver import Device
    from edge_agent.planner import Wire
    from edge_agent.wire import Line

# §7
EXCEPTIONS = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure",
    5: "acknowledge", 6: "device busy", 8: "memory parity error", 10: "gateway path unavailable",
    11: "gateway target failed to respond",
}  # fmt: skip
_READS = {Space.COIL: 1, Space.DISCRETE: 2, Space.HOLDING: 3, Space.INPUT: 4}


class ModbusMaster:
    """Reads and writes registers; see :class:`edge_agent.driver.Polled`."""

    def __init__(self, line: Line, wire: Wire) -> None:
        self._line, self.wire = line, wire

    @property
    def opened(self) -> int:
        """How often the line was opened."""
        return self._line.opened

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._line.closed()

    async def read(self, device: Device, block: Block) -> list[int]:
        """Return the registers or bits of one block."""
        function = _READS[block.space]
        data = await self._ask(device, struct.pack(">BHH", function, block.address, block.count))
        size = (block.count + 7) // 8 if block.space.is_bits else 2 * block.count
        if data[0] != size or len(data) != size + 1:
            raise Malformed(
                f"{len(data) - 1} bytes instead of {size} from {block.space} {block.address}", data
            )
        if block.space.is_bits:
            return [data[1 + place // 8] >> place % 8 & 1 for place in range(block.count)]
        return list(struct.unpack(f">{block.count}H", data[1:]))

    async def write(self, device: Device, write: Write) -> None:
        """Write registers or bits in one request; the answer repeats what was written."""
        sent = _write_pdu(write)
        echoed = await self._ask(device, sent)
        if echoed != sent[1:5]:
            raise Malformed(f"unit {device.unit} answered for another write", echoed)

    async def _ask(self, device: Device, pdu: bytes) -> bytes:
        answer = await self._line.ask(device.unit, pdu, device.timeout_s)
        if answer[0] == pdu[0]:
            return answer[1:]
        if answer[0] != pdu[0] | 0x80 or len(answer) < 2:
            raise Malformed(f"unit {device.unit} answered function {answer[0]} to {pdu[0]}", answer)
        address = int.from_bytes(pdu[1:3], "big")
        raise Exceptional(
            f"unit {device.unit}, function {pdu[0]} at {address}: exception {answer[1]},"
            f" {EXCEPTIONS.get(answer[1], 'unknown')}",
            answer[1],
        )


def _write_pdu(write: Write) -> bytes:
    head = struct.pack(">BH", write.function_code, write.address)
    if write.function_code == 5:
        return head + (b"\xff\x00" if write.words == (1,) else struct.pack(">H", _coil(write.words[0])))
    if write.function_code == 6:
        return head + struct.pack(">H", write.words[0])
    if write.function_code == 15:
        packed = sum(bit << place for place, bit in enumerate(write.words))
        size = (len(write.words) + 7) // 8
        return head + struct.pack(">HB", len(write.words), size) + packed.to_bytes(size, "little")
    return head + struct.pack(f">HB{len(write.words)}H", len(write.words), 2 * len(write.words), *write.words)


def _coil(word: int) -> int:
    """Return the word of a function-5 request: some relays take more than on and off (a pulse's length)."""
    return word if word > 1 else 0
