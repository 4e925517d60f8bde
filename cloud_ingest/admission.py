"""Admission: every sample of every upload gets a fate, and none gets it in silence.

=====================================  ==================================================================
a message that cannot be decoded       quarantine, whole; acknowledged when at least its identity can be read
a message over MAX_UPLOAD_BYTES        likewise
another agent's name in the message    quarantine, whole
a device that is not registered        quarantine of the reading
a device of another agent              quarantine of the reading
a time before 2020 or 5 min ahead      quarantine of the reading
a metric that its class has not        quarantine of the sample
a value outside its plausible range    stored, with quality IMPLAUSIBLE
no value, but called good              stored, with quality DEVICE_FAULT
=====================================  ==================================================================
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from cloud_ingest.ledger import Quarantined
from rules.frame import Frame
from telemetry import codecs
from telemetry.codecs import json
from telemetry.errors import Malformed
from telemetry.quality import UNCERTAIN_FROM, Quality
from telemetry.readings import MAX_UPLOAD_BYTES, UPLOAD_VERSION, Reading, Upload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloud_ingest.registry import Registry
    from cloud_ingest.source import Delivery
    from device_profiles.vocabulary import DeviceClass, Metric

EARLIEST_MS = 1_577_836_800_000  # 2020-01-01
AHEAD_MS = 5 * 60 * 1000
_KEPT_BYTES = 256 * 1024  # of a message that is too large


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

    readings: dict[str, list[Reading]] = field(default_factory=dict)  # class → readings, in order
    origins: dict[str, list[int]] = field(
        default_factory=dict
    )  # class → of each reading, its upload's number
    uploads: list[Upload] = field(default_factory=list)
    identities: list[tuple[str, str, int]] = field(default_factory=list)  # to mark as committed
    quarantined: list[Quarantined] = field(default_factory=list)
    samples: dict[str, int] = field(default_factory=dict)  # agent → samples received

    def note(self, agent: str, samples: int) -> None:
        """Count what an agent sent."""
        self.samples[agent] = self.samples.get(agent, 0) + samples


def read(delivery: Delivery) -> Upload | Quarantined:
    """Decode a delivery, or say why it cannot be."""
    try:
        upload = codecs.decode(delivery.payload, Upload, max_bytes=MAX_UPLOAD_BYTES)
    except Malformed as error:
        reason = "too large" if len(delivery.payload) > MAX_UPLOAD_BYTES else "malformed"
        return _refused(delivery, reason, str(error))
    if upload.agent != delivery.agent:
        return _refused(delivery, "wrong agent", f"says it is from '{upload.agent}'", upload.sample_count)
    if upload.v != UPLOAD_VERSION:
        return _refused(
            delivery, "unknown version", f"version {upload.v}, this is {UPLOAD_VERSION}", upload.sample_count
        )
    return upload


def identity(delivery: Delivery) -> Identity | None:
    """Return who sent a message that cannot be read wholly, as far as it says so."""
    try:
        found = codecs.decode(delivery.payload, Identity, max_bytes=len(delivery.payload))
    except Malformed:
        return None
    return found if found.agent == delivery.agent and found.seq > 0 else None


def admit(
    upload: Upload,
    origin: str,
    registry: Registry,
    classes: Mapping[str, DeviceClass],
    now_ms: int,
    into: Admitted,
) -> None:
    """Sort the readings of one upload."""
    into.uploads.append(upload)
    into.identities.append((upload.agent, upload.boot, upload.seq))
    into.note(upload.agent, upload.sample_count)
    number = _number(upload)
    for reading in upload.readings:
        device = registry.devices.get(reading.device)
        reason = detail = ""
        if device is None:
            reason, detail = "unknown device", f"'{reading.device}' is not in the registry"
        elif device.agent != upload.agent:
            reason, detail = "device of another agent", f"'{reading.device}' belongs to '{device.agent}'"
        elif not EARLIEST_MS <= reading.time <= now_ms + AHEAD_MS:
            reason, detail = "impossible time", f"{reading.time} ms, received at {now_ms} ms"
        if device is None or reason:
            into.quarantined.append(_kept(upload, origin, reading, reason, detail))
            continue
        metrics = classes[device.device_class].metrics
        unknown = {name: value for name, value in reading.values.items() if name not in metrics}
        if unknown:
            rest = msgspec.structs.replace(reading, values=unknown)
            into.quarantined.append(
                _kept(
                    upload,
                    origin,
                    rest,
                    "unknown metric",
                    f"class '{device.device_class}' has no {sorted(unknown)}",
                )
            )
            reading = msgspec.structs.replace(  # noqa: PLW2901 - what is left of it
                reading, values={name: value for name, value in reading.values.items() if name in metrics}
            )
        if reading.values:
            into.readings.setdefault(device.device_class, []).append(reading)
            into.origins.setdefault(device.device_class, []).append(number)


def frames(admitted: Admitted, classes: Mapping[str, DeviceClass]) -> list[Frame]:
    """Turn what was admitted into columns and judge its plausibility."""
    made = []
    for name, readings in admitted.readings.items():
        frame = Frame.of(readings, classes[name])
        _judge(frame, list(classes[name].metrics.values()))
        made.append(frame)
    return made


def _judge(frame: Frame, metrics: Sequence[Metric]) -> None:
    low = np.array([metric.low for metric in metrics])
    high = np.array([metric.high for metric in metrics])
    believed = frame.quality < UNCERTAIN_FROM
    there = np.isfinite(frame.values)
    with np.errstate(invalid="ignore"):
        outside = (frame.values < low) | (frame.values > high)
    frame.quality[believed & there & outside] = Quality.IMPLAUSIBLE
    frame.quality[believed & ~there] = Quality.DEVICE_FAULT


def _refused(delivery: Delivery, reason: str, detail: str, samples: int | None = None) -> Quarantined:
    if samples is None:
        samples = _count(delivery.payload)
    return Quarantined(
        delivery.agent, delivery.origin, reason, detail, samples, delivery.payload[:_KEPT_BYTES]
    )


def _count(payload: bytes) -> int:
    """The samples in a message whose shape is right though its contents are not; 0 where nobody can tell."""
    try:
        loose = codecs.decode(payload, _Loose, max_bytes=len(payload) or 1)
    except Malformed:
        return 0
    return sum(len(values) for reading in loose.readings if isinstance(values := reading.get("values"), dict))


def _kept(upload: Upload, origin: str, reading: Reading, reason: str, detail: str) -> Quarantined:
    safe = {
        name: value if value is None or math.isfinite(value) else None
        for name, value in reading.values.items()
    }
    payload = json.encode(msgspec.structs.replace(reading, values=safe))
    return Quarantined(upload.agent, origin, reason, detail, reading.sample_count, payload)


def _number(upload: Upload) -> int:
    """Return 63 bits that stand for an upload."""
    digest = hashlib.blake2b(f"{upload.agent}\0{upload.boot}\0{upload.seq}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
