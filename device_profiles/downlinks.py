"""What a device that sleeps is told when it wakes: the datagrams of its profile, made and read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device_profiles.frames import checksum
from device_profiles.registers import check_value
from device_profiles.vocabulary import load_classes
from device_profiles.wire import bytes_of, number_of, raw_for, raw_of
from telemetry.errors import Malformed, Refused

if TYPE_CHECKING:
    from device_profiles.profile import Downlink, FrameField, Profile


def able(profile: Profile) -> list[str]:
    """Return what the devices of a profile can be told: metrics and commands."""
    return sorted(profile.frame.downlinks) if profile.frame is not None else []


def downlink_of(profile: Profile, name: str, value: float | None, identity: str) -> bytes:
    """Return the datagram that sets ``name`` to ``value``, or with None carries out the command ``name``.

    Raises :class:`Refused` where the profile does not allow it.
    """
    downlink = profile.frame.downlinks.get(name) if profile.frame is not None else None
    if downlink is None or (downlink.value is None) != (value is None):
        raise Refused(f"'{profile.id}' cannot be told '{name}'; it can be told {able(profile) or 'nothing'}")
    body = bytearray(bytes.fromhex(downlink.hex))
    if downlink.identity is not None:
        _place(body, downlink.identity, bytes_of(downlink.identity, identity))
    if downlink.value is not None and value is not None:
        metric = load_classes()[profile.device_class].metrics[name]
        check_value(downlink, metric, value)
        _place(
            body, downlink.value, bytes_of(downlink.value, raw_for(downlink.value, value, {}, metric.unit))
        )
    return bytes(body) + _tail(downlink, bytes(body))


def read_downlink(profile: Profile, data: bytes) -> tuple[str, float | None]:
    """Return what a datagram tells a device: a metric and its value, or a command; raise :class:`Malformed`."""
    for name, downlink in (profile.frame.downlinks if profile.frame is not None else {}).items():
        pattern = bytes.fromhex(downlink.hex)
        body, tail = data[: len(pattern)], data[len(pattern) :]
        if _bare(downlink, body) != _bare(downlink, pattern) or tail != _tail(downlink, body):
            continue
        if (field := downlink.value) is None:
            return name, None
        at = field.at or 0
        raw = raw_of(field, _ordered(field, body[at : at + field.size]))
        if isinstance(raw, str):
            raise Malformed(f"{name}: a text cannot be a value", data)
        value, _ = number_of(field, raw, {}, load_classes()[profile.device_class].metrics[name].unit)
        return name, value
    raise Malformed(f"no datagram that '{profile.id}' understands", data)


def _tail(downlink: Downlink, body: bytes) -> bytes:
    end = bytes.fromhex(downlink.end)
    if (rule := downlink.checksum) is None:
        return end
    return checksum(rule, body).to_bytes(rule.size, rule.order) + end


def _bare(downlink: Downlink, body: bytes) -> bytes:
    """The bytes that are the same in every such datagram."""
    bare = bytearray(body)
    for field in (downlink.value, downlink.identity):
        if field is not None and len(bare) == len(downlink.hex) // 2:
            _place(bare, field, bytes(field.size))
    return bytes(bare)


def _place(body: bytearray, field: FrameField, data: bytes) -> None:
    at = field.at or 0
    body[at : at + field.size] = _ordered(field, data)


def _ordered(field: FrameField, data: bytes) -> bytes:
    is_text = field.type in ("ascii", "gbk", "utf16")
    return data[::-1] if field.byte_order == "little" and not is_text else data
