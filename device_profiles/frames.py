"""Frames that are no standard of their own: where one ends, what it says, and how one is made.

Serial sensors stream them, NB-IoT devices send one a datagram.  A frame is ``start … length … fields or
tag-value pairs … checksum``, as the profile's :class:`~device_profiles.profile.Frame` lays it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device_profiles.profile import Checksum, Decoded, Frame, FrameField, Length, Profile
from device_profiles.vocabulary import load_classes
from device_profiles.wire import bytes_of, number_of, raw_for, raw_of
from telemetry.errors import Malformed
from telemetry.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device_profiles.profile import Order


class FrameReader:
    """Cuts a byte stream into frames; what cannot begin a frame is skipped and reported.

    The buffer never holds more than one longest frame beyond what was fed.
    """

    def __init__(self, profile: Profile) -> None:
        self._layout = layout_of(profile)
        self._start = bytes.fromhex(self._layout.start)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes | Malformed]:
        """Take the next bytes; return the frames that are complete, and the errors in between."""
        self._buffer += data
        found: list[bytes | Malformed] = []
        while (item := self._next()) is not None:
            found.append(item)
        return found

    def _next(self) -> bytes | Malformed | None:
        at = self._buffer.find(self._start)
        if at != 0:
            end = at if at > 0 else len(self._buffer) - self._begun()
            if end <= 0:
                return None
            skipped = bytes(self._buffer[:end])
            del self._buffer[:end]
            return Malformed("bytes before a frame's start", skipped)
        size = frame_size(self._layout, self._buffer)
        if size is None:
            return None
        if isinstance(size, Malformed):
            del self._buffer[: len(self._start)]
            return size
        if len(self._buffer) < size:
            return None
        frame = bytes(self._buffer[:size])
        error = checksum_error(self._layout, frame)
        if error is not None:
            del self._buffer[
                : len(self._start)
            ]  # the length itself may be what is broken: look again from here
            return error
        del self._buffer[:size]
        return frame

    def _begun(self) -> int:
        """How many of the last bytes may be the first of a start that is cut in two."""
        longest = min(len(self._start) - 1, len(self._buffer))
        tails = (n for n in range(longest, 0, -1) if self._start.startswith(bytes(self._buffer[-n:])))
        return next(tails, 0)


def layout_of(profile: Profile) -> Frame:
    """Return the profile's frame layout; a Modbus profile has none."""
    if profile.frame is None:
        raise ValueError(f"'{profile.id}' has no frame")
    return profile.frame


def frame_size(layout: Frame, data: bytes | bytearray) -> int | Malformed | None:
    """Return how long the frame that ``data`` begins with is; None while that cannot be told."""
    length = layout.length
    if length.fixed:
        return length.fixed
    if len(data) < length.at + (2 if length.type == "u16" else 1):
        return None
    size = _length(length, data)
    if not len(bytes.fromhex(layout.start)) < size <= length.most:
        return Malformed(f"frame length {size} is not within {length.most}", bytes(data), offset=length.at)
    return size


def checksum_error(layout: Frame, frame: bytes) -> Malformed | None:
    """Return what is wrong with the checksum, or None."""
    end = bytes.fromhex(layout.end)
    if not frame.endswith(end):
        return Malformed(f"frame does not end with {layout.end}", frame, offset=len(frame) - len(end))
    if layout.checksum is None:
        return None
    at = len(frame) - len(end) - layout.checksum.size
    told = int.from_bytes(frame[at : at + layout.checksum.size], layout.checksum.order)
    real = checksum(layout.checksum, frame[:at])
    if told == real:
        return None
    return Malformed(f"checksum {told:#06x}, calculated {real:#06x}", frame, offset=at)


