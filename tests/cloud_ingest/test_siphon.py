"""What the siphon lets past paho and what it leaves to it, byte for byte, however the bytes come."""

import struct

import hypothesis.strategies as st
import paho.mqtt.client as paho
import pytest
from hypothesis import given, settings
from paho.mqtt.enums import CallbackAPIVersion

from cloud_ingest.siphon import Siphon, packet_at


class Socket:
    """Gives out what it holds in pieces, then would block."""

    def __init__(self, pieces):
        self.pieces = [piece for piece in pieces if piece]

    def recv(self, most):
        if not self.pieces:
            raise BlockingIOError
        piece = self.pieces.pop(0)
        if len(piece) > most:
            self.pieces.insert(0, piece[most:])
        return piece[:most]

    def close(self):
        pass


def uploads_of(topic):
    return topic.split("/")[0] if topic.endswith("/up") else None


def siphon(version=paho.MQTTv5):
    arrived = []
    client = Siphon(
        CallbackAPIVersion.VERSION2, client_id="t", protocol=version, manual_ack=True, agent_of=uploads_of,
        arrived=lambda *told: arrived.append(told),
    )  # fmt: skip
    return client, arrived


def publish(topic, payload, *, mid=7, first=0x32, properties=b"\0"):
    body = (
        struct.pack("!H", len(topic))
        + topic
        + (struct.pack("!H", mid) if first & 6 else b"")
        + properties
        + payload
    )
    size, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)
        size += bytes([digit | (0x80 if left else 0)])
        if not left:
            return bytes([first]) + size + body


def drain(client, pieces):
    """Return what paho gets to read of ``pieces``, asking as it does: a byte, then more."""
    client._sock = Socket(pieces)
    left = b""
    try:
        while data := client._sock_recv(1 if len(left) % 2 == 0 else 3):
            left += data
    except BlockingIOError:
        pass
    client._sock = None
    return left


UP, PING, OTHER = publish(b"a/up", b"x" * 200, mid=9), bytes([0xD0, 0]), publish(b"a/status", b"{}", mid=8)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_uploads_go_past_paho_and_the_rest_to_it_in_order(size):
    client, arrived = siphon()
    stream = UP + PING + UP + UP + OTHER + UP + PING
    left = drain(client, [stream[n : n + size] for n in range(0, len(stream), size)])
    assert left == PING + OTHER + PING
    assert arrived == [("a", "a/up", 9, b"x" * 200)] * 4


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        (publish(b"a/up", b"x", mid=1, first=0x3A), ("a", "a/up", 1, b"x")),  # sent again
        (
            publish(b"a/up", b"x", properties=b"\x02\x01\x01"),
            ("a", "a/up", 7, b"x"),
        ),  # payload format indicator
        (publish(b"a/up", b"", mid=2), ("a", "a/up", 2, b"")),
    ],
)
def test_an_upload_is_known_in_every_dress(packet, told):
    client, arrived = siphon()
    assert drain(client, [packet]) == b""
    assert arrived == [told]


@pytest.mark.parametrize(
    "packet",
    [
        publish(b"a/up", b"x", first=0x30),  # QoS 0
        publish(b"a/up", b"x", first=0x33),  # retained
        publish(b"a/up", b"x", first=0x34),  # QoS 2
        publish(b"\xff/up", b"x"),  # no UTF-8
        publish(b"a/up", b"", properties=b"\xff\xff\x7f"),  # properties longer than the packet
        bytes([0x32, 3, 0xFF, 0xFF, 0]),  # a topic longer than the packet
        bytes([0x32, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]),  # a length of five digits
    ],
)
def test_anything_else_is_pahos_to_judge(packet):
    client, arrived = siphon()
    assert drain(client, [packet]) == packet[: len(drain(siphon()[0], [packet]))]
    assert drain(client, [packet])[:1] == packet[:1]
    assert arrived == []


def test_mqtt_3_1_1_has_no_properties():
    client, arrived = siphon(paho.MQTTv311)
    assert drain(client, [publish(b"a/up", b"\0x", properties=b"")]) == b""
    assert arrived == [("a", "a/up", 7, b"\0x")]


def test_half_a_packet_of_an_old_connection_is_forgotten():
    client, arrived = siphon()
    drain(client, [UP[:100]])
    assert drain(client, [PING + UP]) == PING
    assert len(arrived) == 1


def test_what_came_together_is_read_before_the_socket_is_waited_for():
    """paho reads a packet each time its socket wakes it; an alarm behind a status would wait for the next message."""
    client, arrived = siphon()
    statuses = []
    client.on_message = lambda _client, _data, message: statuses.append(message.topic)
    client._sock = Socket([OTHER + OTHER + UP + OTHER + UP + UP[:50]])
    assert client.loop_read() == paho.MQTT_ERR_SUCCESS
    client._sock = None
    assert (len(statuses), len(arrived)) == (3, 2)


@given(st.lists(st.binary(max_size=40), max_size=8))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_come_out_as_they_went_in_or_as_uploads(pieces):
    client, arrived = siphon()
    left, stream = drain(client, pieces), b"".join(pieces)
    assert len(left) + sum(len(payload) for *_, payload in arrived) <= len(stream)
    if not arrived:
        assert stream.startswith(left)


def test_a_length_is_read_in_one_to_four_digits():
    for size in (0, 127, 128, 16_383, 16_384, 2_097_152):
        packet = publish(b"", b"x" * max(0, size - 3), first=0x30)
        begin, end = packet_at(packet, 0)
        assert end == len(packet)
        assert packet_at(packet[:-1], 0) is None
        assert begin in (2, 3, 4, 5)
