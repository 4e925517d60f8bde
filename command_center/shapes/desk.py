"""Alarms, holds, notices, audit and figures as the API answers them.  Times are UTC milliseconds."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from command_center.audit import Entry, Finding
from command_center.figures import Report
from command_center.flood import FloodNow
from command_center.holds import HoldKind
from command_center.lifecycle import Condition, Hold, State, Suppression
from command_center.shapes import Colour, Level
from command_center.shapes.plans import RunNow
from telemetry.text import Text
from telemetry.transitions import Category, Guidance


class AlarmNow(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"class_": "class"}
):
    """An alarm as it stands; ``value`` and ``limit`` are in ``unit``, ``version`` is what a deed may name."""

    id: str
    version: int
    device: str
    device_name: Text
    site: str | None
    class_: str
    rule: str
    metric: str
    severity: Colour
    level: Level
    worst: Colour
    category: Category
    title: Text
    value: float | None
    limit: float | None
    unit: str
    began_ms: int
    changed_ms: int
    ended_ms: int | None
    received_ms: int
    state: State
    isa: str
    condition: Condition
    suppression: Suppression
    hold: Hold | None
    suppressed_by: str | None
    asks: bool
    assigned_to: str | None
    reset_by: str | None
    repeats: int
    chattering: bool
    acknowledged_by: str | None
    acknowledged_ms: int | None
    comment: str | None
    retrospective: bool
    shadow: bool
    because: Text | None
    guidance: Guidance | None
    last_asserted_ms: int
    stale_assertion: bool


class JournalEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the feed said or a person did; ``body`` is the transition, or the deed with who and which words."""

    id: str
    at_ms: int
    kind: str
    body: dict[str, Any]


class NoticeNow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message to a person by a channel and what proves it; or, by reason ``step``, one that is still to be decided."""

    id: str
    state: str
    reason: str
    due_ms: int
    policy: str | UnsetType = UNSET
    step: int | UnsetType = UNSET
    person: str | UnsetType = UNSET
    name: Text | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    attempts: int | UnsetType = UNSET
    created_ms: int | UnsetType = UNSET
    sent_ms: int | UnsetType | None = UNSET
    done_ms: int | UnsetType | None = UNSET
    provider_id: str | UnsetType | None = UNSET
    code: str | UnsetType = UNSET
    said: str | UnsetType = UNSET
    receipt: str | UnsetType = UNSET
    bundle: str | UnsetType | None = UNSET
    verified: bool | UnsetType = UNSET
    """Whether this address was proven to reach the person."""


class AlarmRecord(AlarmNow, frozen=True, kw_only=True):
    """An alarm with its journal, whom it told, its plan and its incident."""

    history: list[JournalEntry]
    notices: list[NoticeNow]
    run: RunNow | None
    incident: str | None


class Answering(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the page behind a message's link shows: the alarm, and as whom one would acknowledge it."""

    name: str
    device_name: Text
    severity: Colour
    title: Text
    value: float | None
    unit: str
    began_ms: int
    state: State
    acknowledged_by: str | None


class Swept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which alarms were acknowledged, and why the others were left."""

    acknowledged: list[str]
    left: dict[str, str]


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What acknowledging them would come to."""

    alarms: int
    by_severity: dict[str, int]
    worst: Colour | None
    red_left: int
    not_waiting: int


class HoldNow(Hold, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is shelved or out of service; ``rule`` is null for the whole device."""

    id: str
    kind: HoldKind
    device: str
    rule: str | None
    applied: bool


class AuditEntry(Entry, frozen=True, kw_only=True):
    """An entry of the trail with its hash."""

    hash: str


class Verified(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What walking the chain found."""

    whole: bool
    entries: int
    checkpoints: int
    findings: list[Finding]


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A report, with the names of its figures and devices."""

    report: Report
    names: dict[str, Text]
    devices: dict[str, Text]
    title: Text


class MapFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the map's tiles are, and whose they are."""

    pmtiles: str | None
    attribution: Text | None


class Overview(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the page shows; sites, devices, agents and classes as ingest's data API describes them."""

    title: Text
    boards: str
    now_ms: int
    map: MapFile
    streets: dict[str, Any] | None
    sites: list[dict[str, Any]]
    devices: list[dict[str, Any]]
    agents: list[dict[str, Any]]
    classes: dict[str, Any]
    alarms: list[AlarmNow]
    """The worst first, 5,000 at most."""
    open: dict[Colour, int]
    """How many there are, by colour, shown or not."""
    flood: FloodNow | None
    """While more comes than people can answer."""


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The process runs."""

    status: Literal["live"]


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The desk answers; when the feed and the data were last heard."""

    status: Literal["ready"]
    broker: bool
    feed_ms: int | None
    data_ms: int | None


class Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a vendor wants to hear."""

    code: int
    msg: str