def checksum(kind: Checksum, data: bytes) -> int:
    """Return the checksum of ``data``.

    >>> hex(checksum(Checksum("crc16_modbus"), bytes.fromhex("010300000001")))
    '0xa84'
    """
    data = data[kind.first :]
    if kind.kind == "sum16":
        return sum(data) & 0xFFFF
    if kind.kind == "sum8":
        return sum(data) & 0xFF
    value = 0xFFFF if kind.kind == "crc16_modbus" else 0
    for byte in data:
        value ^= byte
        if kind.kind == "crc16_modbus":
            for _ in range(8):
                value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value


def decode_frame(profile: Profile, frame: bytes) -> list[Decoded]:
    """Return what one whole frame says, the oldest first; raise :class:`Malformed`."""
    layout = layout_of(profile)
    _check_whole(layout, frame)
    time_ms = None
    if layout.time is not None:
        time_ms = int(float(_raw(layout.time, frame)) * 1000)
    if layout.tlv_at is None:
        return [
            _decoded(profile, [(f, _slice(f, frame)) for f in layout.fields if _holds(f, frame)], time_ms)
        ]
    head = [(field, _slice(field, frame)) for field in layout.fields if not field.tag]
    samples: list[list[tuple[FrameField, bytes]]] = [[*head]]
    for field, data in _pairs(layout, frame):
        if any(field.tag == earlier.tag for earlier, _ in samples[-1]):
            samples.append([*head])  # a tag that comes again begins an earlier measurement kept by the device
        samples[-1].append((field, data))
    return [_decoded(profile, sample, time_ms) for sample in samples]


def frame_identity(profile: Profile, frame: bytes) -> str | None:
    """Return the text by which the sender is known (IMEI, serial number); None where frames carry none."""
    layout = layout_of(profile)
    _check_whole(layout, frame)
    return None if layout.identity is None else str(_raw(layout.identity, frame))


