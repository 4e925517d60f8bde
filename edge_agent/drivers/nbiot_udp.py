"""NB-IoT devices that wake, send a datagram and sleep; told apart by the identity in their frames.

A device listens for some seconds after it has sent, and at no other time: behind the operator's network its address is
known only then.  So what it is told waits here until it wakes: the ``answer`` of its profile goes out at once, and after
it what :meth:`Driver.tell` has queued, the oldest first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

from device_profiles.frames import decode_frame, frame_identity
from edge_agent.driver import Heard, LinkDown
from telemetry.errors import Malformed, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from edge_agent.driver import Device

TRANSPORT = "nbiot_udp"
_QUEUE = 1000  # datagrams that wait; how many more there were is told
_MOST_TOLD = 16  # for one device


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``link`` table: where the datagrams arrive."""

    host: str = "0.0.0.0"  # noqa: S104 - devices send from the operator's network
    port: int = 5683


Address = tuple[str | object, int]


class _Told(NamedTuple):
    payload: bytes
    done: asyncio.Future[None]


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue(_QUEUE)
        self.overrun = 0

    def datagram_received(self, data: bytes, addr: Address) -> None:
        try:
            self.arrived.put_nowait((data, addr))
        except asyncio.QueueFull:
            self.overrun += 1


class Driver:
    """Listens for the datagrams of all devices of one bus."""

    def __init__(self, config: Config, devices: Sequence[Device]) -> None:
        self._config = config
        self._devices = {device.identity: device for device in devices}
        self._waiting: dict[str, deque[_Told]] = {device.id: deque() for device in devices}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what waits: whoever wants it told tells the next driver of this bus."""
        for told in (told for waiting in self._waiting.values() for told in waiting if not told.done.done()):
            told.done.set_exception(LinkDown("the bus is let go"))
            told.done.exception()  # nobody may be waiting any more

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
                data, address = await receiver.arrived.get()
                if receiver.overrun:
                    yield Heard(
                        None, Malformed(f"{receiver.overrun} datagrams came faster than they could be read")
                    )
                    receiver.overrun = 0
                items = self._heard(data)
                for heard in items:  # first: what it said was said before it was told anything
                    yield heard
                if (device := items[0].device) is not None:
                    for answer in self._answers(device):
                        transport.sendto(answer, address)
        finally:
            transport.close()

    def tell(self, device: Device, payload: bytes, within_s: float) -> asyncio.Future[None]:
        """Send ``payload`` when the device next wakes, if that is within so many seconds.

        The future is done when it was sent, which is not to say that it was heard; it raises
        :class:`~telemetry.errors.Unavailable` when the device wakes too late, and
        :class:`~telemetry.errors.Refused` when too much waits for it already.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        waiting = self._waiting[device.id]
        for told in [told for told in waiting if told.done.done()]:  # too late, or given up
            waiting.remove(told)
        if len(waiting) >= _MOST_TOLD:
            done.set_exception(Refused(f"'{device.id}': {_MOST_TOLD} messages wait for it to wake already"))
            return done

        def too_late() -> None:
            if not done.done():
                done.set_exception(Unavailable(f"'{device.id}' did not wake within {within_s:g} s"))

        timer = loop.call_later(within_s, too_late)
        done.add_done_callback(lambda _: timer.cancel())
        waiting.append(_Told(payload, done))
        return done

    def _answers(self, device: Device) -> list[bytes]:
        answer = bytes.fromhex(device.profile.frame.answer) if device.profile.frame is not None else b""
        answers, waiting = [answer] if answer else [], self._waiting[device.id]
        while waiting:
            told = waiting.popleft()
            if not told.done.done():  # neither too late nor given up
                answers.append(told.payload)
                told.done.set_result(None)
        return answers

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
