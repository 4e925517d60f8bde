"""NB-IoT devices that wake, send a datagram and sleep; told apart by the identity in their frames."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import msgspec

from device_profiles.frames import decode_frame, frame_identity
from edge_agent.driver import Heard, LinkDown
from telemetry.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from edge_agent.driver import Device

TRANSPORT = "nbiot_udp"
_QUEUE = 1000  # datagrams that wait; more are refused and told of as a Malformed with their bytes


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``link`` table: where the datagrams arrive."""

    host: str = "0.0.0.0"  # noqa: S104 - devices send from the operator's network
    port: int = 5683


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE)
        self.overrun = 0

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        del addr  # behind an operator's NAT it tells nothing
        try:
            self.arrived.put_nowait(data)
        except asyncio.QueueFull:
            self.overrun += 1


class Driver:
    """Listens for the datagrams of all devices of one bus."""

    def __init__(self, config: Config, devices: Sequence[Device]) -> None:
        self._config = config
        self._devices = {device.identity: device for device in devices}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held between two calls of :meth:`listen`."""

    async def listen(self) -> AsyncIterator[Heard]:
        """Yield each datagram's measurements, the oldest first; raise :class:`LinkDown`."""
        loop = asyncio.get_running_loop()
        try:
            transport, receiver = await loop.create_datagram_endpoint(
                _Receiver, local_addr=(self._config.host, self._config.port)
            )
        except OSError as error:
            raise LinkDown(f"UDP {self._config.host}:{self._config.port}: {error.strerror}") from None
        try:
            while True:
                data = await receiver.arrived.get()
                if receiver.overrun:
                    yield Heard(
                        None, Malformed(f"{receiver.overrun} datagrams came faster than they could be read")
                    )
                    receiver.overrun = 0
                for heard in self._heard(data):
                    yield heard
        finally:
            transport.close()

    def _heard(self, data: bytes) -> list[Heard]:
        errors = []
        for profile in {device.profile.id: device.profile for device in self._devices.values()}.values():
            try:
                identity = frame_identity(profile, data)
                device = self._devices.get(identity or "")
                if device is None or device.profile.id != profile.id:
                    errors.append(Malformed(f"a datagram of '{profile.id}' from unknown {identity}", data))
                    continue
                return [Heard(device, said) for said in decode_frame(profile, data)]
            except Malformed as error:
                errors.append(error)
        return [Heard(None, errors[0])]
