"""MQTT 3.1.1 over TCP, QoS 1, to the broker of the ``[broker]`` table.

The broker's PUBACK frees nothing; it only says that the way is not cut here.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiomqtt
import msgspec

from telemetry import topics
from telemetry.errors import Unavailable
from telemetry.mqtt import Client
from telemetry.readings import MAX_UPLOAD_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from edge_agent.link import Calling
    from telemetry.clock import Clock

MOST_BYTES = MAX_UPLOAD_BYTES
LARGEST_BYTES = 1 << 30  # a broker that takes less will say so
CODEC = "json"
WINDOW = 64
PATIENCE_S = 2.0
_ANSWER_S = 10.0  # until the broker must have acknowledged
_PACKET_BYTES = 60  # what MQTT, TCP and IP add to a payload and its acknowledgement, about


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``link`` table: there is nothing to say that ``[broker]`` has not said."""


class MqttLink:
    """A session with the broker."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.traffic = 0

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """See the seam."""
        try:
            await self._client.publish(topic, payload, topics.QOS, retain=retain)
        except aiomqtt.MqttError as error:
            raise Unavailable(str(error)) from None
        self.traffic += len(topic) + len(payload) + 2 * _PACKET_BYTES

    async def receive(self) -> AsyncIterator[tuple[str, bytes]]:
        """See the seam."""
        try:
            async for message in self._client.messages:
                payload = bytes(message.payload)
                self.traffic += len(payload) + 2 * _PACKET_BYTES
                yield str(message.topic), payload
        except aiomqtt.MqttError as error:
            raise Unavailable(str(error)) from None

    def metrics(self) -> Mapping[str, float]:
        """See the seam: a wire has nothing to tell."""
        return {}


@asynccontextmanager
async def connect(config: Config, calling: Calling, clock: Clock) -> AsyncIterator[MqttLink]:
    """Open a session; raise :class:`Unavailable` when the broker cannot be reached or refuses."""
    del config, clock
    broker = calling.broker
    assert broker is not None, "edge_agent.config sees to it"
    client = Client(
        broker.host,
        broker.port,
        username=broker.username,
        password=broker.secret,
        identifier=f"{calling.area}-{calling.agent}",
        keepalive=broker.keepalive_s,
        tls_context=broker.tls,
        timeout=_ANSWER_S,
        will=aiomqtt.Will(calling.status_topic, calling.will, topics.QOS, retain=True),
        max_concurrent_outgoing_calls=2 * calling.window,
    )
    client.pending_calls_threshold = 2 * calling.window  # below it a window would be warned of
    try:
        async with client:
            await client.subscribe([(topic, topics.QOS) for topic in calling.hears])
            yield MqttLink(client)
    except aiomqtt.MqttError as error:
        raise Unavailable(str(error)) from None
