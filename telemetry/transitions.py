"""An alarm began, changed or ended: what rules say and the alarm feed carries."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import NewType

import msgspec

from telemetry.readings import DeviceId, MetricName
from telemetry.severity import Severity
from telemetry.text import Text

AlarmId = NewType("AlarmId", str)
RuleId = NewType("RuleId", str)


class Change(StrEnum):
    """What happened to the alarm."""

    BEGAN = "began"
    WORSENED = "worsened"
    EASED = "eased"
    ENDED = "ended"
    RELEASED = "released"  # its cause is gone and it still stands: it pages on its own now


class Category(StrEnum):
    """What kind of event an alarm tells of; receivers must keep them apart (GB/T 26875 practice)."""

    FIRE = "fire"
    WARNING = "warning"
    FAULT = "fault"
    MAINTENANCE = "maintenance"
    TEST = "test"
    TAMPER = "tamper"


class Guidance(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an operator is told beside the title: what it comes from, what it leads to, and what to do."""

    cause: Text | None = None
    consequence: Text | None = None
    advice: Text | None = None


class Transition(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of one alarm, complete enough to act on without asking anyone.

    ``time`` is when the condition came true in the device's own time, ``judged`` when the engine
    said so (both UTC ms).  ``value`` and ``limit`` are in ``unit``; both are None where no number
    applies (no data).  ``because`` gives a detector's reason with its numbers.  ``retrospective`` marks what was found in late data, ``shadow`` what was found by a rule on
    trial: neither pages anyone.  ``suppressed_by`` names the alarm of which this one is a consequence: that one
    pages, this one is kept and listed under it; it is empty again in the transition that sets it free.  ``origin`` is
    where a silence comes from: ``device``, ``bus``, ``agent``, ``feeder``, ``site``, ``area``.  ``chattering``
    marks an alarm that has come and gone time and again, ``fleeting`` the end of one that was gone before anybody could
    act; both page as any other, a receiver may fold them.
    """

    id: str
    alarm: AlarmId
    change: Change
    device: DeviceId
    device_class: str
    rule: RuleId
    metric: MetricName
    severity: Severity
    category: Category
    title: Text
    time: int
    judged: int
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    retrospective: bool = False
    because: Text | None = None
    shadow: bool = False
    suppressed_by: str = ""
    origin: str = ""
    chattering: bool = False
    fleeting: bool = False
    guidance: Guidance | None = None
    labels: dict[str, str] = {}


def alarm_id(device: str, rule: str, began_ms: int) -> AlarmId:
    """Return the id that edge and cloud both give this occurrence, whoever sees it first.

    >>> alarm_id("chg-001", "ev_charger.overheat", 1764000000000)
    'cd703eab7ff30560'
    """
    seed = f"{device}\0{rule}\0{began_ms}".encode()
    return AlarmId(hashlib.blake2b(seed, digest_size=8).hexdigest())


def transition_id(alarm: AlarmId, ordinal: int) -> str:
    """Return the id of the alarm's nth transition, counting ``began`` as 0."""
    return f"{alarm}-{ordinal}"


class AlarmMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of the alarm feed.

    With ``seq`` ≥ 1 it is news, to be acknowledged by ``(boot, seq)``.  With ``seq`` 0 it re-asserts
    an alarm that stands, with its latest transition, so that a consumer that lost its memory is
    whole again within a minute; it is not acknowledged.
    """

    producer: str
    boot: str
    seq: int
    sent: int
    transition: Transition
    v: int = 1


HEARTBEAT = RuleId("alarm_feed.heartbeat")
"""The rule of an alarm that always stands, on trial and hence for nobody: a consumer that misses it hears no other either."""


def heartbeat(producer: str, boot: str, now_ms: int) -> AlarmMessage:
    """Return what a producer asserts at each round beside the alarms that stand."""
    key = alarm_id(producer, HEARTBEAT, 0)
    transition = Transition(
        transition_id(key, 0), key, Change.BEGAN, DeviceId(producer), "alarm_feed", HEARTBEAT, MetricName("heartbeat"),
        Severity.BLUE, Category.MAINTENANCE, Text("报警通道心跳", "Heartbeat of the alarm feed"), 0, now_ms, shadow=True,
    )  # fmt: skip
    return AlarmMessage(producer, boot, 0, now_ms, transition)
