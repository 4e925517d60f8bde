"""Admission: every sample of every upload gets a fate, and none gets it in silence.

=====================================  ==================================================================
a message that cannot be decoded       quarantine, whole; acknowledged when at least its identity can be read
a message over MAX_UPLOAD_BYTES        likewise
another agent's name in the message    quarantine, whole
a seq that no outbox can have given    quarantine, whole; not acknowledged
a gap that cannot be                   quarantine of the gap
an agent that was denied               quarantine of the reading, whatever the device
a device that was denied, or retired   quarantine of the reading, each with its reason
a device that is not registered        quarantine of the reading
a device of another agent              quarantine of the reading
a time before 2020 or 5 min ahead      quarantine of the reading, after the agent's clock was corrected
a metric that its class has not        quarantine of the sample
a value that is not plausible          stored, with a quality: :mod:`cloud_ingest.plausibility`
a point that the store refuses         quarantine of the reading, as it was to be written
a message at which this program fails  quarantine, whole: :mod:`cloud_ingest.isolation`
=====================================  ==================================================================
"""

from __future__ import annotations

import hashlib
import json as plain_json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from cloud_ingest.ledger import FAULT, Quarantined
from cloud_ingest.registry.model import (
    DENIED_AGENT,
    DENIED_DEVICE,
    OTHERS_DEVICE,
    RETIRED_DEVICE,
    UNKNOWN_DEVICE,
    UNKNOWN_PROFILE,
)
from cloud_ingest.source import MOST, Delivery
from rules.frame import Columns
from telemetry import codecs
from telemetry.codecs import json
from telemetry.commands import ActionUpload
from telemetry.errors import Malformed
from telemetry.readings import MAX_UPLOAD_BYTES, UPLOAD_VERSION, AgentId, Reading, Upload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloud_ingest.registry import Registry
    from device_profiles.vocabulary import DeviceClass
    from telemetry.readings import Gap

EARLIEST_MS = 1_577_836_800_000  # 2020-01-01
AHEAD_MS = 5 * 60 * 1000
_HOUR_MS = 3_600_000
_KEPT_BYTES = 256 * 1024  # of a message that is too large
_WHY_OUT = {
    UNKNOWN_DEVICE: "'{}' is not in the registry",
    DENIED_DEVICE: "'{}' was denied; register it if it may speak",
    RETIRED_DEVICE: "'{}' was taken out of service",
    UNKNOWN_PROFILE: "'{}' is registered with a profile that this program has not",
}


class Identity(msgspec.Struct):
    """What must be readable for an upload to be acknowledged."""

    agent: str
    boot: str
    seq: int


class _Loose(msgspec.Struct):
    readings: list[dict[str, Any]] = []


@dataclass
class Admitted:
    """What became of a batch."""

    columns: dict[str, Columns] = field(default_factory=dict)  # by class
    uploads: list[Upload] = field(default_factory=list)
    gaps: list[tuple[str, Gap]] = field(default_factory=list)  # with the agent that tells of it
    identities: list[tuple[str, str, int]] = field(default_factory=list)  # to mark as committed
    quarantined: list[Quarantined] = field(default_factory=list)
    counts: dict[tuple[str, int, str], int] = field(default_factory=dict)
    """Samples by agent, hour (UTC ms, in which they were made) and account."""
    to_store: dict[tuple[str, int], int] = field(default_factory=dict)
    """Samples in :attr:`columns`, by agent and hour."""

    def count(self, agent: str, at_ms: int, account: str, samples: int) -> None:
        """Add to an account."""
        if samples:
            key = (str(agent), at_ms - at_ms % _HOUR_MS, account)
            self.counts[key] = self.counts.get(key, 0) + samples

    def refuse(self, item: Quarantined) -> None:
        """Send something to quarantine."""
        self.quarantined.append(item)
        self.count(item.agent, item.made_ms, f"quarantined:{item.reason}", item.samples)


class Admission:
    """Sorts uploads by what the registry says."""

    def __init__(self, registry: Registry, classes: Mapping[str, DeviceClass]) -> None:
        self.registry, self._classes = registry, classes

    def admit(self, upload: Upload, origin: str, now_ms: int, shift_ms: int, into: Admitted) -> None:
        """Sort the readings of one upload; ``shift_ms`` corrects the clock of its agent."""
        made_ms, number = made(upload, now_ms, shift_ms), number_of(upload)
        devices, columns, latest = self.registry.devices, into.columns, now_ms + AHEAD_MS
        refused = received = 0
        for reading in upload.readings:
            if not reading.values:
                continue
            received += len(reading.values)
            device = devices.get(reading.device)
            if (
                device is not None
                and device.agent == upload.agent
                and EARLIEST_MS <= reading.time + shift_ms <= latest
            ):
                of_class = columns.get(device.device_class)
                if of_class is None:
                    of_class = Columns(self._classes[device.device_class])
                if of_class.add(reading, number, shift_ms):
                    columns[device.device_class] = of_class
                    continue
                unknown = of_class.unknown(reading)
                detail = f"class '{device.device_class}' has no {sorted(unknown)}"
                rest = _only(reading, unknown)
                item = _kept(upload, origin, rest, "unknown metric", detail, made_ms)
                known = _only(reading, reading.values.keys() - unknown)
                if known.values:
                    of_class.add(known, number, shift_ms)
                    columns[device.device_class] = of_class
            else:
                reason, detail = self._why(upload, reading, now_ms, shift_ms)
                item = _kept(upload, origin, reading, reason, detail, made_ms)
            refused += item.samples
            into.refuse(item)
        for gap in upload.gaps:
            if all(0 <= number < MOST for number in (gap.samples, gap.start, gap.end)):
                into.gaps.append((upload.agent, gap))
            else:
                told = _encoded(gap)
                into.refuse(Quarantined(upload.agent, origin, "impossible gap", gap.cause, 0, told, made_ms))
        into.uploads.append(upload)
        into.count(upload.agent, made_ms, "received", received)
        key = (str(upload.agent), made_ms - made_ms % _HOUR_MS)
        into.to_store[key] = into.to_store.get(key, 0) + received - refused

    def _why(self, upload: Upload, reading: Reading, now_ms: int, shift_ms: int) -> tuple[str, str]:
        registry, name = self.registry, reading.device
        if upload.agent in registry.denied:
            return DENIED_AGENT, f"'{upload.agent}' was denied; approve it if it may speak"
        device = registry.devices.get(name)
        if device is None:
            reason = registry.out.get(name, UNKNOWN_DEVICE)
            return reason, _WHY_OUT[reason].format(name)
        if device.agent != upload.agent:
            return OTHERS_DEVICE, f"'{name}' belongs to '{device.agent}'"
        clock = f", its agent's clock corrected by {shift_ms} ms" if shift_ms else ""
        return "impossible time", f"{reading.time} ms, received at {now_ms} ms{clock}"


