"""What a way to the cloud promises, and what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from telemetry.broker import BrokerConfig
    from telemetry.clock import Clock


class Calling(msgspec.Struct, frozen=True):
    """Who calls, and what is to be said of him if the way is cut.

    ``hears`` are the topics whose messages are wanted; ``will`` is retained on ``status_topic`` by whoever
    notices that the agent is gone.
    """

    area: str
    agent: str
    broker: BrokerConfig | None
    hears: tuple[str, ...]
    status_topic: str
    will: bytes
    window: int  # most messages on their way at once


class Link(Protocol):
    """A way to the cloud that is open."""

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand over one message; returns when the next hop has it.  Raises ``Unavailable`` when the way is cut."""

    def receive(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield ``(topic, payload)`` of what arrives; raise ``Unavailable`` when the way is cut."""

    def metrics(self) -> Mapping[str, float]:
        """Return figures of the way itself, each with its unit in its name (``signal_dbm``)."""

    @property
    def traffic(self) -> int:
        """Bytes this way has cost so far, in both directions, as the operator of the network counts them."""


class UplinkModule(Protocol):
    """What a file in ``edge_agent/uplinks/`` offers."""

    MOST_BYTES: int
    """What an upload should not exceed."""
    LARGEST_BYTES: int
    """What the way can carry at all; what is larger waits for another way."""
    CODEC: str
    WINDOW: int
    PATIENCE_S: float
    Config: type[Any]

    def connect(self, config: Any, calling: Calling, clock: Clock) -> AbstractAsyncContextManager[Link]:
        """Open the way while the block lasts; raises ``Unavailable``."""
