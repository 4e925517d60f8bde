"""Messages of an agent as datagrams, for ways that carry half a kilobyte at a time.

::

    59 02 | session u64 | number u32 | part u8 | parts u8 | n u8 | area/agent, n bytes | chunk | tag, 8 bytes

The chunks of all parts together are ``k u8 | the topic's last levels, k bytes | payload``.  The tag is the first half
of HMAC-SHA256 (RFC 2104, truncated as its §5 allows) over everything before it, with the agent's own key, so that
nobody else can speak for it.  A part that is lost costs the message: delivery sends it again.

A session begins whenever the agent opens the way, with a greater number than any before: its clock in UTC ms.  Within
it messages are numbered from 1 in each direction, and what goes down carries the session of the agent that it is for.
So what was captured and is sent again is known (:class:`Window`) by both sides, and a receiver needs to remember one
window for each agent.  An agent whose clock has gone back is told ``stale`` and begins above what the receiver knows.
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
UP, DOWN = ("up", "status", "cmd/result"), ("ack", "cmd", "config", "ok", "stale")
"""What goes which way: a message that is sent back to where it came from is none."""
_MAGIC = b"\x59\x02"
_HEAD = struct.Struct(">2sQIBBB")
_WIDTH = 64
_TAG = 8
_MOST_PARTS = 255
_HALF_DONE = 16  # messages of which parts are missing, at once


class Message(msgspec.Struct, frozen=True):
    """``kind`` is the topic below ``yemai/v1/{area}/{agent}/``."""

    area: str
    agent: str
    session: int
    number: int
    kind: str
    payload: bytes


class Replayed(Malformed):
    """A datagram of a message that was taken before, or is too old to tell; it is authentic."""

    def __init__(self, message: Message) -> None:
        self.message = message
        super().__init__(f"datagram: number {message.number} of session {message.session} was taken before")


class Window(msgspec.Struct):
    """What was taken of one sender: its newest session, the greatest number in it, and which of the 64 up to that.

    The sliding window of IPsec (RFC 4303 §3.4.3).

    >>> window = Window()
    >>> [window.is_new(5, 1), window.take(5, 3), window.is_new(5, 3), window.is_new(5, 2), window.is_new(4, 9)]
    [True, None, False, True, False]
    """

    session: int = 0
    top: int = 0
    taken: int = 0  # bit n: top − n was taken

    def is_new(self, session: int, number: int) -> bool:
        """Whether a message was not taken yet and is young enough to tell."""
        if session != self.session:
            return session > self.session
        behind = self.top - number
        return behind < 0 or (behind < _WIDTH and not self.taken >> behind & 1)

    def take(self, session: int, number: int) -> None:
        """Note that a message was taken."""
        if session > self.session:
            self.session, self.top, self.taken = session, number, 1
            return
        ahead = number - self.top
        if ahead > 0:
            self.top, self.taken = number, (self.taken << ahead | 1) & (1 << _WIDTH) - 1
        else:
            self.taken |= 1 << -ahead


def room(area: str, agent: str, kind: str) -> int:
    """Return the payload bytes that one datagram has room for.

    >>> room("yeji", "edge-01", "up")
    472
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
        head = _HEAD.pack(_MAGIC, message.session, message.number, part, parts, len(name))
        told = head + name + body[part * size : (part + 1) * size]
        datagrams.append(told + _tag(told, key))
    return datagrams


class Assembler:
    """Puts messages together again, each once.

    :param key_of: returns the key of ``(area, agent)``, None for a stranger.
    :param windows: ``area/agent`` → what was taken of it; the caller keeps it where it must outlive a restart.
    :param session: returns the only session that is taken, for an agent, which knows its own.
    """

    def __init__(
        self,
        key_of: Callable[[str, str], bytes | None],
        windows: dict[str, Window] | None = None,
        session: Callable[[], int] | None = None,
    ) -> None:
        self._key_of, self._session = key_of, session
        self.windows = {} if windows is None else windows
        self._parts: dict[tuple[str, str, int, int], dict[int, bytes]] = {}

    def feed(self, datagram: bytes) -> Message | None:
        """Take a datagram; return the message that it completes.

        Raises :class:`Malformed`, and :class:`Replayed` for a part of a message that was taken before.
        """
        if len(datagram) < _HEAD.size + _TAG:
            raise Malformed("datagram is too short", datagram)
        magic, session, number, part, parts, size = _HEAD.unpack_from(datagram)
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
        window = self.windows.setdefault(f"{area}/{agent}", Window())
        is_ours = self._session is None or session == self._session()
        if not is_ours or not window.is_new(session, number):
            raise Replayed(Message(area, agent, session, number, "", b""))
        place = area, agent, session, number
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
        window.take(session, number)
        kind = body[1 : 1 + body[0]].decode(errors="replace")
        return Message(area, agent, session, number, kind, body[1 + body[0] :])


def _tag(data: bytes, key: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()[:_TAG]
