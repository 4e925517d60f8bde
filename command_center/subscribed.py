"""A subscription that the broker has granted: one that it refuses is an error, and no silence without end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry import topics
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    import aiomqtt

_REFUSED = 0x80
"""Reason codes of SUBACK from here on say no (MQTT 3.1.1, 3.9.3; MQTT 5, 3.9.3)."""


async def subscribe(client: aiomqtt.Client, topic: str) -> None:
    """Subscribe; raise :class:`Unavailable` when the broker does not let us."""
    for code in await client.subscribe(topic, topics.QOS):
        value = code if isinstance(code, int) else code.value
        if value >= _REFUSED:
            raise Unavailable(
                f"the broker refuses the subscription to '{topic}' (0x{value:02x}); look at its rights"
            )
