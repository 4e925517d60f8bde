"""What the API answers, for OpenAPI; the answers themselves are written by msgspec from ingest's own structs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Point = tuple[int, float | None, int]
"""Time, value, quality."""
Ms = int
"""UTC milliseconds."""
Step = Literal["accepted", "executed", "verified", "failed", "expired", "refused"]


class Text(BaseModel):
    """The same words in Chinese and in English."""

    zh: str
    en: str


class Metric(BaseModel):
    """One metric of a class: its unit and kind never change."""

    name: str
    unit: str
    kind: Literal["gauge", "counter", "state", "bits"]
    low: float | None
    high: float | None
    label: Text
    states: dict[str, Text]
    bits: dict[str, Text]
    writable: bool
    max_rate: float
    rests_s: float


class DeviceClass(BaseModel):
    """A kind of device."""

    name: str
    label: Text
    metrics: dict[str, Metric]


class Site(BaseModel):
    """A place, WGS-84."""

    id: str
    name: Text
    street: str
    lon: float
    lat: float
    department: str
    district: str


class Device(BaseModel):
    """An installed device, WGS-84."""

    id: str
    name: Text
    class_: str = Field(alias="class")
    profile: str
    site: str
    agent: str
    lon: float
    lat: float
    owner: str
    period_s: float
    serial_number: str
    installed_on: str
    installed_by: str
    bus: str
    unit: int | None
    retired_on: str


class TreeSite(BaseModel):
    """A site and the ids of its devices."""

    id: str
    name: Text
    department: str
    devices: list[str]


class TreeStreet(BaseModel):
    """A street and its sites."""

    street: str
    sites: list[TreeSite]


class TreeDistrict(BaseModel):
    """A district and its streets."""

    district: str
    streets: list[TreeStreet]


class ConfigState(BaseModel):
    """What became of the configuration that the centre wants an agent to run with."""

    running: str = Field(
        default="", description="Version in force; empty for the file on the site's own disk."
    )
    wanted: str = ""
    state: Literal["in_force", "trying", "refused", "rolled_back"] = "in_force"
    error: str = ""


class Agent(BaseModel):
    """An edge agent's presence, and what it tells of itself; figures carry their unit in their name."""

    id: str
    online: bool
    since: Ms
    boot: str
    version: str
    config: ConfigState | None
    metrics: dict[str, float]


class Row(BaseModel):
    """A reading: ``quality`` names the metrics that are not good."""

    device: str
    time: Ms
    received: Ms
    values: dict[str, float | None]
    quality: dict[str, int]


class History(BaseModel):
    """Points are ``[time, value, quality]``, ascending."""

    device: str
    metric: str
    unit: str
    from_ms: Ms
    to_ms: Ms
    truncated: bool = Field(description="Older points were left out.")
    points: list[tuple[Ms, float | None, int]]


class Loss(BaseModel):
    """What an agent itself tells that it lost."""

    cause: str
    samples: int
    start: Ms
    end: Ms


class Gap(BaseModel):
    """A span without a good value, between two that were."""

    from_ms: Ms
    to_ms: Ms
    seconds: float
    cause: str = Field(
        description="What the agent tells that it lost something by (outbox_full, …), the commonest quality of what was "
        "read meanwhile (no_answer, link_down, implausible, stuck, …), or silent: nothing came.",
        examples=["no_answer"],
    )
    losses: list[Loss] = Field(description="All that the device's agent tells that it lost meanwhile.")


class Entry(BaseModel):
    """A quarantined message or reading; its bytes as ``text`` or as ``hex``, at most 2,048 of ``bytes``."""

    id: int
    at_ms: Ms
    agent: str
    origin: str
    reason: str
    detail: str
    samples: int
    bytes: int
    text: str | None = None
    hex: str | None = None


class Account(BaseModel):
    """What became of samples: ``received = stored + waiting + quarantined``."""

    received: int
    stored: int
    duplicated: int = Field(description="Came once more, and was counted before.")
    overwritten: int = Field(description="Stored, and replaced by another upload's.")
    readmitted: int = Field(description="Had been in quarantine.")
    quarantine_evicted: int = Field(description="Of what is quarantined: pushed out by newer entries.")
    quarantined: dict[str, int] = Field(description="By reason.")
    gaps: list[Loss]