def read(delivery: Delivery) -> Upload | Quarantined:
    """Decode a delivery, or say why it cannot be."""
    try:
        upload = codecs.decode(delivery.payload, ActionUpload, max_bytes=MAX_UPLOAD_BYTES)
    except Malformed as error:
        reason = "too large" if len(delivery.payload) > MAX_UPLOAD_BYTES else "malformed"
        return _refused(delivery, reason, str(error), _count(delivery.payload))
    if upload.agent != delivery.agent:
        return _refused(delivery, "wrong agent", f"says it is from '{upload.agent}'", upload.sample_count)
    if upload.v != UPLOAD_VERSION:
        return _refused(
            delivery, "unknown version", f"version {upload.v}, this is {UPLOAD_VERSION}", upload.sample_count
        )
    if not 0 < upload.seq < MOST:
        return _refused(delivery, "impossible seq", f"{upload.seq}", upload.sample_count)
    return upload


def broken(delivery: Delivery, fault: Exception) -> Quarantined:
    """Say that this program failed at a delivery."""
    detail = f"{type(fault).__name__}: {fault}"
    return _refused(delivery, FAULT, detail, _count(delivery.payload))


def readmit(
    row: int, item: Quarantined, admission: Admission, now_ms: int, shift_ms: int, into: Admitted
) -> None:
    """Sort what was in quarantine as entry ``row`` once more; what is still wrong goes back, with its new reason."""
    into.count(item.agent, item.made_ms, f"quarantined:{item.reason}", -item.samples)
    into.count(item.agent, item.made_ms, "readmitted", item.samples)
    delivery = Delivery(item.agent, item.origin, item.payload, item.made_ms, None)
    upload = read(delivery)
    if isinstance(upload, Quarantined):
        try:
            reading = codecs.decode(item.payload, Reading, max_bytes=MAX_UPLOAD_BYTES)
        except Malformed:
            into.refuse(msgspec.structs.replace(upload, samples=item.samples))
            return
        upload = Upload(AgentId(item.agent), "quarantine", row, item.made_ms, (reading,))
    admission.admit(upload, item.origin, now_ms, shift_ms, into)
    into.count(item.agent, item.made_ms, "received", -item.samples)  # counted when it came


def identity(delivery: Delivery) -> Identity | None:
    """Return who sent a message that cannot be read wholly, as far as it says so."""
    try:
        found = codecs.decode(delivery.payload, Identity, max_bytes=len(delivery.payload))
    except Malformed:
        return None
    return found if found.agent == delivery.agent and 0 < found.seq < MOST else None


def made(upload: Upload, now_ms: int, shift_ms: int) -> int:
    """Return when an upload was made (UTC ms), or came where its agent's clock cannot be right."""
    sent = upload.sent + shift_ms
    return sent if EARLIEST_MS <= sent <= now_ms + AHEAD_MS else now_ms


def number_of(upload: Upload) -> int:
    """Return 63 bits that stand for an upload."""
    digest = hashlib.blake2b(f"{upload.agent}\0{upload.boot}\0{upload.seq}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _refused(delivery: Delivery, reason: str, detail: str, samples: int) -> Quarantined:
    return Quarantined(
        delivery.agent, delivery.origin, reason, detail, samples, delivery.payload[:_KEPT_BYTES], delivery.received_ms
    )  # fmt: skip


def _count(payload: bytes) -> int:
    """The samples in a message whose shape is right though its contents are not; 0 where nobody can tell."""
    try:
        loose = codecs.decode(payload, _Loose, max_bytes=len(payload) or 1)
    except Malformed:
        return 0
    return sum(len(values) for reading in loose.readings if isinstance(values := reading.get("values"), dict))


def _only(reading: Reading, metrics: set[Any]) -> Reading:
    return msgspec.structs.replace(
        reading, values={name: value for name, value in reading.values.items() if name in metrics}
    )


def _kept(
    upload: Upload, origin: str, reading: Reading, reason: str, detail: str, made_ms: int
) -> Quarantined:
    safe = {
        name: value if value is None or math.isfinite(value) else None
        for name, value in reading.values.items()
    }
    payload = _encoded(msgspec.structs.replace(reading, values=safe))
    return Quarantined(upload.agent, origin, reason, detail, reading.sample_count, payload, made_ms)


def _encoded(message: msgspec.Struct) -> bytes:
    """Return JSON of a struct whose whole numbers may be of any size."""
    try:
        return json.encode(message)
    except OverflowError:  # msgspec reads such a number but does not write it
        return plain_json.dumps(msgspec.structs.asdict(message), ensure_ascii=False).encode()
