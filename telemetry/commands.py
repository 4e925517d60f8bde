"""Commands to actuators and what became of them.

::

    centre → agent    yemai/v1/{area}/{agent}/cmd          Command, QoS 1, not retained
    agent → centre    yemai/v1/{area}/{agent}/cmd/result   CommandResult, QoS 1, at least once
    agent → cloud     yemai/v1/{area}/{agent}/up           the same results in an ActionUpload, acknowledged

    (requested) → accepted → executed → verified | failed
                → refused | expired

A command's id is good for one execution, for ever.  Merge results by id: ``verified``, ``failed``, ``expired`` and
``refused`` are final, and the first final one counts.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum

import msgspec

from telemetry.readings import DeviceId, MetricName, Upload
from telemetry.transitions import Transition


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """Set ``metric`` of ``device`` to ``value``, or the text of that name to ``text``, or carry out ``command``.

    ``not_after`` is UTC ms by the agent's clock.  What is read back must be ``expect`` (the value itself where it is
    not given) within ``tolerance``, all in the unit of the metric's class.  ``by`` says who asks; ``mac`` proves it
    where the agent has a key.
    """

    id: str
    device: DeviceId
    not_after: int
    metric: MetricName = MetricName("")
    value: float | None = None
    command: str = ""
    expect: float | None = None
    tolerance: float = 0.0
    by: str = ""
    mac: str = ""
    v: int = 1
    text: str | None = None


class CommandState(StrEnum):
    """How far a command has come."""

    ACCEPTED = "accepted"  # on disk, waits for the line, or for a device that sleeps to wake
    EXECUTED = "executed"  # written, the device has confirmed
    VERIFIED = "verified"  # and reads back as expected
    FAILED = "failed"
    EXPIRED = "expired"  # not_after has passed before it was written
    REFUSED = "refused"  # repeated, not allowed, impossible, or against an interlock

    @property
    def is_final(self) -> bool:
        """Whether nothing will follow."""
        return self not in (CommandState.ACCEPTED, CommandState.EXECUTED)


class CommandResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of one command; ``time`` is UTC ms, ``cause`` the alarm that a local linkage answers."""

    id: str
    device: DeviceId
    state: CommandState
    time: int
    metric: MetricName = MetricName("")
    value: float | None = None
    command: str = ""
    read_back: float | None = None
    problem: str = ""
    by: str = ""
    cause: str = ""
    v: int = 1
    text: str | None = None
    text_back: str | None = None


class ActionUpload(Upload, frozen=True, omit_defaults=True):
    """An upload that also tells what the agent did and judged by itself.

    The transitions carry the ids that the cloud gives the same alarms: they are a record, not more news.
    """

    results: tuple[CommandResult, ...] = ()
    transitions: tuple[Transition, ...] = ()


def mac_of(command: Command, key: str) -> str:
    """Return the proof that who sends ``command`` knows ``key``: HMAC-SHA256 over its fields, in hex.

    >>> command = Command("c1", DeviceId("lamp-01"), 1764000060000, MetricName("dimming"), 50.0, by="centre")
    >>> mac_of(command, "k")[:16]
    '859c2a54347d0307'
    """
    bare = msgspec.structs.replace(command, mac="")
    fields = msgspec.json.encode(msgspec.to_builtins(bare), order="sorted")
    return hmac.new(key.encode(), fields, hashlib.sha256).hexdigest()


def is_proven(command: Command, key: str) -> bool:
    """Return whether a command carries the right proof."""
    return hmac.compare_digest(command.mac, mac_of(command, key))
