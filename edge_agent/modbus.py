"""Modbus over any transport: what the drivers ``modbus_tcp`` and ``modbus_rtu`` share.

pymodbus frames, sends and waits; retries are off because the bus decides about them.  A connection on
which an answer is overdue is closed, so that a late answer is never taken for the next one's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from pymodbus.exceptions import ConnectionException, ModbusException, ModbusIOException

from device_profiles.profile import Space
from device_profiles.registers import Image, blocks, decode, write_of
from edge_agent.driver import LinkDown
from telemetry.errors import Malformed, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pymodbus.client.base import ModbusBaseClient
    from pymodbus.pdu import ModbusPDU

    from device_profiles.profile import Decoded
    from edge_agent.driver import Device

# MODBUS Application Protocol V1.1b3 §7
EXCEPTIONS = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure",
    5: "acknowledge", 6: "device busy", 8: "memory parity error", 10: "gateway path unavailable",
    11: "gateway target failed to respond",
}  # fmt: skip


class ModbusMaster:
    """Reads and writes registers through a client that is connected on first use."""

    def __init__(self, make_client: Callable[[], ModbusBaseClient], where: str) -> None:
        self._make_client, self._where = make_client, where
        self._client: ModbusBaseClient | None = None
        self._beaten: dict[str, float] = {}  # device → when its heartbeat was last sent

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hang_up()

    async def read(self, device: Device) -> Decoded:
        """Read all blocks of the device's profile; see :class:`edge_agent.driver.Polled`."""
        await self._beat(device)
        image: Image = {}
        for number, block in enumerate(blocks(device.profile)):
            if number and device.profile.timing.gap_s:
                await asyncio.sleep(device.profile.timing.gap_s)
            answer = await self._ask(device, _READS[block.space], block.address, block.count)
            values = answer.bits if block.space.is_bits else answer.registers
            if len(values) < block.count:
                raise Malformed(
                    f"{len(values)} values instead of {block.count} from {block.space} {block.address}"
                )
            image.update(((block.space, block.address + i), int(values[i])) for i in range(block.count))
        return decode(device.profile, image)

    async def write(self, device: Device, metric: str, value: float) -> None:
        """Set one metric; see :class:`edge_agent.driver.Polled`."""
        write = write_of(device.profile, metric, value)
        single = write.function_code in (5, 6)
        payload = (
            bool(write.words[0])
            if write.function_code == 5
            else write.words[0]
            if single
            else list(write.words)
        )
        await self._ask(device, _WRITES[write.function_code], write.address, payload)

    async def _beat(self, device: Device) -> None:
        """Send the heartbeat that the device wants, when it is due."""
        beat, now = device.profile.heartbeat, asyncio.get_running_loop().time()
        if beat is not None and now - self._beaten.get(device.id, -beat.every_s) >= beat.every_s * 0.8:
            payload = beat.value if beat.function_code == 6 else [beat.value]
            await self._ask(device, _WRITES[beat.function_code], beat.address, payload)
            self._beaten[device.id] = now

    async def _ask(self, device: Device, method: str, address: int, argument: object) -> ModbusPDU:
        client = await self._connected(device.timeout_s)
        ask = getattr(client, method)
        keyword = {"count": argument} if method.startswith("read") else {}
        positional = () if keyword else (argument,)
        answer: ModbusPDU
        try:
            async with asyncio.timeout(device.timeout_s):
                answer = await ask(address, *positional, device_id=device.unit, **keyword)
        except (TimeoutError, ModbusIOException):
            self._hang_up()
            raise Unavailable(f"unit {device.unit} did not answer in {device.timeout_s:g} s") from None
        except (ConnectionException, OSError) as error:
            self._hang_up()
            raise LinkDown(f"{self._where}: {error}") from None
        except ModbusException as error:
            self._hang_up()
            raise Malformed(f"unit {device.unit}: {error}") from None
        except asyncio.CancelledError:
            self._hang_up()
            raise
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            raise Refused(
                f"unit {device.unit}, {method} {address}: exception {code}, {EXCEPTIONS.get(code, 'unknown')}"
            )
        return answer

    async def _connected(self, within_s: float) -> ModbusBaseClient:
        if self._client is not None and self._client.connected:
            return self._client
        self._hang_up()
        client = self._client = self._make_client()
        try:
            async with asyncio.timeout(max(within_s, 1.0)):
                connected = await client.connect()
        except (TimeoutError, OSError) as error:
            self._hang_up()
            raise LinkDown(f"{self._where}: {error or 'no connection in time'}") from None
        if not connected:
            self._hang_up()
            raise LinkDown(f"{self._where}: cannot be opened")
        return client

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


_READS = {
    Space.COIL: "read_coils",
    Space.DISCRETE: "read_discrete_inputs",
    Space.INPUT: "read_input_registers",
    Space.HOLDING: "read_holding_registers",
}
_WRITES = {5: "write_coil", 6: "write_register", 15: "write_coils", 16: "write_registers"}
