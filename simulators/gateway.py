"""The other end of agents that send datagrams: passes their messages to the broker, and the broker's to them.

What an agent sends is published on its topics; ``status`` is retained and confirmed.  Acknowledgements, commands and
configurations go to the address from which the agent was last heard, and the configuration again with each status,
because a modem that slept has missed it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiomqtt

from telemetry import topics
from telemetry.errors import Malformed
from telemetry.wire.datagram import Assembler, Message, pack

if TYPE_CHECKING:
    from collections.abc import Mapping

_WAITING = 1000
_DOWN = ("ack", "cmd", "config")


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue(_WAITING)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self.arrived.full():
            self.arrived.put_nowait((data, addr))


class Gateway:
    """Serves agents whose keys are known, by ``area/agent``; ``refused`` counts what nobody could have sent."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = {name: key.encode() for name, key in keys.items()}
        self._assembler = Assembler(lambda area, agent: self._keys.get(f"{area}/{agent}"))
        self._addresses: dict[str, tuple[str, int]] = {}
        self._configs: dict[str, bytes] = {}
        self._number = 0
        self.largest = self.refused = 0

    async def serve(self, udp_port: int, broker_port: int) -> None:
        """Pass messages between 127.0.0.1:``udp_port`` and the broker, until cancelled."""
        loop = asyncio.get_running_loop()
        transport, receiver = await loop.create_datagram_endpoint(
            _Receiver, local_addr=("127.0.0.1", udp_port)
        )
        try:
            async with aiomqtt.Client("127.0.0.1", broker_port, identifier="gateway") as client:
                wanted = [f"{topics.ROOT}/{name}/{kind}" for name in self._keys for kind in _DOWN]
                await client.subscribe([(topic, topics.QOS) for topic in wanted])
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._up(receiver, client, transport))
                    tasks.create_task(self._down(client, transport))
        finally:
            transport.close()

    async def _up(
        self, receiver: _Receiver, client: aiomqtt.Client, transport: asyncio.DatagramTransport
    ) -> None:
        while True:
            data, address = await receiver.arrived.get()
            self.largest = max(self.largest, len(data))
            try:
                message = self._assembler.feed(data)
            except Malformed:
                self.refused += 1
                continue
            if message is None:
                continue
            name = f"{message.area}/{message.agent}"
            self._addresses[name] = address
            is_status = message.kind == "status"
            topic = f"{topics.ROOT}/{name}/{message.kind}"
            await client.publish(topic, message.payload, topics.QOS, retain=is_status)
            if is_status:
                self._send(name, "ok", message.number.to_bytes(4, "big"), transport)
                if name in self._configs:
                    self._send(name, "config", self._configs[name], transport)

    async def _down(self, client: aiomqtt.Client, transport: asyncio.DatagramTransport) -> None:
        async for message in client.messages:
            _, _, area, agent, kind = str(message.topic).split("/", 4)
            if kind == "config":
                self._configs[f"{area}/{agent}"] = bytes(message.payload)
            self._send(f"{area}/{agent}", kind, bytes(message.payload), transport)

    def _send(self, name: str, kind: str, payload: bytes, transport: asyncio.DatagramTransport) -> None:
        if (address := self._addresses.get(name)) is None:
            return
        self._number += 1
        area, _, agent = name.partition("/")
        for data in pack(Message(area, agent, self._number, kind, payload), self._keys[name]):
            transport.sendto(data, address)
