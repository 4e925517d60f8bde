"""What a driver promises, and what it is given.

A driver does the I/O of one bus and nothing else: it does not retry, buffer, stamp or judge.  It owns
its port from ``__aenter__`` to ``__aexit__`` and leaves no task, thread or file behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import msgspec

from device_profiles.profile import Decoded, Profile
from telemetry.errors import Malformed, Refused, Unavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from device_profiles.registers import Block, Write
    from edge_agent.planner import Wire


class LinkDown(Unavailable):
    """The port or connection that leads to the devices cannot be opened."""


class Exceptional(Refused):
    """A device answered with an exception; ``code`` as in MODBUS Application Protocol V1.1b3 §7."""

    def __init__(self, what: str, code: int) -> None:
        self.code = code
        super().__init__(what)


class Device(msgspec.Struct, frozen=True):
    """A device on a bus: its profile is bound, its address is known."""

    id: str
    profile: Profile
    unit: int
    timeout_s: float
    identity: str = ""  # by which it is known in its own frames, or its serial number
    period_s: float = 0.0  # 0: the bus's
    periods_s: dict[str, float] = {}  # metric or text → how often it is wanted
    site: str = ""  # for rules that are different at one


class Heard(msgspec.Struct, frozen=True):
    """Something arrived unasked.  ``device`` is None when nobody can say from whom."""

    device: Device | None
    said: Decoded | Malformed


@runtime_checkable
class Resource(Protocol):
    """Opened and closed by ``async with``."""

    async def __aenter__(self) -> Self:
        """Take hold of the port, or put that off to the first use."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the port."""


@runtime_checkable
class Polled(Resource, Protocol):
    """A driver whose devices answer when asked, a request at a time.

    Both methods make one exchange on the line and raise :class:`LinkDown`, :class:`Unavailable` (no answer in
    ``device.timeout_s``), :class:`Exceptional` (answered with an exception) or :class:`Malformed`.
    """

    wire: Wire
    """What a request costs, for the planner."""

    @property
    def opened(self) -> int:
        """How often the line was opened: another number may mean other devices at its end."""

    async def read(self, device: Device, block: Block) -> list[int]:
        """Return the registers or bits of ``block``."""

    async def write(self, device: Device, write: Write) -> None:
        """Write registers or bits."""


@runtime_checkable
class Listening(Resource, Protocol):
    """A driver whose devices speak when they like."""

    def listen(self) -> AsyncIterator[Heard]:
        """Yield what arrives, for ever; raise :class:`LinkDown` when the port is gone."""


@runtime_checkable
class Telling(Listening, Protocol):
    """A listening driver whose devices can be told something when they wake."""

    def tell(self, device: Device, payload: bytes, within_s: float) -> asyncio.Future[None]:
        """Queue a datagram; done when it was sent.

        The future raises :class:`~telemetry.errors.Unavailable` when the device does not wake within so many seconds,
        :class:`LinkDown` when the bus is let go, :class:`~telemetry.errors.Refused` when too much waits already.
        """


class DriverModule(Protocol):
    """What a file in ``edge_agent/drivers/`` offers."""

    TRANSPORT: str
    Config: type[Any]

    def Driver(self, config: Any, devices: Sequence[Device]) -> Polled | Listening:  # noqa: N802 - a class
        """Return the driver of one bus."""
