"""A sensor that streams frames on a serial line of its own, laid out by its profile."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

import msgspec
import serial
import serial_asyncio_fast

from device_profiles.frames import FrameReader, decode_frame
from edge_agent.driver import Heard, LinkDown
from edge_agent.ports import reason
from telemetry.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from edge_agent.driver import Device

TRANSPORT = "serial_frame"
_CHUNK = 256


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``link`` table."""

    port: str
    baud: int = 9600


class Driver:
    """Listens to the one device on the line."""

    def __init__(self, config: Config, devices: Sequence[Device]) -> None:
        self._config, self._device = config, devices[0]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held between two calls of :meth:`listen`."""

    async def listen(self) -> AsyncIterator[Heard]:
        """Yield each frame, and what stood between frames; raise :class:`LinkDown`."""
        try:
            stream, writer = await serial_asyncio_fast.open_serial_connection(
                url=self._config.port, baudrate=self._config.baud
            )
        except (serial.SerialException, OSError) as error:
            raise LinkDown(f"{self._config.port}: {reason(error)}") from None
        frames = FrameReader(self._device.profile)
        try:
            while data := await stream.read(_CHUNK):
                for frame in frames.feed(data):
                    for said in (
                        [frame] if isinstance(frame, Malformed) else decode_frame(self._device.profile, frame)
                    ):
                        yield Heard(self._device, said)
        except (serial.SerialException, OSError) as error:
            raise LinkDown(f"{self._config.port}: {reason(error)}") from None
        finally:
            writer.close()
            with contextlib.suppress(serial.SerialException, OSError):  # the port may be gone already
                await writer.wait_closed()
        raise LinkDown(f"{self._config.port}: closed by the other end")