def encode_frame(
    profile: Profile, values: Mapping[str, float | None], *, time_ms: int = 0, identity: str = ""
) -> bytes:
    """Return a frame that says ``values``: the inverse of :func:`decode_frame`."""
    layout = layout_of(profile)
    metrics = load_classes()[profile.device_class].metrics
    body = bytearray(layout.length.fixed or layout.tlv_at or _extent(layout))
    body[: len(layout.start) // 2] = bytes.fromhex(layout.start)
    for at, text in layout.constants.items():
        body[at : at + len(text) // 2] = bytes.fromhex(text)
    if layout.identity is not None:
        _place(body, layout.identity, _ordered(layout.identity, bytes_of(layout.identity, identity)))
    if layout.time is not None:
        _place(body, layout.time, _ordered(layout.time, bytes_of(layout.time, time_ms // 1000)))
    for field in layout.fields:
        if not field.metric:
            raw: float | str = field.constant if field.constant is not None else 0
        elif field.metric not in values and field.tag:
            continue
        else:
            raw = raw_for(field, values.get(field.metric), {}, metrics[field.metric].unit)
        if field.tag and not field.metric:
            continue  # helpers and attributes behind a tag are sent by the device only now and then
        if field.tag:
            body += bytes.fromhex(field.tag) + _ordered(field, bytes_of(field, raw))
        else:
            at = field.at or 0
            _place(body, field, _ordered(field, bytes_of(field, raw, bytes(body[at : at + field.size]))))
    if layout.tlv_count is not None and layout.tlv_at is not None:
        _put_length(body, layout.tlv_count, len(body) - layout.tlv_at)
    if not layout.length.fixed:
        _put_length(
            body,
            layout.length,
            len(body) + (_tail(layout) if layout.tlv_at else 0),
        )
    end = bytes.fromhex(layout.end)
    if layout.checksum is not None:
        size, tail = layout.checksum.size, len(end)
        if layout.tlv_at is not None:
            body += bytes(size + tail)
        told = checksum(layout.checksum, bytes(body[: len(body) - size - tail]))
        body[len(body) - size - tail :] = told.to_bytes(size, layout.checksum.order) + end
    return bytes(body)


def _check_whole(layout: Frame, frame: bytes) -> None:
    start = bytes.fromhex(layout.start)
    if not frame.startswith(start):
        raise Malformed(f"frame does not begin with {start.hex(' ')}", frame)
    size = frame_size(layout, frame)
    if isinstance(size, Malformed):
        raise size
    if size is None or size != len(frame):
        raise Malformed(f"frame of {len(frame)} bytes, {size or 'more'} announced", frame, offset=len(frame))
    error = checksum_error(layout, frame)
    if error is not None:
        raise error


def _pairs(layout: Frame, frame: bytes) -> list[tuple[FrameField, bytes]]:
    fields = {bytes.fromhex(field.tag): field for field in layout.fields if field.tag}
    at = layout.tlv_at or 0
    end = len(frame) - _tail(layout)
    if layout.tlv_count is not None and at + _length(layout.tlv_count, frame) != end:
        raise Malformed("payload length does not fit the frame", frame, offset=layout.tlv_count.at)
    pairs = []
    while at < end:
        field = fields.get(frame[at : at + 2])
        if field is None:
            raise Malformed(f"unknown tag {frame[at : at + 2].hex()}", frame, offset=at)
        data = frame[at + 2 : at + 2 + field.size]
        if at + 2 + field.size > end:
            raise Malformed(f"{field.what} is cut short", frame, offset=at)
        pairs.append((field, data))
        at += 2 + field.size
    return pairs


def _decoded(profile: Profile, parts: list[tuple[FrameField, bytes]], time_ms: int | None) -> Decoded:
    metrics = load_classes()[profile.device_class].metrics
    values: dict[str, float | None] = {}
    quality: dict[str, Quality] = {}
    attributes: dict[str, str] = {}
    for field, data in parts:
        raw = raw_of(field, _ordered(field, data))
        if field.attribute:
            attributes[field.attribute] = (
                raw if isinstance(raw, str) else f"{raw * field.scale + field.offset:g}"
            )
        elif field.metric and not isinstance(raw, str):
            values[field.metric], believed = number_of(field, raw, {}, metrics[field.metric].unit)
            if believed is not Quality.GOOD:
                quality[field.metric] = believed
    return Decoded(values, quality, attributes, time_ms)


def _raw(field: FrameField, frame: bytes) -> float | str:
    return raw_of(field, _ordered(field, _slice(field, frame)))


def _slice(field: FrameField, frame: bytes) -> bytes:
    at = field.at or 0
    at = at if at >= 0 else len(frame) + at
    data = frame[at : at + field.size]
    if len(data) < field.size:
        raise Malformed(f"{field.what or 'field'} lies beyond the frame", frame, offset=min(at, len(frame)))
    return data


def _ordered(field: FrameField, data: bytes) -> bytes:
    order: Order = field.byte_order or "big"
    return data[::-1] if order == "little" and field.type not in ("ascii", "gbk", "utf16") else data


def _place(body: bytearray, field: FrameField, data: bytes) -> None:
    at = field.at or 0
    body[at : at + len(data)] = data


def _length(length: Length, data: bytes | bytearray) -> int:
    size = 2 if length.type == "u16" else 1
    return int.from_bytes(data[length.at : length.at + size], length.order) + length.plus


def _put_length(body: bytearray, length: Length, total: int) -> None:
    size = 2 if length.type == "u16" else 1
    body[length.at : length.at + size] = (total - length.plus).to_bytes(size, length.order)


def _extent(layout: Frame) -> int:
    ends = [
        (f.at or 0) + f.size
        for f in (*layout.fields, layout.identity, layout.time)
        if f is not None and not f.tag
    ]
    return max(ends) + _tail(layout)


def _tail(layout: Frame) -> int:
    """Bytes behind what a frame says: its checksum and its end."""
    return (layout.checksum.size if layout.checksum else 0) + len(layout.end) // 2


def _holds(field: FrameField, frame: bytes) -> bool:
    return all(frame[at : at + len(text) // 2].hex() == text.lower() for at, text in field.only_if.items())
