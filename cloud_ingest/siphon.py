"""A paho client that lets uploads past paho: it reads many packets at once and hands on the many alike itself.

::

    socket ─▶ buffer ─▶ whole packet: PUBLISH, QoS 1, topic …/up? ── yes ─▶ arrived(agent, topic, mid, payload)
                                              └ no ─▶ paho reads it as if it came from the socket

paho asks the socket for one byte, then for one more, then for the rest, and makes five objects of what it read: 60 µs
a message, measured, of which this takes 4.  Connection, session, keep-alive, subscriptions and everything that is sent
stay paho's.  Packets: OASIS, "MQTT Version 3.1.1" and "MQTT Version 5.0", 2.1 and 3.3.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_READ_BYTES = 1 << 18
_PUBLISH_QOS_1 = 0x32
_DUP = 0x08
_PUBACK = 0x40
_MOST_TOPICS = 100_000
_MANY_AT_ONCE = 1000  # acknowledgements in one write


class Siphon(paho.Client):
    """``agent_of`` tells whose upload a topic carries, None for anything else; ``arrived`` runs on paho's thread."""

    def __init__(
        self,
        *arguments: Any,
        agent_of: Callable[[str], str | None],
        arrived: Callable[[str, str, int, bytes], None],
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._agent_of, self._arrived = agent_of, arrived
        self._topics: dict[bytes, tuple[str, str] | None] = {}  # as bytes → agent and topic
        self._held, self._place = b"", 0  # what was read, and up to where it was handed on
        self._for_paho = 0  # where the packet ends that paho is reading
        self._read_from: object = None

    def acknowledge(self, mids: Iterable[int]) -> None:
        """Send PUBACKs; none while there is no connection, for they would be the first of the next, and end it."""
        mids = list(mids) if self.is_connected() else []
        for start in range(0, len(mids), _MANY_AT_ONCE):
            some = mids[start : start + _MANY_AT_ONCE]
            together = b"".join(struct.pack("!BBH", _PUBACK, 2, mid) for mid in some)
            self._packet_queue(_PUBACK, together, some[-1], 1)

    def tell(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Send ``(topic, payload)`` at QoS 0, all in one write; to nobody while there is no connection."""
        no_properties = b"\0" if self._protocol == paho.MQTTv5 else b""
        together = b"".join(_publish(topic.encode(), no_properties + payload) for topic, payload in messages)
        if together and self.is_connected():
            # As a PUBACK, because paho does nothing more about one that is sent.
            self._packet_queue(_PUBACK, together, 0, 0)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read until the socket gives no more: for what is held here, paho would wait for the socket to wake it."""
        while True:
            outcome = super().loop_read(max_packets)
            if outcome or self._read_from is not self._sock or packet_at(self._held, self._place) is None:
                return outcome

    def _sock_recv(self, bufsize: int) -> bytes:
        """Return what paho may read: at most ``bufsize`` bytes of a packet that is not for ``arrived``."""
        if self._read_from is not self._sock:  # a new connection
            self._read_from, self._held, self._place, self._for_paho = self._sock, b"", 0, 0
        while self._place >= self._for_paho:
            if not self._next_for_paho():
                more = super()._sock_recv(_READ_BYTES)
                if not more:
                    return b""
                self._held, self._place, self._for_paho = self._held[self._place :] + more, 0, 0
        end = min(self._place + bufsize, self._for_paho)
        data = self._held[self._place : end]
        self._place = end
        return data

    def _next_for_paho(self) -> bool:
        """Hand on uploads up to the next packet that is none; return whether there is one that is whole."""
        held, place = self._held, self._place
        while (packet := packet_at(held, place)) is not None:
            begin, end = packet
            if held[place] & ~_DUP != _PUBLISH_QOS_1 or not self._hand_on(held, begin, end):
                self._place, self._for_paho = place, end
                return True
            place = end
        self._place = self._for_paho = place
        return False

    def _hand_on(self, held: bytes, begin: int, end: int) -> bool:
        topic_end = begin + 2 + int.from_bytes(held[begin : begin + 2])
        topic = held[begin + 2 : topic_end]
        known = self._topics.get(topic)
        if known is None:
            if topic in self._topics:
                return False
            known = self._learn(topic)
            if known is None:
                return False
        payload = topic_end + 2
        if self._protocol == paho.MQTTv5:
            length, shift = 0, 0
            while True:
                digit = held[payload] if payload < end else 0
                length |= (digit & 0x7F) << shift
                payload, shift = payload + 1, shift + 7
                if not digit & 0x80:
                    break
            payload += length
        if payload > end:
            return False  # malformed: paho's to say
        self._arrived(*known, int.from_bytes(held[topic_end : topic_end + 2]), held[payload:end])
        return True

    def _learn(self, topic: bytes) -> tuple[str, str] | None:
        try:
            told = topic.decode()
        except UnicodeDecodeError:
            return None
        agent = self._agent_of(told)
        if len(self._topics) >= _MOST_TOPICS:
            self._topics.clear()
        known = self._topics[topic] = None if agent is None else (agent, told)
        return known


def _publish(topic: bytes, rest: bytes) -> bytes:
    """Return a PUBLISH of QoS 0; ``rest`` is what follows the topic."""
    left, size = 2 + len(topic) + len(rest), bytearray()
    while True:
        left, digit = divmod(left, 128)
        size.append(digit | (0x80 if left else 0))
        if not left:
            return b"".join((b"\x30", size, len(topic).to_bytes(2), topic, rest))


def packet_at(data: bytes, place: int) -> tuple[int, int] | None:
    """Return where the body of the packet at ``place`` begins and ends; None while it is not whole.

    >>> packet_at(bytes([0x40, 2, 0, 7, 0xD0, 0]), 0), packet_at(bytes([0x40, 2, 0]), 0)
    ((2, 4), None)
    """
    length, shift = 0, 0
    for at in range(place + 1, min(place + 5, len(data))):
        digit = data[at]
        length |= (digit & 0x7F) << shift
        if not digit & 0x80:
            end = at + 1 + length
            return (at + 1, end) if end <= len(data) else None
        shift += 7
    # Five digits are no length: the packet "ends" behind them, for paho to find the fault.
    return (place + 5, place + 6) if len(data) > place + 5 else None
