"""A subscription that the broker has granted: one that it refuses is an error, and no silence without end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry import topics
from telemetry.errors import Unavailable
from telemetry.mqtt import refusals

if TYPE_CHECKING:
    import aiomqtt


async def subscribe(client: aiomqtt.Client, topic: str) -> None:
    """Subscribe; raise :class:`Unavailable` when the broker does not let us."""
    for problem in refusals([topic], await client.subscribe(topic, topics.QOS)).values():
        raise Unavailable(problem)
