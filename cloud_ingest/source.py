"""The seam between the pipeline and whatever brings uploads and takes alarms away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from telemetry.readings import Ack, AgentStatus

MOST = 2**62
"""Of any number in an upload that is kept as an integer."""


class Delivery(msgspec.Struct, frozen=True):
    """One message as it came.

    ``agent`` is who the channel says it is from, ``origin`` where it came in, for a person to read; ``token`` is
    the source's own.
    """

    agent: str
    origin: str
    payload: bytes
    received_ms: int
    token: Any


class Source(Protocol):
    """Brings uploads; each stays the source's until :meth:`done` is told of it."""

    async def __aenter__(self) -> Self:
        """Connect, or begin to try."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; what is not done comes again."""

    async def take(self, most: int, linger_s: float) -> list[Delivery]:
        """Wait for a delivery, then ``linger_s`` seconds for more; return at most ``most``, in their order."""

    def at_hand(self, most: int) -> list[Delivery]:
        """Return what has come and was not taken, at most ``most``, in their order, without waiting."""

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """Say that these are committed, or written down to be, and need not come again."""

    def acknowledge(self, acks: Sequence[tuple[str, Ack]]) -> None:
        """Tell agents what is committed."""

    def announce(self, alarm: str, message: bytes) -> bool:
        """Put a message on the alarm feed; return False when it cannot be sent now."""

    async def alarm_acks(self) -> list[Ack]:
        """Wait for receipts of the alarm feed's consumer."""

    def problem(self) -> str:
        """Return what keeps deliveries from coming, ``""`` when nothing does."""

    def waiting(self) -> int:
        """Return how many deliveries wait to be taken."""

    def offset_ms(self, agent: str) -> int | None:
        """Return by how much an agent's clock is behind, as far as it is known."""

    def agents(self) -> list[AgentStatus]:
        """Return what is known of the agents' presence."""