class Boot(BaseModel):
    """Committed uploads of one outbox, as closed ranges."""

    ranges: list[tuple[int, int]]


class AgentAccount(Account):
    """An agent's samples in all."""

    boots: dict[str, Boot]


class Hour(Account):
    """An agent's samples of one hour; ``read`` is ``received`` and what was lost on the way."""

    agent: str
    hour: Ms
    read: int
    waiting: int


class Stored(BaseModel):
    """What the store holds."""

    samples: int
    waiting: int
    by_class: dict[str, int]


class Accounting(BaseModel):
    """The whole account."""

    agents: dict[str, AgentAccount]
    hours: list[Hour]
    store: Stored


class Sighting(BaseModel):
    """Something that speaks unannounced."""

    kind: Literal["agent", "device"]
    id: str
    agent: str
    first_ms: Ms
    last_ms: Ms
    times: int
    state: Literal["pending", "denied"]
    note: str


class Mistake(BaseModel):
    """One mistake in a file or a request."""

    file: str
    line: int
    column: str
    value: str
    problem: Text
    hint: Text


Value = Text | str | float | None
"""What a field of a site or device holds."""


class Change(BaseModel):
    """What becomes of one site or device; ``fields`` holds before and after."""

    kind: Literal["site", "device"]
    id: str
    change: Literal["new", "changed", "retired", "removed"]
    fields: dict[str, tuple[Value, Value]]


class Report(BaseModel):
    """What an import did, or would do."""

    mistakes: list[Mistake]
    notes: list[Text]
    changes: list[Change]
    unchanged: int
    missing: list[str]
    applied: bool


class LogEntry(BaseModel):
    """Who changed what."""

    id: int
    at_ms: Ms
    by: str
    what: str


class Done(BaseModel):
    """It is done."""

    done: str


class Requeued(BaseModel):
    """So many entries will be admitted again."""

    requeued: int


class Guidance(BaseModel):
    """What an operator is told beside the title."""

    cause: Text | None = None
    consequence: Text | None = None
    advice: Text | None = None


class Transition(BaseModel):
    """One change of one alarm, as the alarm feed carries it; what has its default is left out."""

    id: str
    alarm: str = Field(description="The same in the feed, on the desk and at the site.")
    change: Literal["began", "worsened", "eased", "ended", "released"]
    device: str
    device_class: str
    rule: str
    metric: str
    severity: int = Field(ge=1, le=4, description="1 blue, 2 yellow, 3 orange, 4 red")
    category: Literal["fire", "warning", "fault", "maintenance", "test", "tamper"]
    title: Text
    time: Ms = Field(description="When it came true, in the device's time.")
    judged: Ms
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


class Result(BaseModel):
    """One step of one command, as the agent told it; what has its default is left out."""

    id: str
    device: str
    state: Step
    time: Ms
    metric: str = ""
    value: float | None = None
    command: str = ""
    read_back: float | None = None
    problem: str = ""
    by: str = ""
    cause: str = Field(default="", description="The alarm that a local linkage answers.")
    v: int = 1
    text: str | None = None
    text_back: str | None = None


class Action(BaseModel):
    """A step of a command, or a transition judged at the site; ``body`` is the whole of it as the agent told it."""

    id: str
    step: Step | Literal["judged"]
    agent: str
    device: str
    at_ms: Ms
    body: Result | Transition


class Trial(BaseModel):
    """What stands by the packs on trial, and what they told since the start, the newest first."""

    standing: list[Transition]
    told: list[Transition]


class Health(BaseModel):
    """In one word."""

    status: str


class PartHealth(BaseModel):
    """One part of ingest."""

    status: Literal["ok", "degraded", "down"]
    told: str
    value: float | None = None
    degraded_from: float | None = None
    down_from: float | None = None


class DeepHealth(BaseModel):
    """All parts; the worst decides."""

    status: Literal["ok", "degraded", "down"]
    parts: dict[str, PartHealth]
