"""A message on an MQTT topic, for sirens, screens and other systems.  A PUBACK is the broker's word, not a reader's."""

from __future__ import annotations

import aiohttp
import aiomqtt
import msgspec

from command_center.channel import TIMEOUT_S, Limits, Message, Receipt
from telemetry.broker import BrokerConfig
from telemetry.errors import Unavailable
from telemetry.mqtt import Client

LIMITS = Limits(credentials=((600, 60.0),))
READ_BY_PEOPLE = False


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker."""

    broker: BrokerConfig


class Channel:
    """The address is a topic."""

    def __init__(self, config: Config, _: aiohttp.ClientSession) -> None:
        self._broker = config.broker

    async def send(self, message: Message, address: str) -> Receipt:
        """Publish the message as JSON, QoS 1, not retained."""
        broker = self._broker
        try:
            async with Client(
                broker.host,
                broker.port,
                username=broker.username,
                password=broker.secret,
                tls_context=broker.tls,
                timeout=TIMEOUT_S,
            ) as client:
                await client.publish(address, msgspec.json.encode(message), 1, timeout=TIMEOUT_S)
        except aiomqtt.MqttError as error:
            raise Unavailable(f"no connection ({type(error).__name__})") from None
        return Receipt("accepted", "puback")
