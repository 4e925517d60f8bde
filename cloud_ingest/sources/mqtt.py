"""Uploads over MQTT.

paho in its own thread, acknowledging by hand: a PUBACK goes out only when the batch is committed, so the broker
keeps what is not.  MQTT 5 with a receive maximum where the broker speaks it; 3.1.1 with the broker's own window
where it does not.  The session outlives the process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud_ingest.clocks import Offsets
from cloud_ingest.siphon import Siphon
from cloud_ingest.source import Delivery
from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.errors import Malformed
from telemetry.mqtt import refusals
from telemetry.readings import Ack, AgentStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from cloud_ingest.config import IngestConfig
    from telemetry.clock import Clock

WINDOW = 2000
"""Messages received and not yet committed: the back-pressure."""
_SESSION_S = 24 * 3600
_LARGEST = 16 * 1024 * 1024  # what is larger the broker must refuse; up to here it is quarantined
_RECONNECT_S = (1, 5)
_ASK_AGAIN_S = 10.0  # for what the broker refuses: its rights may be mended while we are connected
_LATEST_MS = 253_402_300_800_000  # the year 10000: no clock shows it
_HANDSHAKE_S = 2.0  # a broker that answers a version 5 CONNECT with silence does not speak it
log = structlog.get_logger()


class Source:
    """See :class:`cloud_ingest.source.Source`."""

    def __init__(self, config: IngestConfig, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[Delivery] = deque()
        self._news, self._told = asyncio.Event(), False
        self._offsets = Offsets()
        self._acks: asyncio.Queue[Ack] = asyncio.Queue()
        self._agents: dict[str, AgentStatus] = {}
        self._problem, self._granted = "", False
        self._topics = _topics(config)
        self._generation = 0  # of the connection: a PUBACK for an earlier one would mean nothing
        self._version5 = True
        self._answered = self._refused = False  # by the broker: this client's CONNECT; version 5
        self._client = self._make_client()

    async def __aenter__(self) -> Self:
        broker = self._config.broker
        self._connect(self._client)
        log.info("source_up", broker=f"{broker.host}:{broker.port}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client = self._client
        client.disconnect()
        await asyncio.get_running_loop().run_in_executor(None, client.loop_stop)

    async def take(self, most: int, linger_s: float) -> list[Delivery]:
        """See the seam."""
        while not self._arrived:
            self._news.clear()
            self._told = False
            if not self._arrived:
                await self._news.wait()
        if linger_s and len(self._arrived) < most:
            await self._clock.sleep(linger_s)
        return self.at_hand(most)

    def at_hand(self, most: int) -> list[Delivery]:
        """See the seam."""
        return [self._arrived.popleft() for _ in range(min(most, len(self._arrived)))]

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """See the seam."""
        self._client.acknowledge(
            mid
            for generation, mid in (delivery.token for delivery in deliveries)
            if mid and generation == self._generation
        )

    def acknowledge(self, acks: Sequence[tuple[str, Ack]]) -> None:
        """See the seam; an acknowledgement that is lost comes again with the next copy of the upload."""
        area = self._config.area
        self._client.tell([(topics.ack(area, agent), json.encode(ack)) for agent, ack in acks])

    def announce(self, alarm: str, message: bytes) -> bool:
        """See the seam."""
        if not self._client.is_connected():
            return False
        sent = self._client.publish(topics.alarm(self._config.area, alarm), message, topics.QOS)
        return sent.rc == paho.MQTT_ERR_SUCCESS

    async def alarm_acks(self) -> list[Ack]:
        """See the seam."""
        acks = [await self._acks.get()]
        while not self._acks.empty():
            acks.append(self._acks.get_nowait())
        return acks

    def problem(self) -> str:
        """See the seam."""
        if self._client.is_connected() and self._granted:
            return ""
        return self._problem or "not connected"

    def waiting(self) -> int:
        """See the seam."""
        return len(self._arrived)

    def offset_ms(self, agent: str) -> int | None:
        """See the seam."""
        return self._offsets.get(agent)

    def agents(self) -> list[AgentStatus]:
        """See the seam."""
        return list(self._agents.values())

    # -- paho's thread -------------------------------------------------------------------------------

    def _make_client(self) -> Siphon:
        broker = self._config.broker
        client: Siphon = Siphon(
            CallbackAPIVersion.VERSION2,
            agent_of=_uploads_of,
            arrived=lambda *upload: self._on_upload(client, *upload),
            client_id=f"{self._config.area}-{self._config.producer}",
            protocol=paho.MQTTv5 if self._version5 else paho.MQTTv311,
            manual_ack=True,
            clean_session=None if self._version5 else False,
        )
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.secret)
        if (tls := broker.tls) is not None:
            client.tls_set_context(tls)
        client.max_inflight_messages_set(WINDOW)
        client.reconnect_delay_set(*_RECONNECT_S)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail = lambda *_: self._say("no answer")
        client.on_message, client.on_subscribe = self._on_message, self._on_subscribe
        client.on_socket_open = self._on_socket_open
        return client

    def _connect(self, client: Siphon) -> None:
        broker, extra = self._config.broker, dict[str, Any]()
        if self._version5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _SESSION_S
            properties.ReceiveMaximum = WINDOW
            properties.MaximumPacketSize = _LARGEST
            extra = {"clean_start": False, "properties": properties}
        client.connect_async(broker.host, broker.port, keepalive=broker.keepalive_s, **extra)
        client.loop_start()

    def _on_connect(
        self, client: paho.Client, _data: object, flags: Any, reason: Any, _properties: object
    ) -> None:
        if client is not self._client:  # its answer came after we had given it up
            client.disconnect()
            return
        if reason.is_failure:
            if self._version5 and reason.value in (0x01, 0x84):  # unsupported protocol version
                self._refused = True
                self._loop.call_soon_threadsafe(self._change_version, client)
                return
            self._say(str(reason))
            return
        self._answered, self._granted = True, False
        self._generation += 1
        if flags.session_present:
            self._loop.call_soon_threadsafe(self._forget_before, self._generation)
        self._subscribe(client, self._generation)

    def _subscribe(self, client: paho.Client, generation: int) -> None:
        if client is self._client and generation == self._generation:
            client.subscribe([(topic, topics.QOS) for topic in self._topics])

    def _on_subscribe(
        self, client: paho.Client, _data: object, _mid: int, answers: list[Any], _properties: object
    ) -> None:
        """Take the link for good only when the broker lets us hear all of it."""
        if client is not self._client:
            return
        problem = next(iter(refusals(self._topics, answers).values()), "")
        self._granted = not problem
        self._say(problem)
        if problem:
            again = (self._subscribe, client, self._generation)
            self._loop.call_soon_threadsafe(self._loop.call_later, _ASK_AGAIN_S, *again)

    def _forget_before(self, generation: int) -> None:
        """Let go of what came by an earlier connection and was not taken: the broker sends it again."""
        count = len(self._arrived)
        kept = [one for one in (self._arrived.popleft() for _ in range(count)) if _stays(one, generation)]
        self._arrived.extendleft(reversed(kept))

    def _on_socket_open(self, client: paho.Client, _data: object, _socket: object) -> None:
        def doubt() -> None:
            if not self._answered and not client.is_connected():
                self._change_version(client)

        if self._version5 and not self._answered:
            self._loop.call_soon_threadsafe(self._loop.call_later, _HANDSHAKE_S, doubt)

    def _change_version(self, given_up: paho.Client) -> None:
        """Begin again with MQTT 3.1.1, or with 5 where the broker had only been slow to answer that."""
        if given_up is not self._client:
            return
        old, self._version5, self._answered = self._client, not self._version5, False
        if not self._version5:
            log.info("broker_speaks_mqtt_3_1_1", refused=self._refused)
        self._client = self._make_client()
        self._connect(self._client)
        old.disconnect()
        self._loop.run_in_executor(None, old.loop_stop)

    def _on_disconnect(
        self, client: paho.Client, _data: object, _flags: object, reason: Any, _properties: object
    ) -> None:
        if client is not self._client or not reason.is_failure:
            return
        self._say(str(reason))
        if not self._version5 and self._answered and not self._refused:
            self._loop.call_soon_threadsafe(self._change_version, client)

    def _on_upload(self, client: paho.Client, agent: str, topic: str, mid: int, payload: bytes) -> None:
        if client is not self._client:  # not acknowledged there, it comes again here
            return
        self._arrived.append(Delivery(agent, topic, payload, self._clock.now_ms(), (self._generation, mid)))
        if not self._told:  # waking the loop costs more than all the rest: once for many
            self._told = True
            self._loop.call_soon_threadsafe(self._news.set)

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        agent = topics.agent_of(message.topic)
        if agent is not None and message.topic.endswith("/up"):  # sent at QoS 0, or retained
            mid = message.mid if message.qos else 0
            self._on_upload(client, agent, message.topic, mid, bytes(message.payload))
            return
        client.ack(message.mid, message.qos)
        try:
            if agent is not None:
                status = _status_of(agent, bytes(message.payload))
                if status.now and not message.retain:
                    self._offsets.note(agent, status.now, self._clock.now_ms())
                self._loop.call_soon_threadsafe(self._agents.__setitem__, agent, status)
            else:
                ack = codecs.decode(bytes(message.payload), Ack, max_bytes=1 << 20)
                self._loop.call_soon_threadsafe(self._acks.put_nowait, ack)
        except Malformed as error:
            log.warning("unreadable_message", topic=message.topic, problem=str(error))
        except Exception:  # or paho's thread would end, and nobody's uploads come any more
            log.exception(
                "ingest_fault", topic=message.topic, payload=bytes(message.payload[:200]),
                way_out="it is passed over; report this",
            )  # fmt: skip

    def _say(self, problem: str) -> None:
        """Log the state of the connection once, and again when it changes."""
        if problem == self._problem:
            return
        where = f"{self._config.broker.host}:{self._config.broker.port}"
        if problem:
            log.warning("broker_lost", broker=where, problem=problem, uploads="wait in the agents' outboxes")
        else:
            log.info("broker_found", broker=where, mqtt=5 if self._version5 else 3)
        self._problem = problem


def _stays(delivery: Delivery, generation: int) -> bool:
    """Return whether nobody would send this again, or it came by this connection."""
    came_by, mid = delivery.token
    return bool(came_by >= generation or not mid)


def _topics(config: IngestConfig) -> list[str]:
    area = config.area
    return [topics.up(area, "+"), topics.status(area, "+"), topics.alarm_ack(area, config.alarms.consumer)]


def _uploads_of(topic: str) -> str | None:
    return topics.agent_of(topic) if topic.endswith("/up") else None


def _status_of(agent: str, data: bytes) -> AgentStatus:
    """Return what an agent tells of itself; raise :class:`Malformed` where it is of another, or cannot be.

    By the time in it the times of all its readings may be corrected.
    """
    status = codecs.decode(data, AgentStatus, max_bytes=4096)
    if status.agent != agent:
        raise Malformed(f"status: says it is from '{status.agent}'")
    if not 0 <= status.now < _LATEST_MS:
        raise Malformed(f"status: $.now {status.now} is no time that a clock can show (UTC ms)")
    return status
