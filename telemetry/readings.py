"""What devices said: readings, and the uploads that carry them from an agent to the cloud."""

from __future__ import annotations

from typing import Annotated, NewType

import msgspec

from telemetry.quality import Quality

DeviceId = NewType("DeviceId", str)
AgentId = NewType("AgentId", str)
MetricName = NewType("MetricName", str)

UPLOAD_VERSION = 1
MAX_UPLOAD_BYTES = 256 * 1024
MOST_SEQ = 2**62
"""No outbox gives so many messages."""
Seq = Annotated[int, msgspec.Meta(ge=0, lt=MOST_SEQ)]
"""An agent splits what would be larger; the cloud quarantines what is larger."""


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one device said at one moment: one sample per metric.

    ``time`` is UTC milliseconds, taken when the answer arrived.  ``values`` holds canonical metrics
    in the unit of the device's class; ``None`` means that nothing was received and is not zero.
    ``quality`` names only the samples that are not :attr:`Quality.GOOD`.  ``attributes`` are texts
    of the device (serial number, firmware): no samples, not counted.
    """

    device: DeviceId
    time: int
    values: dict[MetricName, float | None]
    quality: dict[MetricName, Quality] = {}
    attributes: dict[str, str] = {}

    @property
    def sample_count(self) -> int:
        """Samples in this reading: one per metric, with or without a value."""
        return len(self.values)


class Gap(msgspec.Struct, frozen=True, omit_defaults=True):
    """Samples that were read and then lost, and why: loss is never silent."""

    cause: str  # "outbox_full", "outbox_corrupt", "disk_full", "memory_lost"
    samples: int
    start: int  # UTC ms of the oldest lost message
    end: int  # UTC ms of the newest


class Upload(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one agent sends in one message.

    ``(agent, boot, seq)`` identifies it for ever: ``boot`` names the outbox it was kept in and
    ``seq`` counts from 1 in that outbox.
    """

    agent: AgentId
    boot: str
    seq: int
    sent: int
    readings: tuple[Reading, ...] = ()
    gaps: tuple[Gap, ...] = ()
    v: int = UPLOAD_VERSION

    @property
    def sample_count(self) -> int:
        """Samples in all readings."""
        return sum(reading.sample_count for reading in self.readings)


class Ack(msgspec.Struct, frozen=True):
    """What a consumer's database has committed: closed ranges ``[first, last]`` of one boot."""

    boot: str
    ranges: tuple[tuple[Seq, Seq], ...]
    v: int = 1


class ConfigState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the configuration that the cloud wants an agent to run with.

    ``running`` is the version in force, empty for the file on the site's own disk.  ``state`` is what became of
    ``wanted``: ``in_force``, ``trying`` (in force until the dead man's timer runs out), ``refused`` (never in
    force) or ``rolled_back`` (it was, and was taken back); ``error`` says why.
    """

    running: str = ""
    wanted: str = ""
    state: str = "in_force"
    error: str = ""


class AgentStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """Retained birth of an agent, told again each minute, and its last will (``online`` false).

    ``now`` is the agent's clock when it was sent, 0 in the last will.  ``metrics`` are the agent's own figures:
    ``buffer_lasts_s``, ``outbox_bytes``, ``signal_dbm`` and so on, each with its unit in its name.
    """

    agent: AgentId
    online: bool
    boot: str
    since: int
    now: int = 0
    version: str = ""
    config: ConfigState | None = None
    metrics: dict[str, float] = {}
    v: int = 1


class DesiredConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The configuration that the cloud wants an agent to run with; retained on the agent's ``config`` topic.

    ``text`` is a whole ``edge.toml``.  It is in force for good once the uplink is back within ``confirm_s``
    seconds.  ``force`` applies it though devices that answer today do not answer with it.
    """

    version: str
    text: str
    confirm_s: float = 300.0
    force: bool = False
    v: int = 1
