"""Messages of an agent as datagrams, for ways that carry half a kilobyte at a time.

::

    59 01 | number u32 | part u8 | parts u8 | n u8 | area/agent, n bytes | chunk | tag, 8 bytes

The chunks of all parts together are ``k u8 | the topic's last levels, k bytes | payload``.  The tag is the first half
of HMAC-SHA256 (RFC 2104, truncated as its §5 allows) over everything before it, with the agent's own key, so that
nobody else can speak for it.  A part that is lost costs the message: delivery sends it again.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import TYPE_CHECKING

import msgspec

from telemetry.errors import Malformed, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 512
_MAGIC = b"\x59\x01"
_HEAD = struct.Struct(">2sIBBB")
_TAG = 8
_MOST_PARTS = 255
_HALF_DONE = 16  # messages of which parts are missing, at once


class Message(msgspec.Struct, frozen=True):
    """``kind`` is the topic below ``yemai/v1/{area}/{agent}/``."""

    area: str
    agent: str
    number: int
    kind: str
    payload: bytes


def room(area: str, agent: str, kind: str) -> int:
    """Return the payload bytes that one datagram has room for.

    >>> room("yeji", "edge-01", "up")
    480
    """
    return MOST_BYTES - _HEAD.size - len(f"{area}/{agent}".encode()) - _TAG - 1 - len(kind.encode())


def pack(message: Message, key: bytes) -> list[bytes]:
    """Return the datagrams that carry a message; raise :class:`Refused` for one that no 255 of them carry."""
    name, kind = f"{message.area}/{message.agent}".encode(), message.kind.encode()
    body = bytes([len(kind)]) + kind + message.payload
    size = MOST_BYTES - _HEAD.size - len(name) - _TAG
    parts = max(1, -(-len(body) // size))
    if parts > _MOST_PARTS:
        raise Refused(
            f"a message of {len(body)} bytes does not fit into {_MOST_PARTS} datagrams of {MOST_BYTES}"
        )
    datagrams = []
    for part in range(parts):
        head = _HEAD.pack(_MAGIC, message.number & 0xFFFFFFFF, part, parts, len(name))
        told = head + name + body[part * size : (part + 1) * size]
        datagrams.append(told + _tag(told, key))
    return datagrams


class Assembler:
    """Puts messages together again; ``key_of`` returns the key of ``(area, agent)``, None for a stranger."""

    def __init__(self, key_of: Callable[[str, str], bytes | None]) -> None:
        self._key_of = key_of
        self._parts: dict[tuple[str, str, int], dict[int, bytes]] = {}

    def feed(self, datagram: bytes) -> Message | None:
        """Take a datagram; return the message that it completes; raise :class:`Malformed`."""
        if len(datagram) < _HEAD.size + _TAG:
            raise Malformed("datagram is too short", datagram)
        magic, number, part, parts, size = _HEAD.unpack_from(datagram)
        end = len(datagram) - _TAG
        if magic != _MAGIC or part >= parts or _HEAD.size + size > end:
            raise Malformed("no datagram of an agent", datagram)
        try:
            area, _, agent = datagram[_HEAD.size : _HEAD.size + size].decode().partition("/")
        except UnicodeDecodeError:
            raise Malformed("datagram: the name is not UTF-8", datagram, offset=_HEAD.size) from None
        key = self._key_of(area, agent)
        if key is None or not hmac.compare_digest(_tag(datagram[:end], key), datagram[end:]):
            raise Malformed(f"datagram: not from '{area}/{agent}'", datagram, offset=end)
        place = area, agent, number
        have = self._parts.setdefault(place, {})
        have[part] = datagram[_HEAD.size + size : end]
        if len(have) < parts:
            while len(self._parts) > _HALF_DONE:
                del self._parts[next(iter(self._parts))]
            return None
        del self._parts[place]
        body = b"".join(have.get(n, b"") for n in range(parts))
        if not body or 1 + body[0] > len(body):
            raise Malformed("datagram: no topic", datagram)
        kind = body[1 : 1 + body[0]].decode(errors="replace")
        return Message(area, agent, number, kind, body[1 + body[0] :])


def _tag(data: bytes, key: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()[:_TAG]
