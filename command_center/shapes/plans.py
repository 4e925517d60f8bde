"""Plans at work, incidents and warnings as the API answers them.  Times are UTC milliseconds."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from command_center.cap.document import Kind, Scope, Status
from command_center.cap.reading import Received
from command_center.lifecycle import State
from command_center.plans import Response
from command_center.runs import Order
from command_center.shapes import Colour, Level
from command_center.timeline import Moment
from telemetry.text import Text
from telemetry.transitions import Category


class Covered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """The plans that may hold for a class and colour, and those that always do."""

    class_: str
    severity: Colour
    plans: list[str]
    always: list[str]


class Coverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every class and colour; ``without`` are those that no plan is for."""

    without: list[Covered]
    rows: list[Covered]


class TaskNow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A task of a run's checklist; ``done`` is by whom and when."""

    do: Text
    owner: str
    due_ms: int
    done: tuple[str, int] | None


class ActionNow(Order, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order to a device, and how far it came."""

    id: str
    device: str
    metric: str
    state: str
    mode: str
    not_after: int


class RunNow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan at work; ``plan`` is null where none fits, ``clauses`` say which fields held."""

    run: str
    plan: str | None
    mode: str
    began_ms: int
    clauses: dict[str, bool]
    version: int
    title: Text | None
    response: Response | None
    checklist: list[TaskNow]
    actions: list[ActionNow]


class Acted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The action's state, or the id of the action that undoes it."""

    result: str


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step from the district down to the device; ``name`` by language, where the registry has one."""

    id: str
    level: str
    name: dict[str, str] | UnsetType = UNSET


class IncidentRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An incident in the list."""

    id: str
    state: str
    opened_ms: int
    closed_ms: int | None
    severity: Colour
    level: Level
    category: Category
    response: Response | None
    title: Text
    place: list[Rung]
    merged_into: str | None
    closed_by: str | None
    alarms: int
    open_alarms: int
    active_alarms: int
    plans: list[str]
    without_plan: int


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An alarm of an incident, and why it is in it."""

    id: str
    device: str
    device_name: Text
    rule: str
    title: Text
    severity: Colour
    category: Category
    state: State
    began_ms: int
    ended_ms: int | None
    joined_ms: int
    acknowledged_by: str | None
    tie: str
    why: Text
    also: list[str]
    value: float | None
    unit: str


class RunOf(RunNow, frozen=True, kw_only=True):
    """A plan at work, and where its alarm is."""

    device: str


class Warned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A warning that we issued."""

    identifier: str
    kind: Kind
    status: Status
    scope: Scope
    sent_ms: int
    references: list[str]
    headline: Text
    severity: Colour
    signed_by: str | None
    incident: str | None


class WarnedOf(Warned, frozen=True, kw_only=True):
    """The same, and the incident or drill it is about."""

    about: str


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A camera nearby."""

    id: str
    name: Text
    url: str
    metres: int


class Incident(IncidentRow, frozen=True, kw_only=True):
    """An incident with everything of it."""

    members: list[Member]
    runs: list[RunOf]
    related: list[str]
    undone: list[Text]
    timeline: list[Moment]
    warnings: list[Warned]
    cameras: list[Camera]


class WarningIn(Received, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A warning from outside that was just taken; ``new`` unless it was here already."""

    id: str
    new: bool


class StandingIn(Received, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A warning from outside that holds."""

    id: str
    at_ms: int
    until_ms: int
