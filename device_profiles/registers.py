"""Modbus registers: which blocks to read, what they mean, and what they would hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from device_profiles.profile import TEXTS, Decoded, Point, Profile, Space
from device_profiles.vocabulary import load_classes
from device_profiles.wire import bytes_of, number_of, raw_for, raw_of, reorder, text_bytes
from telemetry.errors import Malformed, Refused
from telemetry.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from device_profiles.profile import Downlink, WriteRule
    from device_profiles.vocabulary import Metric

Image = dict[tuple[Space, int], int]
"""What a device holds: (space, wire address) → register or bit."""


class Block(msgspec.Struct, frozen=True, order=True):
    """One read request: ``count`` registers, or bits, from ``address`` on."""

    space: Space
    address: int
    count: int


class Write(msgspec.Struct, frozen=True):
    """One write request: raw registers or bits from ``address`` on."""

    space: Space
    address: int
    words: tuple[int, ...]
    function_code: int
    within_s: float | None = None  # after the request before it


def blocks(profile: Profile) -> tuple[Block, ...]:
    """Return the requests that read every point: neighbours share one, within the device's limits.

    >>> from device_profiles.loading import load_catalogue
    >>> blocks(load_catalogue()["sonbest_sm7901b"])[0].count
    1
    """
    made: list[Block] = []
    for space in Space:
        points = sorted((p for p in profile.points if p.space is space), key=lambda p: p.address)
        for point in points:
            wanted = next((e for e in profile.limits.exact if e[0] <= point.address < e[0] + e[1]), None)
            block = Block(space, *(wanted or (point.address, point.count)))
            if made and made[-1].space is space and _may_join(profile, made[-1], block):
                last = made.pop()
                end = max(last.address + last.count, block.address + block.count)
                block = Block(space, last.address, end - last.address)
            made.append(block)
    return tuple(made)


def _may_join(profile: Profile, left: Block, right: Block) -> bool:
    limits, end = profile.limits, right.address + right.count
    if right.address + right.count <= left.address + left.count:
        return True
    if limits.exact:
        return False
    hole = range(left.address + left.count, right.address)
    return (
        len(hole) <= limits.max_hole
        and end - left.address <= (limits.max_bits if left.space.is_bits else limits.max_registers)
        and not any(first <= address <= last for address in hole for first, last in limits.forbidden)
    )


def decode(profile: Profile, image: Mapping[tuple[Space, int], int]) -> Decoded:
    """Return what the registers in ``image`` say; a point with an address not in it is left out.

    Raises :class:`Malformed` when a register that others depend on makes no sense.
    """
    metrics = load_classes()[profile.device_class].metrics
    helpers: dict[str, float] = {}
    raws: dict[str, float] = {}
    for point in profile.points:
        if point.name and _present(point, image):
            raw = raw_of(point, _bytes(profile, point, image))
            if isinstance(raw, str):
                raise Malformed(f"{point.name}: a text cannot be a helper")
            raws[point.name] = raw
            helpers[point.name] = raw * point.scale + point.offset
    values: dict[str, float | None] = {}
    quality: dict[str, Quality] = {}
    attributes: dict[str, str] = {}
    for point in profile.points:
        if point.name or not _present(point, image) or not _helped(point, helpers):
            continue
        raw = raw_of(point, _bytes(profile, point, image))
        if point.attribute:
            attributes[point.attribute] = (
                raw if isinstance(raw, str) else f"{raw * point.scale + point.offset:g}"
            )
        elif not isinstance(raw, str):
            number, believed = number_of(point, raw, helpers, metrics[point.metric].unit)
            if point.valid_if is not None and raws[point.valid_if.point] not in point.valid_if.codes:
                number, believed = None, Quality.DEVICE_FAULT
            values[point.metric] = number
            if believed is not Quality.GOOD:
                quality[point.metric] = believed
    return Decoded(values, quality, attributes)


def encode(
    profile: Profile, values: Mapping[str, float | None], attributes: Mapping[str, str] | None = None
) -> Image:
    """Return the registers of a device that says ``values``: the inverse of :func:`decode`.

    A metric that is not in ``values`` reads as absent: the profile's sentinel, or 0.
    """
    metrics = load_classes()[profile.device_class].metrics
    attributes = attributes or {}
    helpers = {p.name: float(p.constant or 0) * p.scale + p.offset for p in profile.points if p.name}
    image: Image = {}
    for point in profile.points:
        if point.metric:
            raw: float | str = raw_for(point, values.get(point.metric), helpers, metrics[point.metric].unit)
        else:
            raw = attributes.get(point.attribute, point.constant if point.constant is not None else 0)
            if point.type not in TEXTS:
                raw = float(raw)
        before = _bytes(profile, point, image) if _present(point, image) else None
        _put(profile, point, bytes_of(point, raw, before), image)
    return image


def write_of(profile: Profile, metric: str, value: float) -> Write:
    """Return the request that sets ``metric``; raise :class:`Refused` where the profile does not allow it."""
    point = next((p for p in profile.points if p.metric == metric and p.write is not None), None)
    if point is None or point.write is None:
        able = sorted(p.what for p in profile.points if p.write is not None)
        raise Refused(f"'{profile.id}' cannot set '{metric}'; it can set {able or 'nothing'}")
    rule, wanted = point.write, load_classes()[profile.device_class].metrics[metric]
    check_value(rule, wanted, value)
    image: Image = {}
    raw = raw_for(
        point, value, {p.name: float(p.constant or 0) for p in profile.points if p.name}, wanted.unit
    )
    _put(profile, point, bytes_of(point, raw), image)
    address = point.address if rule.address is None else rule.address
    words = tuple(image[point.space, a] for a in point.addresses)
    space = Space.COIL if rule.function_code in (5, 15) else Space.HOLDING
    return Write(space, address, words, rule.function_code)


def check_value(rule: WriteRule | Downlink, metric: Metric, value: float) -> None:
    """Raise :class:`Refused` for a value that may not be set."""
    low = metric.low if rule.minimum is None else rule.minimum
    high = metric.high if rule.maximum is None else rule.maximum
    said = f"{metric.name} = {value:g} {metric.unit}".rstrip()
    if not low <= value <= high:
        raise Refused(f"{said} is outside {low:g} to {high:g}")
    allowed = rule.allowed or tuple(map(float, metric.states))
    if allowed and value not in allowed:
        raise Refused(f"{said} is not one of {', '.join(f'{one:g}' for one in allowed)}")


def text_of(profile: Profile, name: str, text: str) -> Write:
    """Return the request that shows ``text``; raise :class:`Refused`, with the place, for what cannot be shown."""
    point = next((p for p in profile.points if p.attribute == name and p.write is not None), None)
    if point is None or point.write is None:
        able = sorted(p.attribute for p in profile.points if p.attribute and p.write is not None)
        raise Refused(f"'{profile.id}' cannot set the text '{name}'; it can set {able or 'none'}")
    image: Image = {}
    _put(profile, point, text_bytes(point, text, point.write.most_characters), image)
    address = point.address if point.write.address is None else point.write.address
    return Write(Space.HOLDING, address, tuple(image[point.space, a] for a in point.addresses), 16)


def command_of(profile: Profile, name: str) -> tuple[Write, ...]:
    """Return the requests of a command, in their order; raise :class:`Refused` for one that there is not.

    >>> from device_profiles.loading import load_catalogue
    >>> [write.words for write in command_of(load_catalogue()["calectro_uniguard"], "reset_alarm")]
    [(234,)]
    """
    command = profile.commands.get(name)
    if command is None:
        raise Refused(f"'{profile.id}' has no command '{name}'; it has {sorted(profile.commands) or 'none'}")
    return tuple(
        Write(
            Space.COIL if step.function_code in (5, 15) else Space.HOLDING, step.address, (step.value,), step.function_code,
            step.within_s,
        )
        for step in command.steps
    )  # fmt: skip


def _present(point: Point, image: Mapping[tuple[Space, int], int]) -> bool:
    return all((point.space, address) in image for address in point.addresses)


def _helped(point: Point, helpers: Mapping[str, float]) -> bool:
    needed: Iterable[str] = (
        point.decimals_from,
        point.unit_from.point if point.unit_from else "",
        point.valid_if.point if point.valid_if else "",
    )
    return all(not name or name in helpers for name in needed)


def _bytes(profile: Profile, point: Point, image: Mapping[tuple[Space, int], int]) -> bytes:
    if point.space.is_bits:
        return bytes([image[point.space, point.address]])
    data = b"".join(image[point.space, address].to_bytes(2, "big") for address in point.addresses)
    if point.type in TEXTS:
        return reorder(data, "big", point.byte_order or "big")[: point.size]
    return reorder(data, point.word_order or profile.word_order, point.byte_order or profile.byte_order)


def _put(profile: Profile, point: Point, data: bytes, image: Image) -> None:
    if point.space.is_bits:
        image[point.space, point.address] = data[0]
        return
    data = data.ljust(point.count * 2, b"\0")
    if point.type in TEXTS:
        data = reorder(data, "big", point.byte_order or "big")
    else:
        data = reorder(data, point.word_order or profile.word_order, point.byte_order or profile.byte_order)
    for place, address in enumerate(point.addresses):
        image[point.space, address] = int.from_bytes(data[2 * place : 2 * place + 2], "big")
